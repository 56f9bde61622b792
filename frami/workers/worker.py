"""A worker: a process that does the page's jobs one after the other, and does not outlive the page.

``python -m frami.workers.worker DESCRIPTOR`` is given its end of a socket. A message to it begins with one byte:
``JOB``, its name, arguments, where the page reads and writes and whether it is long, or ``STOP`` for the job at work.
Answers begin with ``TOLD`` (on the way), ``DONE``, ``REFUSED`` (a ``FramiError``) or ``FAILED``; the first is
``READY``.
"""

import os
import queue
import sys
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from frami import process
from frami.errors import FramiError

JOB, STOP = b"J", b"S"
READY, TOLD, DONE, REFUSED, FAILED = b"R", b"T", b"D", b"E", b"F"


def main(descriptor: int) -> None:
    """Do jobs until the page closes the socket, or ends."""
    connection, jobs, stop = Connection(descriptor), queue.SimpleQueue(), threading.Event()
    with suppress(OSError):  # where memory runs out, Linux ends this process rather than the page's
        Path("/proc/self/oom_score_adj").write_text("500")
    threading.Thread(target=_listen, args=(connection, jobs, stop), name="frami-worker", daemon=True).start()
    from frami.workers import messages
    from frami.workers.jobs import JOBS, Teller

    teller = Teller(lambda value: connection.send_bytes(TOLD + messages.pack(value)), stop)
    connection.send_bytes(READY)
    while True:
        name, arguments, places, long = messages.unpack(jobs.get())
        os.environ.update(places)
        if long:
            process.lower(process.WATCHED)
        try:
            answer = DONE + messages.pack(JOBS[name](teller, **arguments))
        except FramiError as error:
            answer = REFUSED + messages.pack(str(error))
        except Exception as error:
            answer = FAILED + messages.pack([f"{type(error).__name__}: {error}", traceback.format_exc()])
        connection.send_bytes(answer)


def _listen(connection: Connection, jobs: queue.SimpleQueue, stop: threading.Event) -> None:
    """Take in messages, also while a job is at work; end this process at once when the page is gone."""
    try:
        while True:
            content = connection.recv_bytes()
            if content[:1] == STOP:
                stop.set()
            else:
                stop.clear()
                jobs.put(content[1:])
    except (EOFError, OSError):
        os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
