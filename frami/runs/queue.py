"""A queue of runs: each in a process of its own, in an order that survives a restart.

They go one after the other. Where their processes hand the work to a cluster (``Away``), the next one begins as soon as
those before have a place there.

Each waiting run is an empty file in a folder beside the run store; the process that removes it runs it, so that none is
lost or started twice. Where runs have several owners these take turns; whose turn was when is the time of a file, too.
After a restart the waiting runs are started again; one that was interrupted is stopped, until it is resumed.

Several studios may share the folder. Who begins a run has the lock of its turn until it has ended, beside the lock that
the run's own process has of its folder: so no other begins it meanwhile, or takes it for one that was stopped.
"""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from frami import files, locks
from frami.errors import FramiError
from frami.hosting import owners
from frami.hosting.addresses import Origins
from frami.hosting.fair import in_turn
from frami.paths import child_environment
from frami.runs import where
from frami.runs.store import Run, Runs

KIND = "distill"
#: In a run's folder, what the lock of its turn is named by; beside the run store, the lock of what is resumed.
TURN, RESUMING = "turn", ".resuming.lock"
ELSEWHERE = "this run is at work in another studio or command that shares this folder; end it there"
#: Seconds that the current run may take to save its state when the queue is closed.
PATIENCE = 20
#: Seconds after which a run that was told to stop, and goes on, is killed; what it saved last is left.
STUBBORN = 120
#: A run is told to stop after so many times its budget and so many seconds: it hangs, and others wait.
_TIMES, _MORE = 3, 600
#: Why a run failed that was ended for that, or that the system ended.
LATE = "it took far longer than its budget; what it saved is there: Resume continues it"
KILLED = "its process was ended, perhaps because memory ran out; Resume continues it"
#: Command of a run's process, to which the run's id is added.
COMMAND = (sys.executable, "-m", "frami.runs.child", KIND, "--run")
_TICK = 0.25
#: Times that a run which is away begins at most: again where its worker is lost.
_BEGINS = 2
#: Seconds after which an owner's last turn does not count any more.
_TURN = 86400


class Away(Protocol):
    """What does a run's work on other machines. ``most`` : processes at once, each of which follows a run there."""

    most: int

    def command(self) -> Sequence[str]:
        """As ``COMMAND``. Its process says that the run is running once it has a place there, and ends one that takes
        far longer than its budget (``longest``)."""

    def close(self) -> None:
        """Nothing more will be asked of it."""


class Queue:
    """Distillations in the run store, run by threads from ``begin()`` to ``close()``. ``command`` : as ``COMMAND``;
    ``away`` : what does their work elsewhere."""

    def __init__(self, runs: Runs | None = None, command: Sequence[str] = COMMAND, away: Away | None = None):
        self.runs, self.origins = runs or Runs(), Origins()
        self._command = tuple(command)
        self._away = away
        self._folder = self.runs.path.parent / "queue"
        self._turns = self.runs.path.parent / "turns"
        self._current: dict[str, tuple[str, ...]] = {}  # of each run at work, its owner and address
        self._stopping: set[str] = set()
        self._elsewhere: set[str] = set()
        self._addresses: dict[str, float] = {}
        self._noting = threading.Lock()
        self._closing = threading.Event()
        self._worker = threading.Thread(target=self._work, name="frami-queue", daemon=True)

    def begin(self, tidy: bool = True) -> "Queue":
        """Start its thread; what processes that were killed left in the runs' folders is removed, unless another one
        may write there (not ``tidy``)."""
        if tidy:
            files.clear_removed(self.runs.path.parent)
            for folder in files.folders(self.runs.path.parent):
                locks.clear(folder)
                files.tidy(folder, owners.FILE)
        self._worker.start()
        return self

    def close(self) -> None:
        """Stop what is running, which saves its state, and start nothing more."""
        self._closing.set()
        if self._worker.is_alive():
            self._worker.join(PATIENCE + 5)
        if self._away is not None:
            self._away.close()

    def all(self) -> list[Run]:
        """All distillations, newest first, those that were started elsewhere too."""
        return self.runs.list(KIND)

    def get(self, id: str) -> Run:
        """A distillation by its id; ``FramiError`` if there is none."""
        run = self.runs.get(id)
        if run.kind != KIND:
            raise FramiError("no such run")
        return run

    @property
    def busy(self) -> tuple[str, ...]:
        """Ids of the runs that this queue is running."""
        return tuple(self._current)

    @property
    def several(self) -> bool:
        """Whether it runs several at once, where there is room."""
        return self._away is not None

    @property
    def alive(self) -> bool:
        """Whether its thread is at work."""
        return self._worker.is_alive()

    def waiting(self) -> list[str]:
        """Ids of the waiting runs, the next one first: owners take turns, each one's runs keep their order; those of
        one network address (``origins``) have its turns together."""
        with suppress(OSError):
            names = [name.split("-") for name in sorted(os.listdir(self._folder))]
            waiting = [
                (id, owner, self.origins.of(id), int(since) / 1e9)
                for since, owner, id in ((parts[0], parts[1] if len(parts) == 3 else "", parts[-1]) for parts in names)
            ]
            at_work = dict.fromkeys((who for both in list(self._current.values()) for who in both), time.time())
            return list(in_turn(waiting, self._served() | self._addresses | at_work))
        return []

    def _served(self) -> dict[str, float]:
        """Until when a run of each owner was at work last."""
        with suppress(OSError):
            return {entry.name.removeprefix("of-"): entry.stat().st_mtime for entry in os.scandir(self._turns)}
        return {}

    def status(self, run: Run, waiting: Sequence[str]) -> str:
        """``waiting``, ``starting``, ``running``, ``stopping``, ``stopped``, ``finished`` or ``failed``.

        ``waiting`` : of ``waiting()``, called before the run was read.
        """
        if run.id in waiting:
            return "waiting"
        mine = run.id in self._current or run.id in self._elsewhere
        if (mine or run.pid) and run.id in self._stopping:
            return "stopping"
        if run.status in ("running", "finished"):
            return run.status
        if mine or self._has_other(run):
            return "starting"
        return "stopped" if run.status == "waiting" else run.status

    def add(self, name: str, settings: dict, owner: str | None = None, keep: bool = False, queued: bool = True) -> Run:
        """A new run at the end of the queue. owner, keep : as of ``owners.Entry``; None on one's own machine. Not
        ``queued``, it is the caller's to be made (``elsewhere``)."""
        run = self.runs.create(KIND, name, settings)
        try:
            owners.claim(run.folder, owner, keep)
        except OSError as error:
            self.runs.delete(run.id)
            files.raise_full(run.folder, error)
            raise FramiError(f"the run cannot be stored ({error.strerror}); make room and try again") from error
        if queued:
            self._enqueue(run)
        return run

    @contextmanager
    def elsewhere(self, run: Run) -> Iterator[Callable[[], bool]]:
        """While the block lasts, a run that is not in the queue is at work by other means; gives whether it is to
        stop. FramiError where another process has it."""
        try:
            turn = self._turn(run)
        except locks.InUseError:
            raise FramiError(ELSEWHERE) from None
        self._elsewhere.add(run.id)
        try:
            yield lambda: run.id in self._stopping or self._closing.is_set()
        finally:
            turn.release()
            if run.id in self._elsewhere:  # else a block in this one had it, and it may be in the queue now
                self._elsewhere.discard(run.id)
                self._stopping.discard(run.id)

    def resume(self, id: str) -> None:
        """Put a stopped or failed run at the end of the queue; ``FramiError`` for another one."""
        self.get(id)
        with locks.alone(self.runs.path.parent / RESUMING):
            waiting = self.waiting()
            run = self.get(id)
            if self.status(run, waiting) not in ("stopped", "failed"):
                raise FramiError("only a run that was stopped can go on")
            self._stopping.discard(id)
            self._enqueue(run)

    def stop(self, id: str) -> None:
        """Take a waiting run out of the queue; tell a running one to save its state and end. FramiError for one that
        another process has and has not begun."""
        run = self.get(id)
        if self._dequeue(id):
            self.runs.stop(id)
        elif id in (*self.busy, *self._elsewhere):
            self._stopping.add(id)
        elif run.pid and (locks.folder_opened_by(run.folder, run.pid) or not locks.folder_elsewhere(run.folder)):
            self._stopping.add(id)
            with suppress(OSError):
                os.kill(run.pid, signal.SIGTERM)
        elif self._has_other(run):
            raise FramiError(ELSEWHERE)

    def delete(self, id: str) -> None:
        """Delete a run that is not running, and all its files."""
        run = self.get(id)
        if run.id in (*self.busy, *self._elsewhere):
            raise FramiError("stop this run before you delete it")
        try:
            with self._turn(run):
                self._dequeue(id)
                self.runs.delete(id)
        except locks.InUseError:
            raise FramiError(ELSEWHERE) from None
        self._stopping.discard(id)

    @staticmethod
    def _turn(run: Run) -> locks.Held:
        """The lock of a run's turn, which all threads of this process share; none where the run's folder is gone.
        InUseError where another process has it."""
        return locks.checkpoint(run.folder / TURN) if run.folder.is_dir() else locks.Held(None)

    @staticmethod
    def _has_other(run: Run) -> bool:
        """Whether another process has begun this run, or is at work on it."""
        return locks.checkpoint_elsewhere(run.folder / TURN) or locks.folder_elsewhere(run.folder)

    def _enqueue(self, run: Run) -> None:
        owner = owners.entry(run.folder).owner
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{time.time_ns():020}-{owner}-{run.id}").touch()
        except OSError as error:
            files.raise_full(self._folder, error)
            raise FramiError(
                f"{self._folder} cannot be written ({error.strerror}); set FRAMI_HOME elsewhere"
            ) from error

    def _dequeue(self, id: str) -> bool:
        """Remove a run from the queue; False when it is not there, or another process has just removed it."""
        removed = False
        for path in self._folder.glob(f"*-{id}"):
            with suppress(FileNotFoundError):
                path.unlink()
                removed = True
        return removed

    def _work(self) -> None:
        going: list[threading.Thread] = []
        while not self._closing.wait(_TICK):
            going = [thread for thread in going if thread.is_alive()]
            waiting = self.waiting()
            if waiting and self._has_room():
                going += filter(None, [next(filter(None, map(self._begun, waiting)), None)])
        for thread in going:
            thread.join()

    def _has_room(self) -> bool:
        """Whether another run may begin: none is at work, or fewer than the most, which all have a place elsewhere."""
        most = 1 if self._away is None else self._away.most
        return len(self._current) < most and all(self._is_placed(id) for id in self.busy)

    def _is_placed(self, id: str) -> bool:
        with suppress(FramiError):
            return self.runs.get(id).status == "running"
        return False

    def _begun(self, id: str) -> threading.Thread | None:
        """Take a run out of the queue and begin its work; None where another process has it, or it cannot begin."""
        try:
            run = self.runs.get(id)
            if locks.folder_elsewhere(run.folder):
                return None
            turn = self._turn(run)
            self._current[id] = ()
            if not self._dequeue(id):
                self._over(id, turn)
                return None
            thread = threading.Thread(target=self._go, args=(run, turn), name=f"frami-run-{id}", daemon=True)
            thread.start()
            return thread
        except locks.InUseError:
            return None
        except Exception as error:  # the queue goes on whatever one run is
            self._unable(id, error)
            self._over(id)
            return None

    def _go(self, run: Run, turn: locks.Held) -> None:
        """Do a run's work."""
        try:
            who = owners.entry(run.folder).owner, self.origins.of(run.id)
            self._current[run.id] = tuple(filter(None, who))
            self._note_turn(*who)
            self._run(run)
            with suppress(OSError):  # it has ended, however it is noted
                self._note_turn(*who)
        except Exception as error:
            self._unable(run.id, error)
        finally:
            self._over(run.id, turn)

    def _over(self, id: str, turn: locks.Held | None = None) -> None:
        if turn is not None:
            turn.release()
        self._current.pop(id, None)
        self._stopping.discard(id)

    def _unable(self, id: str, error: Exception) -> None:
        self._dequeue(id)
        with suppress(FramiError):
            self.runs.fail(id, f"it could not be started ({error})")

    def _note_turn(self, owner: str, address: str | None) -> None:
        """Note that a run of this owner is at work now, and forget turns of long ago; addresses are not written."""
        now = time.time()
        with self._noting:  # runs that are away note theirs at the same time
            known = {of: at for of, at in self._addresses.items() if now - at < _TURN}
            self._addresses = known | ({} if address is None else {address: now})
        with suppress(OSError):  # a full disk costs fairness, no run
            self._turns.mkdir(exist_ok=True)
            (self._turns / f"of-{owner}").touch()
            for entry in os.scandir(self._turns):
                if time.time() - entry.stat().st_mtime > _TURN:
                    os.unlink(entry.path)

    def _run(self, run: Run) -> None:
        """Run one from its start to its end, in a process of its own that ends with this one."""
        run.folder.mkdir(parents=True, exist_ok=True)
        where.forget(run.folder)
        command, ends = (self._command, longest(run)) if self._away is None else (self._away.command(), math.inf)
        with (run.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, run.id], stdin=subprocess.PIPE, stdout=log, stderr=log, env=child_environment(),
                start_new_session=True,
            )  # fmt: skip
            latest, told, late = time.monotonic() + ends, math.inf, False
            while process.poll() is None:
                now = time.monotonic()
                if self._away is not None and (at := where.of(run)) and at.state != "working":
                    latest = math.inf  # its cluster has gone, which may come back
                elif latest == math.inf and self._is_placed(run.id):  # its follower watches the time, unless it hangs
                    latest = now + _BEGINS * longest(run) + STUBBORN
                if now > latest and run.id not in self._stopping:
                    late = True
                    self._stopping.add(run.id)
                if run.id in self._stopping and told == math.inf:
                    process.terminate()
                    told = now
                if now - told > STUBBORN:
                    process.kill()
                if self._closing.wait(_TICK):
                    self._end(process)
            process.stdin.close()
        locks.clear(run.folder)
        self._record_end(self.runs.get(run.id), process.returncode)
        if late and self.runs.get(run.id).status == "stopped":
            self.runs.fail(run.id, LATE)

    @staticmethod
    def _end(process: subprocess.Popen) -> None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _record_end(self, run: Run, code: int) -> None:
        """Record how a run ended, unless its process has done so, or another one goes on with it."""
        if run.pid is not None or locks.folder_elsewhere(run.folder):
            return
        if run.status in ("finished", "failed") or (run.status == "stopped" and code in (0, 130, 143)):
            return
        if code > 0 and run.id not in self._stopping and code not in (130, 143):
            lines = [line for line in (run.folder / "log").read_text("utf-8", "replace").splitlines() if line.strip()]
            self.runs.fail(run.id, lines[-1].strip() if lines else f"its process ended with status {code}")
        elif code < 0 and run.id not in self._stopping and not self._closing.is_set():
            self.runs.fail(run.id, KILLED)
        elif self._closing.is_set() and run.id not in self._stopping and run.status == "waiting":
            self._enqueue(run)  # a cluster never had it: it keeps waiting
        else:
            self.runs.stop(run.id)


def longest(run: Run) -> float:
    """Seconds after which a run hangs; infinite for one without a budget."""
    budget = run.settings.get("budget")
    known = isinstance(budget, int | float) and not isinstance(budget, bool)
    return _TIMES * budget + _MORE if known else math.inf
