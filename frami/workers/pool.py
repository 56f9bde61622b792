"""The page's pool of worker processes: each job within limits of time, memory and number.

A process is started by a plain command, not forked (threads of PyTorch do not survive that) nor by ``multiprocessing``
(which would import ``app.py`` in it and build a second page). Each has a socket of its own, so that one killed in the
middle of a message spoils no other's; pools of libraries share one pipe or break as a whole.
"""

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path

import psutil

from frami import checkpoints
from frami.checkpoints import Checkpoint
from frami.errors import FramiError, sentence
from frami.hosting.fair import in_turn
from frami.hosting.limits import half_of
from frami.paths import child_environment
from frami.workers import messages
from frami.workers.limits import WorkLimits, here
from frami.workers.worker import DONE, FAILED, JOB, READY, REFUSED, STOP, TOLD

#: Seconds after which a process without work ends, and that one may take to start when its job is to stop already.
IDLE, START = 300.0, 120.0
#: Gigabytes of memory, beside those of its libraries, above which a process is not kept after its job.
KEPT = 1.5
#: Gigabytes of memory that the libraries of a GPU may take in a process which uses it.
GPU = 4.0
#: Visitors and addresses of whom is remembered when they had their last turn.
_KNOWN = 2000
#: Seconds between two looks at whether a job is to stop, and at its memory.
_TICK, _WEIGH = 0.05, 0.25
#: Command of a worker's process, to which its descriptor is added.
COMMAND = (sys.executable, "-m", "frami.workers.worker")

_asker: ContextVar[tuple[str | None, str | None]] = ContextVar("asker", default=(None, None))


class WorkLostError(FramiError):
    """A job that did not come to its end because its process was killed."""


class OverLimitError(WorkLostError):
    """A job whose process was ended because it took too long or too much memory, or did not stop."""


class BusyError(FramiError):
    """As many jobs of a kind wait as may, of all or of one visitor."""


@dataclass
class Worker:
    """A process, the page's end of its socket, and since when it has had no work. ``temporary`` : its folder for
    temporary files; ``base`` : gigabytes that it held when it was ready, None before; ``gpu`` : whether one of its jobs
    was on a GPU; ``long`` : whether one was long, so that others come before it (a process cannot take that back)."""

    process: subprocess.Popen
    connection: Connection
    temporary: Path | None = None
    idle_since: float = field(default_factory=time.monotonic)
    base: float | None = None
    gpu: bool = False
    long: bool = False

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def gigabytes(self) -> float:
        """Memory of the process and of those that it started; 0 when it has ended."""
        try:
            process = psutil.Process(self.process.pid)
            return sum(one.memory_info().rss for one in (process, *process.children(recursive=True))) / 1e9
        except psutil.Error:
            return 0.0

    def taken(self) -> float:
        """Gigabytes that its jobs take, beside those of the libraries."""
        return self.gigabytes() - (self.base or 0.0) - GPU * self.gpu

    def end(self) -> None:
        """Kill it, and remove what it had for a while."""
        self.connection.close()
        self.process.kill()
        self.process.wait()
        if self.temporary:
            shutil.rmtree(self.temporary, ignore_errors=True)


class Pool:
    """Workers that are started when there is work, kept warm for the next job, and ended after ``idle`` seconds without
    any. ``kinds`` : limits of each kind of work (None: those that hold here); ``command`` : of a worker's process, to
    which its descriptor is added."""

    def __init__(
        self, kinds: Mapping[str, WorkLimits] | None = None, idle: float = IDLE, command: Sequence[str] = COMMAND
    ):
        self._limits, self._idle_after, self._command = kinds or here(), idle, tuple(command)
        self._idle: list[Worker] = []
        self._busy: list[Worker] = []
        self._working, self._asked = Counter(), Counter()
        self._lines: dict[str, list[tuple[object, str, str | None, float]]] = {kind: [] for kind in self._limits}
        self._served: dict[str, float] = {}
        self._lost = self._done = self._refused = 0
        self._turn = threading.Condition()
        self._timer: threading.Timer | None = None
        self._closed = False

    def run(
        self,
        job: str,
        arguments: dict,
        told: Callable[[object], None] | None = None,
        stopped: Callable[[], bool] | None = None,
        again: int = 1,
    ):
        """Do a job of ``jobs.JOBS`` in a worker and return its result; the calling thread waits.

        ``told(value)`` is called here with what the job tells on its way; where ``stopped()`` turns true, the job is
        told to stop. again : how often a job is begun anew whose process was killed. Raises the job's FramiError,
        RuntimeError for another of its errors (its traceback as a note), BusyError, WorkLostError and OverLimitError.
        """
        kind = job.partition("-")[0]
        limits = self._limits[kind]
        with self._share(kind, limits), self._place(kind, limits, stopped):
            while True:
                try:
                    return self._once(limits, [job, arguments, _places(), limits.long], told, stopped)
                except OverLimitError:
                    raise
                except WorkLostError:
                    if not again or self._closed:
                        raise
                    again -= 1

    def warm(self) -> None:
        """Start a worker unless one without work is there, so that the next job need not wait for it."""
        with self._turn:
            there = self._closed or any(worker.alive and not worker.long for worker in self._idle)
        if not there:
            self._keep(_start(self._command))

    def health(self) -> dict:
        """Workers that live (``workers``, of which ``busy``), jobs that wait, and since the start those that came to
        an end (``done``), were turned away because too many waited (``refused``), and were lost with their worker
        (``lost``)."""
        with self._turn:
            return {
                "workers": sum(worker.alive for worker in (*self._idle, *self._busy)),
                "busy": len(self._busy),
                "waiting": sum(map(len, self._lines.values())),
                "done": self._done,
                "refused": self._refused,
                "lost": self._lost,
            }

    @property
    def alive(self) -> bool:
        """Whether jobs will be done."""
        return not self._closed

    def processes(self) -> list[int]:
        """Numbers of the processes of all workers, those at work first."""
        with self._turn:
            return [worker.process.pid for worker in (*self._busy, *self._idle)]

    def close(self) -> None:
        """End all workers, those at work too, and start no other."""
        with self._turn:
            self._closed = True
            idle, self._idle = self._idle, []
            for worker in self._busy:
                worker.process.kill()
            self._turn.notify_all()
        for worker in idle:
            worker.end()

    # ------------------------------------------------------------------------------------- one job

    def _once(self, limits: WorkLimits, job: list, told, stopped):
        """Do a job in a worker, which is kept for the next one only if it said that it has come to the end of this."""
        worker, ended = self._take(limits.long), False
        worker.gpu = worker.gpu or job[1].get("device", "cpu") != "cpu"
        try:
            if limits.long:
                self.warm()
            with _lost():
                worker.connection.send_bytes(JOB + messages.pack(job))
            answer = self._follow(worker, limits, told, stopped)
            ended = True
        finally:
            self._give_back(worker, ended, ended and limits.kept)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _follow(self, worker: Worker, limits: WorkLimits, told, stopped):
        """Take in what a worker says until its job has ended; returns its result, or the error that it ended in."""
        begin, weighed, asked = time.monotonic(), 0.0, None
        while True:
            now, content = time.monotonic(), b""
            with _lost():
                if worker.connection.poll(_TICK):
                    content = worker.connection.recv_bytes()
            kind, value = content[:1], content[1:]
            if kind == TOLD and told:
                told(messages.unpack(value))
            elif kind == DONE:
                return messages.unpack(value)
            elif kind == REFUSED:
                return FramiError(messages.unpack(value))
            elif kind == FAILED:
                message, trace = messages.unpack(value)
                error = RuntimeError(message)
                error.add_note(trace)
                return error
            elif kind == READY:
                begin, worker.base = now, worker.gigabytes()  # its own start does not count, nor its libraries
            if asked is None and stopped and stopped():
                with _lost():
                    worker.connection.send_bytes(STOP)
                asked = now
            elif asked is not None and content:
                asked = now  # it is coming to its end, or has only now begun
            if asked is not None and now - asked > (START if worker.base is None else limits.patience):
                raise OverLimitError("it did not stop when it was told to, and was ended; start it again")
            if now - begin > limits.seconds:
                raise OverLimitError(f"this took more than {limits.seconds:g} s and was ended; choose less at a time")
            if now - weighed > _WEIGH:
                weighed = now
                if worker.taken() > limits.gigabytes:
                    raise OverLimitError(
                        f"this needed more than {limits.gigabytes:.3g} GB of memory and was ended; "
                        "choose less at a time"
                    )

    @contextmanager
    def _share(self, kind: str, limits: WorkLimits):
        """One of the places that each visitor, and each network address, has in this kind of work (``asked_by``)."""
        owner, address = _asker.get()
        mine, near = (kind, "visitor", owner), (kind, "address", address)
        half = half_of(limits.at_once + limits.waiting)
        with self._turn:
            if owner is not None and self._asked[mine] >= limits.each:
                self._refused += 1
                words = sentence(_already(limits.each, "you"))
                raise BusyError(f"{words} {limits.lifting}" if limits.lifting else words)
            if address is not None and self._asked[near] >= half:
                self._refused += 1
                raise BusyError(_already(half, "your network address"))
            self._asked.update((mine, near))
        try:
            yield
        finally:
            with self._turn:
                for place in (mine, near):
                    self._asked[place] -= 1
                    if not self._asked[place]:
                        del self._asked[place]

    @contextmanager
    def _place(self, kind: str, limits: WorkLimits, stopped):
        """One of the places of this kind of work, for which at most ``limits.waiting`` may wait: addresses and visitors
        take turns (``hosting.fair``)."""
        (owner, address), line, mine = _asker.get(), self._lines[kind], object()
        with self._turn:
            if line or self._working[kind] >= limits.at_once:
                if len(line) + self._working[kind] >= limits.waiting + limits.at_once:
                    self._refused += 1
                    raise BusyError("too many of these are at work or waiting already; try again in a minute")
                line.append((mine, owner or "", address, time.monotonic()))
                try:
                    while not self._closed and not (
                        self._working[kind] < limits.at_once and next(in_turn(line, self._served)) is mine
                    ):
                        if stopped and stopped():
                            raise OverLimitError("it was stopped while it waited its turn")
                        self._turn.wait(_TICK if stopped else None)
                finally:
                    line[:] = [one for one in line if one[0] is not mine]
                    self._turn.notify_all()
            self._working[kind] += 1
        try:
            yield
        finally:
            with self._turn:
                self._working[kind] -= 1
                for who in filter(None, (owner, address)):
                    self._served.pop(who, None)
                    self._served[who] = time.monotonic()
                while len(self._served) > _KNOWN:
                    del self._served[next(iter(self._served))]
                self._turn.notify_all()

    # ------------------------------------------------------------------------------------- the workers

    def _take(self, long: bool) -> Worker:
        """A worker that is there without work, or a new one: for a long job rather one that had such before, for
        another job none of those. WorkLostError when the pool is closed."""
        with self._turn:
            while not self._closed and (fit := [one for one in self._idle if long or not one.long]):
                worker = max(fit, key=lambda one: one.long)
                self._idle.remove(worker)
                if worker.alive:
                    self._busy.append(worker)
                    worker.long = long
                    return worker
                worker.end()
            closed = self._closed
        worker = None if closed else _start(self._command)
        with self._turn:
            if worker and not self._closed:
                self._busy.append(worker)
                worker.long = long
                return worker
        if worker:
            worker.end()
        raise WorkLostError("the studio is being closed; start it again for this")

    def _give_back(self, worker: Worker, whole: bool, kept: bool) -> None:
        with self._turn:
            self._busy.remove(worker)
            self._done, self._lost = self._done + whole, self._lost + (not whole)
        if kept and worker.taken() <= KEPT:
            self._keep(worker)
            return
        worker.end()
        if not self._closed:
            self.warm()

    def _keep(self, worker: Worker) -> None:
        """Keep a worker for the next job."""
        with self._turn:
            if not self._closed:
                worker.idle_since = time.monotonic()
                self._idle.append(worker)
                self._look_later()
                return
        worker.end()

    def _look_later(self) -> None:
        """See to it that a worker without work is ended in time."""
        if self._idle and self._timer is None:
            rest = min(worker.idle_since for worker in self._idle) + self._idle_after - time.monotonic()
            self._timer = threading.Timer(max(rest, 0.0), self._end_idle)
            self._timer.daemon = True
            self._timer.start()

    def _end_idle(self) -> None:
        """End the workers that have had no work for too long."""
        with self._turn:
            latest = time.monotonic() - self._idle_after
            over = [worker for worker in self._idle if worker.idle_since <= latest or not worker.alive]
            self._idle = [worker for worker in self._idle if worker not in over]
            self._timer = None
            self._look_later()
        for worker in over:
            worker.end()


@contextmanager
def asked_by(owner: str | None, address: str | None = None):
    """Jobs that this thread asks for meanwhile are a visitor's, who may wait for so many of a kind at a time
    (``WorkLimits.each``), and all of one network address for half of all. owner, address : as of ``Visitor``; None:
    nobody's, or the machine's owner's, who may for all."""
    token = _asker.set((owner, address))
    try:
        yield
    finally:
        _asker.reset(token)


@contextmanager
def _lost():
    """WorkLostError where the worker at the other end of a socket has gone."""
    try:
        yield
    except (EOFError, OSError) as error:
        raise WorkLostError(
            "the process that computed this was ended, perhaps because memory ran out; try again"
        ) from error


def _already(count: float, whose: str) -> str:
    these = "one of these is" if count == 1 else f"{count:g} of these are"
    return f"{these} being made for {whose} already; try again in a moment"


def _places() -> dict[str, str]:
    """Where the page reads and writes."""
    return {name: os.environ.get(name, "") for name in ("FRAMI_HOME", "FRAMI_DATA")}


def _start(command: Sequence[str]) -> Worker:
    """A new process, which loads its libraries while its first job waits in its socket."""
    here, there = socket.socketpair()
    temporary, environment = None, child_environment()
    with suppress(OSError):  # of a full disk: a job that needs files says so itself
        temporary = Path(tempfile.mkdtemp(prefix="frami-worker-"))
        environment["TMPDIR"] = str(temporary)
    try:
        with there:
            process = subprocess.Popen(
                [*command, str(there.fileno())], stdin=subprocess.DEVNULL, pass_fds=(there.fileno(),),
                env=environment, start_new_session=True,
            )  # fmt: skip
    except BaseException:
        here.close()
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Worker(process, Connection(here.detach()), temporary)


def on_file(teacher: Checkpoint) -> dict:
    """The arguments of a job that name a teacher: its file, and the device that it is on."""
    return {"teacher": str(checkpoints.resolve(teacher.card.name)), "device": str(teacher.device)}


@lru_cache(maxsize=1)
def shared() -> Pool:
    """The pool of this process."""
    pool = Pool()
    atexit.register(pool.close)
    return pool


def close_shared() -> None:
    """Close the pool of this process; who asks for it later is given a new one."""
    pool = shared()
    shared.cache_clear()
    pool.close()
