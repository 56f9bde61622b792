"""Round robin: who waits with many runs lets one with few pass."""

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TypeVar

Run = TypeVar("Run")


def in_turn(waiting: Iterable[tuple[Run, str]], served: Mapping[str, float]) -> list[Run]:
    """Runs in the order in which they begin.

    waiting : each run and its owner, the one that came first first; served : of owners, the time when a run of theirs
    began last. The next is a run of who has waited for a turn longest; of one owner runs keep their order.
    """
    of_owner: dict[str, deque] = {}
    for place, (run, owner) in enumerate(waiting):
        of_owner.setdefault(owner, deque()).append((place, run))
    last = {owner: (served.get(owner, 0.0), own[0][0]) for owner, own in of_owner.items()}
    order: list = []
    latest = max(served.values(), default=0.0)
    while last:
        owner = min(last, key=last.__getitem__)
        _, run = of_owner[owner].popleft()
        order.append(run)
        if own := of_owner[owner]:
            last[owner] = (latest + len(order), own[0][0])
        else:
            del last[owner]
    return order
