"""How a distillation divides its time: first the clips, then what is learnt from them."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, fields

from frami.distill.settings import Settings

#: What a student misses after N clips and S steps, less what no time mends and up to a factor: ``CLIPS · N^-A + S^-B``,
#: fitted on development parts by ``frami bench allocation`` (docs/results/allocation.md).
CLIPS, A, B = 0.938, 1.2, 0.75
#: Largest share of a budget that making gets: the law was fitted to a thousand clips at most.
MOST = 0.5


def best_clips(seconds: float, a_clip: float, a_step: float) -> float:
    """Number of clips after which to stop making, where each costs ``a_clip`` seconds, each step of learning ``a_step``
    and there are ``seconds`` in all: the fitted loss is lowest there. Found by bisection of its derivative, which rises
    with the number of clips."""

    def slope(clips: float) -> float:
        steps = (seconds - clips * a_clip) / a_step
        return B * steps ** (-B - 1) * a_clip / a_step - CLIPS * A * clips ** (-A - 1)

    low, high = 0.0, seconds / a_clip
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return low


def rate(share: float) -> float:
    """Learning rate at this share of the learning, as a share of the highest."""
    return min(max(share, 1e-3) / 0.05, 0.5 * (1 + math.cos(math.pi * share))) if share < 1 else 0.0


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


@dataclass
class Pace:
    """Whose turn it is, making or learning, until the budget or the rounds are used up.

    A block is making and then learning; there are ``settings.turns`` of them, one unless said otherwise. With a budget
    making gets ``settings.share`` of it or, by default, as much as ``best_clips`` says for the measured speeds; with
    rounds both are counted.

    making : seconds of making so far; beside : of what is neither making nor learning (measuring a step, fitting the
    student, choosing sounds); one, each : of the next turn, and of a clip, at the speed of the fastest
    (0: not known); of_step : of a training step (0: not measured yet); batches, steps : done.
    """

    settings: Settings
    clock: Clock
    making: float = 0.0
    one: float = 0.0
    each: float = 0.0
    of_step: float = 0.0
    batches: int = 0
    steps: int = 0
    beside: float = 0.0

    @property
    def share(self) -> float:
        """Of the whole."""
        s = self.settings
        if s.budget:
            return min(1.0, self.clock.seconds / s.budget)
        return min(1.0, (self.batches / s.rounds + self.learnt) / 2) if s.source == "made" else self.learnt

    @property
    def learnt(self) -> float:
        """Share of the learning that is done: learning rates follow it."""
        s = self.settings
        if not s.budget:
            return min(1.0, self.steps / (s.rounds * s.steps))
        making = max(self.planned, self.making) if s.turns > 1 else self.making
        spent = self.clock.seconds - self.making - self.beside
        return min(1.0, spent / max(s.budget - making - self.beside, 1e-9))

    @property
    def over(self) -> bool:
        return self.clock.seconds >= self.settings.budget if self.settings.budget else self.learnt >= 1

    @property
    def planned(self) -> float:
        """Seconds of the budget that making is given."""
        s = self.settings
        if s.share is not None:
            return s.share * s.budget
        if not self.each or not self.of_step:
            return self.making
        left = max(s.budget - self.beside, self.each)
        return min(best_clips(left, self.each, self.of_step) * self.each, MOST * s.budget)

    @property
    def wants_clips(self) -> bool:
        return self.wanted != 0

    @property
    def wanted(self) -> int | None:
        """Batches that the next turn is to have at most: 0 where it is time to learn, None for any number."""
        s, block = self.settings, min(int(self.learnt * self.settings.turns), self.settings.turns - 1) + 1
        if not s.budget:
            return max(round(s.rounds * block / s.turns) - self.batches, 0)
        if not self.batches:
            return None
        if not self.each:  # one more turn shows how long the next ones take
            return None if self.making < (MOST if s.share is None else s.share) * s.budget / s.turns else 0
        room = self.planned * block / s.turns - self.making
        if room >= self.one / 2:
            return None
        # Where all clips are those of the first, poor batch, another one, if not as many as a turn has.
        return int(self.batches == 1 and room >= self.each * s.clips / 2)

    def made(
        self, seconds: float, clips: int, batches: int, typical: bool = True, warmup: float = 0.0,
        coming: int | None = None,
    ) -> None:  # fmt: skip
        """Count a turn of ``batches`` that took so long. The next one has ``coming`` clips (default: as many); a clip
        is expected to take as long as in the fastest turn, without the share of its time that was ``warmup``. Of a
        turn that is not ``typical``, nothing follows."""
        each = seconds * (1 - warmup) / clips if typical else 0.0
        self.each = min(each, self.each or each)  # what else the machine did meanwhile is no price of later turns
        self.one = self.each * (coming or clips)
        self.batches += batches
        self.making += seconds

    def state(self) -> dict:
        """As numbers: the arguments of a later one."""
        return {
            field.name: getattr(self, field.name) for field in fields(self) if field.name not in ("settings", "clock")
        }
