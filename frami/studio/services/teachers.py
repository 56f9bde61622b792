"""The teachers that are there now: the bundled ones, and those that were trained or imported while the studio runs."""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache

import torch

from frami import checkpoints
from frami.checkpoints import Card, Checkpoint
from frami.errors import FramiError

#: Teachers that come first, in this order, as far as they are there; the page opens with the first. The others follow
#: by name.
FIRST = ("digits", "fsdd")
#: Nanoseconds after a change of a folder within which another change may have the same time.
_SETTLED = 100_000_000


def ordered(cards: Iterable[Card]) -> list[Card]:
    """Cards of teachers in the order of the page."""
    places = {name: place for place, name in enumerate(FIRST)}
    return sorted(cards, key=lambda card: (places.get(card.name, len(FIRST)), card.name))


class Teachers(Mapping[str, Card]):
    """Cards of the teachers by the name of their file, in the order of the page; read again when one of the folders
    that hold checkpoints has changed. Raises CheckpointError at first where a bundled card is damaged."""

    def __init__(self):
        self._lock = threading.Lock()
        self._stamps: tuple[int, ...] | None = None
        self._cards = self._read()

    def __getitem__(self, name: str) -> Card:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def loader(self, device: torch.device) -> Callable[[str], Checkpoint]:
        """What loads a teacher by its name, and keeps those that were asked for last; another one when its weights
        have changed. Raises FramiError for a name that is not there."""

        @lru_cache(maxsize=8)
        def loaded(name: str, sha256: str) -> Checkpoint:
            return checkpoints.load(name, device)

        def load(name: str) -> Checkpoint:
            card = self.get(name)
            if card is None:
                raise FramiError("this teacher is not here any more; choose another")
            return loaded(name, card.sha256)

        return load

    def _now(self) -> dict[str, Card]:
        with self._lock:
            stamps = _stamps()
            if stamps != self._stamps:
                try:
                    self._cards = self._read()
                except checkpoints.CheckpointError:  # what is being written, or was damaged meanwhile: as before
                    return self._cards
                self._stamps = stamps if time.time_ns() - max(stamps) > _SETTLED else None
            return self._cards

    @staticmethod
    def _read() -> dict[str, Card]:
        found: dict[str, Card] = {}
        for card in ordered(card for card in checkpoints.bundled("teacher") if _named(card)):
            found.setdefault(card.name, card)  # of one name the bundled one, which is what the name loads
        return found


def _named(card: Card) -> bool:
    """Whether weights lie under the name that the card gives."""
    try:
        return checkpoints.exists(checkpoints.resolve(card.name))
    except FramiError:
        return False


def _stamps() -> tuple[int, ...]:
    """When the folders of checkpoints were changed last; 0 for one that is not there."""
    found = []
    for folder in checkpoints.folders():
        try:
            found.append(os.stat(folder).st_mtime_ns)
        except OSError:
            found.append(0)
    return tuple(found)
