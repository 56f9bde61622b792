"""Augmentation of log-Mel-spectrograms: segments, stretching, another microphone, a noise floor, mixup, masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frami.data import LogMels, pad


@dataclass(frozen=True)
class Augmentation:
    """SpecAugment (Park et al. 2019), mixup of sounds (Zhang et al. 2018; here in magnitude, as sounds add) and more.

    ``crop`` : seconds of a random segment of longer clips; ``stretch``, ``warp`` : largest relative change of
    duration and of Mel frequency; ``gain`` : largest change of the log-Mel's level; ``colour`` : size of a random
    smooth frequency response, as another microphone has; ``noise`` : chance of a random noise floor under the sound;
    ``mixup`` : chance of a batch to be mixed; ``time_mask`` : largest masked share of time; ``band_mask`` : largest
    number of masked Mel bands.
    """

    crop: float = 2.5
    mixup: float = 0.5
    stretch: float = 0.15
    warp: float = 0.06
    gain: float = 1.0
    colour: float = 0.5
    noise: float = 0.3
    time_mask: float = 0.2
    band_mask: int = 10


def augmented(
    data: LogMels,
    chosen: Sequence[int],
    config: Augmentation,
    rng: np.random.Generator,
    versions: Sequence[LogMels] = (),
) -> tuple[Tensor, Tensor, Tensor]:
    """A training batch: log-Mels Tensor[B, 1, F, T], lengths Tensor[B], class probabilities Tensor[B, K].

    ``versions`` : other recordings of the same clips, one of which (or the plain one) is drawn for each clip.
    """
    spec = data.spec
    drawn = rng.integers(0, len(versions) + 1, len(chosen)) if versions else np.zeros(len(chosen), int)
    clips = [(versions[k - 1] if k else data).clip(i) for k, i in zip(drawn, chosen, strict=True)]
    mels, lengths = pad([_warped(clip, config, spec, rng) for clip in clips], spec)
    targets = F.one_hot(data.labels[torch.as_tensor(chosen)], len(data.classes)).float()
    mels = _recorded_elsewhere(mels, config, spec, rng)
    if config.mixup and rng.random() < config.mixup:
        share = float(rng.beta(1.0, 1.0))
        partner = torch.from_numpy(rng.permutation(len(mels)))
        mels = torch.logaddexp(mels + np.log(share + 1e-9), mels[partner] + np.log1p(1e-9 - share))
        mels = mels.clamp(min=spec.floor)
        lengths = torch.maximum(lengths, lengths[partner])
        targets = share * targets + (1 - share) * targets[partner]
    for mel, length in zip(mels[:, 0], lengths.tolist(), strict=True):
        level = mel[:, :length].mean()
        for _ in range(2):
            width = int(rng.uniform(0, config.time_mask) * length)
            begin = rng.integers(0, length - width + 1)
            mel[:, begin : begin + width] = level
            height = rng.integers(0, config.band_mask + 1)
            low = rng.integers(0, spec.n_mels - height + 1)
            mel[low : low + height, :length] = level
    return mels, lengths, targets


def _recorded_elsewhere(mels: Tensor, config: Augmentation, spec, rng: np.random.Generator) -> Tensor:
    """The same sounds at another level, through another microphone, in another room's noise."""
    clips = len(mels)
    level = rng.uniform(-config.gain, config.gain, (clips, 1))
    order = np.arange(1, 5)
    curves = np.cos(np.pi * np.outer(order, (np.arange(spec.n_mels) + 0.5) / spec.n_mels))
    response = level + rng.normal(0, config.colour, (clips, len(order))) / order @ curves
    mels = mels + torch.from_numpy(response).float()[:, None, :, None]
    noisy = torch.from_numpy(rng.random(clips) < config.noise)[:, None, None, None]
    floor = torch.from_numpy(rng.uniform(spec.floor + 2, spec.floor + 8, clips)).float()[:, None, None, None]
    noise = floor + 0.5 * torch.from_numpy(rng.standard_normal(mels.shape, dtype=np.float32))
    return torch.where(noisy, torch.logaddexp(mels, noise), mels).clamp(min=spec.floor)


def _warped(mel: Tensor, config: Augmentation, spec, rng: np.random.Generator) -> Tensor:
    """A random segment, stretched in time and warped in frequency by linear interpolation.

    It holds a frame that is drawn by its mean level above silence: many clips are a short sound and then nothing.
    """
    bands, frames = mel.shape
    rate = rng.uniform(1 - config.stretch, 1 + config.stretch)
    length = max(1, min(round(frames / rate), spec.frames(config.crop)))
    last = max(0.0, frames - 1 - (length - 1) * rate)
    begin = 0.0
    if last > 0:
        loudness = (mel.mean(0) - spec.floor).clamp(min=0).double().numpy() + 1e-6
        within = rng.choice(frames, p=loudness / loudness.sum())
        begin = float(np.clip(within - rng.uniform(0, (length - 1) * rate), 0, last))
    mel = _interpolate(mel, begin + rate * torch.arange(length), 1)
    factor = rng.uniform(1 - config.warp, 1 + config.warp)
    return _interpolate(mel, factor * torch.arange(bands), 0)


def _interpolate(x: Tensor, at: Tensor, dim: int) -> Tensor:
    at = at.clamp(0, x.shape[dim] - 1)
    low = at.floor().long()
    high = (low + 1).clamp(max=x.shape[dim] - 1)
    weight = (at - low).float()
    weight = weight if dim else weight[:, None]
    return torch.lerp(x.index_select(dim, low), x.index_select(dim, high), weight)
