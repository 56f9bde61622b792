"""Files that were damaged or forged: strategies of hypothesis that change bytes, values of JSON, tensors and rows."""

import copy
import json
import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

#: How many times as many examples as in a quick run: `make fuzz` sets it.
MANY = int(os.environ.get("FRAMI_FUZZ", "1"))

#: Numbers, and other things in their place, that files should not be trusted with.
NUMBERS = (
    0, -1, 1, 2, 3.7, -0.5, 255, 65_536, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 10**9, 1e9, 2**62, 2**63 - 1, 2**63,
    10**30, 10**400, 1e308, -1e308, float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
OTHERS = (
    None, True, False, "", "x", "\x1b[2J", "\0", "\ud800", "../../etc/passwd", "x" * 100_000, [], {}, [[]], [None],
    [10**9], {"x": 1}, ["a", "a"], [0] * 1_000,
)  # fmt: skip
values = st.sampled_from(NUMBERS + OTHERS).map(copy.deepcopy)


class Content(bytes):
    """Bytes that are shown by their beginning."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes: {self[:200]!r} …>"


class Text(str):
    """A text that is shown by its beginning."""

    def __repr__(self) -> str:
        return f"<{len(self)} signs: {str(self)[:1_500]!r} …>"


def quickly(examples: int, often: int = 100):
    """So many examples, ``often`` times as many with FRAMI_FUZZ=100; none is kept, the same each time unless many."""
    return settings(
        max_examples=examples * (1 if MANY == 1 else often),
        derandomize=MANY == 1,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate] + [Phase.shrink] * (MANY > 1),
        suppress_health_check=list(HealthCheck),
    )


@st.composite
def damaged(draw, contents: list[bytes]) -> Content:
    """One of these files after a few changes of its bytes, most of them near its beginning."""
    content = bytearray(draw(st.sampled_from(contents).map(Content)))
    for _ in range(draw(st.integers(1, 4))):
        size = len(content)
        at = draw(st.integers(0, min(size, 160)) | st.integers(0, size))
        change = draw(st.sampled_from(["bit", "byte", "word", "long", "cut", "end", "twice", "more"]))
        piece = draw(st.integers(1, 64))
        if change == "bit" and at < size:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "byte":
            content[at : at + 1] = bytes([draw(st.integers(0, 255))])
        elif change in ("word", "long"):
            width, order = (4 if change == "word" else 8), draw(st.sampled_from(["little", "big"]))
            number = draw(st.sampled_from([0, 1, 2**15, 2**24, 2**31 - 1, 2**32 - 1, 2**62, 2**64 - 1]))
            content[at : at + width] = (number % 2 ** (8 * width)).to_bytes(width, order)
        elif change == "cut":
            del content[at : at + piece]
        elif change == "end":
            del content[at:]
        elif change == "twice":
            content[at:at] = content[at : at + piece]
        else:
            content[at:at] = draw(st.binary(min_size=1, max_size=16))
    return Content(content)


def places(value, path: tuple = ()) -> list[tuple]:
    """Paths to all values in one of JSON, not to each of a long list."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, one in inner:
        found += places(one, (*path, key))
    return found


@st.composite
def forged(draw, value) -> Text:
    """A text of JSON: the value with some of its parts other things, missing, under another name, or deep in lists."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 2))):
        there = places(value)
        if not there:
            break
        *above, key = draw(st.sampled_from(there))
        holder = value
        for one in above:
            holder = holder[one]
        change = draw(st.sampled_from(["value"] * 6 + ["gone", "name", "deep"]))
        if change == "value":
            holder[key] = draw(values)
        elif change == "gone":
            del holder[key]
        elif change == "name" and isinstance(holder, dict):
            holder[draw(st.sampled_from(["x", "", "\x1b", "__class__"]))] = holder.pop(key)
        else:
            holder[key] = "DEEP"
    text = json.dumps(value)
    deep = draw(st.sampled_from([2, 70, 3_000, 100_000]))
    return Text(text.replace('"DEEP"', "[" * deep + "]" * deep))
