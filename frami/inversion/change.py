"""What must change in a sound until a network hears another class: an inversion that starts at the sound's own
spectrogram and stays as near to it as it can."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from frami import answers
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.inversion.bn_statistics import recorded
from frami.inversion.losses import batch_norm_loss, class_loss
from frami.inversion.teacher import frozen_copy

#: Optimisation steps, and Adam's rate, in the front-end's unit (1: a factor of e in loudness).
STEPS, RATE = 120, 0.1
#: Probability at which the class counts as heard, and from which on only the nearness is improved.
HEARD, CERTAINTY = 0.8, 0.9
#: Steps after which it ends where the change became smaller by less than this share in them.
PATIENCE, LEAST = 25, 0.03
#: Weights: of the mean change, of its roughness, and of statistics in the network's layers that fit the training data
#: worse than the sound itself.
NEAR, ROUGH, NATURAL = 1.0, 0.3, 0.06
#: Bands and frames that change together: single points would be changed past hearing.
GRAIN = (2, 2)
#: Decibels from which on a point counts as changed.
CHANGED = 3.0
#: Frames of a sound at most: a network's memory and time go with them.
LONGEST = 1_500


@dataclass(frozen=True)
class Change:
    """The state of a change: ``before``, ``after`` log-Mels Tensor[F, T]; ``start``, ``confidence`` : the probability
    of the class then and now; ``predicted`` : class index now; ``decibels`` : mean change of all points; ``share`` : of
    the bands that change by 3 dB or more at some time; ``heard`` : whether the network hears the class; ``step`` of
    ``steps``, after ``seconds``; ``finished`` : it will not change any more."""

    before: Tensor
    after: Tensor
    target: int
    start: float
    confidence: float
    predicted: int
    decibels: float
    share: float
    heard: bool
    step: int
    steps: int
    seconds: float
    finished: bool = False

    @property
    def difference(self) -> Tensor:
        """After minus before, Tensor[F, T]."""
        return self.after - self.before


def change(
    teacher: Checkpoint, mel: Tensor, target: int, *, steps: int = STEPS, near: float = NEAR, every: int = 5
) -> Iterator[Change]:
    """Change a spectrogram until ``teacher`` hears a class, as little as that takes.

    mel : log-Mel Tensor[F, T] of a sound; target : class index; near : weight of the nearness, the greater the less
    changes. Yields a ``Change`` every ``every`` steps, the last one ``finished``: the nearest in which the class is
    heard, or, where it is in none, the one that comes closest to it. FramiError where that cannot be done.
    """
    classes = len(teacher.classes)
    if not 0 <= target < classes:
        raise FramiError(f"no class {target}: this teacher knows {classes}")
    if mel.dim() != 2 or not 1 <= mel.shape[1] <= LONGEST:
        seconds = LONGEST * teacher.spec.hop_length / teacher.spec.sample_rate
        raise FramiError(f"the sound is too long to be changed: at most {seconds:.0f} s")
    if steps < 1 or not 0 <= near < math.inf:
        raise FramiError("steps are at least 1, and the weight of the nearness is 0 or more")
    takes = getattr(getattr(teacher.model, "config", None), "takes", None)
    if takes is not None and takes.clips > 1:
        raise FramiError("this teacher takes several clips at once only; export it with a free number of clips")
    return _changes(teacher, mel.float(), target, steps, near, every)


def _changes(teacher: Checkpoint, mel: Tensor, target: int, steps: int, near: float, every: int) -> Iterator[Change]:
    began, spec, model = time.perf_counter(), teacher.spec, frozen_copy(teacher.model)
    start = mel.to(teacher.device)[None, None].clamp(spec.floor, spec.ceiling)
    label = torch.tensor([target], device=start.device)
    grid = [-(-size // grain) for size, grain in zip(start.shape[2:], GRAIN, strict=True)]
    coarse = torch.zeros(1, 1, *grid, device=start.device, requires_grad=True)
    optimiser = torch.optim.Adam([coarse], RATE * spec.unit, betas=(0.8, 0.99))
    best: Change | None = None
    usual: Tensor | None = None
    first, mark = 0.0, ()
    for step in range(steps + 1):
        with torch.enable_grad(), recorded(model, clips=1) as inputs:
            moved = F.interpolate(coarse, size=start.shape[2:], mode="bilinear", align_corners=False)
            x = (start + moved).clamp(spec.floor, spec.ceiling)
            try:
                logits = model(x).logits.float()
            except RuntimeError as error:
                raise FramiError(f"this teacher cannot be asked for such a change ({error})") from error
            away = (x - start).abs() / spec.unit
            loss = class_loss(logits, label, CERTAINTY, multilabel=teacher.multilabel) + near * away.mean()
            smooth = sum(moved.diff(dim=dim).abs().mean() for dim in (2, 3) if moved.shape[dim] > 1)
            loss = loss + ROUGH * near * smooth / spec.unit
            if inputs:
                apart = batch_norm_loss(inputs, relative=True)
                usual = apart.detach() if usual is None else usual
                loss = loss + NATURAL * (apart - usual).clamp(min=0)
        probabilities = answers.probabilities(logits.detach(), teacher.multilabel)[0].cpu()
        first = float(probabilities[target]) if step == 0 else first
        now = _state(
            spec, start, x, target, first, probabilities, answers.heard(logits.detach(), label, teacher.multilabel),
            step, steps, began,
        )  # fmt: skip
        best = now if best is None or _better(now, best) else best
        if best.heard and (not mark or best.decibels < (1 - LEAST) * mark[1]):
            mark = (step, best.decibels)
        if mark and step - mark[0] >= PATIENCE:
            break
        if step < steps:
            if step % every == 0:
                yield now
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    yield Change(**vars(best) | {"step": step, "finished": True, "seconds": time.perf_counter() - began})


def _better(one: Change, other: Change) -> bool:
    """Whether a state is the better end: the class is heard with less change, or else is likelier."""
    if one.heard != other.heard:
        return one.heard
    return one.decibels < other.decibels if one.heard else one.confidence > other.confidence


def _state(spec, start, x, target, first, probabilities, predicted, step, steps, began) -> Change:
    before, after = (one.detach()[0, 0].cpu() for one in (start, x))
    apart = (after - before).abs() / spec.unit * 20 / math.log(10)
    predicted, confidence = int(predicted), float(probabilities[target])
    return Change(
        before=before, after=after, target=target, start=first, confidence=confidence, predicted=predicted,
        decibels=float(apart.mean()), share=float((apart.amax(1) >= CHANGED).float().mean()),
        heard=predicted == target and confidence >= HEARD, step=step, steps=steps,
        seconds=time.perf_counter() - began,
    )  # fmt: skip
