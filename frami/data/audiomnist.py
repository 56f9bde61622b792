"""What AudioMNIST says of its speakers, in ``data/audioMNIST_meta.txt``.

It was filled in by hand: some versions lack speakers, ages are numbers or text and one of them is 1234, rooms and
accents are spelt in several ways. What cannot be understood is None; no clip depends on it.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from frami.data.dataset import Speaker

FILE = "data/audioMNIST_meta.txt"
#: Years that an age may have.
AGES = (1, 120)
_ROOMS = {"vr-romm": "vr-room"}
_YES, _NO = ("yes", "y", "true", "1"), ("no", "n", "false", "0")


def speakers(root: Path) -> dict[str, Speaker]:
    """Speakers by their number in two digits, of the data set in the folder ``root``; none without a readable table."""
    try:
        value = json.loads((root / FILE).read_text(encoding="utf-8-sig", errors="replace"))
    except (OSError, ValueError, RecursionError):
        return {}
    rows = value.items() if isinstance(value, dict) else ()
    found = {_number(name): _speaker(row) for name, row in rows if isinstance(row, dict)}
    return {name: speaker for name, speaker in sorted(found.items()) if name}


def _number(name: str) -> str:
    name = name.strip()
    return f"{int(name):02d}" if re.fullmatch(r"[0-9]{1,4}", name) else ""


def _speaker(row: Mapping[str, Any]) -> Speaker:
    cells = {re.sub(r"[^a-z]", "", name.lower()): cell for name, cell in row.items()}
    gender, accent, room = _text(cells.get("gender")), _text(cells.get("accent")), _text(cells.get("recordingroom"))
    return Speaker(
        _age(cells.get("age")),
        gender and gender.lower(),
        accent and accent[0].upper() + accent[1:],
        _native(cells.get("nativespeaker")),
        _text(cells.get("origin")),
        room and _ROOMS.get(room.lower(), room.lower()),
    )


def _text(cell: Any) -> str | None:
    return " ".join(cell.split()) or None if isinstance(cell, str) else None


def _age(cell: Any) -> int | None:
    """Years, given as a number or as text that begins with one."""
    match = re.match(r"\s*([0-9]{1,4})(?![0-9])", str(cell))
    years = int(match[1]) if match else 0
    return years if AGES[0] <= years <= AGES[1] else None


def _native(cell: Any) -> bool | None:
    said = str(cell).strip().lower()
    return True if said in _YES else False if said in _NO else None
