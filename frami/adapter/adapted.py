"""A plain module as a network that returns ``Features``."""

import copy
import threading

import torch
from torch import Tensor, nn

from frami.models import Features
from frami.program.inputs import Input
from frami.program.outputs import Output


class Adapted(nn.Module):
    """A plain module that returns ``Features``: its logits, and what hooks record on the way.

    ``frames`` and ``classifier`` : names of the submodules whose output are the frame-level features and whose input is
    the embedding.
    """

    def __init__(
        self,
        module: nn.Module,
        frames: str,
        classifier: str,
        takes: Input = Input(),  # noqa: B008 (frozen)
        output: Output = Output(),  # noqa: B008 (frozen)
    ):
        super().__init__()
        self.module, self.takes, self.output = module, takes, output
        self._seen: dict[int, dict[str, Tensor]] = {}  # by thread
        # Bound methods: in a deep copy they belong to the copy.
        module.get_submodule(frames).register_forward_hook(self._record_frames)
        module.get_submodule(classifier).register_forward_pre_hook(self._record_pooled)
        module.get_submodule(classifier).register_forward_hook(self._record_linear)

    @property
    def longest(self) -> int | None:
        """Frames of the longest clip that it hears to its end; None: any."""
        return self.takes.longest

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """x : Tensor[B, 1, F, T]; lengths : Tensor[B] or None (all T).

        A plain module knows no lengths: behind its end a clip begins again, so that no silence is added to it. So does
        one that is shorter than the module takes; of a longer one it hears the beginning.
        """
        clips, frames = len(x), x.shape[-1]
        taken = min(max(frames, self.takes.shortest), self.takes.longest or max(frames, self.takes.shortest))
        if lengths is not None or taken != frames:
            lengths = torch.full((clips,), frames, device=x.device) if lengths is None else lengths
            at = torch.arange(taken, device=x.device) % lengths[:, None]
            x = x.gather(3, at[:, None, None].expand(-1, *x.shape[1:3], -1))
        if clips < self.takes.clips:
            x = x.repeat(-(-self.takes.clips // clips), 1, 1, 1)
        seen = self._seen[threading.get_ident()] = {}
        try:
            returned = self.module(self.takes.given(x))
        finally:
            del self._seen[threading.get_ident()]
        outputs = seen["frames"] if seen["frames"].dim() == 4 else seen["frames"].unsqueeze(2)
        logits = self.output.logits(returned, seen["linear"])
        whole = outputs.shape[-1]
        outputs = outputs[..., : -(-whole * min(frames, taken) // taken)]  # of what was there, not of what was repeated
        if lengths is None:
            lengths = torch.full((clips,), frames, device=x.device)
        lengths = (lengths.clamp(max=taken) * whole + taken - 1) // taken
        return Features(outputs[:clips], seen["pooled"][:clips], logits[:clips], lengths)

    def _record_frames(self, _module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        seen = self._seen.get(threading.get_ident(), {})
        # A module that is called again (one ReLU for all) may put out something else after the pooling.
        if isinstance(output, Tensor) and output.dim() >= max(3, seen.get("frames", output).dim()):
            seen["frames"] = output

    def _record_pooled(self, _module: nn.Module, inputs: tuple) -> None:
        self._seen.get(threading.get_ident(), {})["pooled"] = inputs[0]

    def _record_linear(self, _module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        self._seen.get(threading.get_ident(), {})["linear"] = output

    def __deepcopy__(self, memo: dict) -> "Adapted":
        """A copy, also of a module that keeps a tensor of its last pass, which torch refuses to copy."""
        for part in self.modules():
            for value in _kept(vars(part)):
                if not value.is_leaf:
                    memo[id(value)] = value.detach()
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin


def _kept(value) -> list[Tensor]:
    """Tensors in an attribute, however deep in lists and dicts."""
    if isinstance(value, Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for one in inner for tensor in _kept(one)]


class AdaptedParts(Adapted):
    """An adapted module whose ``pooling`` is known as well, so that students can reuse it: see ``models.Teacher``."""

    def __init__(
        self, module: nn.Module, frames: str, classifier: str, takes: Input, output: Output, pooling: nn.Module
    ):
        last = copy.deepcopy(module.get_submodule(classifier))  # without the hooks
        super().__init__(module, frames, classifier, takes, output)
        self.pooling, self.classifier = pooling, last

    def head(self, frames: Tensor, lengths: Tensor) -> Features:
        pooled = self.pooling(frames, lengths)
        return Features(frames, pooled, self.classifier(pooled), lengths)
