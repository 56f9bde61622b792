"""A run that a cluster does, followed by a process on the studio's machine, which the studio's queue starts.

``python -m frami.distill.relay ADDRESS GPUS ID``: what the run needs goes to a worker, where ``frami distill --run``
does it; its curves, checkpoints and clips come into the run's folder and the store here as they arise. The process has
the run (its lock, its number in the store), and is stopped like one that does the work itself. While the cluster does
not answer, or is full, it waits. A worker that is lost costs a run what came after its last checkpoint, once; a cluster
that goes and comes back, each time.
"""

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import frami
from frami import locks, schema, weights
from frami.cluster import local_ray
from frami.cluster.of_studio import SHARE
from frami.cluster.on_ray import GpusError, OnRay, UnreachableError
from frami.cluster.pieces import Pieces
from frami.cluster.placed import DisconnectedError, LostError, Placed
from frami.cluster.run_there import FILES, GIVEN, STATE, News, Order, RunThere
from frami.cluster.sent import SentTeacher
from frami.cluster.tasks import BEGINS
from frami.distill.arrivals import Arrivals
from frami.distill.run import RESULT, of
from frami.distill.settings import RunSettings
from frami.errors import FramiError
from frami.files import read_json, write_json
from frami.runs import Runs, child, where
from frami.runs.queue import KILLED, LATE, longest

#: Seconds between two tries to reach a cluster, and between two looks at what is new.
RETRY, LOOK = 10.0, 0.7
#: Seconds without an answer, to a piece of what is sent too, after which a worker counts as lost; seconds that a run
#: may take to save its state.
_SILENT, _SAVING = 120.0, 100.0
#: Tries to reach a Ray of the studio's own after which it counts as ended.
_OWN_TRIES = 3
#: What a stopped run's process ends with, as by the keyboard.
_STOPPED = (0, 130, 143, -2, -15)


class OtherVersionError(FramiError):
    """Workers that have another version of this package, now at least."""


def main() -> int:
    """Follow the run of the arguments; returns the exit status."""
    child.attend()
    _stoppable()
    address, gpus, id = sys.argv[1:]
    try:
        Relay(Runs(), id, address, float(gpus) if gpus else None).finish()
    except (KeyboardInterrupt, SystemExit):
        return 130
    except FramiError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _stoppable() -> None:
    """SIGTERM is like Ctrl-C; Ray's own handler would end the process at once."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


class Relay:
    """A stored run and the cluster at an address, or at that which a file holds. ``gpus`` : as of ``Submission``."""

    def __init__(self, store: Runs, id: str, address: str, gpus: float | None):
        self.store, self.id, self.address, self.gpus = store, id, address, gpus
        self.folder = store.get(id).folder
        self._stop = self._begun = self._advanced = self._late = False
        self._told: float | None = None
        self._latest = math.inf

    def finish(self) -> None:
        """Follow the run until it has ended, and note how. KeyboardInterrupt saves it, and records it as stopped.
        FramiError where it fails."""
        with locks.folder(self.folder):
            try:
                self._follow_through()
            except (KeyboardInterrupt, SystemExit):  # Ray's own handler of SIGTERM raises the latter
                if self.store.get(self.id).status != "waiting":  # else the queue knows better
                    self.store.stop(self.id)
                raise KeyboardInterrupt from None
            except Exception as error:
                plain = isinstance(error, FramiError)
                self.store.fail(self.id, str(error) if plain else f"{type(error).__name__}: {error}")
                raise

    def _follow_through(self) -> None:
        request = RunSettings.from_dict(self.store.get(self.id).settings)
        if request.dataset and Path(request.dataset).exists():
            raise FramiError("it learns from a folder of recordings of this machine, which the cluster has not")
        arrivals = Arrivals(self.store, self.store.get(self.id), request, of(request))
        begins = 0
        while begins < BEGINS:
            self._begun = self._advanced = False
            try:
                with self._reached() as engine, engine.placed(RunThere, f"distill {self.id}") as there:
                    try:
                        return self._follow(there, arrivals, "cpu" if not engine.gpus else "auto")
                    finally:
                        _stoppable()
            except OtherVersionError as error:
                self._wait("other", error)
            except (LostError, UnreachableError) as error:
                print(f"lost with its worker ({self._said(error)})", file=sys.stderr)
                if self._stop:
                    raise KeyboardInterrupt from None
                gone = isinstance(error, DisconnectedError) and self._advanced
                begins += self._begun and not gone
                if gone or not self._begun:
                    self._wait("unreachable", error)
        raise FramiError(
            f"it was lost with its worker, {BEGINS} times, perhaps for want of memory; Resume continues it"
        )

    def _reached(self) -> OnRay:
        """The cluster, as soon as it answers."""
        where.note(self.folder, "reaching")
        tries = 0
        while True:
            try:
                engine = OnRay(self._at(), 1, self.gpus, look=False, named=SHARE)
                _stoppable()
                return engine
            except UnreachableError as error:
                tries += 1
                if tries >= _OWN_TRIES and not self.address.startswith("ray://"):
                    raise FramiError("the studio's own Ray has ended; Resume starts another") from error
                self._wait("unreachable", error)
            except GpusError as error:
                self._wait("lacking", error)
            except FramiError as error:  # which visitors may read
                raise FramiError(self._said(error)) from error

    def _wait(self, state: str, error: Exception) -> None:
        """Note why the cluster cannot have the run now, before another try."""
        print(self._said(error), file=sys.stderr)
        where.note(self.folder, state)
        _stoppable()
        time.sleep(RETRY)

    def _said(self, error: Exception) -> str:
        """An error without the cluster's address: visitors may read the last line of the log."""
        return str(error).replace(self.address, "the cluster's address")

    def _at(self) -> str:
        """The address. FramiError where the file that is to hold it does not."""
        if self.address.startswith("ray://"):
            return self.address
        end = time.monotonic() + _SILENT
        while time.monotonic() < end:
            with suppress(OSError):
                found = read_json(self.address)
                local_ray.allow(found["token"])
                return found["address"]
            time.sleep(LOOK)
        raise FramiError("Ray has not started on the studio's machine; its log says why")

    def _follow(self, there: Placed, arrivals: Arrivals, device: str) -> None:
        """Have the run done by a worker, from its last checkpoint, and store what comes. LostError."""
        where.note(self.folder, "waiting")
        version = there.ask("version")
        if version != frami.__version__:
            raise OtherVersionError(f"the workers have frami {schema.shown(version)}, here is {frami.__version__}")
        line = Pieces(partial(there.ask, seconds=_SILENT))
        begun = there.ask("begin", self._sent(line, arrivals.request, device), seconds=_SILENT)
        self._begun, self._told = True, None
        where.note(self.folder, "working", str(begun.host)[:253], there.number(begun.node))
        self.store.start(self.id)
        arrivals.begin()
        signal.signal(signal.SIGTERM, self._told_to_stop)  # what comes is stored before it is heard
        self._latest = time.monotonic() + longest(self.store.get(self.id))
        while True:
            news = arrivals.complete(there.ask("news", seconds=_SILENT), partial(self._taken, line))
            arrived = arrivals.take(news)
            self._advanced = self._advanced or STATE in news.files
            if arrived.code is not None or (self._told is not None and time.monotonic() - self._told > _SAVING):
                break
            self._tell(line.ask)
            if not arrived.more:
                time.sleep(LOOK)
        with suppress(LostError):
            there.ask("end", seconds=10)
        self._note_end(news, arrivals)

    def _taken(self, line: Pieces, name: str, size: int) -> Iterator[bytes]:
        """A large file of the news; a stop is passed on between its pieces."""
        for piece in line.take(name, size):
            self._tell(line.ask)
            yield piece

    def _tell(self, ask: Callable) -> None:
        """Tell the worker once that the run is to stop, where it is."""
        self._late = self._late or time.monotonic() > self._latest
        if (self._stop or self._late) and self._told is None:
            self._told = time.monotonic()
            ask("stop")

    def _told_to_stop(self, *_) -> None:
        self._stop = True

    def _sent(self, line: Pieces, request: RunSettings, device: str) -> Order:
        """The order of this run, once the worker has all that it needs."""
        order, contents = self._order(request, device)
        where.note(self.folder, "sending")
        for name in order.files:
            line.give(name, contents[name])
        return order

    def _order(self, request: RunSettings, device: str) -> tuple[Order, dict[str, bytes | Path]]:
        """What a worker needs for this run, and the contents of its files."""
        run, teacher = self.store.get(self.id), SentTeacher.of(request.teacher)
        name = weights.stem(teacher.name).name
        settings = run.settings | {"teacher": name}
        pair = zip(weights.paths(Path(GIVEN) / name), (teacher.weights, teacher.card), strict=True)
        contents: dict[str, bytes | Path] = {path.as_posix(): content for path, content in pair}
        settings.pop("data", None)
        if request.bank:
            settings["bank"] = "bank"
            for path in (path for path in Path(request.bank).rglob("*") if path.suffix in (".json", ".safetensors")):
                contents[f"{GIVEN}/bank/{path.relative_to(request.bank)}"] = path
        if (self.folder / STATE).is_file():
            for path in (path for path in self.folder.rglob("*") if path.is_file()):
                if FILES.fullmatch(name := path.relative_to(self.folder).as_posix()):
                    contents[name] = path
        return Order(self.id, run.kind, run.name, settings, tuple(contents), device), contents

    def _note_end(self, news: News, arrivals: Arrivals) -> None:
        """Record how the run ended."""
        if news.status == "finished":
            result = arrivals.result(news)
            arrivals.drop_surplus()
            write_json(self.folder / RESULT, result)
            self.store.finish(self.id, result)
            (self.folder / STATE).unlink(missing_ok=True)
        elif self._stop:
            raise KeyboardInterrupt
        elif self._late:
            raise FramiError(LATE)
        elif news.status == "failed" and news.error:
            raise FramiError(schema.shown(news.error, schema.LONG))
        elif news.code in _STOPPED:  # by whoever shuts the worker's machine down
            raise FramiError("it was stopped on the cluster; Resume continues it")
        else:
            lines = [line for line in news.log.splitlines() if line.strip()] if news.code > 0 else [KILLED]
            raise FramiError(schema.shown(lines[-1], 500) if lines else f"its process ended with status {news.code}")


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # all is written: what Ray and PyTorch still do would keep the next run waiting
