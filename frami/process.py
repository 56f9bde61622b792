"""How much of the processor and of the memory a process of ours takes beside others."""

import ctypes
import os
from contextlib import suppress
from pathlib import Path

#: Niceness of work that a visitor watches, and of work in the background: the page and short answers come first (0).
WATCHED, BACKGROUND = 3, 7
_M_ARENA_MAX = -8


def launched() -> tuple[int, int]:
    """This process's number among those that a launcher (torchrun, accelerate) has started for a command, and how many
    they are: 0 and 1 without one. Schedulers set some of these variables, too; what sets all is a launcher."""
    try:
        rank, size, _ = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    except (KeyError, ValueError):
        return 0, 1
    return (rank, size) if 0 <= rank < size else (0, 1)


def lower(niceness: int) -> None:
    """Let others come before this process from now on; where the system does not allow that, nothing changes.

    Linux may group processes by their session and then weigh the groups only (autogroup of sched(7)); a process that
    leads a session with a group of its own lowers that too. (Where the system makes no new groups, a new session stays
    in its parent's, which holds others' work.)
    """
    with suppress(OSError, AttributeError):
        os.nice(max(0, niceness - os.nice(0)))
        own = _group("self")
        if own and os.getsid(0) == os.getpid() and own != _group(os.getppid()):
            Path("/proc/self/autogroup").write_text(str(niceness))


def _group(process: int | str) -> str:
    """Name of a process' group, ``/autogroup-12``; empty for one that is in none."""
    return Path(f"/proc/{process}/autogroup").read_text().partition(" ")[0].strip()


def share_memory_of_threads() -> None:
    """Let all threads take memory from two pools of the C library instead of up to eight a core, which each keep what
    was freed in them; call it before there are threads. Where there is another library than glibc, nothing changes.

    (``M_ARENA_MAX`` of mallopt(3); the variable ``MALLOC_ARENA_MAX``, which goes first, must be there before a process
    starts.)
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, 2)
