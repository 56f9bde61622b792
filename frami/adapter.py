"""Any teacher: a plain classifier of Mel-spectrograms as a ``Checkpoint`` that can be inverted and distilled.

A module needs nothing but logits and a last ``nn.Linear``. With batch norm, made clips are also held to the statistics
of its training data; without, an inversion works with the terms that remain, and reports it. With its ``pooling``
given, its students can reuse that and its last layer.

>>> from torch import nn
>>> from frami.adapter import adapt
>>> from frami.audio import MelSpec
>>> from frami.inversion import make_clips
>>> module = nn.Sequential(
...     nn.Conv2d(1, 16, 3, stride=2), nn.BatchNorm2d(16), nn.ReLU(),
...     nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2),
... )
>>> teacher = adapt(module, MelSpec(n_mels=64), ["rain", "wind"])
>>> teacher.card.model["frames"], teacher.card.model["classifier"]
('2', '5')
>>> clips = make_clips(teacher, samples=4, seconds=0.5, steps=2)
>>> clips.mels.shape
torch.Size([4, 1, 64, 43])
"""

import copy
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from frami.audio import MelSpec
from frami.checkpoints import Card, Checkpoint
from frami.cost import parameters
from frami.errors import FramiError
from frami.models import Features


class Adapted(nn.Module):
    """A plain module that returns ``Features``: its logits, and what hooks record on the way.

    ``frames`` and ``classifier`` : names of the submodules whose output are the frame-level features and whose input is
    the embedding; ``channel`` : whether the module takes Tensor[B, 1, F, T], else Tensor[B, F, T].
    """

    def __init__(self, module: nn.Module, frames: str, classifier: str, channel: bool = True):
        super().__init__()
        self.module, self.channel = module, channel
        self._seen: dict[int, dict[str, Tensor]] = {}  # by thread
        # Bound methods: in a deep copy they belong to the copy.
        module.get_submodule(frames).register_forward_hook(self._record_frames)
        module.get_submodule(classifier).register_forward_pre_hook(self._record_pooled)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """x : Tensor[B, 1, F, T]; lengths : Tensor[B] or None (all T).

        A plain module knows no lengths: behind its end a clip begins again, so that no silence is added to it.
        """
        frames = x.shape[-1]
        if lengths is None:
            lengths = torch.full((len(x),), frames, device=x.device)
        else:
            at = torch.arange(frames, device=x.device) % lengths[:, None]
            x = x.gather(3, at[:, None, None].expand_as(x))
        seen = self._seen[threading.get_ident()] = {}
        try:
            logits = self.module(x if self.channel else x[:, 0])
        finally:
            del self._seen[threading.get_ident()]
        outputs = seen["frames"] if seen["frames"].dim() == 4 else seen["frames"].unsqueeze(2)
        lengths = (lengths * outputs.shape[-1] + frames - 1) // frames
        return Features(outputs, seen["pooled"], logits, lengths)

    def _record_frames(self, _module: nn.Module, _inputs: tuple, output: Tensor) -> None:
        seen = self._seen.get(threading.get_ident(), {})
        # A module that is called again (one ReLU for all) may put out something else after the pooling.
        if isinstance(output, Tensor) and output.dim() >= max(3, seen.get("frames", output).dim()):
            seen["frames"] = output

    def _record_pooled(self, _module: nn.Module, inputs: tuple) -> None:
        self._seen.get(threading.get_ident(), {})["pooled"] = inputs[0]


class AdaptedParts(Adapted):
    """An adapted module whose ``pooling`` is known as well, so that students can reuse it: see ``models.Teacher``."""

    def __init__(self, module: nn.Module, frames: str, classifier: str, channel: bool, pooling: nn.Module):
        last = copy.deepcopy(module.get_submodule(classifier))  # without the hooks
        super().__init__(module, frames, classifier, channel)
        self.pooling, self.classifier = pooling, last

    def head(self, frames: Tensor, lengths: Tensor) -> Features:
        pooled = self.pooling(frames, lengths)
        return Features(frames, pooled, self.classifier(pooled), lengths)


def adapt(
    module: nn.Module,
    spec: MelSpec,
    classes: Sequence[str],
    *,
    frames: str | None = None,
    classifier: str | None = None,
    pooling: nn.Module | None = None,
    name: str = "adapted",
    seconds: float = 1.0,
    channel: bool = True,
) -> Checkpoint:
    """A teacher from a plain classifier. A copy is used: the module stays as it is.

    module : takes the log-Mels of ``spec``, Tensor[B, 1, F, T] (Tensor[B, F, T] with ``channel=False``), and returns
    the logits Tensor[B, K] of the K ``classes``
    frames : name of the submodule whose output, Tensor[B, C, F', T'] or Tensor[B, C, T'], are the frame-level features;
    default: the last one of four axes that still has several frames, else of three
    classifier : name of the ``nn.Linear`` whose input, Tensor[B, D], is the embedding; default: the last that gives K
    numbers
    pooling : what the module computes between these two, as ``pooling(frames, lengths)``; frames as Tensor[B, C, F',
    T'], lengths Tensor[B] of those that are valid. Needed where a student reuses it
    seconds : usual duration of its training clips, which is also what it is tried with

    Raises FramiError where something does not fit.
    """
    try:
        module = copy.deepcopy(module).eval().requires_grad_(False)
    except RuntimeError as error:
        raise FramiError(f"this module cannot be copied ({error})") from error
    shape = (2, 1, spec.n_mels, spec.frames(seconds)) if channel else (2, spec.n_mels, spec.frames(seconds))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)) - 5
    noise = noise.to(next(module.parameters(), noise).device)
    calls = _calls(module, noise, len(classes))
    linears = [
        (name, i)
        for i, (name, kind, before, after) in enumerate(calls)
        if issubclass(kind, nn.Linear) and len(before) == 2 and after == (2, len(classes))
    ]
    classifier, end = _chosen("classifier", classifier, linears, f"nn.Linear that gives {len(classes)} numbers a clip")
    outputs = [(name, after) for name, _, _, after in calls[:end] if len(after) in (3, 4) and after[0] == 2]
    outputs.sort(key=lambda output: (output[1][-1] > 1, len(output[1])))
    frames, _ = _chosen("frames", frames, outputs, "submodule that puts out features Tensor[B, C, F', T']")
    parts = {"adapted": type(module).__name__, "frames": frames, "classifier": classifier}
    card = Card(
        name=name, kind="teacher", dataset="", title=name, classes=tuple(classes), mel_spec=spec.to_dict(), model=parts,
        parameters=parameters(module), split={}, accuracy=None, clips=0, licence="unknown", data_licence="unknown",
        seconds=seconds,
    )  # fmt: skip
    if pooling is None:
        return Checkpoint(Adapted(module, frames, classifier, channel).eval(), card, spec)
    pooling = copy.deepcopy(pooling).requires_grad_(False)
    model = AdaptedParts(module, frames, classifier, channel, pooling).eval()
    try:
        with torch.no_grad():
            out = model(noise if channel else noise[:, None])
            wrong = float((model.head(out.frames, out.lengths).logits - out.logits).abs().max())
    except Exception as error:
        raise FramiError(f"this pooling does not take the frames of '{frames}': {error}") from error
    if not wrong <= 1e-3:
        raise FramiError(f"this pooling is not the module's own: its logits differ by {wrong:.1e}")
    return Checkpoint(model, card, spec)


def _calls(module: nn.Module, noise: Tensor, classes: int) -> list[tuple[str, type, tuple, tuple]]:
    """Name, type, shape of the input and of the output of each submodule that makes one tensor of another, in the order
    of the calls for this input. Raises FramiError when the result are no logits."""
    calls = []

    def note(name: str, part: nn.Module, inputs: tuple, output: Tensor) -> None:
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            calls.append((name, type(part), tuple(inputs[0].shape), tuple(output.shape)))

    parts = [(name, part) for name, part in module.named_modules() if name]
    handles = [part.register_forward_hook(partial(note, name)) for name, part in parts]
    try:
        with torch.enable_grad():
            logits = module(noise.clone().requires_grad_())
    except Exception as error:
        raise FramiError(f"this module does not take log-Mels Tensor{list(noise.shape)}: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(logits, Tensor):
        raise FramiError(
            f"this module returns a {type(logits).__name__}, not a Tensor of logits; wrap it in one that does"
        )
    if logits.shape != (2, classes):
        raise FramiError(f"this module returns Tensor{list(logits.shape)} for 2 clips, not logits of {classes} classes")
    if not logits.requires_grad:
        raise FramiError("no gradient flows through this module: it cannot be inverted")
    if classes > 1 and (logits >= 0).all() and torch.allclose(logits.sum(1), torch.ones_like(logits[:, 0]), atol=1e-3):
        raise FramiError("this module returns probabilities; give it without its softmax, so that it returns logits")
    return calls


def _chosen(what: str, name: str | None, there: list[tuple[str, Any]], meant: str) -> tuple[str, Any]:
    """The entry of this name, or the last of all."""
    names = ", ".join(dict(there)) or "none"
    if not there or name not in {None, *dict(there)}:
        raise FramiError(f"{what} is the name of a {meant}, not {name!r}; in this module: {names}")
    return there[-1] if name is None else (name, dict(there)[name])
