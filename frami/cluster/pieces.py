"""Large contents on their way to an object in a worker and back: in pieces, each with an answer of its own.

So each that arrives shows that both ends live, however slow the line is and however much goes over it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Bytes of a piece, at first and at most.
LEAST, MOST = 1 << 18, 1 << 22
#: Seconds of a piece below which the next one is larger, and above which it is smaller.
_SHORT, _LONG = 2.0, 15.0

#: ``Placed.ask`` with a time to answer.
Ask = Callable[..., Any]


@dataclass
class Pieces:
    """A line to a worker. ``ask(method, …)`` : of the object there; ``size`` : bytes of the next piece, as many as go
    over the line in some seconds; ``clock`` : in seconds."""

    ask: Ask
    size: int = LEAST
    clock: Callable[[], float] = time.monotonic

    def give(self, name: str, content: bytes | Path) -> None:
        """Send a file's content by ``receive(name, piece)``, which appends."""
        for piece in self._cut(content):
            self._timed(len(piece), "receive", name, piece)

    def take(self, name: str, size: int) -> Iterator[bytes]:
        """Pieces of a content of ``size`` bytes, by ``piece(name, start, length)``. ValueError for other ones."""
        start = 0
        while start < size:
            length = min(self.size, size - start)
            piece = self._timed(length, "piece", name, start, length)
            if not isinstance(piece, bytes) or len(piece) != length:
                raise ValueError(f"a piece of {name} has another length")
            yield piece
            start += length

    def _cut(self, content: bytes | Path) -> Iterator[bytes]:
        if isinstance(content, bytes):
            start = 0
            while start < len(content) or not start:
                size = self.size
                yield content[start : start + size]
                start += size
            return
        with content.open("rb") as file:
            piece = file.read(self.size)
            yield piece
            while piece := file.read(self.size):
                yield piece

    def _timed(self, length: int, *call: Any) -> Any:
        began = self.clock()
        answer = self.ask(*call)
        spent = self.clock() - began
        if spent < _SHORT and length >= self.size:
            self.size = min(MOST, 2 * self.size)
        elif spent > _LONG:
            self.size = max(LEAST, self.size // 2)
        return answer
