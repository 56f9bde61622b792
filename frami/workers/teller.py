"""The page, as a job of a worker sees it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Teller:
    """``send(value)`` tells the page something on the way, ``stopped`` says whether it wants the job to end."""

    send: Callable[[object], None]
    stop: threading.Event

    @property
    def stopped(self) -> bool:
        return self.stop.is_set()

    def progress(self, done: int, total: int) -> None:
        """How far the job is."""
        self.send((done, total))
