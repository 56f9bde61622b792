"""The one loop that all distillations run through: clips are made and learnt from in turn."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import torch

from frami.banks import Bank
from frami.checkpoints import Checkpoint
from frami.data import LogMels
from frami.distill.augment import AugmentConfig, ReplayBuffer, noise_clips, split
from frami.distill.learner import Learner, agreement_on, learn, learner_state, load_learner, new_learner
from frami.distill.objectives import LABELS, objective
from frami.distill.student import new_student
from frami.errors import FramiError
from frami.inversion import Clips, Progress, durations, invert
from frami.inversion import recipe as row
from frami.inversion.settings import check_seed
from frami.models import DEFAULT, Classifier
from frami.optim import set_rate

#: Clips of noise in the lower bound; longest segment of real clips, in seconds (as in the teachers' training) and in
#: usual durations of a made clip.
NOISE_CLIPS = 2048
CROP, USUAL = 2.5, 2.0


class BudgetError(FramiError):
    """Making the first clips alone took the whole budget."""


@dataclass(frozen=True)
class Settings:
    """What a distillation is. ``student`` : a size of ``architecture``; ``budget`` : seconds of making and learning
    together, or None: ``rounds`` of ``clips`` made ones and ``steps`` of learning each.

    ``source`` : ``made`` (by ``recipe``, as it goes), ``bank``, ``real`` or ``noise``; ``objective`` : a name of
    ``OBJECTIVES``, or ``labels`` (true classes, of real clips only); ``share`` : part of the budget that making may
    take; ``batch`` : clips of a training step; ``lr`` rises over the first twentieth and then falls to zero on a
    cosine.
    """

    student: str = "tiny"
    architecture: str = DEFAULT
    objective: str = "frami"
    source: str = "made"
    recipe: str = "frami-flash"
    budget: float | None = 120.0
    rounds: int = 12
    clips: int = 32
    steps: int = 60
    share: float = 0.25
    batch: int = 32
    lr: float = 4e-3
    weight_decay: float = 0.01
    seed: int = 0

    def to_dict(self) -> dict:
        """Its fields; the student's architecture where it is not the default one."""
        values = asdict(self)
        return {k: v for k, v in values.items() if (k, v) != ("architecture", DEFAULT)}


@dataclass
class State:
    """Where a distillation stands. ``share`` : of the whole, 0 to 1; ``seconds`` : spent on making and learning;
    ``left`` : estimated, NaN at first; ``losses`` : mean of each term since the last state, on a GPU the latest;
    ``agreement`` : with the teacher on unseen made clips (NaN before the first measurement, or where no clip is made);
    ``made`` : a batch of clips just finished; ``memory()`` : what a later run needs to go on (to be called before the
    next state is asked for)."""

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
    """Counts the seconds of our own work only: what happens between two states is somebody else's."""

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
    replay: AugmentConfig | None = None,
    every: float = 1.0,
    memory: dict | None = None,
    earlier: Clips | Bank | None = None,
    now: Callable[[], float] = time.perf_counter,
) -> Iterator[State]:
    """Train a student for ``teacher``; yields about every ``every`` seconds, after each batch of made clips, and at the
    end. Stop by not asking for the next state; ``state.student`` is usable at any.

    clips : what to learn from where ``settings.source`` is ``bank`` or ``real``. To go on with an interrupted run, give
    what ``State.memory`` returned, and as ``earlier`` the clips made until then. On a GPU steps are replayed as graphs.
    now : what tells the seconds of the budget.

    Raises FramiError when a setting is out of range or does not fit, at the call; BudgetError at the end where there
    was no time to learn.
    """
    _check(teacher, settings, clips)
    student = new_student(
        teacher, settings.student, objective(settings.objective), settings.seed, settings.architecture
    )
    return _run(teacher, settings, clips, student, replay or AugmentConfig(), every, memory, earlier, now)


def _check(teacher: Checkpoint, settings: Settings, clips) -> None:
    least = {"clips": 1, "rounds": 1, "steps": 1, "batch": 2}
    for name, bound in least.items():
        if getattr(settings, name) < bound:
            raise FramiError(f"{name} is at least {bound}, not {getattr(settings, name)}")
    if settings.budget is not None and not 0 < settings.budget < math.inf:
        raise FramiError(f"a budget is a number of seconds above 0, not {settings.budget}")
    if not 0 < settings.share < 1:
        raise FramiError(f"the share of the budget for making clips lies between 0 and 1, not at {settings.share}")
    if not 0 < settings.lr <= 1:
        raise FramiError(f"a learning rate lies above 0 and at most at 1, not at {settings.lr}")
    check_seed(settings.seed)
    if objective(settings.objective) is LABELS and settings.source != "real":
        raise FramiError("objective 'labels' learns the true classes of real clips: made ones have none")
    if settings.source not in ("made", "bank", "real", "noise"):
        raise FramiError(f"no source '{settings.source}'; choose made, bank, real or noise")
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


def _run(teacher, settings, clips, student, replay, every, memory, earlier, now) -> Iterator[State]:
    clock = Clock(memory["seconds"] if memory else 0.0, now)
    clock.start()
    device = next(teacher.model.parameters()).device
    frames = _longest(teacher, settings, clips)
    learner = new_learner(
        teacher, student, objective(settings.objective), batch=settings.batch, frames=frames, lr=settings.lr,
        weight_decay=settings.weight_decay, replay=replay, seed=settings.seed * 7919 + 1,
    )  # fmt: skip
    store, aside = ReplayBuffer(teacher.spec, frames, device), ReplayBuffer(teacher.spec, frames, device)
    _fill(store, aside, teacher, settings, clips, earlier)
    pace = Pace(settings, clock)
    if memory:
        load_learner(learner, memory["learner"])
        pace.load(memory["pace"])
    maker = _maker(teacher, settings, student, memory) if settings.source == "made" else None
    course = _Course(settings, learner, store, aside, clock, pace, memory["inversion"] if memory else None)
    course.settled = memory["seconds"] if memory else 0.0
    told = clock.seconds
    while not pace.over:
        made = None
        if maker is not None and (not len(store) or pace.wants_clips):
            made = yield from _make(course, maker, every)
            told = clock.seconds
        if len(store):
            set_rate(learner.optimiser, _rate(pace.share))
            learn(learner, store)
            pace.learnt()
            course.note()
            course.settled = clock.seconds
        if made is None and clock.seconds - told < every:
            continue
        yield from course.told(made)
        told = clock.seconds
    if settings.source == "made" and settings.budget and pace.batches <= 1 and learner.steps <= 1:
        yield from course.told(None)
        raise BudgetError(
            f"the first clips alone took the budget of {settings.budget:g} s; give a larger --budget, fewer --clips "
            "or a faster --recipe"
        )
    course.agreement = agreement_on(learner, aside, len(aside))
    yield from course.told(None, finished=True)


def _longest(teacher: Checkpoint, settings: Settings, clips) -> int:
    """Frames of the longest clip of a training step."""
    if isinstance(clips, Bank):
        return int(clips.lengths.max())
    if isinstance(clips, LogMels):
        return min(max(len(f) for f in clips.frames), teacher.spec.frames(min(CROP, USUAL * teacher.seconds)))
    name = settings.recipe if settings.source == "made" else "frami"
    return teacher.spec.frames(durations(teacher, row(name), None)[1])


def _fill(store: ReplayBuffer, aside: ReplayBuffer, teacher: Checkpoint, settings: Settings, clips, earlier) -> None:
    """Put in what is there at the start."""
    if settings.source == "noise":
        low, high = (teacher.spec.frames(s) for s in durations(teacher, row("frami"), None))
        mels, lengths = noise_clips(teacher.spec, NOISE_CLIPS, low, high, settings.seed)
        store.add(mels, lengths, torch.zeros(len(mels), dtype=torch.long))
    elif isinstance(clips, LogMels):
        for start in range(0, len(clips), 64):
            store.add(*clips.batch(range(start, min(start + 64, len(clips)))))
    elif isinstance(clips, Bank):
        for start in range(0, len(clips), 64):
            _keep(store, aside, *clips.batch(range(start, min(start + 64, len(clips)))))
    elif earlier is not None:
        found = earlier.clips() if isinstance(earlier, Bank) else earlier
        for start in range(0, len(found), settings.clips):
            end = start + settings.clips
            _keep(store, aside, found.mels[start:end], found.lengths[start:end], found.target[start:end])


def _keep(store: ReplayBuffer, aside: ReplayBuffer, mels, lengths, labels) -> None:
    use, unseen = split(len(mels), len(store) + len(aside))
    store.add(mels[use], lengths[use], labels[use])
    if unseen:
        aside.add(mels[unseen], lengths[unseen], labels[unseen])


def _maker(teacher: Checkpoint, settings: Settings, student: Classifier, memory: dict | None) -> Iterator[Progress]:
    """Batches of clips without end; the adversarial term looks at the present student, or at the companion of a recipe
    that alternates with one at every step."""
    inner = memory["inversion"] if memory else None
    alternates = row(settings.recipe).student_steps > 0  # then a single step takes long: the clock is looked at oftener
    if alternates:
        student = None
    return invert(
        teacher, row(settings.recipe), samples=settings.clips * 10**6, batch=settings.clips, seconds=None,
        seed=settings.seed, every=1 if alternates else 10, student=student,
        first=inner["batches"] if inner else 0, memory=inner,
    )  # fmt: skip


def _make(course: "_Course", maker: Iterator[Progress], every: float):
    """One batch of clips; tells where it stands on the way. Returns the finished batch, None where time ran out."""
    if callable(course.inversion):  # of the end of the last batch: the next one writes over it
        course.inversion = course.inversion()
    begin = told = course.clock.seconds
    for made in maker:
        if made.finished:
            break
        if course.pace.over:
            return None
        if course.clock.seconds - told >= every:
            yield from course.told(None)
            told = course.clock.seconds
    _keep(course.store, course.aside, made.clips.mels, made.clips.lengths, made.clips.target)
    course.inversion = made.memory
    course.notes = made.notes
    course.pace.made(course.clock.seconds - begin)
    course.settled = course.clock.seconds
    return made


def _rate(share: float) -> float:
    """Learning rate at this share of the whole, as a share of the highest."""
    return min(max(share, 1e-3) / 0.05, 0.5 * (1 + math.cos(math.pi * share))) if share < 1 else 0.0


class Pace:
    """Whose turn it is: making or learning, until the budget or the rounds are used up.

    With a budget, learning gets its share of the time after each batch of clips, and making ends when its own share is
    used up; with rounds, each batch is followed by the same number of steps.
    """

    def __init__(self, settings: Settings, clock: Clock):
        self._settings, self._clock = settings, clock
        self._making = self._one = 0.0
        self.batches = self._steps = 0

    @property
    def share(self) -> float:
        s = self._settings
        return min(1.0, self._clock.seconds / s.budget if s.budget else self._steps / (s.rounds * s.steps))

    @property
    def over(self) -> bool:
        return self.share >= 1

    @property
    def wants_clips(self) -> bool:
        s = self._settings
        if not s.budget:
            return self.batches < s.rounds and self._steps >= self.batches * s.steps
        if not self.batches:
            return True
        learning = self._clock.seconds - self._making
        room = self._making + self._one <= s.share * s.budget
        return room and learning * s.share >= self._making * (1 - s.share)

    def made(self, seconds: float) -> None:
        """A batch took so long; the next one is expected to take as long, without what was thrown away at the start."""
        thrown = row(self._settings.recipe).warmup if not self.batches else 0
        self._one = seconds / (1 + thrown)
        self.batches += 1
        self._making += seconds

    def learnt(self) -> None:
        self._steps += 1

    def state(self) -> dict:
        return {"making": self._making, "one": self._one, "batches": self.batches, "steps": self._steps}

    def load(self, state: dict) -> None:
        self._making, self._one, self.batches, self._steps = (state[k] for k in ("making", "one", "batches", "steps"))


@dataclass
class _Course:
    """A run as it goes on."""

    settings: Settings
    learner: Learner
    store: ReplayBuffer
    aside: ReplayBuffer
    clock: Clock
    pace: Pace
    inversion: Callable[[], dict] | dict | None
    agreement: float = math.nan
    notes: tuple[str, ...] = ()
    settled: float = 0.0  # seconds up to the last whole step or batch: what a run that goes on has spent
    _terms: list[dict] = field(default_factory=list)

    def note(self) -> None:
        self._terms.append(dict(self.learner.last) if self.learner.device.type != "cuda" else {})

    def told(self, made: Progress | None, finished: bool = False) -> Iterator[State]:
        """Yield the present state; the clock stands still meanwhile."""
        if made is not None:
            self.agreement = agreement_on(self.learner, self.aside)
        terms = [t for t in self._terms if t] or [self.learner.last]
        losses = {name: float(torch.stack([t[name] for t in terms]).mean()) for name in terms[-1]}
        self._terms.clear()
        self.learner.student.eval()
        self.clock.stop()
        share, seconds = self.pace.share, self.clock.seconds
        left = 0.0 if finished else seconds / share - seconds if share else math.nan
        yield State(
            share=share, seconds=seconds, left=left,
            clips=len(self.store) + len(self.aside), steps=self.learner.steps, losses=losses,
            agreement=self.agreement, student=self.learner.student, finished=finished, made=made,
            memory=self._memory, notes=self.notes,
        )  # fmt: skip
        self.clock.start()

    def _memory(self) -> dict:
        if callable(self.inversion):
            self.inversion = self.inversion()
        return {
            "seconds": self.settled,
            "clips": len(self.store) + len(self.aside),
            "learner": learner_state(self.learner),
            "pace": self.pace.state(),
            "inversion": self.inversion,
        }
