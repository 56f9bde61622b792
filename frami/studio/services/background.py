"""Work that one thread does behind the page, each piece once; how far it is and its result are asked for by key."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from frami.hosting.limits import half_of
from frami.studio.services import troubles
from frami.workers.pool import BusyError


@dataclass
class _Task:
    """A piece of work. ``owners`` : who waits for it; once none of them does, it is not begun (None: it is in any
    case); ``address`` : from which it was asked for first."""

    work: Callable | None
    owners: set[str] | None = field(default_factory=set)
    address: str | None = None
    progress: str = ""
    result: object = None
    trouble: str | None = None


class Background:
    """``most`` : results that are stored at most, the latest; ``waiting`` : pieces of work that may wait."""

    def __init__(self, name: str, most: int = 64, waiting: int = 32):
        self._worker = ThreadPoolExecutor(1, name)
        self._most, self._waiting = most, waiting
        self._ended: OrderedDict[Hashable, _Task] = OrderedDict()
        self._pending: OrderedDict[Hashable, _Task] = OrderedDict()
        self._going: tuple[Hashable, _Task] | None = None
        self._draining = self._closed = False
        self._lock = threading.Lock()

    def start(self, key: Hashable, work: Callable, owner: str | None = None, address: str | None = None) -> str:
        """Do ``work(progress)`` once; returns how far it is, as its ``progress(done, total)`` reported last.

        owner : whose wish it is, of whom one piece waits at a time: an earlier one that nobody else wants is not done
        (None: it is done in any case). address : as of ``Visitor``. BusyError where as many wait as may, half of them
        of one address.
        """
        with self._lock:
            if owner is not None:
                self._leave(owner, key)
            task = self._task(key)
            if task is None and self._closed:
                return ""
            if task is None:
                near = sum(address is not None and one.address == address for one in self._pending.values())
                if len(self._pending) >= self._waiting or near >= half_of(self._waiting):
                    raise BusyError("as many maps as can wait are waiting; try again in a minute")
                task = self._pending[key] = _Task(work, address=address)
                if not self._draining:
                    self._worker.submit(self._drain)
                    self._draining = True
            if owner is None:
                task.owners = None
            elif task.owners is not None:
                task.owners.add(owner)
            return task.progress

    def ended(self, key: Hashable) -> bool:
        """Whether there is a result, or a reason why there is none."""
        return key in self._ended

    def result(self, key: Hashable):
        """None while there is none, or when the work failed."""
        task = self._ended.get(key)
        return task and task.result

    def trouble(self, key: Hashable) -> str | None:
        """Why the work failed; None where it did not."""
        task = self._ended.get(key)
        return task and task.trouble

    def pending(self) -> int:
        """How many pieces of work wait."""
        return len(self._pending)

    @property
    def alive(self) -> bool:
        """Whether work that is started will be done."""
        return not self._closed and all(thread.is_alive() for thread in list(self._worker._threads))

    def close(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._closed = True
            self._pending.clear()
            self._worker.shutdown(wait=False, cancel_futures=True)

    def _task(self, key: Hashable) -> _Task | None:
        going = self._going[1] if self._going and self._going[0] == key else None
        return self._ended.get(key) or self._pending.get(key) or going

    def _leave(self, owner: str, key: Hashable) -> None:
        """An owner who wants this wants no other that has not begun."""
        for other, task in list(self._pending.items()):
            if other != key and task.owners and owner in task.owners:
                task.owners.discard(owner)
                if not task.owners:
                    del self._pending[other]

    def _drain(self) -> None:
        """Do what waits, until nothing does."""
        while True:
            with self._lock:
                if not self._pending:
                    self._draining = False
                    return
                key, task = self._going = self._pending.popitem(last=False)
            self._do(task)
            with self._lock:
                self._ended[key], self._going = task, None
                while len(self._ended) > self._most:
                    self._ended.popitem(last=False)

    def _do(self, task: _Task) -> None:
        def report(done: int, total: int) -> None:
            task.progress = f", {done} of {total}"

        try:
            task.result = task.work(report)
        except Exception as error:
            task.trouble = troubles.in_words(error)
        task.work = None  # and the layers that it holds
