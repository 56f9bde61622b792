"""Batch norm over sounds of different durations: what lies behind a clip's end never counts."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Natural logarithm above the floor that a band's mean and standard deviation reach where it is not empty.
_HEARD = 1.2


def length_mask(lengths: Tensor, frames: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 within each clip and 0 behind its end: Tensor[B] → Tensor[B, 1, 1, frames]."""
    steps = torch.arange(frames, device=lengths.device)
    return (steps < lengths[:, None]).to(dtype)[:, None, None]


class MaskedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose batch statistics count valid positions only, and what follows it: shortcut, ReLU, mask.

    ``forward(x, mask, add, relu)`` with x : Tensor[B, C, F, T]; mask : Tensor[B, 1, 1, T], or None where all is valid;
    ``add`` : Tensor[B, C, F, T] joined before the ReLU. The result is zero behind a clip's end.

    ``tap`` replaces all of it while the inputs are recorded. ``total`` adds up a tensor over the processes of a
    training, in place, where they share the batch: its statistics are then those of the whole.
    """

    tap: Callable[..., Tensor] | None = None
    total: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor, mask: Tensor | None = None, add: Tensor | None = None, relu: bool = False) -> Tensor:
        if self.tap is not None:
            return self.tap(self, x, mask, add, relu)
        if self.training and mask is None and self.total is not None:
            mask = x.new_ones(len(x), 1, 1, x.shape[3])
        if self.training and mask is not None:
            own = self.weight, self.bias, self.eps
            y, mean, var, count = _MaskedNorm.apply(x, mask.to(x.dtype), add, *own, relu, self.total)
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
    variance Tensor[C] and count Tensor[] in float32, through which no gradient flows; with ``total``, as of
    ``MaskedBatchNorm2d``, of all processes together.
    """

    @staticmethod
    def forward(ctx, x, mask, add, weight, bias, eps, relu, total):
        mask = spread_over_rows(mask, x)
        centred, mean, var, count = _centred(x, mask, total)
        y = F.batch_norm(centred, torch.zeros_like(mean), var, weight, bias, False, 0.0, eps)
        if add is not None:
            y.add_(add)
        if relu:
            y.relu_()
        y.mul_(mask)
        ctx.save_for_backward(centred, mask, weight, (var + eps).rsqrt(), count, y if relu else None)
        ctx.added, ctx.total = add is not None, total
        ctx.mark_non_differentiable(mean, var, count)
        return y, mean, var, count

    @staticmethod
    def backward(ctx, grad, *_):
        centred, mask, weight, scale, count, y = ctx.saved_tensors
        grad = grad * mask if y is None else torch.ops.aten.threshold_backward(grad, y, 0)
        total = of_bias = grad.sum((0, 2, 3), dtype=scale.dtype)
        along = of_weight = (grad * centred).sum((0, 2, 3), dtype=scale.dtype) * scale
        dx = None
        if ctx.needs_input_grad[0]:
            if ctx.total is not None:
                along, total = ctx.total(torch.stack([along, total]))
            # dx = w s (g - mean(g) - x̂ mean(g x̂)), with x̂ = s times the centred x, as one scaled sum of three.
            outer = weight * scale
            factors = torch.stack([outer, outer * scale * along / -count, outer * total / -count]).to(centred.dtype)
            of_grad, of_x, constant = factors[:, :, None, None]
            dx = torch.addcmul(constant, centred, of_x).mul_(mask).addcmul_(grad, of_grad)
        return dx, None, grad if ctx.added else None, of_weight, of_bias, None, None, None


def spread_over_rows(mask: Tensor, x: Tensor) -> Tensor:
    """A mask Tensor[B, 1, 1, T] as Tensor[B, 1, F, T] where x, Tensor[B, C, F, T], lies in planes: by one of a plane's
    size a plane is multiplied at once, not row by row."""
    return mask.expand(-1, -1, x.shape[2], -1).contiguous() if x.is_contiguous() else mask


def _centred(
    x: Tensor, mask: Tensor, total: Callable[[Tensor], Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x, Tensor[B, C, F, T], without its channels' means over the valid positions and zero elsewhere; mean and (biased)
    variance of each channel, Tensor[C]; and the count of its valid positions, Tensor[].

    mask : Tensor[B, 1, 1 or F, T]; total : as of ``MaskedBatchNorm2d``.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    count = mask.sum(dtype=wide) * (x.shape[2] / mask.shape[2])
    seen = x * mask
    sums = seen.sum((0, 2, 3), dtype=wide)
    if total is not None:
        both = total(torch.cat([sums, count[None]]))
        sums, count = both[:-1], both[-1]
    mean = sums / count
    centred = seen.sub_(mean[:, None, None].to(x.dtype)).mul_(mask)
    squares = centred.square().sum((0, 2, 3), dtype=wide)
    return centred, mean, (squares if total is None else total(squares)) / count, count


def heard_bands(model: nn.Module, n_mels: int, floor: float) -> int:
    """How many Mel bands, from the lowest on, have sound in the data that a model was trained with: those of which mean
    and standard deviation together are well above the log-Mel's floor; all where its first batch norm is not one of
    the bands."""
    first = next((part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)), None)
    if first is None or first.num_features != n_mels or first.running_mean is None:
        return n_mels
    above_floor = first.running_mean + first.running_var.clamp(min=0).sqrt() - floor
    heard = (above_floor > _HEARD).nonzero()
    return int(heard.max()) + 1 if len(heard) else n_mels
