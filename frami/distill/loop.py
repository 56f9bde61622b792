"""The one loop that all distillations run through: clips are made and learnt from in turn."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from frami.banks import Bank
from frami.checkpoints import Checkpoint
from frami.data import LogMels
from frami.distill.augment import AugmentConfig, ReplayBuffer, noise_clips, split
from frami.distill.learner import agreement_on, learn, learner_state, load_learner, new_learner
from frami.distill.objectives import objective
from frami.distill.settings import Settings
from frami.distill.student import new_student
from frami.errors import FramiError
from frami.inversion import Clips, Progress, durations, invert
from frami.inversion import recipe as row
from frami.models import Classifier
from frami.optim import set_rate

#: Clips of noise in the lower bound; longest segment of real clips, in seconds (as in the teachers' training) and in
#: usual durations of a made clip.
NOISE_CLIPS = 2048
CROP, USUAL = 2.5, 2.0


class BudgetError(FramiError):
    """Making the first clips alone took the whole budget."""


@dataclass
class State:
    """Where a distillation stands.

    ``share`` : of the whole, 0 to 1; ``seconds`` : spent on making and learning; ``left`` : estimated, NaN at first;
    ``losses`` : mean of each term since the last state, on a GPU the latest; ``agreement`` : with the teacher on unseen
    made clips (NaN before the first measurement, or where no clip is made); ``made`` : a batch of clips just finished;
    ``memory()`` : what a later run needs to go on (to be called before the next state).
    """

    share: float
    seconds: float
    left: float
    clips: int
    steps: int
    losses: dict[str, float]
    agreement: float
    student: Classifier
    finished: bool = False
    made: Progress | None = None
    memory: Callable[[], dict] | None = None
    notes: tuple[str, ...] = ()


class Clock:
    """Counts the seconds of making and learning only: it stands still while a state is with the caller."""

    def __init__(self, spent: float = 0.0, now: Callable[[], float] = time.perf_counter):
        self._spent, self._since, self._now = spent, None, now

    def start(self) -> None:
        self._since = self._now()

    def stop(self) -> None:
        self._spent = self.seconds
        self._since = None

    @property
    def seconds(self) -> float:
        return self._spent + (0.0 if self._since is None else self._now() - self._since)


def distill(
    teacher: Checkpoint,
    settings: Settings,
    clips: Bank | LogMels | None = None,
    *,
    augmentation: AugmentConfig | None = None,
    every: float = 1.0,
    memory: dict | None = None,
    earlier: Clips | Bank | None = None,
    now: Callable[[], float] = time.perf_counter,
) -> Iterator[State]:
    """Train a student for ``teacher``; yields about every ``every`` seconds, after each batch of made clips, and at the
    end. Stop by not asking for the next state; ``state.student`` is usable at any.

    clips : what to learn from where ``settings.source`` is ``bank`` or ``real``. To go on with an interrupted run, give
    what ``State.memory`` returned, and as ``earlier`` the clips made until then. On a GPU steps are replayed as graphs.
    now : the clock of the budget, in seconds.

    Raises FramiError when settings, teacher and clips do not fit, at the call; BudgetError at the end where there was
    no time to learn.
    """
    if (settings.source in ("bank", "real")) != (clips is not None):
        raise FramiError(f"source '{settings.source}' and the clips that were given do not fit")
    if isinstance(clips, Bank) and clips.spec != teacher.spec:
        raise FramiError("this bank's spectrograms have another front-end than this teacher's")
    if isinstance(clips, Bank) and tuple(clips.manifest["classes"]) != tuple(teacher.classes):
        raise FramiError(
            "this bank's clips are of other classes than this teacher's; was it made with another teacher?"
        )
    if settings.source == "made":
        durations(teacher, row(settings.recipe), None)
    kind = objective(settings.objective)
    student = new_student(teacher, settings.student, kind, settings.seed, settings.architecture)
    clock = Clock(memory["seconds"] if memory else 0.0, now)
    return _run(teacher, settings, clips, student, augmentation or AugmentConfig(), every, memory, earlier, clock)


def _run(teacher, settings, clips, student, augmentation, every, memory, earlier, clock) -> Iterator[State]:
    clock.start()
    course = _Course(teacher, settings, student, augmentation, memory, clock, _longest(teacher, settings, clips))
    course.fill(teacher, clips, earlier)
    maker = _maker(teacher, settings, student, memory) if settings.source == "made" else None
    course.reported = clock.seconds
    while not course.pace.over:
        made = None
        if maker is not None and (not len(course.buffer) or course.pace.wants_clips):
            made = yield from course.make(maker, every)
        if len(course.buffer):
            course.learn()
        if made is not None or clock.seconds - course.reported >= every:
            yield from course.report(made)
    if settings.source == "made" and settings.budget and course.pace.batches <= 1 and course.learner.steps <= 1:
        yield from course.report()
        raise BudgetError(
            f"the first clips alone took the budget of {settings.budget:g} s; give a larger --budget, fewer --clips "
            "or a faster --recipe"
        )
    course.agreement = agreement_on(course.learner, course.unseen, len(course.unseen))
    yield from course.report(finished=True)


def _longest(teacher: Checkpoint, settings: Settings, clips) -> int:
    """Frames of the longest clip of a training step."""
    if isinstance(clips, Bank):
        return int(clips.lengths.max())
    if isinstance(clips, LogMels):
        return min(max(len(f) for f in clips.frames), teacher.spec.frames(min(CROP, USUAL * teacher.seconds)))
    name = settings.recipe if settings.source == "made" else "frami"
    return teacher.spec.frames(durations(teacher, row(name), None)[1])


def _maker(teacher: Checkpoint, settings: Settings, student: Classifier, memory: dict | None) -> Iterator[Progress]:
    """Batches of clips without end; the adversarial term uses the present student, or the companion of a recipe that
    alternates with one at every step."""
    inner = memory["inversion"] if memory else None
    alternates = row(settings.recipe).student_steps > 0  # then a single step takes long: the clock is read more often
    if alternates:
        student = None
    return invert(
        teacher, row(settings.recipe), samples=settings.clips * 10**6, batch=settings.clips, seconds=None,
        seed=settings.seed, every=1 if alternates else 10, student=student,
        first=inner["batches"] if inner else 0, memory=inner,
    )  # fmt: skip


def _rate(share: float) -> float:
    """Learning rate at this share of the whole, as a share of the highest."""
    return min(max(share, 1e-3) / 0.05, 0.5 * (1 + math.cos(math.pi * share))) if share < 1 else 0.0


@dataclass
class Pace:
    """Whose turn it is: making or learning, until the budget or the rounds are used up.

    With a budget, learning gets its share of the time after each batch of clips, and making ends when its own share is
    used up; with rounds, each batch is followed by the same number of steps. ``making``, ``one`` : seconds of making so
    far, and of the next batch (expected); ``batches``, ``steps`` : done.
    """

    settings: Settings
    clock: Clock
    making: float = 0.0
    one: float = 0.0
    batches: int = 0
    steps: int = 0

    @property
    def share(self) -> float:
        s = self.settings
        return min(1.0, self.clock.seconds / s.budget if s.budget else self.steps / (s.rounds * s.steps))

    @property
    def over(self) -> bool:
        return self.share >= 1

    @property
    def wants_clips(self) -> bool:
        s = self.settings
        if not s.budget:
            return self.batches < s.rounds and self.steps >= self.batches * s.steps
        if not self.batches:
            return True
        learning = self.clock.seconds - self.making
        room = self.making + self.one <= s.share * s.budget
        return room and learning * s.share >= self.making * (1 - s.share)

    def made(self, seconds: float) -> None:
        """Count a batch that took so long; the next one is expected to take as long, without the recipe's warm-up."""
        discarded = row(self.settings.recipe).warmup if not self.batches else 0
        self.one = seconds / (1 + discarded)
        self.batches += 1
        self.making += seconds

    def state(self) -> dict:
        return {name: getattr(self, name) for name in ("making", "one", "batches", "steps")}


class _Course:
    """A distillation as it goes on.

    ``buffer``, ``unseen`` : clips to learn from, and those that only measure agreement; ``inversion`` : memory of the
    run that makes clips; ``spent`` : seconds up to the last whole step or batch, which is what a run that goes on has
    used; ``reported`` : seconds at the last state.
    """

    def __init__(self, teacher, settings, student, augmentation, memory, clock, frames):
        self.settings, self.clock = settings, clock
        self.learner = new_learner(teacher, student, settings, frames, augmentation)
        self.buffer, self.unseen = (ReplayBuffer(teacher.spec, frames, teacher.device) for _ in range(2))
        self.pace = Pace(settings, clock, **(memory["pace"] if memory else {}))
        self.inversion: Callable[[], dict] | dict | None = memory["inversion"] if memory else None
        if memory:
            load_learner(self.learner, memory["learner"])
        self.agreement, self.notes = math.nan, ()
        self.spent = self.reported = memory["seconds"] if memory else 0.0
        self._terms: list[dict[str, torch.Tensor]] = []

    @property
    def clips(self) -> int:
        return len(self.buffer) + len(self.unseen)

    def fill(self, teacher: Checkpoint, clips: Bank | LogMels | None, earlier: Clips | Bank | None) -> None:
        """Add the clips that are there at the start."""
        s = self.settings
        if s.source == "noise":
            low, high = (teacher.spec.frames(seconds) for seconds in durations(teacher, row("frami"), None))
            mels, lengths = noise_clips(teacher.spec, NOISE_CLIPS, low, high, s.seed)
            self.buffer.add(mels, lengths, torch.zeros(len(mels), dtype=torch.long))
        elif clips is not None:
            add = self.add if isinstance(clips, Bank) else self.buffer.add
            for start in range(0, len(clips), 64):
                add(*clips.batch(range(start, min(start + 64, len(clips)))))
        elif earlier is not None:
            found = earlier.clips() if isinstance(earlier, Bank) else earlier
            for batch in zip(*(x.split(s.clips) for x in (found.mels, found.lengths, found.target)), strict=True):
                self.add(*batch)

    def add(self, mels, lengths, labels) -> None:
        """Add new clips, some of them to the unseen ones."""
        use, unseen = split(len(mels), self.clips)
        self.buffer.add(mels[use], lengths[use], labels[use])
        if unseen:
            self.unseen.add(mels[unseen], lengths[unseen], labels[unseen])

    def make(self, maker: Iterator[Progress], every: float) -> Iterator[State]:
        """Make one batch of clips, reporting on the way. Returns the finished batch, None where time ran out."""
        if callable(self.inversion):  # of the end of the last batch: the next one writes over it
            self.inversion = self.inversion()
        begin = self.clock.seconds
        for made in maker:
            if made.finished:
                break
            if self.pace.over:
                return None
            if self.clock.seconds - self.reported >= every:
                yield from self.report()
        self.add(made.clips.mels, made.clips.lengths, made.clips.target)
        self.inversion, self.notes = made.memory, made.notes
        self.pace.made(self.clock.seconds - begin)
        self.spent = self.clock.seconds
        return made

    def learn(self) -> None:
        """One training step; its losses are recorded (on a GPU they stay there)."""
        set_rate(self.learner.optimiser, _rate(self.pace.share))
        learn(self.learner, self.buffer)
        self.pace.steps += 1
        if self.learner.device.type != "cuda":
            self._terms.append(self.learner.last)
        self.spent = self.clock.seconds

    def report(self, made: Progress | None = None, finished: bool = False) -> Iterator[State]:
        """Yield the present state; the clock stands still meanwhile."""
        if made is not None:
            self.agreement = agreement_on(self.learner, self.unseen)
        terms = self._terms or [self.learner.last]
        losses = {name: float(torch.stack([t[name] for t in terms]).mean()) for name in terms[-1]}
        self._terms = []
        self.learner.student.eval()
        self.clock.stop()
        share, seconds = self.pace.share, self.clock.seconds
        left = 0.0 if finished else seconds / share - seconds if share else math.nan
        yield State(
            share=share, seconds=seconds, left=left, clips=self.clips, steps=self.learner.steps, losses=losses,
            agreement=self.agreement, student=self.learner.student, finished=finished, made=made,
            memory=self._memory, notes=self.notes,
        )  # fmt: skip
        self.clock.start()
        self.reported = self.clock.seconds

    def _memory(self) -> dict:
        if callable(self.inversion):
            self.inversion = self.inversion()
        return {
            "seconds": self.spent,
            "clips": self.clips,
            "learner": learner_state(self.learner),
            "pace": self.pace.state(),
            "inversion": self.inversion,
        }
