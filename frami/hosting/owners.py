"""What belongs to whom: a visitor's token, of which the disk has a hash only, and the link that shows a run to others.

A run's folder has a small file that names its owner. A run without one is the machine's owner's.
"""

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from frami import files
from frami.errors import FramiError
from frami.hosting import addresses
from frami.hosting.mode import hosted

FILE = ".owner"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22,64}")


@dataclass(frozen=True)
class Visitor:
    """Who asks. ``owner`` : hash of the browser's token, empty for one without, None on one's own machine, where all
    are one; ``shared`` : the run that a link names, as ``ID.KEY``; ``address`` : as of ``addresses.hashed``."""

    owner: str | None = None
    shared: str = ""
    address: str | None = None


#: All who use a studio on their own machine. Owns nothing where it is hosted.
EVERYONE = Visitor()


@dataclass(frozen=True)
class Entry:
    """What a run's folder says of it. ``share`` : key of the link that shows it; ``keep`` : it goes on without its
    visitor."""

    owner: str = ""
    share: str = ""
    keep: bool = False


def visitor(token: str | None, shared: str | None = None, host: str | None = None) -> Visitor:
    """The visitor whose browser sent this token from this host, and the run of the link that it opened. Anything may be
    sent."""
    shared = shared if isinstance(shared, str) and len(shared) <= 100 else ""
    if not hosted():
        return Visitor(None, shared)
    known = isinstance(token, str) and _TOKEN.fullmatch(token)
    owner = hashlib.sha256(token.encode()).hexdigest()[:32] if known else ""
    return Visitor(owner, shared, addresses.hashed(host))


def check(who: Visitor) -> None:
    """FramiError where a visitor of a hosted studio, who wants to begin something, does not say who they are: nobody
    could count what is theirs."""
    if not who.owner and hosted():
        raise FramiError("the page did not say which browser this is; reload it")


def claim(folder: Path, owner: str | None, keep: bool = False) -> None:
    """Note whose run lies in a folder, which is made. OSError when the disk refuses."""
    if owner:
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, Entry(owner, keep=keep))


def entry(folder: Path) -> Entry:
    """What the folder says; the empty entry where it says nothing."""
    try:
        return _read(folder / FILE, (folder / FILE).stat().st_mtime_ns)
    except OSError:
        return Entry()


def owns(who: Visitor, folder: Path) -> bool:
    """Whether the run in this folder is the visitor's own."""
    if who.owner is None:
        return not hosted()
    return bool(who.owner) and _same(entry(folder).owner, who.owner)


def sees(who: Visitor, id: str, folder: Path) -> bool:
    """Whether the visitor may look at the run of this id: an own one, or that of the link."""
    return owns(who, folder) or is_shared(who, id, folder)


def is_shared(who: Visitor, id: str, folder: Path) -> bool:
    """Whether the visitor's link shows the run of this id, and has not been taken back."""
    given, _, key = who.shared.partition(".")
    return bool(key) and given == id and _same(entry(folder).share, key)


def share(folder: Path) -> str:
    """Key of the link that shows the run in this folder, the same until it is taken back. OSError when the disk
    refuses."""
    found = entry(folder)
    if not found.share:
        found = replace(found, share=secrets.token_urlsafe(16))
        _write(folder, found)
    return found.share


def unshare(folder: Path) -> None:
    """Take the link back: it shows nothing any more. OSError when the disk refuses."""
    if (found := entry(folder)).share:
        _write(folder, replace(found, share=""))


def _same(one: str, other: str) -> bool:
    """Whether two secrets are the same, in a time that tells nothing; a damaged file may say anything."""
    return hmac.compare_digest(*(text.encode("utf-8", "surrogatepass") for text in (one, other)))


def _write(folder: Path, found: Entry) -> None:
    files.write(folder / FILE, json.dumps(asdict(found)))


@lru_cache(maxsize=4096)
def _read(path: Path, written: int) -> Entry:
    """The entry as it was ``written`` then; a damaged one is nobody's."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        owner, key = found.get("owner"), found.get("share")
        text = isinstance(owner, str) and isinstance(key, str)
        return Entry(owner, key, found.get("keep") is True) if text else Entry()
    except (ValueError, AttributeError, RecursionError):
        return Entry()
