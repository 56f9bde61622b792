"""Which visitors have the page open, as far as their browsers tell: a file for each, whose time says until when they
count as here. So several processes know it, and a restart forgets none."""

import math
import os
import re
import time
from contextlib import suppress
from pathlib import Path

#: Seconds within which a second sign of a visitor is not written.
_OFTEN = 5
#: Seconds for which signs of a page that was closed may still come.
_LATE = 5
#: Open pages, and closed ones, that are known at most.
_PAGES = 2000
#: Seconds after which a visitor who left is forgotten.
_FORGOTTEN = 86400


class Presence:
    """``folder`` : of the files; ``silence`` : seconds for which a sign counts; ``grace`` : seconds from the closing of
    a page, within which it may be opened again. Where they are infinite, nobody is noted."""

    def __init__(self, folder: Path, silence: float, grace: float):
        self.folder, self._silence, self._grace = folder, silence, grace
        self._began = time.time()
        self._written: dict[str, float] = {}
        self._pages: dict[str, str] = {}
        self._closed: dict[str, str] = {}
        self._left: dict[str, float] = {}

    def seen(self, owner: str | None, page: str | None = None) -> None:
        """A visitor's browser asked for something, from this page where that is known. What a page that was closed had
        asked for still comes, and does not count."""
        now = time.time()
        if not owner or not math.isfinite(self._silence) or page in self._closed:
            return
        if now - self._left.get(owner, 0) < min(_LATE, self._grace / 2):
            return
        if now - self._written.get(owner, 0) >= min(_OFTEN, self._silence / 4):
            self._written[owner] = now
            self._note(owner, now + self._silence)

    def opened(self, page: str | None, owner: str | None) -> None:
        """A visitor opened this page."""
        if page and owner:
            _add(self._pages, page, owner)
            self._left.pop(owner, None)
            self.seen(owner)

    def closed(self, page: str | None) -> None:
        """A page was closed; another one of the same visitor that is open is heard of again soon."""
        owner = self._pages.pop(page, None) if page else None
        if owner and math.isfinite(self._grace):
            _add(self._closed, page, owner)
            self._written.pop(owner, None)
            self._left[owner] = time.time()
            self._note(owner, time.time() + self._grace)

    def gone(self, owner: str) -> float:
        """Seconds since when the visitor does not count as here; 0 for one who does, or who could not have been heard
        of since this studio began."""
        try:
            until = (self.folder / owner).stat().st_mtime
        except (OSError, ValueError):
            until = 0.0
        return max(0.0, time.time() - max(until, self._began + self._silence))

    def forget(self) -> None:
        """Drop who left long ago."""
        now = time.time()
        for times in (self._written, self._left):
            for owner, at in list(times.items()):
                if now - at > self._silence:
                    times.pop(owner, None)
        with suppress(OSError):
            for found in os.scandir(self.folder):
                if now - found.stat().st_mtime > _FORGOTTEN:
                    os.unlink(found.path)

    def _note(self, owner: str, until: float) -> None:
        if not re.fullmatch(r"[0-9a-f]{32}", owner):
            return
        with suppress(OSError):  # a full disk ends nobody's work: the next sign may be written
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / owner).touch()
            os.utime(self.folder / owner, (until, until))


def _add(pages: dict[str, str], page: str, owner: str) -> None:
    """Note a page, and forget the oldest where they are too many."""
    pages[page] = owner
    while len(pages) > _PAGES:
        del pages[next(iter(pages))]
