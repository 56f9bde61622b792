"""Ids of clips on the page, read and checked in one place.

``gallery/TEACHER/3``, ``sample/TEACHER/3`` : clip 3 of a teacher's gallery, or of its example sounds
``recording/TEACHER/3`` : recording 3 of those that ship for a teacher
``run/ID/3`` : of a run of synthesis; ``run/ID/3@2`` : its saved state 2
``explore/TEACHER/LAYER/3`` : of a layer of the feature map: a bundled recipe, ``run-ID`` or ``real``
``~NAME`` behind an id : its sound by this vocoder
"""

import re
from dataclasses import dataclass

from frami.errors import FramiError
from frami.studio.services import offers, sent

_RUN = re.compile(r"[0-9a-f]{12}")
# A name of a checkpoint or of a layer: one part of a path.
_NAME = r"(?!\.)(?:(?!\.\.)[^/\\~@\x00-\x1f\x7f\ud800-\udfff]){1,100}"
_ID = re.compile(
    rf"(?:(?P<kind>gallery|sample|recording|run)/(?P<owner>{_NAME})|explore/(?P<teacher>{_NAME})/(?P<layer>{_NAME}))"
    r"/(?P<index>[0-9]{1,5})(?:@(?P<state>[0-9]{1,2}))?(?:~(?P<vocoder>.*))?"
)
_LAYER = "run-"


@dataclass(frozen=True)
class ClipId:
    """``owner`` : a teacher's name or a run's id; ``layer`` of the map; ``state``, ``vocoder`` : None where the id has
    none."""

    kind: str
    owner: str
    layer: str
    index: int
    state: int | None
    vocoder: str | None


def parse(text) -> ClipId:
    """An id as the page sent it. FramiError for anything else, and for a vocoder that is not offered."""
    found = _ID.fullmatch(text) if isinstance(text, str) and len(text) <= sent.NAME else None
    if not found or (found["kind"] == "run" and not is_run(found["owner"])):
        raise FramiError("no such clip; reload the page")
    if found["vocoder"] not in (None, *offers.VOCODERS):
        raise FramiError("no such vocoder")
    state = None if found["state"] is None else int(found["state"])
    kind, owner = found["kind"] or "explore", found["owner"] or found["teacher"]
    return ClipId(kind, owner, found["layer"] or "", int(found["index"]), state, found["vocoder"])


def prefix(kind: str, *owner: str) -> str:
    """What the ids of a gallery, a run or a layer begin with."""
    return "/".join((kind, *owner))


def is_run(id) -> bool:
    """Whether this can be the id of a run of synthesis."""
    return isinstance(id, str) and _RUN.fullmatch(id) is not None


def layer_of_run(id: str) -> str:
    """Key of a run's layer on the map."""
    return _LAYER + id


def run_of_layer(key: str) -> str | None:
    """The run whose layer has this key; None for another layer."""
    return key.removeprefix(_LAYER) if key.startswith(_LAYER) and is_run(key.removeprefix(_LAYER)) else None
