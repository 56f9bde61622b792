"""A teacher as an inversion uses it: frozen copies, exact and fast, and the sizes of its layers."""

import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from frami.audio import MelSpec
from frami.checkpoints import Checkpoint
from frami.device import autocast, fast_bf16
from frami.errors import FramiError
from frami.inversion.bn_statistics import recorded
from frami.inversion.conditional import class_codes
from frami.inversion.start import level
from frami.models import Classifier, Features


@dataclass(frozen=True)
class Speedups:
    """What makes a step fast; each is there to be left out where its worth is measured.

    ``bf16`` : bfloat16 where the device has it; ``channels_last`` : order of the teacher's convolutions; ``fused`` :
    batch norms as one autograd function (see ``recorded``).
    """

    bf16: bool = True
    channels_last: bool = True
    fused: bool = True


ALL = Speedups()


class TeacherCopy:
    """Copies of a teacher for the clips of one inversion: two runs in two threads do not see each other's hooks.

    exact : in full precision, for what is reported; fast : for the steps; shortest, frames : of the shortest and the
    longest clip; norms : channels of each batch norm, in the order of the forward pass; embedding : size of the
    embedding; bands : mean and deviation of each Mel band in the training data, Tensor[F] both, where the first batch
    norm knows them, else None; codes : Tensor[K, R], a constant embedding of each class; foreign : whether it is a
    network of any make, in units of its own; batch : clips that it takes at once, None for any number; multilabel : as
    of ``Card``. FramiError where the teacher does not take the longest clips. seconds : as in ``InversionSettings``.
    """

    def __init__(self, teacher: Checkpoint, seconds: tuple[float, float], speedups: Speedups = ALL):
        self.spec, self.classes, self.speedups = teacher.spec, len(teacher.classes), speedups
        self.multilabel = teacher.multilabel
        self.shortest, self.frames = map(self.spec.frames, seconds)
        self.exact, self.device = frozen_copy(teacher.model), teacher.device
        self._original = teacher.model
        self.foreign = not isinstance(self.exact, Classifier)
        self.batch = fixed_batch(self.exact)
        longest = getattr(self.exact, "longest", None)  # of a network that is not ours
        if longest is not None and self.frames > longest:
            raise FramiError(
                f"this teacher hears clips of {longest} frames at most, {seconds[1]:g} seconds have {self.frames}; "
                "choose fewer seconds"
            )
        mels = _noise(self.spec, self.frames, self.device, self.batch or 2)
        try:
            with torch.no_grad(), recorded(self.exact, clips=len(mels)) as inputs:
                out = self.exact(mels)
        except RuntimeError as error:
            raise FramiError(f"this teacher does not take clips of {seconds[1]:g} seconds ({error})") from error
        self.norms = [len(entry.mean) for entry in inputs]
        self.embedding = out.pooled.shape[1]
        self.bands = None
        if inputs and inputs[0].mean.shape == (self.spec.n_mels,):
            self.bands = _bands(inputs[0].norm, inputs[0].mean, mels.mean((0, 1, 3)))

    @cached_property
    def start(self) -> tuple[Tensor, Tensor] | None:
        """Mean and deviation of each Mel band at which clips begin, Tensor[F] both: ``bands``, or of a network of any
        make what its other batch norms tell; None where there are none."""
        if self.bands is not None or not self.foreign or not self.norms:
            return self.bands
        return level(self._original, self.exact, self.spec, self.frames, self.batch)

    @property
    def unknown(self) -> bool:
        """Whether nothing is stored of its training data: clips begin at made-up sounds (``inversion.sounds``)."""
        return self.foreign and not self.norms

    @cached_property
    def codes(self) -> Tensor:
        return class_codes(self.exact, self.classes)

    @cached_property
    def fast(self) -> nn.Module:
        return fast_copy(self.exact, self.spec, self.frames, self.speedups)


def _bands(norm: nn.Module, given: Tensor, mels: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and deviation of each Mel band that a batch norm of as many channels has stored, in the front-end's unit;
    None where it is no norm of the bands.

    given, mels : Tensor[F], means of its input and of the log-Mels that the network was given. A network may scale and
    shift log-Mels before, all bands alike.
    """
    mean, std = norm.running_mean, norm.running_var.sqrt()
    if torch.allclose(given, mels, atol=1e-2):
        return mean, std
    around = mels - mels.mean()
    scale = (given * around).sum() / around.square().sum()
    shift = given.mean() - scale * mels.mean()
    if scale == 0 or not torch.allclose((given - shift) / scale, mels, atol=1e-2):
        return None
    return (mean - shift) / scale, std / scale.abs()


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode that learns nothing."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def fast_copy(model: nn.Module, spec: MelSpec, frames: int, speedups: Speedups = ALL) -> nn.Module:
    """A frozen copy with convolutions in the device's fast precision and order (channels-last: twice as fast on a CPU
    for few channels) as far as the model takes them: a foreign one may need its own order (``view``) or precision
    (``float()`` without autocast)."""
    mels = _noise(spec, frames, next(model.parameters()).device)
    fast = speedups.bf16 and fast_bf16(mels.device)
    ordered = speedups.channels_last and mels.device.type != "mps"
    for order, precision in dict.fromkeys([(ordered, fast), (ordered, False), (False, fast), (False, False)]):
        made = frozen_copy(model)
        if order:
            made = made.to(memory_format=torch.channels_last)
        if precision:
            for module in made.modules():
                if isinstance(module, nn.Conv1d | nn.Conv2d):
                    module.to(torch.bfloat16)
        if _runs(made, mels, fast):
            return made
    return _FullPrecision(frozen_copy(model))


def fixed_batch(model: nn.Module) -> int | None:
    """Clips of a batch of a network that was exported with a fixed number of them, else None."""
    takes = getattr(getattr(model, "config", None), "takes", None)
    return takes.clips if takes is not None and takes.clips > 1 else None


def _noise(spec: MelSpec, frames: int, device: torch.device, clips: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.empty(clips, 1, spec.n_mels, frames).uniform_(spec.floor, spec.ceiling, generator=rng).to(device)


def _runs(model: nn.Module, mels: Tensor, fast: bool) -> bool:
    """Whether a step gets through a model, forward and backward, with finite gradients."""
    mels = mels.clone().requires_grad_()
    try:
        with torch.enable_grad(), autocast(mels.device, fast):
            model(mels).logits.float().sum().backward()
    except (RuntimeError, TypeError):
        return False
    return bool(mels.grad.isfinite().all())


class _FullPrecision(nn.Module):
    """A model that does not run under autocast."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        with torch.autocast(x.device.type, enabled=False):
            return self.model(x, lengths)
