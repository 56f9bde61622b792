"""What a module answers with, and how logits come out of it: a tensor, or one in a tuple, dict or object; logits
themselves, or what a softmax, log-softmax or sigmoid made of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frami.errors import FramiError

#: Functions from logits to what a module may return.
SCALES = {
    "logits": lambda z: z,
    "softmax": lambda z: z.softmax(1),
    "log-softmax": lambda z: z.log_softmax(1),
    "sigmoid": torch.sigmoid,
}
#: Least probability that is told from zero.
_LEAST = 1e-7


@dataclass(frozen=True)
class Output:
    """Where the answer lies, and on which scale.

    ``name`` : key of a dict, attribute of an object or index in a tuple; empty where the tensor is returned itself;
    ``scale`` : a name of ``SCALES``; ``linear`` : whether the last linear layer gives the logits before that scale, so
    that they need not be computed back.
    """

    name: str = ""
    scale: str = "logits"
    linear: bool = True

    def answer(self, returned: Any) -> Tensor:
        """The tensor of this name, as it was returned."""
        return dict(tensors(returned))[self.name]

    def logits(self, returned: Any, linear: Tensor) -> Tensor:
        """Logits Tensor[B, K]; ``linear`` : what the last linear layer gave."""
        answer = self.answer(returned)
        if self.linear:
            return linear.to(answer.dtype)
        if self.scale == "sigmoid":
            return answer.clamp(_LEAST, 1 - _LEAST).logit()
        return answer.clamp(min=_LEAST).log() if self.scale == "softmax" else answer


def tensors(returned: Any) -> Iterator[tuple[str, Tensor]]:
    """Tensors in what a module returns, with their names."""
    if isinstance(returned, Tensor):
        yield "", returned
    elif isinstance(returned, Mapping):
        yield from ((str(key), value) for key, value in returned.items() if isinstance(value, Tensor))
    elif isinstance(returned, tuple | list):
        names = getattr(returned, "_fields", range(len(returned)))
        yield from ((str(k), value) for k, value in zip(names, returned, strict=True) if isinstance(value, Tensor))
    elif hasattr(returned, "__dict__"):
        yield from ((key, value) for key, value in vars(returned).items() if isinstance(value, Tensor))


def find(returned: Any, linear: Tensor, name: str | None, scale: str | None) -> Output:
    """The output that holds an answer for each class. Raises FramiError with what there is instead.

    linear : Tensor[B, K], what the last linear layer that gives K numbers gave in the same call; name, scale : given by
    the user, or None.
    """
    if scale is not None and scale not in SCALES:
        raise FramiError(f"scale is one of {', '.join(SCALES)}, not '{scale}'")
    there = dict(tensors(returned))
    fitting = {key: value for key, value in there.items() if value.shape == linear.shape and value.is_floating_point()}
    listed = ", ".join(f"{key or 'itself'} Tensor{list(value.shape)}" for key, value in there.items()) or "no tensor"
    clips, classes = linear.shape
    if name is not None and name not in fitting:
        raise FramiError(
            f"output '{name}' is no Tensor[{clips}, {classes}] of {clips} clips and {classes} classes; this module "
            f"returns: {listed}"
        )
    if not fitting:
        raise FramiError(
            f"this module returns no logits of {classes} classes, Tensor[{clips}, {classes}] for {clips} clips, but a "
            f"{type(returned).__name__}: {listed}; are its classes all named?"
        )
    found = {key: _scaled(value, linear, scale) for key, value in fitting.items() if name in (None, key)}
    best = [key for key, (_, exact) in found.items() if exact] or list(found)
    named = [key for key in best if "logit" in key] or [key for key in best if found[key][0] == "logits"] or best
    if len(named) > 1 and not all(torch.equal(fitting[named[0]], fitting[key]) for key in named[1:]):
        raise FramiError(
            f"this module returns several answers for {classes} classes; name one by output=: {', '.join(named)}"
        )
    return Output(named[0], *found[named[0]])


def _scaled(answer: Tensor, linear: Tensor, scale: str | None) -> tuple[str, bool]:
    """Scale of an answer, and whether it is that of the linear layer's logits."""
    answer, linear = (x.detach().cpu().double() for x in (answer, linear))  # an Apple GPU has no float64
    for name in [scale] if scale else SCALES:
        if torch.allclose(SCALES[name](linear), answer, rtol=1e-3, atol=1e-5):
            return name, True
    return scale or _guessed(answer), False


def _guessed(answer: Tensor) -> str:
    """What the numbers of an answer look like."""
    if (answer <= 1e-6).all() and answer.logsumexp(1).abs().max() < 1e-3:
        return "log-softmax"
    if (answer >= 0).all() and (answer <= 1).all():
        sums = answer.sum(1)
        return "softmax" if answer.shape[1] > 1 and (sums - 1).abs().max() < 1e-3 else "sigmoid"
    return "logits"
