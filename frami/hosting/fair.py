"""Round robin: who waits with many runs lets one with few pass, under however many names."""

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

Run = TypeVar("Run")


def in_turn(waiting: Iterable[tuple[Run, str, str | None, float]], served: Mapping[str, float]) -> Iterator[Run]:
    """Runs in the order in which they begin: network addresses take turns, at each of them its visitors.

    waiting : each run, its owner, the address (``addresses.hashed``; None where it is not known: then the owner has
    turns of their own) and since when it waits; the one that came first first. served : of owners and addresses, the
    time until which a run of theirs was at work last. The next is a run of who has waited longest without one at work,
    so that whoever comes later, also under a new name, comes behind; of one owner runs keep their order.
    """
    rows = list(waiting)
    now = max([*served.values(), *(since for *_, since in rows)], default=0.0)
    by_owner = [((run, address or owner, since), owner, since) for run, owner, address, since in rows]
    return _round(list(_round(by_owner, served, now)), served, now)


def _round(waiting: Iterable[tuple[Run, str, float]], served: Mapping[str, float], now: float) -> Iterator[Run]:
    of_owner: dict[str, deque] = {}
    begun: dict[str, float] = {}
    for place, (run, owner, since) in enumerate(waiting):
        of_owner.setdefault(owner, deque()).append((place, run))
        begun[owner] = min(since, begun.get(owner, since))
    queue = [(max(served.get(owner, 0.0), begun[owner]), own[0][0], owner) for owner, own in of_owner.items()]
    heapq.heapify(queue)
    while queue:
        *_, owner = heapq.heappop(queue)
        own, now = of_owner[owner], now + 1
        yield own.popleft()[1]
        if own:
            heapq.heappush(queue, (now, own[0][0], owner))
