"""Sounds that visitors gave to be tried, by tokens that only they can use."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from frami.errors import FramiError
from frami.hosting.owners import Visitor
from frami.studio.services import sent

#: Sounds that are remembered; the oldest go first.
_MOST = 2_000


@dataclass(frozen=True)
class Given:
    """A sound's file, its class where that is known, what it is in words, and whose it is (``Visitor.owner``)."""

    path: Path
    label: str
    origin: str
    owner: str | None


@dataclass
class GivenSounds:
    """What was given since the studio started."""

    _known: OrderedDict[str, Given] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, path: str | Path, label: str, origin: str, who: Visitor) -> str:
        """Remember a sound; the token by which its visitor names it from now on. The path is not checked here."""
        token = secrets.token_hex(12)
        with self._lock:
            self._known[token] = Given(Path(path), label, origin, who.owner)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return token

    def find(self, token, who: Visitor) -> Given:
        """The visitor's sound of this token. FramiError for any other, and for one whose file was removed since."""
        name = sent.text(token, "the sound")
        with self._lock:
            found = self._known.get(name)
        if found is None or found.owner != who.owner or not found.path.is_file():
            raise FramiError("this sound is not there any more: give it again")
        return found
