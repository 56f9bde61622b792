"""How near a vocoder's sound comes to a recording: copy-synthesis of real clips, and made clips heard again.

Vocoders are named with their setting: ``frami:32`` (rounds of matching), ``griffin-lim:100``, ``librosa:32``,
``torchaudio:32`` (iterations), and ``matching:32``, which is Griffin-Lim's sound of 32 iterations brought nearer by as
many rounds as the network's is: what the network itself is worth.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frami import audio, banks, checkpoints, data
from frami.audio import MelSpec
from frami.checkpoints import Checkpoint
from frami.vocoder import GriffinLim, Neural, VocoderError, get, neural
from frami.vocoder.losses import QUIET
from frami.vocoder.recordings import folds

#: The table's rows.
VOCODERS = (
    "frami:8", "frami:16", "frami:32", "matching:32", "griffin-lim:32", "griffin-lim:100",
    "librosa:32", "librosa:100", "torchaudio:32", "torchaudio:100",
)  # fmt: skip
SECONDS = 2.5  # longest stretch of a clip that is measured
#: Window, hop and transform length of the STFTs compared: those of Yamamoto et al. (ICASSP 2020).
RESOLUTIONS = ((240, 50, 512), (600, 120, 1024), (1200, 240, 2048))

Speak = Callable[[Tensor], Tensor]  # log-Mel Tensor[F, T] to sound Tensor[T * hop_length]


@dataclass(frozen=True)
class Real:
    """Recordings: sounds, each Tensor[T * hop_length], and the teacher that was trained on that data set."""

    dataset: str
    folds: tuple[str, ...]
    sounds: list[Tensor]
    teacher: Checkpoint


def read(dataset: str, split: str, clips: int, folder: str | Path | None = None, seconds: float = SECONDS) -> Real:
    """A fixed random choice of a data set's clips, without their constant part. split : ``test``, or ``train``: the
    folds that the bundled vocoder was trained on. Raises DataError or CheckpointError."""
    spec = MelSpec()
    listed = data.index(dataset, folder)
    chosen = folds(dataset, listed) if split == "train" else data.folds_of(dataset, split)
    found = data.find(data.select(listed, chosen, dataset))
    random.Random(0).shuffle(found)
    sounds: list[Tensor] = []
    for path in found:
        sound = audio.load(path, spec.sample_rate)[: round(seconds * spec.sample_rate)]
        sound = sound[: len(sound) // spec.hop_length * spec.hop_length]
        if len(sound) >= spec.shortest and sound.abs().max() > 1e-3:
            sounds.append(sound - sound.mean())
        if len(sounds) == clips:
            break
    return Real(dataset, chosen, sounds, checkpoints.load(dataset))


def copy_synthesis(speak: Speak, real: Real, report: Callable[[int, int], None] | None = None) -> dict:
    """Means over the clips: ``mr_stft``, ``log_mel``, ``agreement`` (share of clips whose class the teacher hears as
    before), ``rtf`` (processor seconds a second of sound, on one thread)."""
    spec, rows, spent = MelSpec(), [], 0.0
    for done, sound in enumerate(real.sounds, 1):
        log_mel = spec(sound)
        begun = time.process_time()
        made = speak(log_mel)
        spent += time.process_time() - begun
        again = spec(made)
        same = predicted(real.teacher, log_mel) == predicted(real.teacher, again)
        rows.append((stft_distance(made, sound), float((again - log_mel).abs().mean()), float(same)))
        if report:
            report(done, len(real.sounds))
    mr_stft, log_mel, agreement = torch.tensor(rows).mean(0).tolist()
    seconds = sum(map(len, real.sounds)) / spec.sample_rate
    return {"mr_stft": mr_stft, "log_mel": log_mel, "agreement": agreement, "rtf": spent / seconds}


def made_clips(speak: Speak, bank: banks.Bank, teacher: Checkpoint, clips: int) -> dict:
    """Of the first clips of a bank: share still heard as asked after mel → sound → mel, and the log-Mel distance."""
    spec, kept, far = bank.spec, 0, 0.0
    count = min(clips, len(bank))
    for i in range(count):
        mel = bank.batch([i])[0][0, 0]
        again = spec(speak(mel))
        kept += predicted(teacher, again) == int(bank.target[i])
        far += float((again - mel.clamp(min=spec.floor)).abs().mean())
    return {"clips": count, "target_accuracy": kept / count, "log_mel": far / count}


def stft_distance(made: Tensor, real: Tensor) -> float:
    """Spectral convergence plus mean difference of log magnitudes, mean over three resolutions; sounds are Tensor[N].

    Magnitudes below what a log-Mel-spectrogram can show count as the least that it can.
    """
    total = 0.0
    for window, hop, n in RESOLUTIONS:
        shape = torch.hann_window(window)
        a, b = (torch.stft(x, n, hop, window, shape, return_complex=True).abs() for x in (made, real))
        least = QUIET * (window / 1024) ** 0.5
        total += float((a - b).norm() / b.norm().clamp(min=1e-3))
        total += float((a.clamp(min=least).log() - b.clamp(min=least).log()).abs().mean())
    return total / len(RESOLUTIONS)


@torch.inference_mode()
def predicted(teacher: Checkpoint, log_mel: Tensor) -> int:
    """Class that a teacher hears in Tensor[F, T]."""
    return int(teacher.model(log_mel[None, None]).logits.argmax())


# --- the vocoders compared -------------------------------------------------------------------------------------------


def speaker(name: str) -> Speak:
    """The vocoder of a row: ``NAME:NUMBER``, or any name that ``vocoder.get`` knows. VocoderError for another one."""
    spec = MelSpec()
    kind, colon, number = name.partition(":")
    if colon and kind in _KINDS and number.isdecimal():
        return _KINDS[kind](int(number))
    if colon and not name.endswith(".safetensors"):
        raise VocoderError(f"there is no vocoder {name!r} to measure; settings have: {', '.join(_KINDS)}, as frami:32")
    return _own(get(name, spec))


def _own(vocoder) -> Speak:
    return lambda log_mel: vocoder(log_mel[None, None])[0]


class _Matching(Neural):
    """Griffin-Lim's sound, matched as the network's is."""

    def synthesize(self, log_mel: Tensor) -> Tensor:
        network, mel = self._network(log_mel.device), log_mel.clamp(min=self.mel_spec.floor)
        return network.match(GriffinLim(self.mel_spec, 32).synthesize(mel), mel, self.rounds)


def _librosa(iterations: int) -> Speak:
    """``librosa.feature.inverse.mel_to_audio``: non-negative least squares, then fast Griffin-Lim."""
    import librosa

    spec = MelSpec()

    def speak(log_mel: Tensor) -> Tensor:
        sound = librosa.feature.inverse.mel_to_audio(
            _edged(log_mel).exp().numpy(), sr=spec.sample_rate, n_fft=spec.n_fft, hop_length=spec.hop_length, power=1.0,
            n_iter=iterations, fmin=spec.f_min, fmax=spec.f_max,
        )  # fmt: skip
        return _moved(torch.from_numpy(sound), log_mel.shape[-1])

    return speak


def _torchaudio(iterations: int) -> Speak:
    """``InverseMelScale`` (least squares, clipped), then ``GriffinLim``, as torchaudio has them."""
    from torchaudio.transforms import GriffinLim as Phase
    from torchaudio.transforms import InverseMelScale

    spec = MelSpec()
    bands = InverseMelScale(
        spec.n_fft // 2 + 1, spec.n_mels, spec.sample_rate, spec.f_min, spec.f_max, norm="slaney", mel_scale="slaney",
        driver="gelsd",
    )  # fmt: skip
    phase = Phase(spec.n_fft, iterations, hop_length=spec.hop_length, power=1.0)

    def speak(log_mel: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return _moved(phase(bands(_edged(log_mel).exp())), log_mel.shape[-1])

    return speak


def _edged(log_mel: Tensor) -> Tensor:
    """With its first and last frame twice: frames of other libraries are centred half a hop earlier than ours."""
    return torch.cat([log_mel[:, :1], log_mel, log_mel[:, -1:]], dim=1)


def _moved(sound: Tensor, frames: int) -> Tensor:
    """Sound of ``_edged`` frames to where ``MelSpec`` has them, within full scale as a file would keep it."""
    hop = MelSpec().hop_length
    return sound[hop // 2 : hop // 2 + frames * hop].float().clamp(-1, 1)


_KINDS: dict[str, Callable[[int], Speak]] = {
    "frami": lambda number: _own(Neural(neural.FOLDER / "frami", "frami", rounds=number)),
    "matching": lambda number: _own(_Matching(neural.FOLDER / "frami", "matching", rounds=number)),
    "griffin-lim": lambda number: _own(GriffinLim(MelSpec(), number)),
    "librosa": _librosa,
    "torchaudio": _torchaudio,
}
