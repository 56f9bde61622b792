"""Supervised training and evaluation of classifiers on real recordings."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frami import files
from frami.data import LogMels, pad
from frami.device import autocast, memory_format
from frami.errors import FramiError
from frami.models import Classifier, MaskedBatchNorm2d


class TrainingError(FramiError):
    """A training that cannot start or go on."""


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training. AdamW under a one-cycle schedule (Smith and Topin 2018), SpecAugment (Park et al. 2019)
    and mixup of sounds (Zhang et al. 2018; here in magnitude, as sounds add).

    ``crop`` : seconds of a random segment of longer clips; ``stretch``, ``warp`` : largest relative change of
    duration and of Mel frequency; ``gain`` : largest change of the log-Mel's level; ``colour`` : size of a random
    smooth frequency response, as another microphone has; ``noise`` : chance of a random noise floor under the sound.
    """

    epochs: int = 60
    batch: int = 32
    lr: float = 4e-3
    weight_decay: float = 0.05
    crop: float = 2.5
    mixup: float = 0.5
    stretch: float = 0.15
    warp: float = 0.06
    gain: float = 1.0
    colour: float = 0.5
    noise: float = 0.3
    time_mask: float = 0.2
    band_mask: int = 10
    seed: int = 0


@dataclass(frozen=True)
class Epoch:
    """Report of a finished epoch: mean loss and (mixed-up) training accuracy, seconds spent since the start."""

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """What a classifier predicts of real clips; ``confusion`` as of the function."""

    accuracy: float
    clips: int
    confusion: Tensor
    predictions: Tensor


def train(model: Classifier, data: LogMels, config: TrainConfig, state: Path | None = None) -> Iterator[Epoch]:
    """Train ``model`` in place; yields after each epoch.

    With ``state``, everything needed to go on is saved in that file after each epoch, and an existing file is
    continued (``TrainingError`` when it was made with other settings). After the last epoch the batch norms' stored
    statistics are taken again from the plain training clips, so that they describe real sounds, not augmented ones.
    """
    torch.manual_seed(config.seed)
    device = next(model.parameters()).device
    steps = len(_batches(data, config.batch, np.random.default_rng(0)))
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.lr, total_steps=config.epochs * steps)
    settings = asdict(config) | {"clips": len(data), "model": model.config.to_dict()}
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    first, spent = _resume(state, settings, parts)
    start = time.perf_counter() - spent
    model.train().to(memory_format=memory_format(device))
    for epoch in range(first, config.epochs):
        rng = np.random.default_rng((config.seed, epoch))
        torch.manual_seed(config.seed * 100_003 + epoch)
        total, correct = torch.zeros((), device=device), torch.zeros((), device=device)
        for chosen in _batches(data, config.batch, rng):
            mels, lengths, targets = (t.to(device) for t in augmented(data, chosen, config, rng))
            mels = mels.contiguous(memory_format=memory_format(device))
            ragged = bool((lengths < mels.shape[-1]).any())
            # On a CPU, bfloat16 convolutions of ragged small batches can fall to kernels far slower than float32.
            with autocast(device, enabled=device.type != "cpu" or not ragged):
                logits = model(mels, lengths if ragged else None).logits
            loss = F.cross_entropy(logits.float(), targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.detach() * len(chosen)
            correct += (logits.argmax(1) == targets.argmax(1)).sum()
        seconds = time.perf_counter() - start
        if state:
            values = {name: part.state_dict() for name, part in parts.items()}
            with files.replacing(state) as temporary, temporary.open("wb") as file:
                torch.save(values | {"settings": settings, "epoch": epoch + 1, "seconds": seconds}, file)
        yield Epoch(epoch + 1, config.epochs, float(total) / len(data), float(correct) / len(data), seconds)
    recalibrate(model, data)
    model.eval()


def _batches(data: LogMels, size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """All clips once, at random, but with clips of like length together so that little is padded."""
    count = -(-len(data) // size)
    batches = []
    for chunk in np.array_split(rng.permutation(len(data)), -(-count // 8)):
        chunk = chunk[np.argsort([len(data.frames[i]) for i in chunk], kind="stable")]
        batches += np.array_split(chunk, -(-len(chunk) // size))
    return [batches[i] for i in rng.permutation(len(batches))]


def _resume(state: Path | None, settings: dict, parts: dict) -> tuple[int, float]:
    """Load what an interrupted training saved; returns its epochs and seconds (0 and 0 for a new one)."""
    if state is None or not state.exists():
        return 0, 0.0
    try:
        saved = torch.load(state, map_location="cpu", weights_only=True)
        if saved["settings"] == settings:
            for name, part in parts.items():
                part.load_state_dict(saved[name])
            return saved["epoch"], saved["seconds"]
    except Exception as error:
        raise TrainingError(f"{state}: damaged; delete it to start again") from error
    raise TrainingError(f"{state} belongs to a training with other settings; delete it or choose another --out")


def augmented(data: LogMels, chosen, config: TrainConfig, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A training batch: log-Mels Tensor[B, 1, F, T], lengths Tensor[B], class probabilities Tensor[B, K]."""
    spec = data.spec
    mels, lengths = pad([_warped(data.clip(i), config, spec, rng) for i in chosen], spec)
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


def _recorded_elsewhere(mels: Tensor, config: TrainConfig, spec, rng: np.random.Generator) -> Tensor:
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


def _warped(mel: Tensor, config: TrainConfig, spec, rng: np.random.Generator) -> Tensor:
    """A random segment, stretched in time and warped in frequency by linear interpolation."""
    bands, frames = mel.shape
    rate = rng.uniform(1 - config.stretch, 1 + config.stretch)
    length = max(1, min(round(frames / rate), spec.frames(config.crop)))
    begin = rng.uniform(0, max(0.0, frames - 1 - (length - 1) * rate))
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


@torch.no_grad()
def recalibrate(model: Classifier, data: LogMels, batch: int = 128) -> None:
    """Replace the batch norms' stored statistics by the average over all clips of ``data``, not augmented.

    Batches are large, because the variance within a batch misses a ``1 / batch`` share of that between clips.
    """
    norms = [m for m in model.modules() if isinstance(m, MaskedBatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    device = next(model.parameters()).device
    order = np.random.default_rng(0).permutation(len(data))
    for chosen in np.array_split(order, -(-len(data) // batch)):
        mels, lengths, _ = data.batch(chosen)
        model(mels.to(device), lengths.to(device))
    for norm in norms:
        norm.momentum = 0.1
    model.eval()


@torch.inference_mode()
def evaluate(model: torch.nn.Module, data: LogMels, batch: int = 32) -> Evaluation:
    """Classify every clip at its full length."""
    model.eval()
    device = next(model.parameters()).device
    predictions = torch.zeros(len(data), dtype=torch.long)
    for chosen, mels, lengths in data.batches(batch):
        predictions[chosen] = model(mels.to(device), lengths.to(device)).logits.argmax(1).cpu()
    accuracy = float((predictions == data.labels).float().mean())
    return Evaluation(accuracy, len(data), confusion(data.labels, predictions, len(data.classes)), predictions)


def confusion(labels: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Clips of class i predicted as class j, Tensor[K, K]; both arguments Tensor[N]."""
    return torch.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)
