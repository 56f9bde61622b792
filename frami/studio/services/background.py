"""Work that one thread does behind the page, each piece once; how far it is and its result are asked for by key."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor

from frami.studio.services import troubles


class Background:
    """``most`` : results that are stored at most, the latest."""

    def __init__(self, name: str, most: int = 64):
        self._worker = ThreadPoolExecutor(1, name)
        self._most = most
        self._tasks: OrderedDict[Hashable, Future] = OrderedDict()
        self._progress: dict[Hashable, str] = {}
        self._troubles: dict[Hashable, str] = {}
        self._lock = threading.Lock()

    def start(self, key: Hashable, work: Callable) -> str:
        """Do ``work(progress)`` once; returns how far it is, as its ``progress(done, total)`` reported last."""
        with self._lock:
            if key not in self._tasks:
                self._tasks[key] = self._worker.submit(self._do, key, work)
                while len(self._tasks) > self._most:
                    old, _ = self._tasks.popitem(last=False)
                    self._progress.pop(old, None)
                    self._troubles.pop(old, None)
        return self._progress.get(key, "")

    def ended(self, key: Hashable) -> bool:
        """Whether there is a result, or a reason why there is none."""
        task = self._tasks.get(key)
        return task is not None and task.done()

    def result(self, key: Hashable):
        """None while there is none, or when the work failed."""
        task = self._tasks.get(key)
        return task.result() if task and task.done() and not task.cancelled() and not task.exception() else None

    def trouble(self, key: Hashable) -> str | None:
        """Why the work failed; None where it did not."""
        return self._troubles.get(key)

    @property
    def alive(self) -> bool:
        """Whether work that is started will be done."""
        return not self._worker._shutdown and all(thread.is_alive() for thread in list(self._worker._threads))

    def close(self) -> None:
        """Begin nothing more."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _do(self, key: Hashable, work: Callable):
        try:
            return work(lambda done, total: self._report(key, done, total))
        except Exception as error:
            self._troubles[key] = troubles.in_words(error)
            raise

    def _report(self, key: Hashable, done: int, total: int) -> None:
        self._progress[key] = f", {done} of {total}"
