"""Data that is easy to learn, and cards and settings for small networks that learn it."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import torch

from frami import models, train
from frami.audio import MelSpec
from frami.checkpoints import Card
from frami.cost import parameters
from frami.data import Clip, LogMels


def make_mels(classes: int = 4, each: int = 12, seed: int = 0, shortest: int = 24, longest: int = 40) -> LogMels:
    """Log-Mels of classes that are easy to tell apart: each has its own bump of sixteen bands above noise."""
    spec = MelSpec()
    rng = np.random.default_rng(seed)
    frames, labels = [], np.tile(np.arange(classes), each)
    for label in labels:
        x = rng.normal(-8, 1, (rng.integers(shortest, longest + 1), spec.n_mels))
        x[:, 4 + 18 * label : 20 + 18 * label] += 5
        frames.append(x.clip(spec.floor).astype(np.float16))
    clips = [Clip(Path(f"made_{i}"), int(label), "1", "made") for i, label in enumerate(labels)]
    return LogMels(clips, frames, torch.from_numpy(labels), tuple(f"band {k}" for k in range(classes)), spec)


def make_card(model: models.Classifier, name: str, **fields) -> Card:
    """A card that fits ``model``."""
    values = {
        "name": name,
        "kind": "teacher",
        "dataset": "made",
        "title": "Made sounds",
        "classes": tuple(f"band {k}" for k in range(model.config.classes)),
        "mel_spec": MelSpec(n_mels=model.config.n_mels).to_dict(),
        "model": model.config.to_dict(),
        "parameters": parameters(model),
        "split": {"train": ["1"], "test": ["2"]},
        "accuracy": 0.5,
        "clips": 48,
        "licence": "Apache-2.0",
        "data_licence": "CC0-1.0",
        "seconds": 0.37,
    }
    return Card(**(values | fields))


def plain_training(**settings) -> train.TrainConfig:
    """Settings of a training that sees the clips as they are: every choice of augmentation is at zero."""
    kept = {"epochs", "batch", "lr", "weight_decay", "seed", "crop"}
    off = {field.name: type(field.default)(0) for field in fields(train.TrainConfig) if field.name not in kept}
    return train.TrainConfig(**(off | {"crop": 9.0} | settings))
