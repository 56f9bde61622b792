"""The data sets that are known: which are here, where, and what those that are not would take to fetch."""

import threading
import time
from pathlib import Path

from frami import data, files
from frami.data import own
from frami.data.catalogue import DATASETS
from frami.data.dataset import DatasetInfo
from frami.errors import FramiError
from frami.hosting.mode import hosted
from frami.paths import data_folder, home

#: Seconds for which it is remembered what is here: to list a hundred thousand files takes a moment.
_KEPT = 300
#: What the name of one's own recordings begins with, among the names of data sets.
OWN = "own/"

_found: list[dict] = []
_at = 0.0
_lock = threading.Lock()


def own_folder() -> Path:
    """Where recordings lie that were uploaded: a folder each, with class folders in it."""
    return home() / "recordings"


def forget() -> None:
    """Look again at the next question: something may have come."""
    global _at
    _at = 0.0


def rows() -> list[dict]:
    """Each data set of the catalogue, then those that were uploaded, as the page draws them: ``name``, ``title``,
    ``classes`` and ``clips`` (of the whole set), ``here`` (clips that are here), ``folder`` (None where the studio is
    hosted), ``bytes`` to download (0: nothing is published), ``licence``, ``homepage``, ``sources`` (addresses and
    whether there is a checksum), ``note``, ``problem``."""
    global _at, _found
    with _lock:
        if time.monotonic() - _at > _KEPT or not _at:
            _found = [_row(info) for info in DATASETS.values()] + [
                _own_row(folder) for folder in sorted(files.folders(own_folder())) if not folder.name.startswith(".")
            ]
            _at = time.monotonic()
        return [dict(row) for row in _found]


def offered() -> list[tuple[str, str]]:
    """(title and clips, name) of the recordings that a teacher can be trained on, the smallest first."""
    here = sorted((row for row in rows() if row["here"]), key=lambda row: (not row["own"], row["here"]))
    return [(f"{row['title']}: {row['here']:,} clips", row["name"]) for row in here]


def trainable(name: str) -> str:
    """What ``frami.data`` names these recordings by. FramiError for a name that is not offered."""
    if name in DATASETS:
        return name
    folder = own_folder() / Path(name).name
    if name not in (f"{OWN}{folder.name}", str(folder)) or folder.name.startswith(".") or not folder.is_dir():
        raise FramiError("these recordings are not here any more; choose others")
    return str(folder)


def _row(info: DatasetInfo) -> dict:
    folder, here, problem = None, 0, None
    try:
        folder = str(data.locate(info.name))
        here = len(data.index(info.name))
    except FramiError as error:
        problem = str(error) if folder else None
    parts = (info, *(DATASETS[name] for name in info.parts))
    archives = [archive for part in parts for archive in part.archives]
    return {
        "name": info.name,
        "title": info.title,
        "classes": len(info.classes),
        "clips": info.clips,
        "here": here,
        "folder": None if hosted() else folder,
        "bytes": sum(archive.size for archive in archives),
        "licence": info.licence,
        "homepage": info.homepage,
        "sources": [
            {"url": one.url, "bytes": one.size, "checksum": (one.checksum or "").partition(":")[0]} for one in archives
        ],
        "note": info.note,
        "problem": None if hosted() else problem,
        "own": False,
    }


def _own_row(folder: Path) -> dict:
    row = {
        "name": f"{OWN}{folder.name}",
        "title": folder.name,
        "classes": 0,
        "clips": 0,
        "here": 0,
        "folder": None if hosted() else str(folder),
        "bytes": 0,
        "licence": "not stated",
        "homepage": "",
        "sources": [],
        "note": "uploaded here",
        "problem": None,
        "own": True,
    }
    try:
        found = own.describe(folder)
        return row | {"classes": len(found.classes), "clips": found.clips, "here": found.clips}
    except FramiError as error:
        return row | {"problem": None if hosted() else str(error)}


def target() -> str:
    """Where downloads go."""
    return str(data_folder())
