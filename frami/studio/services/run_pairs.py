"""Two students beside each other: by how much one recognises more, with what certainty, and which classes."""

from collections.abc import Sequence

from frami import intervals
from frami.errors import FramiError
from frami.studio.services import page_values

#: What a result's matrix counts, as the page says it.
_CLIPS = {"real": "recordings", "made": "unseen made clips"}


def pair(first: dict, second: dict, classes: Sequence[str]) -> dict:
    """Two results of runs that learnt all ``classes``: ``difference`` (second less first, of what their confusion
    matrices count), its ``interval``, ``of`` (on what), ``clips`` of each, and ``classes``, each a name and of both
    [right, clips], those first in which they differ most. FramiError where they cannot be compared."""
    matrices = [one.get("confusion") for one in (first, second)]
    kinds = {one.get("confusion_of") for one in (first, second)}
    if not all(matrices):
        raise FramiError("a student is compared when its run is done")
    if len(kinds) > 1:
        raise FramiError("one of them was measured on recordings, the other on made clips: these do not compare")
    if any(len(matrix) != len(classes) for matrix in matrices):
        raise FramiError("one of them learnt only some of the classes: their accuracies do not compare")
    right, clips = ([[tally(row, k) for k, row in enumerate(one)] for one in matrices] for tally in (_right, _clips))
    totals, counts = tuple(map(sum, right)), tuple(map(sum, clips))
    if not all(counts):
        raise FramiError("one of them was measured on no clip")
    shares = [one / count for one, count in zip(totals, counts, strict=True)]
    rows = [
        {"name": page_values.name(name), "first": [right[0][k], clips[0][k]], "second": [right[1][k], clips[1][k]]}
        for k, name in enumerate(classes)
        if clips[0][k] and clips[1][k]
    ]
    rows.sort(key=lambda row: -abs(row["second"][0] / row["second"][1] - row["first"][0] / row["first"][1]))
    return {
        "shares": shares,
        "difference": shares[1] - shares[0],
        "interval": list(intervals.difference(totals, counts)),
        "of": _CLIPS.get(kinds.pop(), "clips"),
        "clips": list(counts),
        "classes": rows,
    }


def _right(row: Sequence[int], k: int) -> int:
    return row[k]


def _clips(row: Sequence[int], k: int) -> int:
    return sum(row)
