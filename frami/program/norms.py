"""Batch norms whose gradient is right wherever they stand.

torch 2.11 computes a wrong gradient of a batch norm on the CPU, without an error, where its input and the gradient lie
in memory in different orders and one of the last axes has length 1: so do the Mel bands of PANNs' first norm.
"""

import torch
from torch import Tensor, nn


class Explicit:
    """In evaluation mode, a batch norm as what it is then: a scale and a shift of each channel."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.running_mean is None:
            return super().forward(x)
        self._check_input_dim(x)
        scale = (self.running_var + self.eps).rsqrt()
        scale = scale if self.weight is None else scale * self.weight
        shift = -self.running_mean * scale if self.bias is None else self.bias - self.running_mean * scale
        shape = (-1,) + (1,) * (x.dim() - 2)
        wide = x.to(torch.promote_types(x.dtype, scale.dtype))
        return torch.addcmul(shift.view(shape), wide, scale.view(shape)).to(x.dtype)


class ExplicitNorm1d(Explicit, nn.BatchNorm1d):
    """``nn.BatchNorm1d`` with its gradient spelt out."""


class ExplicitNorm2d(Explicit, nn.BatchNorm2d):
    """``nn.BatchNorm2d`` with its gradient spelt out."""


class ExplicitNorm3d(Explicit, nn.BatchNorm3d):
    """``nn.BatchNorm3d`` with its gradient spelt out."""


_KINDS = {nn.BatchNorm1d: ExplicitNorm1d, nn.BatchNorm2d: ExplicitNorm2d, nn.BatchNorm3d: ExplicitNorm3d}


def restore(module: nn.Module) -> None:
    """Inverse of ``spell_out``."""
    kinds = {explicit: plain for plain, explicit in _KINDS.items()}
    for part in module.modules():
        part.__class__ = kinds.get(type(part), type(part))


def spell_out(module: nn.Module) -> None:
    """Let torch's own batch norms in a module be explicit ones, weights and names as they are."""
    for part in module.modules():
        part.__class__ = _KINDS.get(type(part), type(part))
