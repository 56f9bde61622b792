"""Distillations of the studio: each a process of its own, one after the other, in an order that survives a restart.

What waits is an empty file a run in a folder beside the run store: whoever removes it has the run. So nothing is lost
or begun twice, however a studio ends. Runs that wait go on by themselves after a restart; a run that was cut off in its
middle is shown as stopped and waits for Resume.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from frami.errors import FramiError
from frami.paths import child_environment
from frami.runs.store import Run, Runs

KIND = "distill"
#: Seconds that a run at work may take to save what it has when the studio ends.
PATIENCE = 20
#: What a run's process is called with, followed by the run's id.
COMMAND = (sys.executable, "-m", "frami.runs.child", KIND, "--run")
_TICK = 0.25


class Queue:
    """The studio's distillations in the run store. ``begin()`` starts the worker, ``close()`` ends it.

    ``command`` : as ``COMMAND``.
    """

    def __init__(self, runs: Runs | None = None, command: Sequence[str] = COMMAND):
        self.runs = runs or Runs()
        self._command = tuple(command)
        self._folder = self.runs.path.parent / "queue"
        self._at_work: str | None = None
        self._stopping: set[str] = set()
        self._closing = threading.Event()
        self._worker = threading.Thread(target=self._work, name="frami-queue", daemon=True)

    def begin(self) -> "Queue":
        self._worker.start()
        return self

    def close(self) -> None:
        """Stop the run at work, which saves what it has, and begin no other."""
        self._closing.set()
        if self._worker.is_alive():
            self._worker.join(PATIENCE + 5)

    # ------------------------------------------------------------------------------------- what there is

    def all(self) -> list[Run]:
        """All distillations, newest first, also those of the command line."""
        return self.runs.list(KIND)

    def get(self, id: str) -> Run:
        """A distillation by its id. ``FramiError`` where there is none."""
        run = self.runs.get(id)
        if run.kind != KIND:
            raise FramiError("no such run")
        return run

    @property
    def busy(self) -> str | None:
        """Id of the run that this studio is at work on."""
        return self._at_work

    def waiting(self) -> list[str]:
        """Ids of the runs that wait, the next one first."""
        with suppress(OSError):
            return [name.rpartition("-")[2] for name in sorted(os.listdir(self._folder))]
        return []

    def status(self, run: Run, waiting: Sequence[str]) -> str:
        """``waiting``, ``starting``, ``running``, ``stopping``, ``stopped``, ``finished`` or ``failed``.

        ``waiting`` : as of ``waiting()``, read before the run.
        """
        if run.id in waiting:
            return "waiting"
        mine = run.id == self._at_work
        if (mine or run.pid) and run.id in self._stopping:
            return "stopping"
        if run.status in ("running", "finished"):
            return run.status
        if mine:
            return "starting"
        return "stopped" if run.status == "waiting" else run.status

    # ------------------------------------------------------------------------------------- what can be asked

    def add(self, name: str, settings: dict) -> Run:
        """A new run, last in the queue."""
        run = self.runs.create(KIND, name, settings)
        self._put(run.id)
        return run

    def resume(self, id: str) -> None:
        """Put a stopped or failed run last in the queue again. ``FramiError`` for another one."""
        run, waiting = self.get(id), self.waiting()
        if self.status(run, waiting) not in ("stopped", "failed"):
            raise FramiError("only a run that was stopped can go on")
        self._stopping.discard(id)
        self._put(id)

    def stop(self, id: str) -> None:
        """A run that waits is taken out of the queue, one at work saves what it has and ends."""
        run = self.get(id)
        if self._take(id):
            self.runs.stop(id)
            return
        if id == self._at_work:
            self._stopping.add(id)
        elif run.pid:
            self._stopping.add(id)
            with suppress(OSError):
                os.kill(run.pid, signal.SIGTERM)

    def delete(self, id: str) -> None:
        """Forget a run that is not at work, and all its files."""
        run = self.get(id)
        if run.id == self._at_work:
            raise FramiError("stop this run before you delete it")
        self._take(id)
        self.runs.delete(id)
        self._stopping.discard(id)

    # ------------------------------------------------------------------------------------- the queue on disk

    def _put(self, id: str) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / f"{time.time_ns():020}-{id}").touch()
        except OSError as error:
            raise FramiError(
                f"{self._folder} cannot be written ({error.strerror}); set FRAMI_HOME elsewhere"
            ) from error

    def _take(self, id: str) -> bool:
        """Remove a run from the queue; False when it was not there, or somebody else was quicker."""
        taken = False
        for path in self._folder.glob(f"*-{id}"):
            with suppress(FileNotFoundError):
                path.unlink()
                taken = True
        return taken

    # ------------------------------------------------------------------------------------- the worker

    def _work(self) -> None:
        while not self._closing.wait(_TICK):
            for id in self.waiting()[:1]:
                self._at_work = id
                try:
                    if self._take(id):
                        self._run(self.runs.get(id))
                except (FramiError, OSError) as error:
                    with suppress(FramiError):
                        self.runs.fail(id, f"it could not be started ({error})")
                finally:
                    self._at_work = None
                    self._stopping.discard(id)

    def _run(self, run: Run) -> None:
        """One run from its start to its end, in a process of its own that ends with this one."""
        run.folder.mkdir(parents=True, exist_ok=True)
        with (run.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*self._command, run.id],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=child_environment(),
                start_new_session=True,
            )
            told = False
            while process.poll() is None:
                if run.id in self._stopping and not told:
                    process.terminate()
                    told = True
                if self._closing.wait(_TICK):
                    self._end(process)
            process.stdin.close()
        self._settle(self.runs.get(run.id), process.returncode)

    @staticmethod
    def _end(process: subprocess.Popen) -> None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _settle(self, run: Run, code: int) -> None:
        """What the store says of a run whose process has ended without saying so itself."""
        if run.status in ("finished", "failed") or (run.status == "stopped" and code in (0, 130, 143)):
            return
        if code > 0 and run.id not in self._stopping and code not in (130, 143):
            lines = [line for line in (run.folder / "log").read_text("utf-8", "replace").splitlines() if line.strip()]
            self.runs.fail(run.id, lines[-1].strip() if lines else f"its process ended with status {code}")
        else:
            self.runs.stop(run.id)
