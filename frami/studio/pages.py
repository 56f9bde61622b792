"""Pages that are opened, counted by network address: Gradio remembers so many, and forgets old ones for new ones."""

import threading
import time
from collections import Counter, OrderedDict, deque

from frami.hosting.limits import Limits

#: Seconds for which a page counts as new: one that is open is heard of far more often, and so remembered.
_NEW = 600


class Pages:
    """Each address may open so many within ten minutes (half of ``sessions``)."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._known: OrderedDict[str, None] = OrderedDict()
        self._opened: deque[tuple[float, str]] = deque()
        self._count: Counter[str] = Counter()
        self._own = threading.Lock()

    def check(self, page: str | None, address: str | None, event: bool = False) -> None:
        """A page, by Gradio's name of it, asks for something from this address (``addresses.hashed``). ``LimitError``
        where it is new and one too many; then it is not noted. event : an event, for which Gradio makes a name where
        none is given."""
        if not self._limits or address is None or (page is None and not event):
            return
        with self._own:
            if page in self._known:
                self._known.move_to_end(page)
                return
            now = time.monotonic()
            while self._opened and now - self._opened[0][0] > _NEW:
                _, other = self._opened.popleft()
                self._count[other] -= 1
                if not self._count[other]:
                    del self._count[other]
            self._limits.check_address("sessions", 1 + self._count[address])
            self._opened.append((now, address))
            self._count[address] += 1
            if page is not None:
                self._known[page] = None
            while len(self._known) > self._limits.least("sessions", 10_000):
                self._known.popitem(last=False)
