"""Round robin: who waits with many runs lets one with few pass, under however many names."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

Run = TypeVar("Run")


def in_turn(waiting: Iterable[tuple[Run, str, str | None]], served: Mapping[str, float]) -> Iterator[Run]:
    """Runs in the order in which they begin: network addresses take turns, at each of them its visitors.

    waiting : each run, its owner and the address (``addresses.hashed``; None where it is not known: then the owner has
    turns of their own), the one that came first first; served : of owners and addresses, the time when a run of theirs
    began last. The next is a run of who has waited for a turn longest; of one owner runs keep their order.
    """
    by_owner = _round([((run, address or owner), owner) for run, owner, address in waiting], served)
    return _round(list(by_owner), served)


def _round(waiting: Iterable[tuple[Run, str]], served: Mapping[str, float]) -> Iterator[Run]:
    of_owner: dict[str, deque] = {}
    for place, (run, owner) in enumerate(waiting):
        of_owner.setdefault(owner, deque()).append((place, run))
    queue = [(served.get(owner, 0.0), own[0][0], owner) for owner, own in of_owner.items()]
    heapq.heapify(queue)
    last = max(served.values(), default=0.0)
    while queue:
        *_, owner = heapq.heappop(queue)
        own, last = of_owner[owner], last + 1
        yield own.popleft()[1]
        if own:
            heapq.heappush(queue, (last, own[0][0], owner))
