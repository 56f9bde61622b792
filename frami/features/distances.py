"""Features as points on the CPU in double precision, and their distances, so many at once as fit into memory."""

from collections.abc import Iterator

import torch
from torch import Tensor

from frami.errors import FramiError

_HELD = 2**24  # distances held at once


def points(x: Tensor) -> Tensor:
    """Features on the CPU in double precision; FramiError when they are none."""
    if x.ndim != 2 or not x.numel():
        raise FramiError(f"features are Tensor[N, D] of at least one clip, not of shape {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise FramiError("features hold values that are not finite")
    return x.detach().cpu().double()


def matched(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = points(a), points(b)
    if a.shape[1] != b.shape[1]:
        raise FramiError(f"features of {a.shape[1]} and of {b.shape[1]} numbers cannot be compared")
    return a, b


def squares(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances, Tensor[N, D], Tensor[M, D] → Tensor[N, M]."""
    lengths = a.square().sum(1)[:, None] + b.square().sum(1)
    return torch.addmm(lengths, a, b.T, alpha=-2).clamp_(min=0)


def chunks(x: Tensor, others: int) -> Iterator[Tensor]:
    """Rows of x, so many at once that their distances to ``others`` points fit into memory."""
    return iter(x.split(max(1, _HELD // others)))


def to_others(x: Tensor) -> Iterator[Tensor]:
    """Squared distances of each row to all rows, infinite to itself, in chunks of rows."""
    start = 0
    for rows in chunks(x, len(x)):
        found = squares(rows, x)
        found.diagonal(start).fill_(torch.inf)
        start += len(rows)
        yield found
