"""Which visitors have the page open, as far as their browsers tell: a file for each, whose time says until when they
count as here. So several processes know it, and a restart forgets none."""

import math
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

#: Seconds within which a second sign of a visitor is not written.
_OFTEN = 5
#: Seconds for which signs of a page that was closed may still come.
_LATE = 5
#: Open pages, closed ones and visitors that are known at most.
_PAGES = 2000
#: Seconds after which a visitor who left is forgotten.
_FORGOTTEN = 86400

Noted = TypeVar("Noted", str, float)


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
        self._working: frozenset[str] = frozenset()

    def seen(self, owner: str | None, page: str | None = None) -> None:
        """A visitor's browser asked for something, from this page where that is known. What a page that was closed had
        asked for still comes, and does not count."""
        now = time.time()
        if not owner or not math.isfinite(self._silence) or page in self._closed:
            return
        if now - self._left.get(owner, 0) < min(_LATE, self._grace / 2):
            return
        if now - self._written.get(owner, 0) >= min(_OFTEN, self._silence / 4):
            _add(self._written, owner, now)
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
            _add(self._left, owner, time.time())
            self._note(owner, time.time() + self._grace)

    def gone(self, owner: str) -> float:
        """Seconds since when the visitor does not count as here; 0 for one who does, or who could not have been heard
        of since this studio began."""
        try:
            until = (self.folder / owner).stat().st_mtime
        except (OSError, ValueError):
            until = 0.0
        return max(0.0, time.time() - max(until, self._began + self._silence))

    def need(self, owners: Iterable[str]) -> None:
        """These have work that goes on: their files stay, however many others come."""
        self._working = frozenset(owners)

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
            path = self.folder / owner
            if not path.exists():
                self._make_room()
            path.touch()
            os.utime(path, (until, until))

    def _make_room(self) -> None:
        """Where too many are noted, drop a quarter: who was heard of longest ago, and has no work that goes on."""
        if len(names := os.listdir(self.folder)) < _PAGES:
            return
        idle = [self.folder / name for name in names if name not in self._working]
        for path in sorted(idle, key=_time)[: _PAGES // 4]:
            path.unlink(missing_ok=True)
            self._written.pop(path.name, None)


def _time(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _add(noted: dict[str, Noted], name: str, value: Noted) -> None:
    """Note a page or a visitor, and forget the oldest where they are too many."""
    noted[name] = value
    while len(noted) > _PAGES:
        del noted[next(iter(noted))]
