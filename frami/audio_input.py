"""A sound of a visitor's own, prepared for the networks, and what each of them predicts.

Whatever is done to the sound is reported in words, and a sound that cannot be classified is refused in words.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from frami import audio
from frami.audio import MelSpec
from frami.checkpoints import Checkpoint
from frami.errors import FramiError

#: Seconds that are read of a sound at most, and that must be left of it at least.
LONGEST, SHORTEST = 30.0, 0.1
#: Highest sample of what counts as silence, and of what counts as quiet; quiet sounds are raised to ``LOUD``.
SILENT, QUIET, LOUD = 1e-3, 0.05, 0.5
#: Quiet that is left before and after a sound, in seconds.
MARGIN = 0.05
#: Times longer than the clips that a network was trained on, from which on that is reported.
UNLIKE = 5.0
_PASSES = 7


class SoundError(FramiError):
    """A sound that cannot be classified; the message is for its owner."""


@dataclass(frozen=True)
class Sound:
    """A sound ready for the networks. samples : Tensor[N], mono at ``rate``; ``notes`` : what was done to it."""

    samples: Tensor
    rate: int
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class Prediction:
    """probabilities : Tensor[K]; ``milliseconds`` : the median of a few passes of the network alone, on this machine as
    it is."""

    probabilities: Tensor
    milliseconds: float


def read(path: str | Path, spec: MelSpec) -> Sound:
    """A sound file as the networks take it: its first 30 s, mono, resampled, without quiet ends, not too quiet.

    Raises SoundError for a file that is unreadable or empty, silent, or far too short.
    """
    notes = []
    try:
        about = soundfile.info(path)
        whole = about.frames / about.samplerate
        samples, rate = soundfile.read(path, int(LONGEST * about.samplerate), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError, ZeroDivisionError) as error:
        raise SoundError(
            "This file cannot be read as sound: it is damaged, or in another format. WAV, FLAC, OGG and MP3 are read."
        ) from error
    try:
        x = audio.mono(samples, rate, spec.sample_rate, "This sound")
    except audio.AudioError as error:
        raise SoundError(f"{error}.") from error
    if about.channels > 1:
        notes.append(
            "both channels were averaged" if about.channels == 2 else f"{about.channels} channels were averaged"
        )
    if rate != spec.sample_rate:
        notes.append(f"resampled from {rate:,} to {spec.sample_rate:,} Hz")
    if whole > LONGEST:
        notes.append(f"only the first {LONGEST:.0f} s of {whole:,.0f} s were used: it is far too long")
    if whole < SHORTEST:
        raise SoundError(f"This sound lasts {whole:.2f} s only: far too short. The least is {SHORTEST:g} s.")
    peak = float(x.abs().max())
    if peak < SILENT:
        raise SoundError(
            "This is silence: there is nothing in it to recognise. If you recorded it, is the microphone on?"
        )
    x, cut = without_quiet_ends(x, spec.sample_rate)
    if cut >= 0.1:
        notes.append(f"{cut:.1f} s of quiet before and after it were cut off")
    if cut and len(x) < (2 * MARGIN + SHORTEST / 2) * spec.sample_rate:
        raise SoundError("There is only a click in it: far too short. Record a whole word or sound.")
    if peak < QUIET:
        x = x * (LOUD / peak)
        notes.append("it was quiet and has been made louder")
    return Sound(x, spec.sample_rate, tuple(notes))


def without_quiet_ends(x: Tensor, rate: int) -> tuple[Tensor, float]:
    """x : Tensor[N] without what is quiet, or no louder than the background, before and after it, but ``MARGIN``; and
    the seconds that were cut off."""
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
def predict(network: Checkpoint, mel: Tensor) -> Prediction:
    """What a network predicts for a log-Mel-spectrogram, Tensor[F, T]."""
    device = next(network.model.parameters()).device
    x = mel[None, None].to(device)
    spent = []
    for _ in range(_PASSES):
        start = time.perf_counter()
        probabilities = network.model(x).logits[0].float().softmax(0).cpu()
        spent.append(time.perf_counter() - start)
    return Prediction(probabilities, 1e3 * sorted(spent[1:])[len(spent[1:]) // 2])


def unlike(sound: Sound, network: Checkpoint) -> str | None:
    """A note on a duration that a network was not trained on; None where there is nothing to report."""
    usual = network.card.seconds
    if sound.seconds > UNLIKE * usual:
        return f"much longer than the clips that the teacher was trained on ({usual:.1f} s): less reliable"
    return None
