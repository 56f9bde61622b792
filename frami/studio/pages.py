"""Pages that are opened, counted by network address: Gradio remembers so many, and forgets old ones for new ones."""

import threading
import time
from collections import OrderedDict, deque

from frami.hosting.limits import Limits

#: Seconds for which a page counts as new: one that is open is heard of far more often, and so remembered.
_NEW = 600


class Pages:
    """Each address may open so many within ten minutes (half of ``sessions``)."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._known: OrderedDict[str, None] = OrderedDict()
        self._opened: deque[tuple[float, str]] = deque()
        self._own = threading.Lock()

    def check(self, page: str | None, address: str | None) -> None:
        """A page, by Gradio's name of it, asks for something from this address (``addresses.hashed``). ``LimitError``
        where it is new and one too many; then it is not noted."""
        if not self._limits or page is None or address is None:
            return
        with self._own:
            if page in self._known:
                self._known.move_to_end(page)
                return
            now = time.monotonic()
            while self._opened and now - self._opened[0][0] > _NEW:
                self._opened.popleft()
            self._limits.check_address("sessions", 1 + sum(other == address for _, other in self._opened))
            self._opened.append((now, address))
            self._known[page] = None
            while len(self._known) > self._limits.least("sessions", 10_000):
                self._known.popitem(last=False)
