"""Sounds as if recorded elsewhere: another voice or source, room, noise, microphone, codec, level, silence around.

These changes need the waveform; they are made once for a number of versions of each clip and stored as log-Mels, so
that an epoch of training computes none of them.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch

from frami.data import store
from frami.data.recordings import LogMels, find, sound

#: Changes when the versions of a clip change, so that stored ones are made anew.
_VERSION = 1


def rerecorded(
    mels: LogMels, count: int, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> list[LogMels]:
    """``count`` versions of all clips, each in the order of ``mels``, from the cache where it has them.

    ``progress(done, total)`` counts clips of all versions. Raises AudioError and DataError as ``data.load``.
    """
    if count < 1 or not len(mels):
        return []
    paths = find(mels.clips)
    total = count * len(paths)

    def report(k: int) -> Callable[[int], None] | None:
        return (lambda done: progress(k * len(paths) + done, total)) if progress else None

    return [_version(mels, paths, k, seed, report(k)) for k in range(count)]


def _version(mels: LogMels, paths: Sequence[Path], k: int, seed: int, report) -> LogMels:
    spans = [clip.span for clip in mels.clips]
    stamps = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    key = hashlib.sha256(json.dumps([_VERSION, mels.spec.to_dict(), seed, k, spans, stamps]).encode()).hexdigest()[:16]
    stem = store.folder() / f"rerecorded-{key}"

    def log_mel(i: int) -> np.ndarray:
        rng = np.random.default_rng((seed, k, i))
        waveform = sound(mels.clips[i], mels.spec.sample_rate, paths[i]).numpy()
        changed = rerecord(waveform, mels.spec.sample_rate, rng)
        return mels.spec(torch.from_numpy(changed)).T.numpy().astype(np.float16)

    if not store.complete(stem):
        store.write(stem, len(paths), mels.spec.n_mels, log_mel, report)
    elif report:
        report(len(paths))
    return replace(mels, frames=store.read(stem, mels.spec.n_mels)[0])


def rerecord(waveform: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """One sound as if recorded elsewhere; every change has a chance of its own.

    waveform : array (N,), float32, full scale 1.0. Returns an array (N',) of float32 within full scale.
    """
    x = waveform.astype(np.float32)
    if rng.random() < 0.7:
        x = formants(x, float(np.exp(rng.uniform(-0.2, 0.2))))
    if rng.random() < 0.7:
        x = resampled(x, float(np.exp(rng.uniform(-0.22, 0.22))))
    x = silence_around(x, rate, rng)
    if rng.random() < 0.5:
        x = room(x, rate, rng)
    if rng.random() < 0.7:
        x = noise(x, rate, rng)
    if rng.random() < 0.5:
        x = band_limited(x, rate, rng)
    x = level(x, rng)
    if rng.random() < 0.3:
        x = codec(x, rate, rng)
    return np.clip(x, -1, 1).astype(np.float32)


def resampled(x: np.ndarray, factor: float) -> np.ndarray:
    """Played ``factor`` times as fast: pitch and formants move together, as from a smaller or larger source."""
    return soxr.resample(x, 48_000 * factor, 48_000, quality="HQ")


def formants(x: np.ndarray, factor: float, window: int = 1024, order: int = 40) -> np.ndarray:
    """The resonances moved by ``factor`` while pitch and duration stay.

    The spectral envelope of each frame (low part of the cepstrum; Oppenheim 1969) is stretched along frequency; the
    fine structure keeps its place.
    """
    spectrum = torch.stft(
        torch.from_numpy(x), window, window // 4, window=torch.hann_window(window), return_complex=True
    )
    magnitude = spectrum.abs().clamp(min=1e-5)
    cepstrum = torch.fft.irfft(magnitude.log(), dim=0)
    cepstrum[order : window - order + 1] = 0
    envelope = torch.fft.rfft(cepstrum, dim=0).real
    bins = torch.arange(len(envelope))
    at = (bins / factor).clamp(max=len(envelope) - 1)
    low = at.floor().long()
    moved = torch.lerp(envelope[low], envelope[(low + 1).clamp(max=len(envelope) - 1)], (at - low)[:, None])
    gain = (moved - envelope).clamp(-5, 5).exp()
    out = torch.istft(spectrum * gain, window, window // 4, window=torch.hann_window(window), length=len(x))
    return out.numpy()


def silence_around(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Up to 0.4 s of silence on each side, or up to 30 ms cut away."""
    cut = lambda: int(rng.uniform(0, 0.03) * rate)  # noqa: E731
    if rng.random() < 0.2:
        begin, end = cut(), cut()
        return x[begin : max(begin + rate // 20, len(x) - end)]
    return np.pad(x, [int(rng.uniform(0, 0.4) * rate) for _ in range(2)])


def room(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Convolved with a made impulse response: the direct sound, then noise that decays by 60 dB in 0.1–0.8 s."""
    decay = rng.uniform(0.1, 0.8)
    time = np.arange(int(decay * rate)) / rate
    tail = rng.standard_normal(len(time)) * np.exp(-6.9 * time / decay)
    tail[: int(rng.uniform(0.001, 0.01) * rate)] = 0
    smooth = int(rng.integers(1, 6))
    tail = np.convolve(tail, np.ones(smooth) / smooth, mode="same")
    tail *= 10 ** (rng.uniform(-20, 0) / 20) / max(float(np.sqrt((tail**2).sum())), 1e-9)
    tail[0] += 1
    size = len(x) + len(tail) - 1
    wet = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(tail, size), size)
    return wet[: len(x) + int(0.1 * rate)].astype(np.float32)


def noise(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """A steady noise of random colour (power of f^-2 to f^0.5) under it, or hum, 3–45 dB below the loud parts."""
    frequency = np.fft.rfftfreq(len(x), 1 / rate)
    spectrum = np.fft.rfft(rng.standard_normal(len(x))) * np.maximum(frequency, 20) ** rng.uniform(-1, 0.25)
    made = np.fft.irfft(spectrum, len(x))
    if rng.random() < 0.2:
        base, time = rng.uniform(45, 130), np.arange(len(x)) / rate
        made += 2 * made.std() * sum(np.sin(2 * np.pi * base * k * time + rng.uniform(0, 6)) / k for k in (1, 2, 3))
    loud = np.sqrt(np.quantile(x**2, 0.9) + 1e-12)
    return (x + made * (loud / max(made.std(), 1e-9) * 10 ** (-rng.uniform(3, 45) / 20))).astype(np.float32)


def band_limited(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Through a narrow channel: nothing above 3.4–9 kHz, sometimes little below 80–350 Hz, and a tilted response."""
    spectrum, frequency = np.fft.rfft(x), np.fft.rfftfreq(len(x), 1 / rate)
    top = float(np.exp(rng.uniform(np.log(3400), np.log(9000))))
    response = 1 / (1 + (frequency / top) ** rng.choice([8, 24]))
    if rng.random() < 0.5:
        response *= 1 / (1 + (rng.uniform(80, 350) / np.maximum(frequency, 1)) ** 4)
    response *= (np.maximum(frequency, 100) / 1000) ** rng.uniform(-0.4, 0.4)
    return np.fft.irfft(spectrum * response, len(x)).astype(np.float32)


def level(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The peak at −36 to +6 dB of full scale; above 0 it clips, as an overdriven input does."""
    return x * (10 ** (rng.uniform(-36, 6) / 20) / max(float(np.abs(x).max()), 1e-5))


def codec(x: np.ndarray, rate: int, rng: np.random.Generator) -> np.ndarray:
    """Through a telephone's or a streaming codec at a low rate: mu-law and GSM at 8 kHz, Ogg Vorbis, MP3."""
    kind = ("ULAW", "GSM610", "VORBIS", "MPEG_LAYER_III")[rng.integers(4)]
    container = {"ULAW": "WAV", "GSM610": "WAV", "VORBIS": "OGG", "MPEG_LAYER_III": "MP3"}[kind]
    inner = 8000 if container == "WAV" else 16_000
    samples = soxr.resample(np.clip(x, -1, 1), rate, inner, quality="HQ")
    file = io.BytesIO()
    quality = {} if container == "WAV" else {"compression_level": float(rng.uniform(0.6, 1.0))}
    soundfile.write(file, samples, inner, format=container, subtype=kind, **quality)
    file.seek(0)
    decoded, inner = soundfile.read(file, dtype="float32")
    return soxr.resample(decoded, inner, rate, quality="HQ").astype(np.float32)
