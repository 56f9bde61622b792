"""The one loop that all distillations run through: clips are made first, then learnt from."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import torch

from frami.adapter import chosen
from frami.banks import Bank
from frami.checkpoints import Checkpoint
from frami.data import LogMels
from frami.distill.augment import AugmentConfig, ReplayBuffer, noise_clips, split, tolerated
from frami.distill.fitting import fit, views
from frami.distill.learner import close, forget_ahead, lead, learn, learner_state, load_learner, new_learner
from frami.distill.made_up import beside
from frami.distill.making import Maker
from frami.distill.pace import Clock, Pace, rate
from frami.distill.settings import Settings
from frami.distill.student import both
from frami.distill.unseen import Unseen, agreement
from frami.distributed import ALONE, Group
from frami.errors import FramiError
from frami.inversion import Clips, Progress, durations
from frami.inversion import recipe as row
from frami.models import Classifier
from frami.optim import forget, learnt

#: Clips on which a teacher of another make shows how strong an augmentation it tolerates.
TRIED = 64
#: Texture that clips made from such a teacher get, see ``AugmentConfig``.
TEXTURE = 1.0
#: Clips that are set apart to measure agreement, at most.
UNSEEN = 128
#: Training steps that measure how long one takes, and the share of a budget that they may take.
PROBES, PROBED = 8, 0.02
#: Share of a budget that a student's fit to its teacher may begin batches in.
FITTED = 0.03
#: Seconds of the shortest budget in which a student is fitted: in less, there would be no time to learn.
SHORTEST = 5.0
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
    made clips (NaN before the first measurement, or where no clip is made), ``compared`` : the counts that it is of,
    the teacher's class by the student's, Tensor[K, K], a new one at each measurement; ``made`` : a batch of clips just
    finished; ``memory()`` : what a later run needs to go on (to be called before the next state).
    """

    share: float
    seconds: float
    left: float
    clips: int
    steps: int
    losses: dict[str, float]
    agreement: float
    student: Classifier
    compared: torch.Tensor | None = None
    finished: bool = False
    made: Progress | None = None
    memory: Callable[[], dict] | None = None
    notes: tuple[str, ...] = ()


def distill(
    teacher: Checkpoint,
    settings: Settings,
    clips: Bank | LogMels | None = None,
    *,
    augmentation: AugmentConfig | None = None,
    every: float = 1.0,
    memory: dict | None = None,
    earlier: Clips | Bank | None = None,
    spare: Bank | None = None,
    now: Callable[[], float] = time.perf_counter,
    group: Group = ALONE,
) -> Iterator[State]:
    """Train a student for ``teacher``; yields about every ``every`` seconds, after each batch of made clips, and at the
    end. Stop by not asking for the next state; ``state.student`` is usable at any.

    clips : what to learn from where ``settings.source`` is ``bank`` or ``real``. To go on with an interrupted run, give
    what ``State.memory`` returned, and as ``earlier`` the clips made until then. On a GPU steps are replayed as graphs.
    spare : made clips to measure agreement on where the run sets too few apart; nothing is learnt from them. now : the
    clock of the budget, in seconds. group : processes that share the learning steps: this is the main one, the others
    are in ``run.follow``.

    Raises FramiError when settings, teacher and clips do not fit, at the call; BudgetError at the end where there was
    no time to learn.
    """
    if (settings.source in ("bank", "real")) != (clips is not None):
        raise FramiError(f"source '{settings.source}' and the clips that were given do not fit")
    if isinstance(clips, Bank) and clips.spec != teacher.spec:
        raise FramiError("this bank's spectrograms have another front-end than this teacher's")
    if settings.batch < group.size:
        raise FramiError(f"a batch of {settings.batch} clips has no part for each of {group.size} processes")
    if settings.classes is not None:
        teacher = chosen(teacher, settings.classes)
        clips = _of_classes(clips, teacher.classes)
    if isinstance(clips, Bank) and tuple(clips.manifest["classes"]) != tuple(teacher.classes):
        raise FramiError(
            "this bank's clips are of other classes than this teacher's; was it made with another teacher?"
        )
    if settings.source == "made":
        durations(teacher, row(settings.recipe), None)
    teacher, student, kept = both(teacher, settings)
    if augmentation is None:
        made = settings.source in ("made", "bank")
        foreign = not isinstance(teacher.model, Classifier)
        augmentation = AugmentConfig(texture=TEXTURE if made and foreign else 0.0)
    clock = Clock(memory["seconds"] if memory else 0.0, now)
    return _run(teacher, settings, clips, student, augmentation, every, memory, earlier, spare, clock, group, kept)


def _of_classes(clips: Bank | LogMels | None, classes: Sequence[str]) -> Bank | LogMels | Clips | None:
    """Those clips of a bank that were made for some of its classes alone, labelled by their places among these; others
    as they are. FramiError where there is none, or for recordings that are labelled otherwise."""
    if isinstance(clips, LogMels) and tuple(clips.classes) != tuple(classes):
        raise FramiError("these recordings are labelled with other classes than those that were chosen")
    listed = tuple(clips.manifest["classes"]) if isinstance(clips, Bank) else ()
    if not set(classes) < set(listed):
        return clips
    numbers = torch.tensor([classes.index(name) if name in classes else -1 for name in listed])
    rows = (numbers[clips.target] >= 0).nonzero()[:, 0]
    if not len(rows):
        raise FramiError("this bank holds no clip of the classes that were chosen")
    found = clips.clips(rows)
    return replace(found, target=numbers[found.target])


def _run(
    teacher, settings, clips, student, augmentation, every, memory, earlier, spare, clock, group, kept
) -> Iterator[State]:
    if settings.source == "made":  # what is ready takes nothing of the budget: only learning from it does
        clock.start()
    frames = _longest(teacher, settings, clips)
    course = _Course(teacher, settings, student, augmentation, memory, clock, frames, spare, group, kept)
    course.fill(teacher, clips, earlier)
    course.adjust()
    inner = memory["inversion"] if memory else None
    maker = (
        Maker(teacher, settings, student if settings.turns > 1 else None, inner) if settings.source == "made" else None
    )
    if settings.source != "made":
        clock.start()
    course.reported = clock.seconds
    try:
        while not course.pace.over:
            made = None
            if maker is not None and (not course.clips or course.pace.wants_clips):
                made = yield from course.make(maker, every)
                if made is None:
                    break
            elif course.clips:
                course.learn()
            if made is not None or clock.seconds - course.reported >= every:
                yield from course.report(made)
        if settings.source == "made" and settings.budget and course.learner.steps <= 1:
            yield from course.report()
            raise BudgetError(
                f"the first clips alone took the budget of {settings.budget:g} s; give a larger --budget, fewer "
                "--clips or a faster --recipe"
            )
        if settings.budget and not course.learner.steps:
            yield from course.report()
            raise BudgetError(
                f"there was no time to learn within {settings.budget:g} s: this machine is too busy, or too slow; try "
                "again later, or give it more time (--budget)"
            )
        course.measure_agreement(at_the_end=True)
        yield from course.report(finished=True)
    finally:
        close(course.learner)
        if maker is not None:
            maker.close()


def _longest(teacher: Checkpoint, settings: Settings, clips) -> int:
    """Frames of the longest clip of a training step."""
    if isinstance(clips, Bank | Clips):
        return int(clips.lengths.max())
    if isinstance(clips, LogMels):
        return min(max(len(f) for f in clips.frames), teacher.spec.frames(min(CROP, USUAL * teacher.seconds)))
    name = settings.recipe if settings.source == "made" else "frami"
    return teacher.spec.frames(durations(teacher, row(name), None)[1])


class _Course:
    """A distillation as it goes on.

    ``buffer``, ``unseen`` : clips to learn from, with made-up sounds (``beside``) among them, and those that only
    measure agreement; ``inversion`` : memory of the run that makes clips; ``kept`` : what the student has of its
    teacher, until it is fitted to that; ``spent`` : seconds up to the last whole step or batch, which is what a run
    that goes on has used; ``reported`` : seconds at the last state.
    """

    def __init__(self, teacher, settings, student, augmentation, memory, clock, frames, spare, group=ALONE, kept=None):
        self.settings, self.clock, self.kept = settings, clock, kept
        group.shared(frames)
        self.learner = new_learner(teacher, student, settings, frames, augmentation, group)
        self.buffer, fast = ReplayBuffer(teacher.spec, frames, teacher.device), self.learner.fast_teacher
        before = memory.get("sounds", ()) if memory else None
        self.beside = beside(teacher, fast, settings, frames, lambda: clock.seconds, before)
        self.unseen = Unseen(teacher, frames, spare)
        self.pace = Pace(settings, clock, **(memory["pace"] if memory else {}))
        self.inversion: Callable[[], dict] | dict | None = memory["inversion"] if memory else None
        if memory:
            load_learner(self.learner, memory["learner"])
            self.learner.echo.on = memory.get("echo", False) and group.size == 1
        lead(self.learner)
        self.compared: torch.Tensor | None = None
        self.notes: tuple[str, ...] = ()
        self.strength = memory.get("strength", 1.0) if memory else None if self._foreign else 1.0
        self._strongest, self._tried = augmentation, 0 if self.strength is None else TRIED
        if self.strength is not None:
            self._weaken(self.strength)
        self.spent = self.reported = memory["seconds"] if memory else 0.0
        self._terms: list[dict[str, torch.Tensor]] = []
        echoes = settings.budget and not memory and group.size == 1
        self._ratios: list[float] | None = [] if echoes else None
        self._measured, self._effort = -math.inf, 0.0
        self._made = False

    @property
    def clips(self) -> int:
        return len(self.buffer) - len(self.beside.rows) + len(self.unseen.own)

    @property
    def _records(self) -> bool:
        """Whether the first turn and the first step take much longer than the next ones: they are recorded."""
        return self.learner.device.type == "cuda"

    @property
    def _foreign(self) -> bool:
        """Whether the teacher was trained elsewhere, with who knows what augmentation."""
        return self.settings.source != "noise" and not isinstance(self.learner.teacher.model, Classifier)

    def _weaken(self, strength: float) -> None:
        """Augment by this share as strong."""
        self.strength = strength
        self.learner.augmentation = self._strongest.weaker(strength) if strength < 1 else self._strongest

    @property
    def _weaker(self) -> tuple[str, ...]:
        if self.strength in (None, 1.0):
            return ()
        return (f"the teacher does not know strongly changed clips: they are changed by {self.strength:.0%} as much",)

    def adjust(self) -> None:
        """Find how strong an augmentation a teacher of another make tolerates, once there are clips; anew with more of
        them until ``TRIED`` are tried, but on a GPU, whose recorded step keeps what it began with."""
        clips = sorted(set(range(len(self.buffer))).difference(self.beside.rows))
        if self._tried >= min(TRIED, len(clips)) or self.learner.steps or (self._tried and self._records):
            return
        rows = clips[:: max(1, len(clips) // TRIED)][:TRIED]
        mels, lengths, _ = self.buffer.take(torch.tensor(rows), torch.zeros(len(rows)))
        begin, teacher, self._tried = self.clock.seconds, self.learner.teacher, len(rows)
        self._weaken(tolerated(teacher.model, mels, lengths, teacher.spec, self._strongest))
        self.pace.beside += self.clock.seconds - begin

    def fill(self, teacher: Checkpoint, clips: Bank | LogMels | None, earlier: Clips | Bank | None) -> None:
        """Add the clips that are there at the start."""
        s = self.settings
        if s.source == "noise":
            low, high = (teacher.spec.frames(seconds) for seconds in durations(teacher, row("frami"), None))
            mels, lengths = noise_clips(teacher.spec, NOISE_CLIPS, low, high, s.seed)
            self.buffer.add(mels, lengths, torch.zeros(len(mels), dtype=torch.long))
        elif isinstance(clips, Clips):
            for batch in zip(*(x.split(64) for x in (clips.mels, clips.lengths, clips.target)), strict=True):
                self.add(*batch)
        elif clips is not None:
            add = self.add if isinstance(clips, Bank) else self.buffer.add
            for start in range(0, len(clips), 64):
                add(*clips.batch(range(start, min(start + 64, len(clips)))))
        elif earlier is not None:
            self.add_all(earlier.clips() if isinstance(earlier, Bank) else earlier)
        if len(self.buffer):  # what it took to have them again is neither making nor learning
            self.pace.beside += self.clock.seconds - self.spent
            self.spent = self.clock.seconds
        self.beside.before = None

    def add_all(self, clips: Clips) -> None:
        """Add made clips batch by batch, so that a run that goes on has them in the same order."""
        parts = (x.split(self.settings.clips) for x in (clips.mels, clips.lengths, clips.target))
        for batch in zip(*parts, strict=True):
            self.add(*batch)

    def add(self, mels, lengths, labels) -> None:
        """Add new clips, some of them to the unseen ones, and made-up sounds beside them."""
        forget_ahead(self.learner)
        use, unseen = split(len(mels), self.clips)
        room = UNSEEN - len(self.unseen.own)
        use, unseen = sorted(use + unseen[room:]), unseen[:room]
        self.buffer.add(mels[use], lengths[use], labels[use])
        if unseen:
            self.unseen.own.add(mels[unseen], lengths[unseen], labels[unseen])
        while found := self.beside.next(len(self.buffer)):
            *sounds, took = found
            self.buffer.add(*sounds, torch.zeros(len(sounds[0]), dtype=torch.long))
            self.pace.beside += took

    def make(self, maker: Maker, every: float) -> Iterator[State]:
        """Let the maker make a turn, reporting on the way. Returns the finished clips, None where time ran out."""
        s = self.settings
        for made in maker.turn(self.pace.wanted):
            if made is not None:
                break
            if self.pace.over:
                return None
            if self.clock.seconds - self.reported >= every:
                yield from self.report()
        spent = self.clock.seconds - self.spent
        self.inversion = maker.memory  # first: who is interrupted behind this saves no clips without it
        self.add_all(made.clips)
        self.adjust()
        self.notes = (*made.notes, *self._weaker)
        first, self._made = not self._made, True
        typical = not (first and self._records)
        warmup = made.warmup / made.seconds if first else 0.0
        done, coming = len(made.clips) // s.clips, maker.coming * s.clips
        self.pace.made(spent, len(made.clips), done, typical, warmup, coming)
        if s.budget and not self.pace.of_step:
            self._probe()
        self.spent = self.clock.seconds
        return made

    def _probe(self) -> None:
        """Measure what a training step takes, on a student that is afterwards as it was before."""
        state, begin = learner_state(self.learner), self.clock.seconds
        if self._records:
            learn(self.learner, self.buffer, 0.0)
            torch.cuda.synchronize(self.learner.device)
        ready, spent = self.clock.seconds, []
        while len(spent) < PROBES and self.clock.seconds - ready < PROBED * self.settings.budget:
            before = self.clock.seconds
            learn(self.learner, self.buffer, 0.0)
            if self.learner.device.type == "cuda":
                torch.cuda.synchronize(self.learner.device)
            spent.append(self.clock.seconds - before)
            self.pace.of_step = max(min(spent), 1e-6)
            self._compare()
        self.learner.echo.forget()
        forget_ahead(self.learner)
        load_learner(self.learner, state)
        forget(self.learner.optimiser, learnt(self.learner.optimiser))
        self.learner.last = {}
        lead(self.learner, anew=True)
        self.pace.beside += self.clock.seconds - begin

    def _compare(self) -> None:
        """Note what the latest step took to prepare and to learn from; of enough steps follows whether batches are used
        twice: where preparing one takes longer (``Echo``)."""
        spent = self.learner.seconds
        if self._ratios is None or not spent:
            return
        self._ratios.append(spent["prepare"] / max(spent["improve"], 1e-9))
        if len(self._ratios) < PROBES:
            return
        ratio, self._ratios = statistics.median(self._ratios), None
        self.learner.echo.on = ratio > 1
        if self.learner.echo.on:  # on one thread one after the other, on several side by side
            alone = torch.get_num_threads() == 1
            self.pace.of_step *= (ratio / 2 + 1) / (ratio + 1) if alone else max(ratio / 2, 1) / ratio

    def learn(self) -> None:
        """One training step; its losses are recorded (on a GPU they stay there). The first begins with a student whose
        layers are fitted to its teacher."""
        long = not self.settings.budget or self.settings.budget >= SHORTEST
        if self.kept is not None and long and not self.learner.steps:
            self.fit()
        learn(self.learner, self.buffer, rate(self.pace.learnt))
        self._compare()
        self.pace.steps += 1
        if self.learner.device.type != "cuda":
            self._terms.append(self.learner.last)
        self.spent = self.clock.seconds

    def fit(self) -> None:
        """Fit the student's layers, within a small part of the budget; rates do not fall meanwhile."""
        begin, until = self.clock.seconds, FITTED * (self.settings.budget or math.inf)
        learner, seed = self.learner, self.settings.seed * 7919 + 2
        some = views(self.buffer, learner.augmentation, learner.noise, self.settings.batch, seed)
        in_time = takewhile(lambda _: self.clock.seconds < begin + until, some)
        fast = learner.fast_teacher
        teacher = fast if isinstance(fast, Classifier) else learner.teacher.model
        fit(learner.student, teacher, self.kept, in_time)
        self.kept = None
        lead(learner, anew=True)
        self.pace.beside += self.clock.seconds - begin

    def measure_agreement(self, at_the_end: bool = False) -> None:
        """Agreement on the unseen clips, at most a twentieth of the time."""
        if not at_the_end and self.clock.seconds - self._measured < 20 * self._effort:
            return
        if not len(self.unseen.clips):
            return
        self.unseen.prepare()
        begin = self.clock.seconds
        self.compared = self.unseen.confusion(self.learner.student)
        self._measured, self._effort = self.clock.seconds, self.clock.seconds - begin

    def report(self, made: Progress | None = None, finished: bool = False) -> Iterator[State]:
        """Yield the present state; the clock stands still meanwhile."""
        if self.learner.steps and not finished:
            self.measure_agreement()
        terms = self._terms or [self.learner.last]
        losses = {name: float(torch.stack([t[name] for t in terms]).mean()) for name in terms[-1]}
        self._terms = []
        self.learner.student.eval()
        self.clock.stop()
        share, seconds = self.pace.share, self.clock.seconds
        left = 0.0 if finished else seconds / share - seconds if share else math.nan
        yield State(
            share=share, seconds=seconds, left=left, clips=self.clips, steps=self.learner.steps, losses=losses,
            agreement=math.nan if self.compared is None else agreement(self.compared), compared=self.compared,
            student=self.learner.student, finished=finished, made=made, memory=self._memory, notes=self.notes,
        )  # fmt: skip
        self.clock.start()
        self.reported = self.clock.seconds

    def _memory(self) -> dict:
        return {
            "seconds": self.spent,
            "clips": self.clips,
            "learner": learner_state(self.learner),
            "pace": self.pace.state(),
            "strength": self.strength,
            "echo": self.learner.echo.on,
            "sounds": list(self.beside.rows),
            "inversion": self.inversion() if callable(self.inversion) else self.inversion,
        }
