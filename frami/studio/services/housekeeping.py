"""What a hosted studio does by itself: it ends the work of visitors who have gone, and clears what is old."""

import logging
import threading
import time
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
_log = logging.getLogger(__name__)


class Housekeeping:
    """A thread from ``begin()`` to ``close()``; none where there are no limits. ``uploads`` : folder of what pages
    uploaded, once it is known."""

    def __init__(self, syntheses: Syntheses, runs: OwnedRuns, presence: Presence, limits: Limits):
        self.storage = Storage(syntheses, runs, limits)
        self.uploads: Path | None = None
        self._syntheses, self._runs, self._presence, self._limits = syntheses, runs, presence, limits
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="frami-housekeeping", daemon=True)

    def begin(self) -> "Housekeeping":
        if self._limits:
            self._thread.start()
        return self

    def close(self) -> None:
        """End; the disk is left as it is."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def end_abandoned(self) -> None:
        """Stop what works for visitors who have gone; what was made so far is saved. Distillations that were to be kept
        have longer."""
        for run in self._syntheses.going():
            if run.owner and self._presence.gone(run.owner):
                run.stop()
        for run in self._runs.going():
            found = owners.entry(run.folder)
            gone = self._presence.gone(found.owner) if found.owner else 0
            if gone > (self._limits.of("kept") if found.keep else 0):
                self._runs.queue.stop(run.id)

    def clean(self) -> None:
        """Delete old runs and uploads, and forget who left long ago."""
        self.storage.clean()
        if self.uploads:
            clear_uploads(self.uploads, 3600, self._limits.of("uploads_all"))
        self._presence.forget()

    def _work(self) -> None:
        cleaned = -_CLEAN
        while not self._closing.wait(min(_LOOK, self._limits.of("grace") / 4)):
            try:
                self.end_abandoned()
                if time.monotonic() - cleaned > _CLEAN:
                    cleaned = time.monotonic()
                    self.clean()
            except (FramiError, OSError) as error:
                _log.warning("housekeeping: %s", error)
