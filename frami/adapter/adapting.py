"""``adapt``: a plain classifier of Mel-spectrograms becomes a teacher."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from frami import answers
from frami.adapter import trial
from frami.adapter.adapted import Adapted, AdaptedParts
from frami.adapter.trial import Trial
from frami.audio import MelSpec
from frami.checkpoints import Card, Checkpoint
from frami.cost import parameters
from frami.errors import FramiError
from frami.program import outputs
from frami.program.inputs import Input
from frami.program.norms import spell_out


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
    time_first: bool = False,
    output: str | None = None,
    scale: str | None = None,
    multilabel: bool | None = None,
) -> Checkpoint:
    """A teacher from a plain classifier. A copy is used: the module stays as it is.

    module : takes the log-Mels of ``spec``, Tensor[B, 1, F, T] (Tensor[B, F, T] with ``channel=False``; with
    ``time_first`` the last two axes the other way round), and returns an answer for each of the K ``classes``,
    Tensor[B, K]: by itself, or in a tuple, a dict or an object
    frames : name of the submodule whose output, Tensor[B, C, F', T'] or Tensor[B, C, T'], are the frame-level features;
    default: the last one of four axes that still has several frames, else of three, outside of what pools them
    classifier : name of the ``nn.Linear`` whose input, Tensor[B, D], is the embedding; default: the last that gives K
    numbers
    pooling : what the module computes between these two, as ``pooling(frames, lengths)``; frames as Tensor[B, C, F',
    T'], lengths Tensor[B] of those that are valid. Needed where a student reuses it
    seconds : usual duration of its training clips, which is also what it is tried with; shorter clips than it takes are
    repeated, and where it takes no longer ones, none are made
    output : key, attribute or index of the answer, where the module returns several; default: its logits
    scale : of the answer, a name of ``outputs.SCALES``: ``logits``, ``softmax``, ``log-softmax`` or ``sigmoid``;
    default: what it looks like. Whatever it is, the teacher gives logits
    multilabel : whether several classes may sound at once; default: where it answers with sigmoids, or has as many
    classes as AudioSet

    Raises FramiError where something does not fit, among others where a weight is no number, or where torch computes a
    wrong gradient.
    """
    try:
        module = copy.deepcopy(module).eval().requires_grad_(False)
    except Exception as error:
        raise FramiError(
            f"this module cannot be copied ({error}); it may hold an open file, a lock or a tensor of its last pass: "
            "build it anew, load its state dict and give it as it is then"
        ) from error
    trial.check_numbers(module)
    spell_out(module)
    takes = Input(channel, time_first)
    noise = trial.noise(module, 2, spec, seconds)
    tried = trial.run(module, noise, takes)
    classifier, frames, found = _found(tried, len(classes), classifier, frames, output, scale)
    takes = trial.limits(module, noise, takes, found.answer, len(classes))
    if pooling is None:
        model = Adapted(module, frames, classifier, takes, found).eval()
    else:
        pooling = copy.deepcopy(pooling).requires_grad_(False)
        model = AdaptedParts(module, frames, classifier, takes, found, pooling).eval()
        _check_pooling(model, noise, frames)
    trial.check_gradient(model, noise, lambda model, x: model(x).logits)
    parts = {"adapted": type(module).__name__, "frames": frames, "classifier": classifier}
    parts |= {"output": found.name} if found.name else {}
    parts |= {"scale": found.scale} if found.scale != "logits" else {}
    card = Card(
        name=name, kind="teacher", dataset="", title=name, classes=tuple(classes), mel_spec=spec.to_dict(), model=parts,
        parameters=parameters(module), split={}, accuracy=None, clips=0, licence="unknown", data_licence="unknown",
        seconds=seconds,
        multilabel=answers.several(found.scale, len(classes)) if multilabel is None else multilabel,
    )  # fmt: skip
    return Checkpoint(model, card, spec)


def _found(
    tried: Trial, classes: int, classifier: str | None, frames: str | None, output: str | None, scale: str | None
) -> tuple[str, str, outputs.Output]:
    """Names of the classifier and of the frame-level features, and what the answer is. FramiError where one is none."""
    calls = tried.calls
    linears = [
        (call.name, i)
        for i, call in enumerate(calls)
        if issubclass(call.kind, nn.Linear) and len(call.before) == 2 and call.after == (2, classes)
    ]
    answers = {key: list(value.shape) for key, value in outputs.tensors(tried.returned)}
    if not linears and [2, classes] not in answers.values():
        outputs.find(tried.returned, torch.empty(2, classes), output, scale)  # says what is returned instead
    classifier, end = _chosen("classifier", classifier, linears, f"nn.Linear that gives {classes} numbers a clip")
    found = outputs.find(tried.returned, calls[end].output, output, scale)
    answer = found.answer(tried.returned)
    if not answer.requires_grad:
        raise FramiError("no gradient flows through this module: it cannot be inverted")
    if not answer.isfinite().all():
        raise FramiError("this module answers noise with NaN or infinite numbers; load its weights anew")
    states = [call for call in calls[:end] if len(call.after) in (3, 4) and call.after[0] == 2]
    inside = tuple(f"{pooling}." for pooling in tried.poolings)  # attention has frames of its own
    shapes = [(call.name, call.after) for call in states if call.name == frames or not call.name.startswith(inside)]
    shapes.sort(key=lambda state: (state[1][-1] > 1, len(state[1])))
    frames, _ = _chosen("frames", frames, shapes, "submodule that puts out features Tensor[B, C, F', T']")
    return classifier, frames, found


def _check_pooling(model: AdaptedParts, noise: Tensor, frames: str) -> None:
    """FramiError where the pooling is not the module's own."""
    try:
        with torch.no_grad():
            out = model(noise)
            wrong = float((model.head(out.frames, out.lengths).logits - out.logits).abs().max())
    except Exception as error:
        raise FramiError(f"this pooling does not take the frames of '{frames}': {error}") from error
    if not wrong <= 1e-3:
        raise FramiError(f"this pooling is not the module's own: its logits differ by {wrong:.1e}")


def _chosen(what: str, name: str | None, there: list[tuple[str, Any]], meant: str) -> tuple[str, Any]:
    """The entry of this name, or the last of all."""
    names = ", ".join(dict(there)) or "none"
    if not there or name not in {None, *dict(there)}:
        raise FramiError(f"{what} is the name of a {meant}, not {name!r}; in this module: {names}")
    return there[-1] if name is None else (name, dict(there)[name])
