"""Arithmetic and latency of networks on this machine, measured once for each make, while no run computes."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from frami import checkpoints
from frami.checkpoints import Card
from frami.errors import FramiError
from frami.studio.services.background import Background
from frami.workers.pool import shared

#: Kinds of networks whose figures are kept.
_MOST = 256


@dataclass
class IdleCosts:
    """Networks of equal make have equal figures, whichever of them was measured. ``busy()`` : whether a run computes; a
    measurement that one began beside is not kept."""

    busy: Callable[[], bool]
    _work: Background = field(default_factory=lambda: Background("frami-cost", most=_MOST))
    _makes: dict[Path, str] = field(default_factory=dict)
    _tries: dict[str, int] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return self._work.alive

    def close(self) -> None:
        """Measure nothing more."""
        self._work.close()

    def of(self, path: str | Path) -> dict | None:
        """``{"macs", "latency_ms"}`` of the network of a checkpoint, by its name or path; None until they are measured,
        which begins where nothing computes now."""
        try:
            where = checkpoints.resolve(path)
            key = self._makes.get(where) or self._makes.setdefault(where, make(checkpoints.read_card(where)))
        except (FramiError, OSError):
            return None
        task = key, self._tries.get(key, 0)
        if self._work.ended(task):
            if (found := self._work.result(task)) is not None or self._work.trouble(task):
                return found
            task = key, self._tries[key] + 1
            self._tries[key] = task[1]
        if not self.busy():
            self._tries.setdefault(key, 0)
            self._work.start(task, lambda _: self._measured(where))
        return None

    def _measured(self, path: Path) -> dict | None:
        if self.busy():
            return None
        found = shared().run("map-cost", {"teacher": str(path)})
        return None if self.busy() else found


def make(card: Card) -> str:
    """What tells networks of different cost apart: their configuration, and the clip that they classify."""
    return json.dumps([card.model, card.mel_spec, card.seconds], sort_keys=True)
