"""Sounds that visitors gave in Try it, remembered for as long as their pages ask for them."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from frami.errors import FramiError
from frami.hosting.owners import EVERYONE, Visitor

#: Sounds that are remembered, the latest.
_MOST = 256


@dataclass
class GivenSounds:
    """Files of sounds by a token that only the page that gave one is told; another visitor cannot use it."""

    _files: OrderedDict[str, tuple[Path, str | None]] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def keep(self, path: str | Path, who: Visitor = EVERYONE) -> str:
        """Remember a file; its token. The file itself is not copied."""
        with self._lock:
            for token, known in self._files.items():
                if known == (Path(path), who.owner):
                    return token
            token = secrets.token_hex(8)
            self._files[token] = Path(path), who.owner
            while len(self._files) > _MOST:
                self._files.popitem(last=False)
            return token

    def path(self, token: str, who: Visitor = EVERYONE) -> Path:
        """The file of a token. FramiError where there is none of this visitor, or the file has gone."""
        path, owner = self._files.get(token, (None, None))
        if path is None or owner != who.owner or not path.is_file():
            raise FramiError("this sound is not there any more: give it again in Try it")
        return path
