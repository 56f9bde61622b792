"""Stand-ins for a pool, and ``python -m tests.helpers.workers``, a worker that knows jobs to test it with."""

import os
import sys
import threading
import time
from pathlib import Path

from frami.errors import FramiError
from frami.workers import jobs, worker
from frami.workers.limits import LIMITS, WorkLimits
from frami.workers.pool import Pool


class InThisProcess(Pool):
    """Does each job in the thread that asks, as a worker would."""

    def run(self, job, arguments, told=None, stopped=None, again=1):
        stop = threading.Event()

        def send(value):
            told(value)
            if stopped and stopped():
                stop.set()

        return jobs.JOBS[job](jobs.Teller(send, stop), **arguments)


def in_thread(work):
    """Start ``work()``; returns the thread and the list that gets its result, or its error."""
    found = []

    def keep():
        try:
            found.append(work())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=keep)
    thread.start()
    return thread, found


def echo(teller, *, value):
    teller.send(os.getpid())
    return value


def fail(teller, *, known: bool):
    raise FramiError("choose another") if known else ZeroDivisionError("by zero")


def spend(teller, *, seconds: float = 0.0, gigabytes: float = 0.0, deaf: bool = False, talks: bool = False):
    """Takes time and memory; returns whether it was told to stop. deaf : it does not stop; talks : it tells that it
    is still at work."""
    teller.send(os.getpid())
    held, until = bytearray(int(gigabytes * 1e9)), time.monotonic() + seconds
    held[::4096] = b"x" * len(held[::4096])
    while time.monotonic() < until and (deaf or not teller.stopped):
        time.sleep(0.01)
        if talks:
            teller.send(os.getpid())
    return teller.stopped


def niceness(teller) -> list[int]:
    """This process, its niceness, and that of its group where the system has put it in one of its own (else 0)."""
    words = Path("/proc/self/autogroup").read_text().split()
    shared = words == Path(f"/proc/{os.getppid()}/autogroup").read_text().split()
    return [os.getpid(), os.nice(0), 0 if shared or not words else int(words[-1])]


KINDS = {
    "test": WorkLimits(seconds=30, gigabytes=4, waiting=1, each=2),
    "quick": WorkLimits(seconds=0.3, gigabytes=4),
    "small": WorkLimits(seconds=30, gigabytes=1.2),
    "brief": WorkLimits(seconds=30, gigabytes=4, patience=0.3),
    "long": WorkLimits(seconds=30, gigabytes=4, long=True),
}


def pool(**choices) -> Pool:
    """A pool that knows ``test-…`` jobs too."""
    command = (sys.executable, "-m", "tests.helpers.workers")
    return Pool(**({"kinds": LIMITS | KINDS, "command": command} | choices))


if __name__ == "__main__":
    jobs.JOBS |= {"test-echo": echo, "test-fail": fail, "test-spend": spend}
    jobs.JOBS |= {"quick-spend": spend, "small-spend": spend, "brief-spend": spend}
    jobs.JOBS |= {"test-niceness": niceness, "long-niceness": niceness, "long-spend": spend}
    worker.main(int(sys.argv[1]))
