"""A thread for work that must not share the cores: one piece at a time, and visitors take turns."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from frami.hosting.fair import in_turn

#: Owners and addresses of whom is remembered when they had their last turn.
_KNOWN = 2000


@dataclass(frozen=True)
class _Piece:
    turn: Future
    owner: str
    address: str | None
    since: float
    work: Callable
    arguments: tuple


class Turns:
    """Work in the order of ``hosting.fair``; ``name`` : of the thread."""

    def __init__(self, name: str):
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._waiting: list[_Piece] = []
        self._served: dict[str, float] = {}
        self._at_work: tuple[str, ...] = ()
        self._lock = threading.Lock()

    def submit(self, owner: str | None, address: str | None, work: Callable, *arguments) -> Future:
        """Do ``work(*arguments)`` when it is the turn of this owner at this address (as of ``Visitor``); the future can
        be cancelled until then."""
        piece = _Piece(Future(), owner or "", address, time.time(), work, arguments)
        with self._lock:
            self._waiting.append(piece)
        self._thread.submit(self._next)
        return piece.turn

    def order(self) -> list[Future]:
        """What waits, the next one first."""
        with self._lock:
            return [piece.turn for piece in self._in_turn()]

    @property
    def alive(self) -> bool:
        """Whether what is submitted will be done."""
        return not self._thread._shutdown and all(thread.is_alive() for thread in list(self._thread._threads))

    def close(self) -> None:
        """Begin nothing more, and wait for what is at work."""
        with self._lock:
            for piece in self._waiting:
                piece.turn.cancel()
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _in_turn(self) -> Iterator[_Piece]:
        self._waiting = [piece for piece in self._waiting if not piece.turn.cancelled()]
        waiting = [(piece, piece.owner, piece.address, piece.since) for piece in self._waiting]
        return in_turn(waiting, self._served | dict.fromkeys(self._at_work, time.time()))

    def _next(self) -> None:
        with self._lock:
            piece = next((one for one in self._in_turn() if one.turn.set_running_or_notify_cancel()), None)
            if piece is None:
                return
            self._waiting.remove(piece)
            self._at_work = piece.owner, piece.address or piece.owner
        try:
            piece.turn.set_result(piece.work(*piece.arguments))
        except BaseException as error:
            piece.turn.set_exception(error)
        finally:
            with self._lock:
                for who in self._at_work:
                    self._served.pop(who, None)
                    self._served[who] = time.time()
                while len(self._served) > _KNOWN:
                    del self._served[next(iter(self._served))]
                self._at_work = ()
