"""Batch norm over sounds of different durations: what lies behind a clip's end never counts."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def length_mask(lengths: Tensor, frames: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 within each clip and 0 behind its end: Tensor[B] → Tensor[B, 1, 1, frames]."""
    steps = torch.arange(frames, device=lengths.device)
    return (steps < lengths[:, None]).to(dtype)[:, None, None]


class MaskedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose batch statistics count valid positions only, and what follows it: shortcut, ReLU, mask.

    ``forward(x, mask, add, relu)`` with x : Tensor[B, C, F, T]; mask : Tensor[B, 1, 1, T], or None where all is valid;
    ``add`` : Tensor[B, C, F, T] joined before the ReLU. The result is zero behind a clip's end.

    ``tap`` replaces all of it while the inputs are recorded.
    """

    tap: Callable[..., Tensor] | None = None

    def forward(self, x: Tensor, mask: Tensor | None = None, add: Tensor | None = None, relu: bool = False) -> Tensor:
        if self.tap is not None:
            return self.tap(self, x, mask, add, relu)
        if self.training and mask is not None:
            y, mean, var, count = _MaskedNorm.apply(x, mask.to(x.dtype), add, self.weight, self.bias, self.eps, relu)
            self._remember(mean, var, count)
            return y
        y = super().forward(x)
        if add is not None:
            y = y + add
        if relu:
            y = F.relu(y)
        return y if mask is None else y * mask.to(y.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        self.num_batches_tracked += 1
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(var * count / (count - 1).clamp(min=1), rate)


class _MaskedNorm(torch.autograd.Function):
    """Batch norm in training over the valid positions, with what follows it, in few passes over memory: on a CPU the
    same operations under autograd take about twice as long.

    x, add : Tensor[B, C, F, T]; mask : Tensor[B, 1, 1, T] of 0 and 1. Returns the output, and mean Tensor[C], (biased)
    variance Tensor[C] and count Tensor[] in float32, through which no gradient flows.
    """

    @staticmethod
    def forward(ctx, x, mask, add, weight, bias, eps, relu):
        mean, var, count = masked_moments(x, mask)
        y = F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)
        if add is not None:
            y.add_(add)
        if relu:
            y.relu_()
        y.mul_(mask)
        ctx.save_for_backward(x, mask, weight, mean, (var + eps).rsqrt(), count, y if relu else None)
        ctx.added = add is not None
        ctx.mark_non_differentiable(mean, var, count)
        return y, mean, var, count

    @staticmethod
    def backward(ctx, grad, *_):
        x, mask, weight, mean, scale, count, y = ctx.saved_tensors
        grad = grad * mask if y is None else torch.ops.aten.threshold_backward(grad, y, 0)
        total = grad.sum((0, 2, 3), dtype=mean.dtype)
        along = ((grad * x).sum((0, 2, 3), dtype=mean.dtype) - mean * total) * scale
        # dx = w s (g - mean(g) - x̂ mean(g x̂)), with x̂ = (x - mean) s, as one scaled sum of g, x and a constant.
        of_x = -weight * scale.square() * along / count
        constant = -weight * scale * total / count - of_x * mean
        dx = torch.addcmul(constant.to(x.dtype)[:, None, None], x, of_x.to(x.dtype)[:, None, None])
        dx = dx.mul_(mask).addcmul_(grad, (weight * scale).to(x.dtype)[:, None, None])
        return dx, None, grad if ctx.added else None, along, total, None, None


def masked_moments(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and (biased) variance of each channel over the valid positions, and their count.

    x : Tensor[B, C, F, T], mask : Tensor[B, 1, 1, T]. Returns Tensor[C], Tensor[C], Tensor[].
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    count = mask.sum(dtype=wide) * x.shape[2]
    mean = (x * mask).sum((0, 2, 3), dtype=wide) / count
    centred = (x - mean[:, None, None].to(x.dtype)).mul_(mask)
    return mean, centred.square_().sum((0, 2, 3), dtype=wide) / count, count
