"""Tasks on Ray: worker processes of this machine, or of a cluster's machines (https://docs.ray.io).

Ray itself is asked to repeat nothing: which tasks begin again is decided here (``tasks``). It sends functions and
values by pickle between processes that trust each other; its ports are for a private network alone.
"""

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import frami
from frami import extras
from frami.cluster.engine import Engine, here
from frami.cluster.placed import Placed
from frami.cluster.tasks import Ended, Failed, Progress, Task, Tries, attempt
from frami.errors import FramiError

#: Seconds between two looks at what has ended, in which a stop by the keyboard is heard.
_LOOK = 1.0
#: Seconds that a cluster has to start its first worker.
_FIRST = 300


#: Where Ray keeps the token of a cluster, unless RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH name it.
_TOKEN = Path("~/.ray/auth_token")


class UnreachableError(FramiError):
    """A cluster that does not answer, now at least."""


class GpusError(FramiError):
    """A cluster that has fewer GPUs than a task is to have, now at least."""


def imported(client: bool):
    """Ray. FramiError says what to install. client : whether for an address ``ray://…``."""
    if find_spec("ray") is None:
        raise FramiError(extras.lacking("ray"))
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it reports to its makers otherwise
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if client and (named or _TOKEN.expanduser().is_file()):
        # A head that finds a token asks for it; one that does not, takes no notice of it.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise FramiError(extras.lacking(error.name or "ray")) from error
    if client and find_spec("grpc") is None:
        raise FramiError(extras.lacking("grpc"))
    return ray


class OnRay(Engine):
    """``address`` : ``ray://HOST:PORT``, that of a Ray of this machine (``HOST:PORT``), or None for worker processes of
    this machine that end with the engine. ``look`` : whether to see first that the workers can run frami; ``named`` :
    where the share of a GPU was given. UnreachableError where nothing answers, FramiError for all else."""

    remote = True

    def __init__(
        self, address: str | None, workers: int | None, gpus: float | None, device: str = "auto", look: bool = True,
        named: str = "--gpus",
    ):  # fmt: skip
        self._ray = ray = imported(client=(address or "").startswith("ray://"))
        self._named = named
        self._address, self.here = address, address is None
        self._remote = ray.remote(_work)  # once: each such call would be sent to every worker anew
        quiet = {"logging_level": "ERROR", "log_to_driver": False}
        try:
            if address is None:
                count = {"num_cpus": max(workers or 0, os.cpu_count() or 1)}
                ray.init("local", include_dashboard=False, **count, **quiet)
            else:
                ray.init(address, **quiet)
        except Exception as error:  # of a start that takes too long Ray raises no other kind
            ray.shutdown()  # before another try
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            what, hint = "Ray does not start on this machine", ""
            if address:
                what = f"no Ray cluster answers at {address}"
                hint = "; is it the port of its Ray Client, and its token here, if it has one (docs/scale.md)?"
            other = isinstance(error, RuntimeError) and "version" in reason.lower()  # of Ray or Python
            raise (FramiError if other else UnreachableError)(f"{what} ({reason}){hint}") from error
        try:
            self.gpus, self.workers = self._shares(workers, gpus, device)
            if address is not None and look:
                self._look_at_worker()
        except BaseException as error:
            self.__exit__()
            if isinstance(error, FramiError) or not isinstance(error, Exception):
                raise
            raise UnreachableError(f"the cluster was lost ({type(error).__name__})") from error

    def _shares(self, workers: int | None, gpus: float | None, device: str) -> tuple[float, int]:
        """GPUs of a task, and tasks at once."""
        there, end = self._ray.cluster_resources(), time.monotonic() + _FIRST
        while self._address is not None and not there.get("CPU") and time.monotonic() < end:  # its workers start
            time.sleep(_LOOK)
            there = self._ray.cluster_resources()
        if not there.get("CPU"):
            raise UnreachableError(f"{self._address}: no worker has come in {_FIRST} s")
        processors, cards = there.get("CPU", 0), there.get("GPU", 0)
        if gpus is None:
            gpus = float(bool(cards) and not device.startswith("cpu"))
        if gpus > cards:
            raise GpusError(
                f"{self._named} {gpus:g}: Ray knows of {cards:g} GPUs here; leave it out to work on processors"
            )
        room = int(cards / gpus + 1e-9) if gpus else int(processors)
        return gpus, workers or max(1, min(room, int(processors)))

    def _look_at_worker(self) -> None:
        """FramiError where the cluster's workers have no frami, or another one."""
        try:
            version = self._ray.get(self._started(_version, (), "frami version"), timeout=_FIRST)[0]
        except self._ray.exceptions.GetTimeoutError:
            raise FramiError(f"{self._address}: no worker began a task in {_FIRST} s; is the cluster full?") from None
        except self._ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            raise FramiError(f"{self._address}: its workers cannot run frami; install it there ({last})") from error
        if version != frami.__version__:
            raise FramiError(f"{self._address}: its workers have frami {version}, here is {frami.__version__}")

    def _started(self, function, arguments: tuple, name: str):
        """A reference to what ``_work`` will return."""
        choices = {"num_cpus": 1, "num_gpus": self.gpus, "max_retries": 0, "name": name}
        return self._remote.options(**choices).remote(function, *arguments)

    def share(self, value: Any) -> Any:
        return self._ray.put(value)

    def placed(self, kind: type, name: str) -> "Placed":
        """An object of this class in a worker, which has a processor and ``gpus`` for itself as long as it lives."""
        try:
            actor = self._ray.remote(kind).options(num_cpus=1, num_gpus=self.gpus).remote()
        except Exception as error:  # of a connection that broke
            raise UnreachableError(f"the cluster was lost ({type(error).__name__})") from error
        return Placed(self._ray, actor, name)

    def run(
        self, tasks: Iterable[Task], progress: Progress, *, unit: str = "task", label: str = "", total: int = 0
    ) -> Iterator[Ended]:
        pending: dict[Any, Tries] = {}
        again: deque[Tries] = deque()
        tasks, done = iter(tasks), 0
        try:
            with progress(unit, label) as report:
                report(0, total)
                while True:
                    while len(pending) < self.workers and (tries := _next(again, tasks)) is not None:
                        tries.begins += 1
                        task = tries.task
                        pending[self._started(task.function, task.arguments, task.name)] = tries
                    if not pending:
                        return
                    for reference in self._ray.wait(list(pending), timeout=_LOOK)[0]:
                        tries = pending.pop(reference)
                        ended = self._outcome(reference, tries)
                        if ended is None:
                            again.append(tries)
                            continue
                        done += 1
                        report(done, max(total, done))
                        yield ended
        except ConnectionError as error:
            raise FramiError(
                f"the connection to {self._address or 'Ray'} is lost; what was finished is saved"
            ) from error
        finally:
            for reference in pending:
                self._cancel(reference)

    def _outcome(self, reference, tries: Tries) -> Ended | None:
        """How a task ended, or None where it is to begin again."""
        errors = self._ray.exceptions
        try:
            value, where = self._ray.get(reference)
        except errors.RayTaskError as error:  # it could not be read, or its value not be sent
            return tries.fail(Failed(str(error).strip().splitlines()[-1], str(error), final=False), "")
        except errors.RayError as error:
            return tries.lose(type(error).__name__)
        if isinstance(value, Failed):
            return tries.fail(value, where)
        return Ended(tries.task, value, begins=tries.begins, where=where)

    def _cancel(self, reference) -> None:
        try:
            self._ray.cancel(reference, force=True)
        except Exception:  # the cluster has gone, and the task with it
            return

    def __exit__(self, *_) -> None:
        self._ray.shutdown()


def _next(again: deque[Tries], tasks: Iterator[Task]) -> Tries | None:
    """What to begin now: what has to begin again, before what is new."""
    if again:
        return again.popleft()
    task = next(tasks, None)
    return None if task is None else Tries(task)


def _work(function, *arguments) -> tuple[Any, str]:
    """In a worker: what a task's function returns, or ``Failed``, and where."""
    return attempt(function, arguments, _silent), here()


def _silent(done: int, total: int) -> None:
    """A report to nobody: progress is shown of tasks."""


def _version(report) -> str:
    return frami.__version__
