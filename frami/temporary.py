"""A folder of this process in the system's temporary one, which does not outlive it for long.

What libraries and started processes write for a while goes there. It is removed when the process ends; where that was
killed, when the next one begins: a lock (``locks``) tells whose process is gone.
"""

import atexit
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from frami import locks

#: Beginning of the folders' names.
PREFIX = "frami-studio-"
#: Seconds after which an empty folder without a lock is one whose process was killed before it took it.
_YOUNG = 60
#: Where uploads lie, a variable of Gradio's; without it they lie in the temporary folder.
_UPLOADS = "GRADIO_TEMP_DIR"
_held: list[tuple[Path, locks.Held]] = []


def begin() -> None:
    """Let this process, and those that it starts, have temporary folders of their own, and remove those of processes
    that were killed. Before Gradio is loaded. Where the disk takes no folder, all stays as it is."""
    bases = {}
    with suppress(FileNotFoundError):  # nothing can be written anywhere
        bases["TMPDIR"] = Path(tempfile.gettempdir())
    if uploads := os.environ.get(_UPLOADS):
        bases[_UPLOADS] = Path(uploads).absolute()
    for base in set(bases.values()):
        clear(base)
    for name, base in bases.items():
        if (folder := _own(base)) is not None:
            os.environ[name] = str(folder / "uploads" if name == _UPLOADS else folder)
    tempfile.tempdir = None  # it is looked up anew


def clear(base: Path) -> None:
    """Remove the folders there whose processes have ended. Those of other users, those in use and those of which that
    cannot be known stay."""
    there: list[os.DirEntry] = []
    with suppress(OSError):
        there = list(os.scandir(base))
    for entry in there:
        with suppress(OSError):  # another process removes it, too
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False) and _mine(entry):
                _remove(Path(entry.path))


def keep() -> None:
    """Touch the folders of this process, so that a system which removes old temporary files leaves them."""
    for folder, _ in _held:
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            for one in (folder, folder / locks.NAME):
                os.utime(one)


def is_own(path: Path) -> bool:
    """Whether a folder lies in one of this process's own."""
    return any(path.resolve().is_relative_to(folder.resolve()) for folder, _ in _held)


def end() -> None:
    """Remove the folders of this process."""
    while _held:
        folder, lock = _held.pop()
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _mine(entry: os.DirEntry) -> bool:
    return not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid()


def _remove(folder: Path) -> None:
    lock = locks.abandoned(folder)
    if lock is not None:
        with lock:
            shutil.rmtree(folder, ignore_errors=True)
        return
    with suppress(OSError):  # one that is not empty stays
        if time.time() - folder.stat().st_mtime > _YOUNG:
            folder.rmdir()


def _own(base: Path) -> Path | None:
    """A new folder there, whose lock this process has, where the filesystem knows locks; None where the disk takes
    none."""
    for _ in range(5):
        try:
            base.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            lock = locks.folder(folder)
        except locks.InUseError:  # another process has just taken it for one that was left
            continue
        except OSError:
            return None
        if folder.is_dir():
            if not _held:
                atexit.register(_end_here, os.getpid())
            _held.append((folder, lock))
            return folder
    return None


def _end_here(process: int) -> None:
    """``end``, but not in a process that was forked."""
    if process == os.getpid():
        end()
