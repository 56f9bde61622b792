"""Which classes of two data sets mean the same: by name, spelling aside, and by a short table of synonyms."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

#: Numbers as words, by their figure.
_WORDS = dict(enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")))

#: Class names of UrbanSound8K, as ``normalised`` writes them, for which ESC-50 has another name. Our choice; pairs of
#: which one is only a part of the other (``drilling``, ``hand_saw``) do not belong here.
SYNONYMS = {"dog bark": "dog", "engine idling": "engine"}


def normalised(name: str) -> str:
    """A class name without its spelling: ``Sea-waves`` and ``sea_waves`` are ``sea waves``, ``0`` and ``Zero`` are
    ``zero``. Letters of all scripts and all other signs stay."""
    parts = re.split(r"[\s_\-./]+", unicodedata.normalize("NFC", name).casefold())
    words = [_WORDS.get(int(part), part) if re.fullmatch(r"[0-9]{1,3}", part) else part for part in parts if part]
    return " ".join(words)


def meaning(name: str) -> str:
    """``normalised``, and one name for synonyms."""
    plain = normalised(name)
    return SYNONYMS.get(plain, plain)


def matching(own: Sequence[str], others: Sequence[str]) -> dict[int, int]:
    """For each class of ``others`` (by its index, in order) that has a class of the same meaning in ``own``, the index
    of that one.

    Equal names match first, then equal names but for their spelling, then synonyms; a name that fits two classes of a
    data set matches none of them.
    """
    found: dict[int, int] = {}
    for key in (str, normalised, meaning):
        free = _unique(own, key, set(found.values()))
        found |= {j: free[name] for name, j in _unique(others, key, set(found)).items() if name in free}
    return dict(sorted(found.items()))


def _unique(names: Sequence[str], key: Callable[[str], str], taken: set[int]) -> dict[str, int]:
    """Index of each name that is not ``taken``, by its key, where no other has the same key."""
    keys = {i: key(name) for i, name in enumerate(names) if i not in taken}
    counts = Counter(keys.values())
    return {name: i for i, name in keys.items() if counts[name] == 1}


def shortened(names: Sequence[str], most: int = 10) -> str:
    """Names with commas between them, the first ones where there are more than ``most``."""
    left = len(names) - most
    return ", ".join(names) if left <= 1 else f"{', '.join(names[:most])} and {left} more"
