"""Distillations that belong to visitors: what each may do with them, within the limits."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from frami.distill import RunSettings
from frami.errors import FramiError
from frami.hosting import owners
from frami.hosting.addresses import Origins
from frami.hosting.limits import BY_NAME, NONE, Limits
from frami.hosting.owners import EVERYONE, Visitor
from frami.runs import Run
from frami.runs.queue import Queue

#: States of a run from which nothing goes on by itself.
OVER = ("finished", "failed", "stopped")


@dataclass
class OwnedRuns:
    """Runs of a queue. What is not a visitor's own is to them as if it were not there."""

    queue: Queue
    limits: Limits = NONE
    _beginning: threading.Lock = field(default_factory=threading.Lock)

    @property
    def origins(self) -> Origins:
        """From which addresses runs were begun."""
        return self.queue.origins

    def own(self, id: str, who: Visitor) -> Run:
        """A run of the visitor's own. FramiError for any other."""
        with suppress(FramiError):
            run = self.queue.get(id)
            if owners.owns(who, run.folder):
                return run
        raise FramiError("no such run")

    def begin(self, runs: Sequence[RunSettings], who: Visitor = EVERYONE, keep: bool = False) -> Run:
        """Queue runs for a visitor; returns the last. ``keep`` : they go on when the visitor has left. ``LimitError``
        where it would be more than the limits, FramiError for a visitor who is not known: then none is queued."""
        return self.add(runs, who, keep)[-1]

    def add(
        self, runs: Sequence[RunSettings], who: Visitor = EVERYONE, keep: bool = False, queued: bool = True
    ) -> list[Run]:
        """``begin``, and all the runs; not ``queued``, they are the caller's to be made."""
        owners.check(who)
        self.limits.check("runs_at_once", len(runs))
        for one in runs:
            self.limits.check("budget", one.settings.budget if one.settings.budget is not None else float("inf"))
        with self._beginning:
            self._check_waiting(len(runs), who)
            added = [self.queue.add(one.name, one.to_dict(), who.owner, keep, queued) for one in runs]
            for run in added:
                self.origins.note(run.id, who.address)
            return added

    def may_begin(self, count: int, budget: float) -> str | None:
        """Why a visitor may not begin so many runs of so many seconds at all; None where nothing speaks against it."""
        for name, value in (("runs_at_once", count), ("budget", budget)):
            if value > self.limits.of(name):
                words = BY_NAME[name].words
                return f"{words[0].upper()}{words[1:]}: at most {self.limits.words(name)} on this shared page"
        return None

    def resume(self, id: str, who: Visitor = EVERYONE) -> None:
        """Queue a stopped run of the visitor's again."""
        run = self.own(id, who)
        with self._beginning:
            self._check_waiting(1, who)
            self.queue.resume(run.id)
            self.origins.note(run.id, who.address)

    def stop(self, id: str, who: Visitor = EVERYONE) -> None:
        self.queue.stop(self.own(id, who).id)

    def delete(self, id: str, who: Visitor = EVERYONE) -> None:
        self.queue.delete(self.own(id, who).id)

    def share(self, id: str, who: Visitor = EVERYONE) -> str:
        """What a link that shows this run to others names it by. FramiError where it cannot be noted."""
        run = self.own(id, who)
        try:
            return f"{run.id}.{owners.share(run.folder)}"
        except OSError as error:
            raise FramiError("the link could not be stored; try again later") from error

    def unshare(self, id: str, who: Visitor = EVERYONE) -> None:
        """Take the link back."""
        try:
            owners.unshare(self.own(id, who).folder)
        except OSError as error:
            raise FramiError("the link could not be taken back; try again later") from error

    def _check_waiting(self, more: int, who: Visitor) -> None:
        if not self.limits:
            return
        waiting = self.going()
        own = sum(owners.owns(who, run.folder) for run in waiting)
        self.limits.check("waiting_runs", own + more)
        if who.address is not None:
            near = sum(self.origins.of(run.id) == who.address for run in waiting)
            self.limits.check_address("waiting_runs", near + more)
        self.limits.check("waiting_runs_all", len(waiting) + more)

    def going(self) -> list[Run]:
        """Runs that wait or are at work."""
        waiting = self.queue.waiting()
        return [run for run in self.queue.all() if self.queue.status(run, waiting) not in OVER]
