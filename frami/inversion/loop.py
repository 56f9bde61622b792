"""The one loop that all inversion recipes run through."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from frami import answers
from frami.checkpoints import Checkpoint
from frami.cost import macs
from frami.errors import FramiError
from frami.inversion.clips import Clips, Progress, Trajectory
from frami.inversion.feature_bank import FeatureBank
from frami.inversion.recipes import RECIPES, TERMS, Recipe
from frami.inversion.settings import InversionSettings, check_least
from frami.inversion.state import Work, feature_size, new_generator, new_work, usable
from frami.inversion.step import result, stepper
from frami.inversion.teacher import TeacherCopy
from frami.optim import set_rate

#: Share of a finished batch that its teacher has to recognise; below it the run says so.
RECOGNISED = 0.5
UNRECOGNISED = (
    "fewer than half of a batch are recognised by the teacher as the class that they were made for; where another "
    "recipe and more steps do no better, look at the teacher: its front-end, the order of its classes, the scale of "
    "its answers"
)


def invert(
    teacher: Checkpoint,
    settings: InversionSettings | Recipe | str = "frami-fine",
    *,
    student: nn.Module | None = None,
    feature_bank: FeatureBank | None = None,
    every: int = 5,
    first: int = 0,
    end: int | None = None,
    stride: int = 1,
    memory: dict | None = None,
    **choices,
) -> Iterator[Progress]:
    """Make clips that ``teacher`` classifies as the target classes, batch after batch.

    ``settings`` : an ``InversionSettings``, or a recipe; then ``choices`` are the keywords of ``InversionSettings.of``:
    ``invert(teacher, "cmi", samples=16, seconds=(0.5, 1.5))``. ``student`` : any module that returns ``Features``; it
    switches the adversarial term on, and gathers no gradients. ``feature_bank`` : earlier clips to contrast with.

    Yields a ``Progress`` every ``every`` steps and, with ``finished``, at the end of each batch; stop by not asking for
    the next. The same seed gives the same clips on one device (on a GPU up to the order of its sums). To go on with an
    interrupted run, give the number of its next batch as ``first`` and what ``Progress.memory`` returned after the
    last of them as ``memory``. Without a memory the batches from ``first`` up to but without ``end`` are a chain of
    their own: what outlasts a batch begins anew there, with weights of its own. ``stride`` : make only every
    so many-th batch, from ``first`` on; chains that begin from one memory and make different batches make one set.

    Raises FramiError when an argument is out of range or nothing would be learnt, at the call.
    """
    if isinstance(settings, InversionSettings):
        if choices:
            raise TypeError(f"{', '.join(choices)}: part of the settings, which are given already")
        if settings.teacher_sha256 not in (None, teacher.card.sha256):
            raise FramiError(f"these settings are for other weights than those of '{teacher.card.name}'")
    else:
        settings = InversionSettings.of(teacher, settings, **choices)
    check_least(1, every=every, stride=stride)
    check_least(0, first=first)
    batches = -(-settings.samples // settings.batch)
    end = batches if end is None else min(end, batches)
    recipe, copy = settings.recipe, TeacherCopy(teacher, settings.seconds)
    _check_terms(recipe, copy, student)
    _check_batch(settings, copy.batch if copy.norms else None)  # without norms, piece by piece
    notes = []
    if recipe.weights.get("batch_norm") and not copy.norms:
        notes.append(
            "this teacher has no batch norm: nothing tells how its training data sounded; expect little of students"
        )
    if recipe.labels == "own" and len(settings.classes) < copy.classes:
        notes.append(f"'{recipe.name}' cannot be given target classes: it makes what it makes, in whatever balance")
    if feature_bank is None:
        feature_bank = FeatureBank(recipe.feature_bank)
    elif len(feature_bank) and feature_bank.rows().shape[1] != feature_size(recipe, copy):
        raise FramiError("this feature bank holds features of another teacher or recipe; give each its own")
    return _Run(settings, copy, student, feature_bank, every, first, end, stride, tuple(notes)).states(memory)


def check(teacher: Checkpoint, settings: InversionSettings) -> None:
    """FramiError where these settings teach nothing by themselves: no term of their loss can be used with this teacher
    and without a student. What writes the clips asks before it begins."""
    _check_terms(settings.recipe, TeacherCopy(teacher, settings.seconds), None)


def _check_terms(recipe: Recipe, teacher: TeacherCopy, student: nn.Module | None) -> None:
    if not usable(recipe, teacher, student):
        raise FramiError(f"nothing would be learnt: no loss term of '{recipe.name}' can be used here; raise a weight")


def _check_batch(settings: InversionSettings, fixed: int | None) -> None:
    """FramiError where a teacher of a ``fixed`` number of clips at once would get others."""
    if fixed is None:
        return
    free = f"this teacher was exported for {fixed} clips at once; export it with a free number of clips, or"
    if settings.batch != fixed or settings.samples % fixed:
        raise FramiError(f"{free} make as many at once (--batch {fixed}; of a distillation --clips) and none beside")
    if settings.recipe.contrast == "view" and settings.recipe.weights.get("contrast"):
        raise FramiError(f"{free} choose a recipe that does not show it two views at once: frami, for example")


def make_clips(
    teacher: Checkpoint,
    settings: InversionSettings | Recipe | str = "frami-fine",
    *,
    report: Callable[[int, int], None] | None = None,
    **choices,
) -> Clips:
    """``invert`` to its end: all finished clips at once; ``report(done, total)`` counts steps."""
    parts = []
    for state in invert(teacher, settings, every=20 if report else 10**9, **choices):
        if report:
            report(state.done, state.total)
        if state.finished:
            parts.append(state.clips)
    return Clips.join(parts)


def arithmetic(teacher: Checkpoint, seconds: float) -> dict[str, int]:
    """Multiply-accumulates of one forward pass for one clip of this duration: ``{"teacher", "generator"}``."""
    spec, frames, device = teacher.spec, teacher.spec.frames(seconds), teacher.device
    generator = new_generator(RECIPES["frami"], spec, None, 0).to(device)
    latents = generator.noise(1, frames, torch.Generator()).to(device)
    silence = torch.full((1, 1, spec.n_mels, frames), spec.floor, device=device)
    return {"teacher": macs(teacher.model, silence), "generator": macs(generator, latents, frames)}


@dataclass
class _Run:
    """A run, and where it stands. ``number`` : of the batch at work; those below ``first`` are the ``warmup`` batches,
    which are discarded, and those from ``end`` on are not its own, nor those that ``stride`` leaves out; ``step`` : of
    this batch; ``done`` : steps of the whole run since ``began``; ``warm`` : seconds of the warm-up."""

    settings: InversionSettings
    teacher: TeacherCopy
    student: nn.Module | None
    feature_bank: FeatureBank
    every: int
    first: int
    end: int
    stride: int
    notes: tuple[str, ...]
    warmup: int = 0
    number: int = 0
    step: int = 0
    done: int = 0
    began: float = 0.0
    warm: float = 0.0

    @property
    def batches(self) -> int:
        return -(-self.settings.samples // self.settings.batch)

    @property
    def _own(self) -> range:
        """Numbers of the batches of this run."""
        return range(self.first, self.end, self.stride)

    @property
    def warmup_batch(self) -> tuple[int, int]:
        """Clips and steps of a warm-up batch; all the clips for a teacher that takes one number of them only."""
        clips, steps = self.settings.recipe.warmup_batch(self.settings.batch)
        return self.settings.batch if self.teacher.batch and self.teacher.norms else clips, steps

    def states(self, memory: dict | None) -> Iterator[Progress]:
        """Run to the end, from what an earlier run left in ``memory``."""
        settings, recipe = self.settings, self.settings.recipe
        self.began = time.perf_counter()
        self.warmup = recipe.warmup if self.first == 0 or memory is None else 0
        shown = _shown_steps(recipe.steps, settings.snapshots)
        work: Work | None = None
        own = settings.seed * 1009 + (self.first if memory is None else 0)  # of new weights
        for number in (*range(self.first - self.warmup, self.first), *self._own):
            self.number, discarded = number, number < self.first
            rng = torch.Generator().manual_seed((settings.seed * 1_000_003 + number + 100_000) % 2**63)
            target = self._target()
            if work is None or len(work.labels) != len(target):
                older, work = work, new_work(self.teacher, recipe, len(target), self.student, own)
                if older is not None:
                    work.load(None, older.snapshot(None))
                    older = None
                elif memory is not None:
                    work.load(self.feature_bank, memory)
                improve = stepper(work)
            work.begin(target, settings.seed * 1009 + number, rng)
            states: list[Tensor] = []
            steps = self.warmup_batch[1] if discarded else recipe.steps
            for step in range(1, steps + 1):
                self.step = step
                work.draw(self.feature_bank, rng)
                if recipe.cosine:
                    set_rate(work.optimiser, 0.5 * (1 + math.cos(math.pi * (step - 1) / steps)))
                improve()
                self.done += 1
                if step in shown and not discarded:
                    states.append(work.last["x"].half().cpu())
                if self.done % self.every == 0 and (step < steps or discarded):
                    yield self._progress(work, target, work.last)
            work.finish(counts=not discarded or not recipe.warmup_clips)
            if discarded:
                self.warm = time.perf_counter() - self.began
                continue
            x, out, rows, labels = result(work, rng)
            target = labels.cpu().clone()
            if recipe.labels == "own":
                target = assigned(target, out.logits.argmax(1).cpu())
            self.feature_bank.push(rows, target.to(rows.device))
            state = self._progress(work, target, work.last | {"x": x, "logits": out.logits, "pooled": out.pooled})
            if recipe.labels != "own" and state.clips.target_accuracy < RECOGNISED:
                state.notes = (*state.notes, UNRECOGNISED)
            state.finished, state.memory = True, partial(work.snapshot, self.feature_bank, number + self.stride)
            if settings.snapshots:
                mels = torch.stack([*states, x.half().cpu()])[:, :, 0]
                state.trajectory = Trajectory([*shown, recipe.steps], mels)
            yield state

    def _target(self) -> Tensor:
        """Target classes of the batch, in turn; a warm-up batch has those of the first."""
        classes, rows = self.settings.classes, self._rows(max(self.number, self.first))
        if self.number < self.first:
            rows = rows[: self.warmup_batch[0]]
        return torch.tensor([classes[i % len(classes)] for i in rows])

    def _rows(self, number: int) -> range:
        """Clips of a batch, by their number in the set."""
        batch, samples = self.settings.batch, self.settings.samples
        return range(number * batch, min((number + 1) * batch, samples))

    def _progress(self, work: Work, target: Tensor, values: dict[str, Tensor]) -> Progress:
        """The present state. Steps of warm-up batches count as steps of the first one."""
        logits, steps = values["logits"].float().cpu(), self.settings.recipe.steps
        several = self.teacher.multilabel
        clips = Clips(
            mels=values["x"].float().cpu().contiguous(), lengths=work.lengths.cpu().clone(), target=target,
            predicted=answers.heard(logits, target, several), confidence=answers.confidence(logits, target, several),
            logits=logits, pooled=values["pooled"].float().cpu(), multilabel=several,
        )  # fmt: skip
        seconds = time.perf_counter() - self.began
        of_warmup = self.warmup * self.warmup_batch[1]
        total = of_warmup + len(self._own) * steps
        in_first = self.number <= self.first
        return Progress(
            batch=max(self.number, self.first) + 1, batches=self.batches, clips=clips, finished=False,
            step=self.done if in_first else self.step, steps=steps + (of_warmup if in_first else 0),
            losses={name: float(values[name]) for name in TERMS if name in values}, notes=self.notes,
            done=self.done, total=total, seconds=seconds, left=seconds / self.done * (total - self.done),
            warmup=self.warm, to_keep=self.number >= self.first or len(target) == len(self._rows(self.first)),
        )  # fmt: skip


def _shown_steps(steps: int, snapshots: int) -> list[int]:
    """Steps after which to save a state: closer together at the start, where most happens; the last is saved anyway."""
    chosen = [round(steps ** (i / max(snapshots - 1, 1))) for i in range(max(snapshots - 1, 0))]
    return sorted(set(chosen) - {steps})


def assigned(target: Tensor, predicted: Tensor) -> Tensor:
    """Assign target classes, Tensor[B], to clips so that as many as possible have the class that is predicted.

    For methods that take no target classes; what is left over goes to the clips left over, in order.
    """
    left = target.tolist()
    given = []
    for label in predicted.tolist():
        given.append(left.pop(left.index(label)) if label in left else None)
    rest = iter(left)
    return torch.tensor([next(rest) if label is None else label for label in given])
