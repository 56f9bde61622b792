"""A user's sound as input of the networks: read, trimmed and levelled, with notes on what was changed; predictions."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frami import answers, audio, sound_files
from frami.audio import MelSpec
from frami.checkpoints import Checkpoint
from frami.errors import FramiError, sentence

#: What can be given, in words.
READ = "What phones, browsers and editors record is read: WAV, MP3, M4A, OGG, FLAC, WebM, AMR, and the sound of videos"
#: Seconds of a sound that are read at most, and that are needed at least.
LONGEST, SHORTEST = 30.0, 0.1
#: Peak below which a sound is silent, below which it is quiet, and to which quiet sounds are raised.
SILENT, QUIET, LOUD = 1e-3, 0.05, 0.5
#: Level from which on a sample is at full scale, and the share of those above which a sound is clipped.
CLIPPED, CLIPPED_SHARE = 0.999, 0.002
#: Seconds of background that are left before and after a sound.
MARGIN = 0.05
#: A sound that lasts this many times as long as a network's training clips gets a note.
UNUSUAL = 5.0
_PASSES = 7


class AudioInputError(FramiError):
    """A sound that cannot be classified; the message is for the user who gave it."""


@dataclass(frozen=True)
class AudioInput:
    """A sound ready for the networks. samples : Tensor[N], mono at ``rate``; ``notes`` : what was changed;
    ``cautions`` : what makes the prediction less reliable."""

    samples: Tensor
    rate: int
    notes: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class Prediction:
    """probabilities : Tensor[K]; ``milliseconds`` : median of a few forward passes on the network's device."""

    probabilities: Tensor
    milliseconds: float


def read(path: str | Path, spec: MelSpec) -> AudioInput:
    """The first 30 s of a sound file, mono, at ``spec.sample_rate``, without silent ends, raised if quiet.

    Raises AudioInputError for a file that is unreadable, empty, silent or far too short.
    """
    notes, cautions = [], []
    try:
        sound = sound_files.read(path, LONGEST, "This sound")
        x = audio.mono(sound.samples, sound.rate, spec.sample_rate, "This sound")
    except sound_files.UnreadableError as error:
        raise AudioInputError(
            f"This file cannot be read as sound: it is damaged, or in another format. {READ}."
        ) from error
    except audio.AudioError as error:
        raise AudioInputError(sentence(error)) from error
    here = len(sound.samples) / sound.rate
    whole = max(here, sound.claimed or 0.0)
    if sound.channels > 1:
        notes.append(f"{'both' if sound.channels == 2 else sound.channels} channels were averaged")
    if sound.rate != spec.sample_rate:
        notes.append(f"resampled from {sound.rate / 1000:.5g} to {spec.sample_rate / 1000:.5g} kHz")
    if here < min(LONGEST, whole) - SHORTEST:
        cautions.append(f"the file breaks off: {here:.1f} s of its {whole:,.1f} s are there")
    elif whole > LONGEST:
        cautions.append(f"only the first {LONGEST:.0f} s of {whole:,.0f} s were used: it is far too long")
    if here < SHORTEST:
        raise AudioInputError(f"This sound lasts only {here:.2f} s: far too short. The least is {SHORTEST:g} s.")
    peak = float(x.abs().max())
    if peak < SILENT:
        raise AudioInputError(
            "This is silence: there is nothing in it to recognise. If you recorded it, is the microphone on?"
        )
    if float((abs(sound.samples) >= CLIPPED).mean()) > CLIPPED_SHARE:
        cautions.append("it was recorded too loud: its peaks are cut off")
    x, cut = trim(x, spec.sample_rate)
    if cut >= 0.1:
        notes.append(f"{cut:.1f} s of quiet before and after it were cut off")
    if cut and len(x) < (2 * MARGIN + SHORTEST / 2) * spec.sample_rate:
        raise AudioInputError("There is only a click in it: far too short. Record a whole word or sound.")
    if peak < QUIET:
        x = x * (LOUD / peak)
        notes.append("it was quiet and has been made louder")
    return AudioInput(x, spec.sample_rate, tuple(notes), tuple(cautions))


def prepared(samples: Tensor, rate: int, spec: MelSpec) -> AudioInput:
    """Samples of a microphone, Tensor[N] at ``rate``, as ``read`` prepares a file's. AudioInputError for silence."""
    try:
        x = audio.mono(samples.numpy(), rate, spec.sample_rate)
    except audio.AudioError as error:
        raise AudioInputError(sentence(error)) from error
    peak = float(x.abs().max())
    if peak < SILENT or len(x) < SHORTEST * spec.sample_rate:
        raise AudioInputError("This is silence.")
    x, _ = trim(x, spec.sample_rate)
    return AudioInput(x * (LOUD / peak) if peak < QUIET else x, spec.sample_rate)


def mel(sound: AudioInput, spec: MelSpec, path: str | Path | None = None) -> Tensor:
    """A sound's log-Mel-spectrogram, Tensor[F, T], by any front-end: one of another rate reads the file again."""
    if spec.sample_rate == sound.rate:
        return spec(sound.samples)
    if path is not None:
        return spec(read(path, spec).samples)
    return spec(audio.mono(sound.samples.numpy(), sound.rate, spec.sample_rate))


def heard(path: str | Path) -> tuple[Tensor, int]:
    """The first seconds of a file as they are, Tensor[N] mono, and their rate in Hz. Raises AudioInputError."""
    try:
        sound = sound_files.read(path, LONGEST, "This sound")
        return audio.mono(sound.samples, sound.rate, sound.rate, "This sound"), sound.rate
    except audio.AudioError as error:
        raise AudioInputError(sentence(error)) from error


def trim(x: Tensor, rate: int) -> tuple[Tensor, float]:
    """x : Tensor[N] without its ends that are silent or at background level, except ``MARGIN``; seconds removed."""
    step = max(1, rate // 100)
    levels = x[: len(x) // step * step].reshape(-1, step).abs().amax(1)
    if len(levels) < 3:
        return x, 0.0
    peak = levels.max()
    threshold = torch.minimum(torch.maximum(0.01 * peak, 3 * levels.quantile(0.1)), 0.1 * peak)
    loud = (levels > threshold).nonzero()[:, 0]
    first = max(0, int(loud[0]) * step - int(MARGIN * rate))
    last = min(len(x), (int(loud[-1]) + 1) * step + int(MARGIN * rate))
    return x[first:last], (len(x) - last + first) / rate


@torch.inference_mode()
def predict(network: Checkpoint, mel: Tensor, passes: int | None = None) -> Prediction:
    """Class probabilities of a log-Mel-spectrogram, Tensor[F, T]; the time is the median of ``passes``, but for the
    first of several."""
    x = mel[None, None].to(network.device)
    spent = []
    for _ in range(passes or _PASSES):
        start = time.perf_counter()
        probabilities = answers.probabilities(network.model(x).logits[0], network.multilabel).cpu()
        spent.append(time.perf_counter() - start)
    return Prediction(probabilities, 1e3 * sorted(spent[1:] or spent)[len(spent[1:]) // 2])


def duration_note(sound: AudioInput, network: Checkpoint) -> str | None:
    """A note on a sound much longer than the network's training clips, None for another one."""
    usual = network.card.seconds
    if sound.seconds > UNUSUAL * usual:
        return f"much longer than the teacher's training clips ({usual:.1f} s): its prediction is less reliable"
    return None
