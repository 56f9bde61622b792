"""The front-end: the only definition of a log-Mel-spectrogram, and reading and writing sound.

The defaults follow the universal 22 kHz / 80-band vocoders (BigVGAN v2, Lee et al., ICLR 2023), so that
one of them can turn a spectrogram made here into sound.
"""

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from frami import sound_files
from frami.sound_files import AudioError, check_rate

__all__ = ["LOUDEST", "AudioError", "MelSpec", "load", "mono", "save", "to_int16"]

#: Peak of a recording in floats that is still taken as it is: 18 dB above full scale.
LOUDEST = 8.0


@dataclass(frozen=True)
class MelSpec:
    """Settings of a log-Mel-spectrogram, and the transform itself.

    A frame is the magnitude of a Hann-windowed STFT through Slaney-normalised Mel bands, clamped at ``clamp``,
    natural logarithm. The signal is reflect-padded by ``(n_fft - hop_length) / 2``, so N samples give
    ``N // hop_length`` frames, and frame t is centred on sample ``(t + 1/2) hop_length``.
    """

    sample_rate: int = 22_050
    n_fft: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    f_min: float = 0.0
    f_max: float = 11_025.0
    clamp: float = 1e-5

    def __post_init__(self):
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(f"Mel bands need 0 <= f_min < f_max <= sample_rate / 2, not {self}")
        if not 0 < self.hop_length <= self.n_fft or self.n_mels < 1 or self.clamp <= 0:
            raise ValueError(f"not a usable MelSpec: {self}")

    @property
    def floor(self) -> float:
        """Log-Mel value of silence."""
        return math.log(self.clamp)

    @property
    def ceiling(self) -> float:
        """Log-Mel value that sound within full scale practically never exceeds.

        A full-scale sine fills the Hann main lobe, ``n_fft / 2`` in all, times the largest weight of a band.
        """
        return math.log(self.n_fft / 2 * float(self.filterbank().max()))

    @property
    def shortest(self) -> int:
        """Samples below which a signal is padded with silence: one window."""
        return self.n_fft

    def frames(self, seconds: float) -> int:
        """Frames of a sound of this many seconds (at least the shortest signal's)."""
        return max(round(seconds * self.sample_rate), self.shortest) // self.hop_length

    def seconds(self, frames: int) -> float:
        """Seconds that this many frames last."""
        return frames * self.hop_length / self.sample_rate

    def filterbank(self) -> Tensor:
        """Mel filters, ``(n_fft // 2 + 1, n_mels)`` (Slaney scale and norm)."""
        return _filterbank(self)

    def __call__(self, waveform: Tensor) -> Tensor:
        """Log-Mel-spectrogram of mono sound.

        waveform : Tensor[..., N], full scale 1.0; shorter than one window: padded with silence.
        Returns Tensor[..., n_mels, max(N, n_fft) // hop_length].
        """
        if waveform.shape[-1] == 0:
            raise AudioError("the sound has no samples")
        lead = waveform.shape[:-1]
        x = waveform.reshape(-1, waveform.shape[-1]).float()
        x = F.pad(x, (0, max(0, self.shortest - x.shape[-1])))
        pad = self.n_fft - self.hop_length
        x = F.pad(x, (pad // 2, pad - pad // 2), mode="reflect")
        window = torch.hann_window(self.n_fft, device=x.device)
        stft = torch.stft(x, self.n_fft, self.hop_length, window=window, center=False, return_complex=True)
        mel = self.filterbank().to(x.device).T @ stft.abs()
        return mel.clamp(min=self.clamp).log().reshape(*lead, self.n_mels, -1)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "MelSpec":
        """Inverse of ``to_dict``; ``AudioError`` names a setting that is missing or unknown."""
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise AudioError(f"these are not the settings of a Mel-spectrogram: {error}") from error


@lru_cache
def _filterbank(spec: MelSpec) -> Tensor:
    return melscale_fbanks(
        spec.n_fft // 2 + 1, spec.f_min, spec.f_max, spec.n_mels, spec.sample_rate, norm="slaney", mel_scale="slaney"
    )


def load(path: str | Path, sample_rate: int = 22_050) -> Tensor:
    """Read a sound file as mono at ``sample_rate``.

    Reads whatever libsndfile reads, and more (``frami.sound_files``); channels are averaged; soxr resamples (very high
    quality). Returns Tensor[N] in float32. Raises AudioError for a missing, foreign, empty, absurd or damaged file, for
    NaN and for floats that are not at full scale 1.0.
    """
    sound = sound_files.read(path)
    return mono(sound.samples, sound.rate, sample_rate, name=str(path))


def mono(samples: np.ndarray, rate: int, sample_rate: int = 22_050, name: str = "the sound") -> Tensor:
    """Average channels and resample.

    samples : array (N,) or (N, channels), full scale 1.0 for floats, of their own width for integers.
    Returns Tensor[N'] in float32. Raises AudioError (with ``name``) when there is nothing or NaN in it, when its rate
    is no recording's, and when floats exceed full scale more than a loud recording does (``LOUDEST``).
    """
    samples = np.asarray(samples)
    if np.issubdtype(samples.dtype, np.integer):
        kind = np.iinfo(samples.dtype)
        middle = (kind.max + 1) // 2 if kind.min == 0 else 0
        samples = (samples.astype(np.float32) - middle) / float(kind.max + 1 - middle)
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    if samples.size == 0:
        raise AudioError(f"{name} is empty: it has no samples")
    check_rate(rate, name)
    peak = max(float(samples.max()), -float(samples.min()))
    if not math.isfinite(peak):
        raise AudioError(f"{name} has samples that are not numbers (NaN or infinite); save it again as PCM")
    if peak > LOUDEST:
        raise AudioError(
            f"{name} has samples up to {peak:,.6g}, where full scale is 1 (its floats are perhaps at the scale of "
            "integers); divide them by 32,768, or save it as 16-bit PCM"
        )
    if rate != sample_rate:
        samples = soxr.resample(samples, rate, sample_rate, quality="VHQ")
        if samples.size == 0:
            raise AudioError(f"{name} is empty: too short to resample from {rate} Hz")
    return torch.from_numpy(np.ascontiguousarray(samples))


def levelled(waveform: Tensor, level: float = -20.0, peak: float = 0.97) -> Tensor:
    """The same sound, about as loud as others that are levelled too.

    waveform : Tensor[N], full scale 1.0; level : of the root mean square, in dB of full scale, of those parts of 220
    samples that are within 20 dB of the loudest; peak : what no sample exceeds. Silence stays as it is.
    """
    blocks = F.pad(waveform, (0, -len(waveform) % 220)).reshape(-1, 220).square().mean(1)
    loud = blocks[blocks >= 0.01 * blocks.max()].mean().sqrt()
    highest = waveform.abs().max()
    if highest < 1e-4:
        return waveform
    return waveform * min(10 ** (level / 20) / float(loud), peak / float(highest))


def to_int16(waveform: Tensor | np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as 16-bit integers (clipped): players change the loudness of floats."""
    samples = torch.as_tensor(waveform).detach().cpu().float().numpy()
    return (np.clip(samples, -1, 1) * 32767).round().astype(np.int16)


def save(path: str | Path, waveform: Tensor | np.ndarray, sample_rate: int = 22_050) -> None:
    """Write mono sound; the ending of ``path`` chooses the format (WAV and FLAC: 16-bit PCM).

    Raises AudioError when the folder is missing or the ending is not one of a sound format.
    """
    subtype = "PCM_16" if Path(path).suffix.lower() in {".wav", ".flac"} else None
    try:
        soundfile.write(path, to_int16(waveform), sample_rate, subtype=subtype)
    except (soundfile.LibsndfileError, RuntimeError, OSError, TypeError, ValueError) as error:
        raise AudioError(f"{path}: the sound cannot be written there ({error})") from error
