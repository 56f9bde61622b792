"""A queue whose runs are over in no time, for tests of the queue and of the page that shows it."""

import sys
import time
from pathlib import Path

from frami.runs import Run, Runs
from frami.runs.queue import Queue

SETTINGS = {"teacher": "fsdd", "student": "micro", "objective": "frami", "recipe": "frami-fast", "source": "made"}

#: A run's process: its settings say how long it takes, or that it fails.
FAKE = """
import signal, sys, time
from frami.runs import Runs
store = Runs()
run = store.get(sys.argv[1])
if run.settings.get("broken"):
    sys.exit("it is broken")
store.start(run.id)
def stop(*_):
    store.stop(run.id)
    sys.exit(130)
signal.signal(signal.SIGTERM, signal.SIG_IGN if run.settings.get("deaf") else stop)
for step in range(run.settings.get("ticks", 2)):
    store.log(run.id, step, step, {"share": step / 100, "agreement": step / 10, "left": 9.0})
    time.sleep(0.1)
store.finish(run.id, {"agreement": 0.5})
"""


def queue_in(folder: Path) -> Queue:
    """A queue in the current home, not begun; its runs' script lies in ``folder``."""
    script = folder / "run.py"
    script.write_text(FAKE)
    return Queue(Runs(), (sys.executable, str(script)))


def until(condition, seconds: float = 20) -> None:
    """Wait until ``condition()`` is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def status(queue: Queue, run: Run) -> str:
    return queue.status(queue.get(run.id), queue.waiting())
