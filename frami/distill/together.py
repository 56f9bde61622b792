"""What the processes of a distillation exchange in a step: the batch, features of its parts, gradients."""

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from frami.distributed import Group
from frami.models import Features

#: Of a batch's log-Mels, lengths, labels, partners and share.
_KINDS = (torch.float32, torch.long, torch.long, torch.long, torch.float32)


def room(shape: Sequence[int], device: torch.device) -> list[Tensor]:
    """Tensors for an augmented batch whose log-Mels have this shape: x, lengths, labels, partners, share."""
    return [torch.empty(shape if k == 0 else shape[:1], device=device, dtype=kind) for k, kind in enumerate(_KINDS)]


def sent(group: Group, *batch: Tensor) -> list[Tensor]:
    """The main process's batch (as of ``room``) in all, where the others have room for it."""
    return [group.sent(x.to(kind).contiguous()) for x, kind in zip(batch, _KINDS, strict=True)]


def whole(group: Group, features: Features, count: int) -> Features:
    """The features of a batch of ``count`` clips, of which these are a process's part; gradients flow to it alone."""
    return Features(**{one.name: group.gathered(getattr(features, one.name), count) for one in fields(features)})


def add_up(group: Group, gradients: Sequence[Tensor]) -> None:
    """Sums of the processes' gradients, in place, in one exchange."""
    total = group.total(torch.cat([one.flatten() for one in gradients]))
    for one, found in zip(gradients, total.split([one.numel() for one in gradients]), strict=True):
        one.copy_(found.view_as(one))
