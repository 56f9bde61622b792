"""Clips as plain values that the page draws; no mathematics beyond a change of units."""

import base64
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from frami import answers
from frami.audio import MelSpec
from frami.checkpoints import Checkpoint
from frami.inversion import Clips
from frami.models.norms import heard_bands


@lru_cache
def axis(spec: MelSpec) -> dict:
    """What the page needs to label a spectrogram: seconds a frame, bands of round frequencies, range in dB, and
    whether it is the front-end that all vocoders take."""
    centres = spec.filterbank().argmax(0).float() * spec.sample_rate / spec.n_fft
    ticks = [kilohertz for kilohertz in (0.5, 1, 2, 4, 8) if kilohertz * 1000 < spec.f_max]
    return {
        "bands": spec.n_mels,
        "frame": spec.hop_length / spec.sample_rate,
        "ticks": [[f"{khz:g}", int((centres - khz * 1000).abs().argmin())] for khz in ticks],
        "low": round(spec.decibels(spec.floor), 1),
        "high": round(spec.decibels(spec.ceiling), 1),
        "usual": spec == MelSpec(),
    }


def axis_of(teacher: Checkpoint) -> dict:
    """The same, and how many of the bands are ``shown``: those above are empty in a teacher's training data (of 8 kHz
    recordings all beyond 4 kHz), as the statistics of its first batch norm say."""
    spec, own = teacher.spec, axis(teacher.spec)
    shown = heard_bands(teacher.model, spec.n_mels, spec.floor)
    return own | {"shown": shown, "ticks": [tick for tick in own["ticks"] if tick[1] < shown]}


def picture(mel: Tensor, spec: MelSpec) -> str:
    """Log-Mel Tensor[F, T] as base64 of F × T bytes, 0 the floor and 255 the ceiling."""
    return bytes_of((mel.clamp(spec.floor, spec.ceiling) - spec.floor) / (spec.ceiling - spec.floor))


def bytes_of(values: Tensor) -> str:
    """Values from 0 to 1 as base64 of as many bytes."""
    return base64.b64encode((values * 255).round().to(torch.uint8).numpy().tobytes()).decode()


def used_bands(mel: Tensor, spec: MelSpec) -> int:
    """How many bands, from the lowest on, a picture needs: above them a sound has next to nothing, as one that was
    recorded at a lower rate. mel : Tensor[F, T]."""
    loud = mel.amax(1) > max(spec.floor + 0.12 * (spec.ceiling - spec.floor), float(mel.max()) - 9 * spec.unit)
    return min(spec.n_mels, max(spec.n_mels // 4, int(loud.nonzero().max()) + 4 if loud.any() else spec.n_mels))


def cropped(axis: dict, bands: int) -> dict:
    """The axis of a picture of the lowest ``bands`` alone."""
    return axis | {"bands": bands, "ticks": [tick for tick in axis["ticks"] if tick[1] < bands]}


def top(probabilities: Tensor, classes: Sequence[str], digits: int = 3) -> list[list]:
    """The five most probable classes, [name, probability] each; probabilities Tensor[K]."""
    best = probabilities.topk(min(5, len(classes)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [[name(classes[k]), round(p, digits)] for k, p in pairs]


def clip(
    id: str, mel: Tensor, logits: Tensor, target: int, predicted: int, classes: Sequence[str], spec: MelSpec,
    multilabel: bool = False, **more,
) -> dict:  # fmt: skip
    """A clip: its class and the predicted one, confidence, picture, the most probable classes; mel Tensor[F, T], logits
    Tensor[K], ``target`` and ``predicted`` indices; multilabel : as of ``Card``."""
    probabilities = answers.probabilities(logits, multilabel)
    return {
        "id": id,
        "target": name(classes[target]),
        "predicted": name(classes[predicted]),
        "confidence": round(float(probabilities[target]), 3),
        "frames": mel.shape[-1],
        "mel": picture(mel, spec),
        "top": top(probabilities, classes),
    } | more


def clips(
    made: Clips, prefix: str, classes: Sequence[str], spec: MelSpec, origin: str, first: int = 0, untargeted=False
) -> list[dict]:
    """Made clips, numbered from ``first`` on. ``untargeted`` : there was no target class, the predicted one takes its
    place."""
    more = {"origin": origin, "untargeted": untargeted, "multilabel": made.multilabel}
    targets, predicted = (made.predicted if untargeted else made.target).tolist(), made.predicted.tolist()
    return [
        clip(
            f"{prefix}/{first + i}", made.mels[i, 0, :, :length], made.logits[i], targets[i], predicted[i],
            classes, spec, **more,
        )
        for i, length in enumerate(made.lengths.tolist())
    ]  # fmt: skip


def confidence(made: Clips, untargeted: bool) -> float:
    """The teacher's mean probability of the target class, or of the most probable one where there is no target."""
    likeliest = answers.probabilities(made.logits, made.multilabel).amax(1)
    return float((likeliest if untargeted else made.confidence).mean())


def amount(count: int) -> str:
    """How many parameters, in thousands or millions, as the scripts write them."""
    return f"{count / 1000:.0f} k" if count < 1e6 else f"{count / 1e6:.2f} M"


def name(label: str) -> str:
    """A class name for people."""
    return label.replace("_", " ")


def curve(values: Sequence[float], most: int = 200) -> list[float]:
    """At most ``most`` points of a curve, evenly spaced, the last one always among them."""
    chosen = np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)
    return [round(values[i], 4) for i in chosen]


def sparse(matrix: Sequence[Sequence[int]], classes: Sequence[int] | None = None, size: int | None = None) -> dict:
    """A confusion matrix as ``{"size": K, "cells": [cell, clips, cell, clips, …]}``: those of K × K, row behind row,
    that are not zero. Of 500 classes that is a hundredth of the matrix.

    classes, size : of a matrix of some classes, their numbers among all, and how many these are.
    """
    size, at = size or len(matrix), classes or range(len(matrix))
    cells = [
        n for i, row in zip(at, matrix, strict=True) for j, clips in zip(at, row, strict=True) if clips
        for n in (i * size + j, clips)
    ]  # fmt: skip
    return {"size": size, "cells": cells}
