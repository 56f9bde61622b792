"""Sounds that nobody recorded, where clips of a network begin that stores no statistics of its training data.

Without batch norms the class alone decides, and from noise it is reached by patterns that are far from any sound. What
sounds of all kinds have in common is known without a recording: a source of pulses or noise, a filter that changes
smoothly along time and pitch, events that begin, last and fade, a level of their own. Structured noise instead of
pictures serves learning likewise (Baradad et al., NeurIPS 2021, arXiv 2106.05963); the source and its filter are the
model of speech of Fant (1960).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from frami.audio import MelSpec

#: Lowest and highest pitch, in hertz; changes of pitch, of the source and of the filter in a second.
PITCH, CHANGES = (60.0, 600.0), (6, 5, 8)
#: Events of a clip at most, and the chance of each.
EVENTS, SOUNDING = 3, 0.7
#: Loudest level, and how far the softest lies below it; the same of the noise behind the sound. In decibels.
LEVEL, NOISE = (-10.0, 35.0), (-50.0, 40.0)
#: Points of the filter's curves along pitch: fine as resonances, and coarse; their strengths, and that of the fall
#: towards high pitches, in nepers.
_CURVES, _STRENGTHS, _FALL = (12, 4), (1.6, 1.2), 2.0
#: Of the warp from frequency to pitch.
_WARP = 20.0
_SMALL = 1e-9


def log_mels(spec: MelSpec, clips: int, frames: int, rng: torch.Generator) -> Tensor:
    """Log-Mels of ``waveforms``, Tensor[clips, 1, F, frames]."""
    mels = spec(waveforms(clips, spec.sample_rate, spec.samples(frames), rng))
    return F.pad(mels, (0, max(0, frames - mels.shape[-1])), mode="replicate")[:, None, :, :frames]


def waveforms(clips: int, rate: int, samples: int, rng: torch.Generator) -> Tensor:
    """Sounds, Tensor[clips, samples] in -1 to 1. rate : samples a second."""
    window = torch.hann_window(2 ** round(math.log2(0.032 * rate)))
    size, seconds = len(window), samples / rate
    length = max(samples, size)  # of less there is no spectrum
    source = _source(clips, rate, length, rng)
    spectra = torch.stft(source, size, size // 4, window=window, return_complex=True)
    shape = spectra.shape[1:]
    strength = _filter(clips, *shape, seconds, rng).exp() * _events(clips, shape[1], seconds, rng)[:, None]
    x = torch.istft(spectra * strength, size, size // 4, window=window, length=length)[:, :samples]
    x = x / (x.square().mean(1, keepdim=True).sqrt() + _SMALL)
    noise = torch.randn(clips, samples, generator=rng)
    level, behind = (10 ** ((top - below * _rand(clips, rng)) / 20) for top, below in (LEVEL, NOISE))
    return (level * x + behind * noise).clamp(-1, 1)


def _source(clips: int, rate: int, samples: int, rng: torch.Generator) -> Tensor:
    """Pulses of a pitch that glides, noise, or now this and now that: Tensor[clips, samples]."""
    lowest, highest = map(math.log, PITCH)
    pitch = torch.exp(lowest + (highest - lowest) * _rand(clips, rng))
    glide = 0.25 * _rand(clips, rng) * _changing(clips, samples, CHANGES[0] * samples / rate, rng)
    phase = torch.cumsum(pitch * glide.exp() / rate, 1) + _rand(clips, rng)
    pulses = phase.floor().diff(dim=1, prepend=phase[:, :1].floor()).clamp(0, 1) * (rate / pitch).sqrt()
    noise = 0.7 * torch.randn(clips, samples, generator=rng)
    usually = 2 * torch.randn(clips, 1, generator=rng)
    voiced = torch.sigmoid(4 * (usually + _changing(clips, samples, CHANGES[1] * samples / rate, rng)))
    return voiced * pulses + (1 - voiced) * noise


def _filter(clips: int, bins: int, frames: int, seconds: float, rng: torch.Generator) -> Tensor:
    """Natural log of a response that changes smoothly in time and along log frequency: Tensor[clips, bins, frames]."""
    points = max(2, int(CHANGES[2] * seconds))
    fine, coarse = (
        F.interpolate(
            torch.randn(clips, 1, count, max(2, points // part), generator=rng), (bins, frames), mode="bicubic",
            align_corners=True,
        )[:, 0]
        for part, count in enumerate(_CURVES, 1)
    )  # fmt: skip
    pitch = torch.log1p(_WARP * torch.linspace(0, 1, bins))
    at = (pitch / pitch[-1] * (bins - 1)).long()
    fall = _FALL * _rand(clips, rng)[..., None] * pitch[:, None]
    return _STRENGTHS[0] * _rand(clips, rng)[..., None] * fine[:, at] + _STRENGTHS[1] * coarse[:, at] - fall


def _events(clips: int, frames: int, seconds: float, rng: torch.Generator) -> Tensor:
    """Strength of a sound in time: events that begin, last and fade; Tensor[clips, frames] in 0 to 1."""
    time, strength = torch.linspace(0, seconds, frames), torch.full((clips, frames), 1e-3)
    for _ in range(EVENTS):
        begin = seconds * (0.7 * _rand(clips, rng) - 0.1)
        end = begin + seconds * (0.05 + 0.9 * _rand(clips, rng) ** 2)
        attack, decay = 0.005 + 0.1 * _rand(clips, rng) ** 2, 0.02 + 0.3 * _rand(clips, rng) ** 2
        size = (_rand(clips, rng) < SOUNDING) * _rand(clips, rng)
        course = torch.sigmoid(4 * (time - begin) / attack) * torch.exp(-(time - end).clamp(min=0) / decay)
        strength = torch.maximum(strength, size * course)
    return strength


def _changing(clips: int, samples: int, points: float, rng: torch.Generator) -> Tensor:
    """Random straight lines between so many points, Tensor[clips, samples]."""
    corners = torch.randn(clips, 1, max(2, int(points)), generator=rng)
    return F.interpolate(corners, samples, mode="linear", align_corners=True)[:, 0]


def _rand(clips: int, rng: torch.Generator) -> Tensor:
    return torch.rand(clips, 1, generator=rng)
