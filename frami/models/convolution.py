"""A convolution whose input gradient is fast on a CPU for few channels, which is what small students have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Input channels up to which a convolution with flipped weights beats the library's input gradient.
_FEW = 12


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` of one group, without bias: the same output and, up to rounding, the same gradients."""

    def forward(self, x: Tensor) -> Tensor:
        """x : Tensor[B, C, F, T]. Returns Tensor[B, C', F', T']."""
        if self.weight.requires_grad and torch.is_grad_enabled() and _plain(x, self.weight):
            return _Convolution.apply(x, self.weight, self.stride, self.padding)
        return super().forward(x)


def _plain(*tensors: Tensor) -> bool:
    """Whether these are rows of float32 on a CPU, outside of autocast."""
    return not torch.is_autocast_enabled("cpu") and all(
        t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous() for t in tensors
    )


class _Convolution(torch.autograd.Function):
    """A convolution with the gradient of its input as of ``input_gradient``."""

    @staticmethod
    def forward(ctx, x, weight, stride, padding):
        ctx.shape, ctx.stride, ctx.padding = x.shape, stride, padding
        if weight.shape[2:] == (1, 1) and padding == (0, 0):  # positions in between count for nothing
            x, stride = x[:, :, :: stride[0], :: stride[1]].contiguous(), (1, 1)
        ctx.save_for_backward(x, weight)
        ctx.inner = stride
        return F.conv2d(x, weight, None, stride, padding)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            of_input = input_gradient(grad, weight, ctx.shape, ctx.stride, ctx.padding)
        rest = [of_input is None and ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        if any(rest):
            found = torch.ops.aten.convolution_backward(
                grad, x, weight, None, ctx.inner, ctx.padding, [1, 1], False, [0, 0], 1, rest
            )
            of_input, of_weight = found[0] if rest[0] else of_input, found[1]
        return of_input, of_weight, None, None


def input_gradient(
    grad: Tensor, weight: Tensor, shape: torch.Size, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor | None:
    """Gradient of a convolution's input, of this shape, from that of its output, Tensor[B, C', F', T']; None where the
    library's own way is the fastest.

    To one input channel each tap's share, added up in place; of a kernel of one position the positions that it sees; at
    stride 1 a convolution with the flipped kernel.
    """
    kernel, inputs = tuple(weight.shape[2:]), weight.shape[1]
    if inputs == 1:
        taps = weight.flatten(1).T @ grad.flatten(2)
        return F.fold(taps, tuple(shape[2:]), kernel, 1, padding, stride)
    if kernel == (1, 1) and padding == (0, 0) and stride != (1, 1):
        found = grad.new_zeros(shape)
        found[:, :, :: stride[0], :: stride[1]] = F.conv2d(grad, weight.transpose(0, 1))
        return found
    if inputs <= _FEW and stride == (1, 1) and all(p < k for p, k in zip(padding, kernel, strict=True)):
        flipped = weight.transpose(0, 1).flip(2, 3)
        return F.conv2d(grad, flipped, padding=tuple(k - 1 - p for k, p in zip(kernel, padding, strict=True)))
    return None
