"""What a hosted studio does by itself: it ends the work of visitors who have gone, and clears what is old."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from frami.errors import FramiError
from frami.hosting import owners
from frami.hosting.limits import Limits
from frami.hosting.presence import Presence
from frami.studio.services.owned_runs import OwnedRuns
from frami.studio.services.storage import Storage, clear_uploads
from frami.studio.services.syntheses import Syntheses

#: Seconds between two looks at who has gone, and at what is old.
_LOOK, _CLEAN = 2.0, 60.0
#: Seconds between two looks at least, however short the grace is.
_LEAST = 0.02
_log = logging.getLogger(__name__)


class Housekeeping:
    """A thread from ``begin()`` to ``close()``; none where there are no limits. ``uploads`` : folder of what pages
    uploaded, once it is known."""

    def __init__(self, syntheses: Syntheses, runs: OwnedRuns, presence: Presence, limits: Limits):
        self.storage = Storage(syntheses, runs, limits)
        self.uploads: Path | None = None
        self._syntheses, self._runs, self._presence, self._limits = syntheses, runs, presence, limits
        self._closing = threading.Event()
        self._failed: dict[str, str] = {}
        self._thread = threading.Thread(target=self._work, name="frami-housekeeping", daemon=True)

    def begin(self) -> "Housekeeping":
        if self._limits:
            self._thread.start()
        return self

    @property
    def alive(self) -> bool:
        """Whether its thread is at work."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End; the disk is left as it is."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def end_abandoned(self) -> None:
        """Stop what works for visitors who have gone; what was made so far is saved. Distillations that were to be kept
        have longer."""
        working = set()
        for run in [*self._syntheses.going(), *self._syntheses.others()]:
            working.add(run.owner)
            if run.owner and self._presence.gone(run.owner):
                run.stop()
        for run in self._runs.going():
            found = owners.entry(run.folder)
            working.add(found.owner)
            gone = self._presence.gone(found.owner) if found.owner else 0
            if gone > (self._limits.of("kept") if found.keep else 0):
                with suppress(FramiError):  # another studio of the same folder begins it now: the next look finds it
                    self._runs.queue.stop(run.id)
        self._presence.need(filter(None, working))

    def clean(self) -> None:
        """Delete old runs and uploads, and forget who left long ago."""
        self.storage.clean()
        if self.uploads:
            clear_uploads(self.uploads, 3600, self._limits.of("uploads_all"))
        self._presence.forget()

    def _work(self) -> None:
        cleaned = -_CLEAN
        while not self._closing.wait(max(_LEAST, min(_LOOK, self._limits.of("grace") / 4))):
            self._do(self.end_abandoned)
            if time.monotonic() - cleaned > _CLEAN:
                cleaned = time.monotonic()
                self._do(self.clean)

    def _do(self, work: Callable[[], None]) -> None:
        """Whatever goes wrong is logged once, until it is something else: the next look comes all the same."""
        name = work.__name__
        try:
            work()
            self._failed.pop(name, None)
        except Exception as error:
            if self._failed.get(name) != str(error):
                self._failed[name] = str(error)
                _log.warning("housekeeping, %s: %s", name, error, exc_info=not isinstance(error, FramiError | OSError))
