"""How much of the processor a process of ours takes beside others."""

import os
from contextlib import suppress
from pathlib import Path

#: Niceness of work that a visitor watches, and of work in the background: the page and short answers come first (0).
WATCHED, BACKGROUND = 3, 7


def lower(niceness: int) -> None:
    """Let others come before this process from now on; where the system does not allow that, nothing changes.

    Linux may group processes by their session and then weigh the groups only (autogroup of sched(7)); a process that
    leads a session of its own lowers its group too.
    """
    with suppress(OSError, AttributeError):
        os.nice(niceness - os.nice(0))
        if os.getsid(0) == os.getpid():
            Path("/proc/self/autogroup").write_text(str(niceness))
