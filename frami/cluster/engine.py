"""Where tasks run: in this process, one after another, or elsewhere, as soon as there is one."""

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any

from frami.cluster.tasks import Ended, Failed, Progress, Task, Tries, attempt


class Engine(AbstractContextManager, ABC):
    """``remote`` : whether tasks run in other processes, ``here`` : and these on this machine alone; ``workers`` : how
    many run at once."""

    remote, here = False, True
    workers = 1

    def begin(self) -> None:
        """Be ready for tasks. FramiError where that cannot be."""

    @abstractmethod
    def run(
        self, tasks: Iterable[Task], progress: Progress, *, unit: str = "task", label: str = "", total: int = 0
    ) -> Iterator[Ended]:
        """Run tasks; each is asked for when there is room for it. Yields each as it ends, in whatever order; who stops
        asking, stops them. A task that raises an exception is tried three times, one that is lost with its worker
        begins again once; then it is yielded with its ``error``, and the others go on. A FramiError is not tried again.

        unit, label, total : of the progress that is shown, where it is one for all.
        """

    @abstractmethod
    def share(self, value: Any) -> Any:
        """A large value that several tasks take as an argument; it travels once to each machine."""

    def __exit__(self, *_) -> None:
        """Leave nothing running."""


class Local(Engine):
    """In this process, one task after another, each with its own progress."""

    def run(
        self, tasks: Iterable[Task], progress: Progress, *, unit: str = "task", label: str = "", total: int = 0
    ) -> Iterator[Ended]:
        for task in tasks:
            tries, ended = Tries(task), None
            while ended is None:
                tries.begins += 1
                with progress(unit, task.name) as report:
                    value = attempt(task.function, task.arguments, report)
                failed = isinstance(value, Failed)
                ended = tries.fail(value, here()) if failed else Ended(task, value, begins=tries.begins, where=here())
            yield ended

    def share(self, value: Any) -> Any:
        return value


class Later(Engine):
    """Another engine, which ``opened`` gives when the first task, or its place, is asked for: who has none needs no
    cluster. here : as of ``Engine``. FramiError then."""

    remote = True

    def __init__(self, opened: Callable[[], Engine], here: bool):
        self._open, self.here = opened, here
        self._engine: Engine | None = None

    @property
    def workers(self) -> int:
        return self._opened().workers

    def begin(self) -> None:
        self._opened()

    def run(
        self, tasks: Iterable[Task], progress: Progress, *, unit: str = "task", label: str = "", total: int = 0
    ) -> Iterator[Ended]:
        tasks = iter(tasks)
        for first in tasks:
            yield from self._opened().run(chain([first], tasks), progress, unit=unit, label=label, total=total)

    def share(self, value: Any) -> Any:
        return self._opened().share(value)

    def _opened(self) -> Engine:
        if self._engine is None:
            self._engine = self._open()
        return self._engine

    def __exit__(self, *details) -> None:
        if self._engine is not None:
            self._engine.__exit__(*details)


def here() -> str:
    """Host and number of this process."""
    return f"{socket.gethostname()}, process {os.getpid()}"
