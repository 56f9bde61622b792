"""Reading and writing sound, and its front-end, ``MelSpec`` (``frami.mel``)."""

import io
import math
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from torch import Tensor

from frami import sound_files
from frami.mel import MelSpec
from frami.sound_files import LOUDEST, AudioError, check_length, check_rate

__all__ = ["LOUDEST", "AudioError", "MelSpec", "encoded", "load", "mono", "save", "to_int16"]


def load(path: str | Path, sample_rate: int = 22_050) -> Tensor:
    """Read a sound file as mono at ``sample_rate``.

    Reads whatever libsndfile reads, and more (``frami.sound_files``); channels are averaged; soxr resamples (very high
    quality). Returns Tensor[N] in float32. Raises AudioError for a missing, foreign, empty, absurd or damaged file, for
    one longer than an hour (``sound_files.bound``), for NaN and for floats that are not at full scale 1.0.
    """
    sound = sound_files.read(path)
    return mono(sound.samples, sound.rate, sample_rate, name=str(path))


def mono(samples: np.ndarray, rate: int, sample_rate: int = 22_050, name: str = "the sound") -> Tensor:
    """Average channels and resample.

    samples : array (N,) or (N, channels), full scale 1.0 for floats, of their own width for integers.
    Returns Tensor[N'] in float32. Raises AudioError (with ``name``) when there is nothing or NaN in it, when a rate is
    no recording's, when it is longer than ``sound_files.bound`` before or after it is resampled, and when floats exceed
    full scale more than a loud recording does (``LOUDEST``).
    """
    samples = np.asarray(samples)
    for one in (rate, sample_rate):
        check_rate(one, name)
        check_length(len(samples) * (one / rate), one, name)
    if np.issubdtype(samples.dtype, np.integer):
        kind = np.iinfo(samples.dtype)
        middle = (kind.max + 1) // 2 if kind.min == 0 else 0
        samples = (samples.astype(np.float32) - middle) / float(kind.max + 1 - middle)
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    if samples.size == 0:
        raise AudioError(f"{name} is empty: it has no samples")
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


def to_int16(waveform: Tensor | np.ndarray) -> np.ndarray:
    """Samples in [-1, 1] as 16-bit integers (clipped): players change the loudness of floats."""
    samples = torch.as_tensor(waveform).detach().cpu().float().numpy()
    return (np.clip(samples, -1, 1) * 32767).round().astype(np.int16)


def save(path: str | Path, waveform: Tensor | np.ndarray, sample_rate: int = 22_050) -> None:
    """Write mono sound; the ending of ``path`` chooses the format (WAV and FLAC: 16-bit PCM).

    Raises AudioError when the folder is missing or full, or the ending is not one of a sound format.
    """
    content = encoded(path, waveform, sample_rate)
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise AudioError(f"{path}: the sound cannot be written there ({error})") from error


def encoded(path: str | Path, waveform: Tensor | np.ndarray, sample_rate: int = 22_050) -> bytes:
    """Content of the file that ``save`` writes. AudioError when the ending of ``path`` is not one of a sound format."""
    ending, content = Path(path).suffix.lower(), io.BytesIO()
    subtype = "PCM_16" if ending in {".wav", ".flac"} else None
    try:
        soundfile.write(content, to_int16(waveform), sample_rate, subtype=subtype, format=ending[1:].upper())
    except (soundfile.LibsndfileError, RuntimeError, OSError, TypeError, ValueError) as error:
        raise AudioError(f"{path}: the sound cannot be written there ({error})") from error
    return content.getvalue()
