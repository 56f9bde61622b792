"""What a module turns out to be when it is tried: the calls inside it, the inputs that it takes, its gradient."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frami.audio import MelSpec
from frami.errors import FramiError
from frami.program.inputs import Input

#: Directions along which the gradient is compared with finite differences, and by how much it may differ.
DIRECTIONS, TOLERANCE = 5, 0.1
#: Level of the noise that a module is tried with, in natural logarithms of magnitudes above silence.
_LEVEL = 6.5


@dataclass
class Call:
    """One call of a submodule: its ``name`` and ``kind``, shapes of the first input and of the output, and the
    ``output`` itself."""

    name: str
    kind: type
    before: tuple[int, ...]
    after: tuple[int, ...]
    output: Tensor


@dataclass
class Trial:
    """A pass of noise, Tensor[2, 1, F, T], through a module: what it ``returned`` and the ``calls`` of submodules that
    make one tensor of another, in their order; ``closed`` : names of submodules that are inside one that took frames
    and gave none, as attention is inside its pooling."""

    noise: Tensor
    returned: Any
    calls: list[Call]
    poolings: list[str]


def noise(module: nn.Module, clips: int, spec: MelSpec, seconds: float) -> Tensor:
    """Noise like the log-Mels of sound, Tensor[clips, 1, F, T]."""
    shape = (clips, 1, spec.n_mels, spec.frames(seconds))
    x = spec.floor + spec.unit * (torch.randn(shape, generator=torch.Generator().manual_seed(0)) + _LEVEL)
    return x.to(next(module.parameters(), x).device)


def run(module: nn.Module, x: Tensor, takes: Input) -> Trial:
    """Raises FramiError where the module does not take the noise."""
    calls: list[Call] = []
    poolings: list[str] = []
    half = sum(p.numel() for p in module.parameters()) / 2

    def note(name: str, part: nn.Module, inputs: tuple, output: Any) -> None:
        first = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
        if first is None or not isinstance(output, Tensor):
            return
        calls.append(Call(name, type(part), tuple(first.shape), tuple(output.shape), output))
        if first.dim() > 2 >= output.dim() and sum(p.numel() for p in part.parameters()) < half:
            poolings.append(name)

    parts = [(name, part) for name, part in module.named_modules() if name]
    handles = [part.register_forward_hook(partial(note, name)) for name, part in parts]
    sound = takes.given(x)
    try:
        with torch.enable_grad():
            returned = module(sound.clone().requires_grad_())
    except Exception as error:
        raise FramiError(f"this module does not take log-Mels Tensor{list(sound.shape)}: {_line(error)}") from error
    finally:
        for handle in handles:
            handle.remove()
    return Trial(x, returned, calls, poolings)


def limits(module: nn.Module, x: Tensor, takes: Input, answer: Callable[[Any], Tensor], classes: int) -> Input:
    """What else the module takes: fewer clips at once, shorter and longer ones than x, Tensor[2, 1, F, T]."""

    @torch.no_grad()
    def accepts(sound: Tensor) -> bool:
        try:
            return answer(module(takes.given(sound))).shape == (len(sound), classes)
        except Exception:
            return False

    def first(low: int, high: int, of: torch.Tensor, passes: bool) -> int:
        """The first number of frames from low to high that is (not) accepted, as all behind it are."""
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if accepts(of[..., :middle]) == passes else (middle + 1, high)
        return high

    frames, twice = x.shape[-1], torch.cat([x, x], 3)
    shortest = first(1, frames, x, True)
    longest = None if accepts(twice) else first(frames + 1, 2 * frames, twice, False) - 1
    return replace(takes, shortest=shortest, longest=longest, clips=1 if accepts(x[:1]) else len(x))


def check_numbers(module: nn.Module) -> None:
    """FramiError where a weight or a stored statistic is no finite number, or a stored variance is negative. Other
    buffers may hold infinity, as the masks of attention do."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        statistic = name.rpartition(".")[2] in ("running_mean", "running_var")
        bad = value.isnan() if not (isinstance(value, nn.Parameter) or statistic) else ~value.isfinite()
        if bad.any():
            raise FramiError(f"'{name}' of this module holds NaN or infinite numbers; load its weights anew")
    for name, part in module.named_modules():
        variance = getattr(part, "running_var", None)
        if isinstance(variance, Tensor) and (variance < 0).any():
            raise FramiError(f"the stored variances of '{name}' are negative in part; load its weights anew")


def check_gradient(module: nn.Module, x: Tensor, logits: Callable[[nn.Module, Tensor], Tensor]) -> None:
    """FramiError where the gradient that torch computes through a module is not its slope.

    Both are compared along random directions, in float64 where the module runs in it. ``logits(module, x)`` : Tensor[B,
    K] for x, Tensor[B, 1, F, T].
    """
    try:
        exact = copy.deepcopy(module).double()
        off = _least_off(exact, x.double(), logits, (1e-5, 1e-3))
    except Exception:  # a module that insists on its own precision
        off = _least_off(module, x, logits, (1e-2, 1e-1))
    if not off <= TOLERANCE:
        raise FramiError(
            f"torch computes a wrong gradient through this module: along random directions it is off by {off:.0%} of "
            "the slope between two inputs. Some of its operations are not differentiable, or work on a layout for "
            "which torch's gradient is at fault; try .contiguous() behind its transposes and permutations"
        )


def _least_off(module: nn.Module, x: Tensor, logits, steps: tuple[float, ...]) -> float:
    """What ``_off`` gives for the first of these steps that is within the tolerance, else the least."""
    found = []
    for step in steps:
        found.append(_off(module, x, logits, step))
        if found[-1] <= TOLERANCE:
            break
    return min(found)


def _off(module: nn.Module, x: Tensor, logits, step: float) -> float:
    """Median difference between gradient and slope along random directions, as a share of the largest slope."""
    pairs = _slopes(module, x, logits, step, torch.Generator().manual_seed(1))
    wrong = sorted(abs(found - true) for found, true in pairs)[len(pairs) // 2]
    size = max(abs(true) for _, true in pairs)
    return wrong / size if size else wrong


def _slopes(module, x, logits, step: float, rng: torch.Generator) -> list[tuple[float, float]]:
    """Slope of a random mixture of the logits along random directions: by autograd, and by central differences."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        answer = logits(module, x)
        mixture = torch.randn(answer.shape, generator=rng).to(answer)
        (slope,) = torch.autograd.grad((answer * mixture).sum(), x)
    found = []
    for _ in range(DIRECTIONS):
        along = torch.randn(x.shape, generator=rng).to(x)
        with torch.no_grad():
            ahead, behind = ((logits(module, x + sign * step * along) * mixture).sum() for sign in (1, -1))
        found.append((float((slope * along).sum()), float(ahead - behind) / (2 * step)))
    return found


def _line(error: Exception) -> str:
    """An error of torch in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__
