"""What one process at a time writes: the folder of a bank or a run, the files of a checkpoint.

A lock is a hidden file that the process holds open; the system lets go of it when the process ends, however it does.
"""

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

import psutil
from filelock import FileLock, Timeout

from frami import files
from frami.errors import FramiError

#: Lock of a folder, in it.
NAME = ".writing.lock"
#: Where nothing may be written, and where the filesystem knows no locks.
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
#: Ending of what a page writes into a run's folder while the run's process has it.
_OTHERS = (".owner",)
#: Seconds that a thread waits for another one of this process that lets go of a lock, and for another process that only
#: looks whether somebody has it.
_MOMENT, _LOOK = 1.0, 0.1
#: Seconds that ``alone`` waits for the others.
_WAIT = 10.0


class InUseError(FramiError):
    """What another process is writing."""


class Held:
    """A lock that this process has until it is released, or nobody refers to it any more; also a block's."""

    def __init__(self, lock: "_Lock | None"):
        self._lock = lock

    def release(self) -> None:
        self._lock = None

    def __enter__(self) -> "Held":
        return self

    def __exit__(self, *_) -> None:
        self.release()


def folder(path: Path) -> Held:
    """The lock of a folder, which is made; all in this process share it. InUseError where another process has it;
    OSError where the disk refuses. Where no file may be written there is none (what writes says so), nor where the
    filesystem knows none."""
    path.mkdir(parents=True, exist_ok=True)
    held = _held(path / NAME, path)
    files.tidy(path, spared=_OTHERS)
    return held


def checkpoint(stem: Path) -> Held:
    """The lock of the files whose names begin so; otherwise as ``folder``."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    held = _held(_beside(stem), stem)
    files.tidy(stem.parent, f"{stem.name}.")
    return held


def folder_in_use(path: Path) -> int | None:
    """Number of the process, this one or another, that has the lock of a folder; 0 where it does not say it, None where
    nobody has it."""
    return _owner(path / NAME) or 0 if _is_held(path / NAME) else None


def folder_elsewhere(path: Path) -> bool:
    """Whether another process than this one has the lock of a folder."""
    return _is_held(path / NAME) and not _is_own(path / NAME)


def folder_opened_by(path: Path, process: int) -> bool:
    """Whether this process of ours has a folder's lock. A number alone does not tell: in another container the same one
    is another process's."""
    lock = os.path.realpath(path / NAME)
    with suppress(psutil.Error, ValueError, OverflowError):
        return any(os.path.realpath(file.path) == lock for file in psutil.Process(process).open_files())
    return False


def checkpoint_elsewhere(stem: Path) -> bool:
    """Whether another process than this one has the lock of the files whose names begin so."""
    return _is_held(_beside(stem)) and not _is_own(_beside(stem))


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """For the block, which takes a moment, no other thread or process is in one with this file. InUseError where one is
    for long; where no file may be written, or the filesystem knows no locks, there is none."""
    lock = FileLock(path, timeout=_WAIT)
    try:
        lock.acquire()
    except Timeout:
        raise InUseError(f"{path.parent} is being changed by another process for {_WAIT:.0f} s; try again") from None
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
    try:
        yield
    finally:
        lock.release()


def abandoned(path: Path) -> Held | None:
    """The lock of a folder that a process had which has ended without letting go, as one that is killed does. None
    where there is none, where a process has it, also this one, and where that cannot be known."""
    return _abandoned(path / NAME)


def _abandoned(file: Path) -> Held | None:
    key = os.path.realpath(file)
    with _MEETING, suppress(OSError, Timeout):
        if key not in _OPEN and stat.S_ISREG(file.lstat().st_mode):
            _OPEN[key] = lock = _Lock(file)
            return Held(lock)
    return None


def clear(path: Path) -> None:
    """Remove what processes that were killed left in a folder and those in it: locks, and files that they had not
    written whole."""
    for file in list(path.rglob(".*.lock")):
        if (lock := _abandoned(file)) is not None:
            with lock:
                if file.name == NAME:
                    files.tidy(file.parent, spared=_OTHERS)


class _Lock:
    """The file that is held open. It is removed before it is let go, and not by a process that was forked."""

    def __init__(self, path: Path):
        self.path, self._process, self._lock = path, os.getpid(), FileLock(path, thread_local=False)
        self._lock.acquire(blocking=False)
        with suppress(OSError):  # for whom it concerns; a full disk takes none
            path.write_text(str(self._process))

    def __del__(self):
        if hasattr(self, "_lock") and self._lock.is_locked and self._process == os.getpid():
            with suppress(OSError):
                self.path.unlink()
            self._lock.release()


_OPEN: "WeakValueDictionary[str, _Lock]" = WeakValueDictionary()


_MEETING = threading.Lock()


def _begin_anew() -> None:
    """In a forked process: another thread may have been among ``_held`` then."""
    global _MEETING
    _MEETING = threading.Lock()


os.register_at_fork(after_in_child=_begin_anew)


def _held(path: Path, what: Path) -> Held:
    key, begin = os.path.realpath(path), time.monotonic()
    while True:
        with _MEETING:
            lock = _OPEN.get(key)
            if lock is not None:
                return Held(lock)
            try:
                _OPEN[key] = lock = _Lock(path)
                return Held(lock)
            except Timeout:
                owner = _owner(path)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                return Held(None)
        if time.monotonic() - begin > (_MOMENT if owner == os.getpid() else _LOOK):
            by = f"process {owner}" if owner else "another process"
            raise InUseError(f"{what} is being written by {by}; wait until it ends, or choose another --out")
        time.sleep(0.01)  # another thread is letting go of it, or another process looks


def _beside(stem: Path) -> Path:
    return stem.with_name(f".{stem.name}.lock")


def _is_own(path: Path) -> bool:
    return os.path.realpath(path) in _OPEN


def _is_held(path: Path) -> bool:
    """Whether a process has this lock; nothing is made or changed."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the filesystem knows none
        return False
    finally:
        os.close(file)
    return False


def _owner(path: Path) -> int | None:
    """Number of the process that has the lock, as far as the file says it."""
    with suppress(OSError, ValueError):
        return int(path.read_text()[:20])
    return None
