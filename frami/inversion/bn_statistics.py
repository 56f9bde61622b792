"""Statistics of what a classifier's batch norms get of made clips: hooks that always come off, and one reduction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from frami.models import MaskedBatchNorm2d


@dataclass
class NormInput:
    """Input of a batch norm. ``mean``, ``var`` : Tensor[C] over the plain clips; ``means`` : Tensor[B, C] of each."""

    norm: _BatchNorm
    mean: Tensor
    var: Tensor
    means: Tensor


def clip_means(inputs: list[NormInput]) -> Tensor:
    """Channel means of all batch norms' inputs in each clip, in units of the stored statistics: Tensor[B, sum of C]."""
    scaled = [(i.means - i.norm.running_mean) * (i.norm.running_var + i.norm.eps).rsqrt() for i in inputs]
    return torch.cat(scaled, 1)


def norms(model: nn.Module) -> list[_BatchNorm]:
    """Batch norms of a model that store statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@contextmanager
def recorded(
    model: nn.Module, plain: int | None = None, clips: int | None = None, *, fused: bool = True
) -> Iterator[list[NormInput]]:
    """Record the input of every batch norm of ``model`` that stores statistics, within the context only, in the order
    of the forward pass.

    Batch statistics are taken over the first ``plain`` clips (default: all); only valid frames count where a mask is
    given. ``clips`` : how many clips the model gets, for one that hands a norm each frame as a row of its own.
    ``fused`` : a batch norm, its statistics and what follows it are one autograd function (``_Site``) or, where False,
    plain operations of the same result. The model is frozen and in evaluation mode: its batch norms get no gradients.
    """
    inputs: list[NormInput] = []
    site = _Site.apply if fused else _plain_site

    def tap(norm, x: Tensor, mask: Mask | None, add: Tensor | None, relu: bool) -> Tensor:
        if mask is None:
            count = torch.full((len(x), 1), float(x.shape[2] * x.shape[3]), device=x.device)
        else:
            count = mask.frames * x.shape[2]
        y, mean, var, means = site(x, None if mask is None else mask.wide, add, count, norm, relu, plain)
        inputs.append(NormInput(norm, mean, var, means))
        return y

    def hook(norm: nn.Module, args: tuple) -> None:
        x = args[0] if args[0].dim() == 4 else args[0].reshape(*args[0].shape[:2], 1, -1)
        each = len(x) // clips if clips else 1
        part = x if plain is None else x[: plain * each]
        sums = x.sum((2, 3), dtype=torch.float32).unflatten(0, (-1, each)).sum(1)
        squares = part.float().square().sum((2, 3)).unflatten(0, (-1, each)).sum(1)
        count = sums.new_full((len(sums), 1), each * x.shape[2] * x.shape[3])
        inputs.append(NormInput(norm, *_moments(sums, squares, count, plain)))

    others = [norm for norm in norms(model) if not isinstance(norm, MaskedBatchNorm2d)]
    handles = [norm.register_forward_pre_hook(hook) for norm in others]
    try:
        with _tapped(model, tap):
            yield inputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Let the masked batch norms of a frozen model in evaluation mode work in place, without gradients."""

    def tap(norm, x: Tensor, mask: Mask | None, add: Tensor | None, relu: bool) -> Tensor:
        return _normalised(x, None if mask is None else mask.wide, add, norm, relu)

    with _tapped(model, tap):
        yield


@dataclass
class Mask:
    """A mask Tensor[B, 1, 1, T] as its norms use it. ``wide`` : Tensor[B, C, F, T] in the type and order of what it
    masks: multiplying by a broadcast one is several times slower in channels-last order; ``frames`` : Tensor[B, 1],
    valid ones of each clip, in float32; ``narrow`` : itself, so that no later one takes over its id."""

    narrow: Tensor
    wide: Tensor
    frames: Tensor


@contextmanager
def _tapped(model: nn.Module, tap: Callable[..., Tensor]) -> Iterator[None]:
    """``tap(norm, x, mask, add, relu)`` instead of each masked batch norm, within the context only; mask : a ``Mask``
    or None."""
    masks: dict[tuple, Mask] = {}

    def with_mask(norm, x: Tensor, mask: Tensor | None, add: Tensor | None, relu: bool) -> Tensor:
        if mask is None:
            return tap(norm, x, None, add, relu)
        key = (id(mask), x.shape, x.dtype, _order(x))
        if key not in masks:
            wide = mask.to(x.dtype).expand_as(x).contiguous(memory_format=_order(x))
            masks[key] = Mask(mask, wide, mask.float().sum((1, 2, 3))[:, None])
        return tap(norm, x, masks[key], add, relu)

    tapped = [norm for norm in norms(model) if isinstance(norm, MaskedBatchNorm2d)]
    for norm in tapped:
        norm.tap = with_mask
    try:
        yield
    finally:
        for norm in tapped:
            del norm.tap


def _order(x: Tensor) -> torch.memory_format:
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _normalised(x: Tensor, mask: Tensor | None, add: Tensor | None, norm: nn.Module, relu: bool) -> Tensor:
    """A frozen batch norm with what follows it, without gradients: in place as far as possible."""
    y = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    if add is not None:
        y.add_(add)
    if relu:
        y.relu_()
    return y if mask is None else y.mul_(mask)


def _moments(sums: Tensor, squares: Tensor, count: Tensor, plain: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and variance of each channel over the plain clips, Tensor[C] both, and means of every clip, Tensor[B, C].

    sums : Tensor[B, C] of each clip; squares : Tensor[plain, C] of squares; count : Tensor[B, 1], positions of each.
    """
    number = count[:plain].sum()
    mean = sums[:plain].sum(0) / number
    return mean, (squares.sum(0) / number - mean.square()).clamp(min=0), sums / count


def _sums(x: Tensor) -> Tensor:
    """Sums over each clip's positions in float32: Tensor[B, C, F, T] → Tensor[B, C]. A sum over one axis of a view
    costs half of one over two axes in channels-last order."""
    if _order(x) is torch.channels_last:
        return x.permute(0, 2, 3, 1).flatten(1, 2).sum(1, dtype=torch.float32)
    return x.sum((2, 3), dtype=torch.float32)


class _Site(torch.autograd.Function):
    """A frozen batch norm with what follows it, and the moments of what came in, in as few passes over memory as torch
    allows: about half of what the same operations cost under autograd, whose arithmetic is otherwise cheaper than its
    memory traffic.

    x, mask, add : Tensor[B, C, F, T] (mask of 0 and 1, or None); count : Tensor[B, 1] of each clip's valid positions.
    Returns the output, and in float32 what ``_moments`` does.
    """

    @staticmethod
    def forward(ctx, x, mask, add, count, norm, relu, plain):
        seen = x if mask is None else x * mask
        part = seen[:plain]
        mean, var, means = _moments(_sums(seen), _sums(part * part), count, plain)
        y = _normalised(x, mask, add, norm, relu)
        scale = (norm.running_var + norm.eps).rsqrt()
        ctx.scale = scale if norm.weight is None else scale * norm.weight
        ctx.relu, ctx.added, ctx.plain = relu, add is not None, plain
        ctx.save_for_backward(seen, mask, y if relu else None, mean, var, count)
        return y, mean, var, means

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad, of_mean, of_var, of_means):
        seen, mask, y, mean, var, count = ctx.saved_tensors
        plain = ctx.plain
        if y is not None:
            grad = torch.ops.aten.threshold_backward(grad, y, 0)
        elif mask is not None:
            grad = grad * mask
        dx = grad * ctx.scale.to(grad.dtype)[:, None, None]
        # The gradient of the moments is a multiple of x for each channel, and a constant for each clip and channel.
        number = count[:plain].sum()
        factor = of_var * (var > 0) * (2 / number)
        constant = of_means / count
        constant[:plain] += of_mean / number - factor * mean
        constant = constant.to(seen.dtype)[:, :, None, None]
        # Written out before it is added: sums with broadcast operands are several times slower in this order.
        wide = constant.expand_as(seen).contiguous(memory_format=_order(seen)) if mask is None else mask * constant
        dx += wide
        dx[:plain] += seen[:plain] * factor.to(seen.dtype)[:, None, None]
        return dx, None, grad if ctx.added else None, None, None, None, None


def _plain_site(x, mask, add, count, norm, relu, plain):
    """What ``_Site`` computes, in operations that autograd differentiates one by one."""
    seen = x if mask is None else x * mask
    y = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    y = y if add is None else y + add
    y = F.relu(y) if relu else y
    y = y if mask is None else y * mask
    sums, squares = seen.sum((2, 3), dtype=torch.float32), seen[:plain].float().square().sum((2, 3))
    return y, *_moments(sums, squares, count, plain)
