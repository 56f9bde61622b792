"""A stand-in for ``spaces`` on a ZeroGPU Space: its decorator keeps the rules of ``spaces`` 0.51.

A function runs in a forked process; its arguments and results are pickled; of its errors only the name of their class
comes back; a generator may be closed; a call is charged to the visitor in whose event it is made, refused where he has
less left than is asked for, and where more is asked for than any call may take; one that takes longer is killed.
What only the package itself can show is in ``tests/studio/test_spaces_package.py``.
"""

import contextvars
import inspect
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterator
from functools import wraps

#: The visitor whose event this is; a thread of the app's own has none.
visitor = contextvars.ContextVar("visitor", default=None)

_FORK = multiprocessing.get_context("fork")
#: Seconds by which a call may exceed what it asked for.
GRACE = 10.0


class GpuError(Exception):
    """As ``gr.Error``: ``title`` and ``message``, which is in quotes where the error is written as text."""

    def __init__(self, title: str, message: str):
        super().__init__(message)
        self.title, self.message = title, message

    def __str__(self) -> str:
        return repr(self.message)


class Spaces:
    """The module. quota : seconds that each visitor has left; longest : that a call may ask for; crash : end the
    process after so many results; least : seconds that a call is charged at least; factor : what a second of this kind
    of GPU counts. ``calls`` : (seconds asked for, process) of each call that was lent a GPU."""

    def __init__(
        self,
        quota: float = 120.0,
        longest: float = 120.0,
        crash: int | None = None,
        least: float = 0.0,
        factor: float = 1.0,
    ):
        self.quota, self.longest, self.crash, self.least, self.factor = quota, longest, crash, least, factor
        self.left: dict[str, float] = {}
        self.calls: list[tuple[int, int]] = []
        self.asked: list[int] = []

    def GPU(self, task: Callable | None = None, *, duration=60) -> Callable:
        if task is None:
            return lambda task: self.GPU(task, duration=duration)
        assert inspect.isgeneratorfunction(task), "the app lends generators only"

        @wraps(task)
        def handler(*args) -> Iterator:
            seconds = duration(*args) if callable(duration) else duration
            self._schedule(seconds)
            yield from self._run(task, args, seconds)

        return handler

    def _schedule(self, seconds: int) -> None:
        self.asked.append(seconds)
        if not isinstance(seconds, int) or not 0 < seconds <= self.longest:
            raise GpuError(
                "ZeroGPU illegal duration",
                f"The requested GPU duration ({seconds}s) is larger than the maximum allowed",
            )
        name = visitor.get()
        if name is None:
            raise GpuError("ZeroGPU quota exceeded", "Space app has reached its GPU limit.")
        left, requested = self.left.setdefault(name, self.quota), round(self.factor * seconds)
        if left < requested:
            raise GpuError(
                "ZeroGPU quota exceeded",
                f"You have exceeded your ZeroGPU quota ({requested}s requested vs. {int(left)}s left). Try again.",
            )

    def _run(self, task: Callable, args: tuple, seconds: int) -> Iterator:
        results, stop, given = _FORK.SimpleQueue(), _FORK.Event(), pickle.dumps(args)
        process = _FORK.Process(target=_work, args=(task, given, results, stop, self.crash), daemon=True)
        process.start()
        begin, name = time.monotonic(), visitor.get()
        self.calls.append((seconds, process.pid))
        try:
            while True:
                while results.empty():
                    over = time.monotonic() - begin > seconds + GRACE
                    if over or (not process.is_alive() and results.empty()):
                        raise GpuError("ZeroGPU worker error", "GPU task aborted")
                    time.sleep(0.005)
                kind, content = results.get()
                if kind == "end":
                    return
                if kind == "error":
                    raise GpuError("ZeroGPU worker error", content)
                yield pickle.loads(content)
        finally:
            stop.set()
            process.join(20)
            process.kill()
            self.left[name] -= self.factor * max(self.least, min(seconds, time.monotonic() - begin))


def _work(task: Callable, given: bytes, results, stop, crash: int | None) -> None:
    made, count = task(*pickle.loads(given)), 0
    try:
        for value in made:
            if stop.is_set():
                made.close()
                break
            results.put(("value", pickle.dumps(value)))
            count += 1
            if count == crash:
                os._exit(9)
        results.put(("end", None))
    except Exception as error:
        results.put(("error", type(error).__name__))
