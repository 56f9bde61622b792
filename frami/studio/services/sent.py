"""What a browser sends, checked in one place: numbers, texts, lists, and whole requests.

A visitor's browser sends what the page's scripts make; anything else comes from somebody who tries what happens. It is
refused in words that never repeat it.
"""

import json
import math
from collections.abc import Collection
from typing import Any

from frami.errors import FramiError

#: Bytes of a request, values in it, how deep they lie in each other, and signs of a text, at most. The page's own
#: requests have a hundredth of that.
MOST_BYTES, MOST_VALUES, DEEPEST, MOST_SIGNS = 256 * 1024, 5_000, 12, 4_000
#: The greatest whole number that JavaScript has.
_MOST_WHOLE = 2**53
#: Signs of a name, an id or the like.
NAME = 300


class SentError(FramiError):
    """The browser sent what the page does not send."""


def body(content: bytes) -> Any:
    """The value of a request's JSON. Raises SentError for what is none, or is too large."""
    if len(content) > MOST_BYTES:
        raise SentError(f"this request is too large: {MOST_BYTES // 1024} KB are the most")
    try:
        found = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise SentError("this request is no JSON that the page sends") from error
    return plain(found)


def plain(value: Any) -> Any:
    """The value itself, where it is of plain texts, finite numbers, lists and records in moderate number and depth."""
    waiting, seen = [(value, 0)], 0
    while waiting:
        one, depth = waiting.pop()
        seen += 1
        if seen > MOST_VALUES or depth > DEEPEST:
            raise SentError("this request holds too much")
        if isinstance(one, dict):
            waiting += [(part, depth + 1) for pair in one.items() for part in pair]
        elif isinstance(one, list | tuple):
            waiting += [(part, depth + 1) for part in one]
        elif isinstance(one, str):
            text(one, "a text", MOST_SIGNS)
        elif one is not None and not isinstance(one, bool):
            number(one, "a number")
    return value


def text(value: Any, what: str = "a name", most: int = NAME) -> str:
    """A text of valid characters, not longer than ``most``; ``what`` : its name in the message."""
    if not isinstance(value, str):
        raise SentError(f"{what} is missing")
    if len(value) > most:
        raise SentError(f"{what} is too long: {most} characters are the most")
    if any("\ud800" <= sign <= "\udfff" or sign == "\0" for sign in value):
        raise SentError(f"{what} holds invalid characters")
    return value


def number(value: Any, what: str, least: float = -_MOST_WHOLE, most: float = _MOST_WHOLE) -> int | float:
    """A finite number within these bounds; a truth value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise SentError(f"{what} is no number")
    if not least <= value <= most:
        raise SentError(f"{what} is outside of {_figure(least)} to {_figure(most)}")
    return value


def _figure(value: float) -> str:
    """A bound as it is typed: all figures of a whole number."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def record(value: Any, what: str = "the request") -> dict:
    """A JSON object."""
    if not isinstance(value, dict):
        raise SentError(f"{what} is not what the page sends")
    return value


def texts(value: Any, what: str, most: int) -> list[str]:
    """A list of names, ``most`` at most."""
    if not isinstance(value, list) or len(value) > most:
        raise SentError(f"{what}: at most {most}")
    return [text(one, what) for one in value]


def chosen(value: Any, offered: Collection, what: str) -> Any:
    """One of the values that are offered: of the same kind, not only equal (``True`` is no 1)."""
    if not any(_same(value, one) for one in offered):
        raise SentError(f"{what}: choose what is offered; reload the page where that has changed")
    return value


def several(value: Any, offered: Collection, what: str) -> list:
    """A list of values that are offered, not more than there are."""
    if not isinstance(value, list) or len(value) > len(offered):
        raise SentError(f"{what}: choose among what is offered")
    return [chosen(one, offered, what) for one in value]


def _same(one: Any, other: Any) -> bool:
    kinds = (bool, str, int | float)
    return any(isinstance(one, kind) and isinstance(other, kind) for kind in kinds) and (
        isinstance(one, bool) == isinstance(other, bool) and one == other
    )


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
