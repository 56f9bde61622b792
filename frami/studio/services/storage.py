"""What visitors' runs take on the disk: the oldest go when they are too old or too many."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from frami import files, locks
from frami.errors import FramiError
from frami.hosting import owners
from frami.hosting.limits import Limits
from frami.studio.services import clip_ids
from frami.studio.services.owned_runs import OwnedRuns
from frami.studio.services.syntheses import Syntheses

_MB = 1e6
#: Seconds for which what was counted holds.
_COUNTED = 60


@dataclass(frozen=True)
class Stored:
    """A visitor's run that has ended: ``address`` : from which it was begun, None where that is not known; ``size`` in
    bytes, ``at`` : when it was last written, ``delete`` : removes it; ``synthesis`` : of clips, else a student."""

    owner: str
    address: str | None
    size: int
    at: float
    delete: Callable[[], None]
    synthesis: bool


@dataclass
class Storage:
    """The runs of visitors on the disk; those of the machine's owner are not touched."""

    syntheses: Syntheses
    runs: OwnedRuns
    limits: Limits
    _counted: list[Stored] = field(default_factory=list)
    _at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, owner: str | None, address: str | None = None) -> None:
        """Make room for a visitor's next run by their oldest syntheses. ``LimitError`` where distillations take more
        than a visitor may have, or runs of their network address or of all visitors more than these may."""
        if not owner or not self.limits:
            return
        with self._lock:
            own = [one for one in self._stored() if one.owner == owner]
            self._shrink([one for one in own if one.synthesis], sum(one.size for one in own), "disk")
            self.limits.check("disk", sum(one.size for one in self._counted if one.owner == owner) / _MB)
            if address is not None:
                near = sum(one.size for one in self._counted if one.address == address)
                self.limits.check_address("disk", near / _MB)
            self.limits.check("disk_all", sum(one.size for one in self._counted) / _MB)

    def clean(self) -> None:
        """Delete what is too old, then the oldest until the rest is small enough."""
        with self._lock:
            self._at = 0.0
            found = self._stored()
            for one in found:
                if time.time() - one.at > 3600 * self.limits.of("age"):
                    self._delete(one)
            self._shrink(list(self._counted), sum(one.size for one in self._counted), "disk_all")

    def _shrink(self, found: list[Stored], size: int, limit: str) -> None:
        for one in sorted(found, key=lambda one: one.at):
            if size <= _MB * self.limits.of(limit):
                return
            size -= one.size
            self._delete(one)

    def _delete(self, one: Stored) -> None:
        with suppress(FramiError, OSError):
            one.delete()
            self._counted = [other for other in self._counted if other is not one]

    def _stored(self) -> list[Stored]:
        if time.time() - self._at > _COUNTED:
            self._counted, self._at = [*self._banks(), *self._students()], time.time()
        return self._counted

    def _banks(self) -> Iterator[Stored]:
        going = {run.id for run in self.syntheses.going()}
        for folder in files.folders(self.syntheses.folder):
            owner = owners.entry(folder).owner
            at_work = folder.name in going or locks.folder_in_use(folder) is not None
            if owner and clip_ids.is_run(folder.name) and not at_work:
                origin = self.syntheses.origins.of(folder.name)
                yield Stored(owner, origin, *_measured(folder), lambda id=folder.name: self.syntheses.drop(id), True)

    def _students(self) -> Iterator[Stored]:
        going = {run.id for run in self.runs.going()}
        for run in self.runs.queue.all():
            owner = owners.entry(run.folder).owner
            if owner and run.id not in going:
                origin, (size, _) = self.runs.origins.of(run.id), _measured(run.folder)
                yield Stored(owner, origin, size, run.updated, lambda id=run.id: self.runs.queue.delete(id), False)


def clear_uploads(folder: Path, seconds: float, megabytes: float) -> None:
    """Delete what a server stored for pages: what is older than this, then the oldest until the rest is small enough.
    Each file has a folder of its own, once it has come as a whole."""
    there: list[Path] = []
    with suppress(OSError):
        there = [path for path in folder.iterdir() if not path.is_symlink()]
    found = sorted(((*_measured(one)[::-1], one) for one in there), key=lambda one: one[0])
    size = sum(size for _, size, _ in found)
    for at, taken, one in found:
        if time.time() - at > seconds or size > _MB * megabytes:
            with suppress(OSError):
                shutil.rmtree(one) if one.is_dir() else one.unlink()
            size -= taken


def taken(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(_measured(one)[0] for one in files.folders(folder))


def _measured(folder: Path) -> tuple[int, float]:
    """Bytes of a folder's files, or of a file, and when one was last written."""
    size, latest = 0, 0.0
    for path in folder.rglob("*") if folder.is_dir() else [folder]:
        with suppress(OSError):
            found = path.lstat()
            size, latest = size + found.st_size, max(latest, found.st_mtime)
    with suppress(OSError):  # of one that was removed meanwhile
        return size, latest or folder.stat().st_mtime
    return 0, 0.0
