"""The command line in a process that does not outlive the one that started it.

``python -m frami.runs.child COMMAND …`` is ``python -m frami COMMAND …`` with a pipe from its parent as standard input.
When the parent ends, however it does, the pipe closes, and this process gets the signal to save its state and stop; one
that hangs is killed.
"""

import os
import runpy
import signal
import sys
import threading
import time
from contextlib import suppress

from frami import process

#: Seconds that it may take to save its state once its parent has gone.
PATIENCE = 60


def attend() -> None:
    """Let others come before this process, and end it when its parent has ended."""
    process.lower(process.BACKGROUND)
    threading.Thread(target=_watch, name="frami-child", daemon=True).start()


def main() -> None:
    """Run the command line while the parent lives."""
    attend()
    runpy.run_module("frami", run_name="__main__", alter_sys=True)


def _watch() -> None:
    with suppress(OSError):
        while os.read(sys.stdin.fileno(), 64):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
