"""Runs the command line in a process that does not outlive the one that started it.

``python -m frami.runs.child COMMAND …`` is ``python -m frami COMMAND …`` with standard input held open by its parent.
When the parent is gone, however it ended, the pipe closes, and this process gets the signal to save and stop.
"""

import os
import runpy
import signal
import sys
import threading
from contextlib import suppress

#: Steps behind the programs that somebody waits for: the page stays quick while a student learns.
NICENESS = 5


def main() -> None:
    """Watch the parent, and be the command line."""
    with suppress(OSError, AttributeError):
        os.nice(NICENESS)
    threading.Thread(target=_watch, name="frami-child", daemon=True).start()
    runpy.run_module("frami", run_name="__main__", alter_sys=True)


def _watch() -> None:
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 64):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
