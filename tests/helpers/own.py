"""A person's own sounds: tones in a folder for each class, and tables of them."""

import csv
from collections.abc import Mapping
from pathlib import Path

import soundfile

from tests.helpers.recordings import RATE, tone


def make_folder(root: Path, classes: Mapping[str, int], seconds: float = 0.25, ending: str = ".wav") -> Path:
    """``root / CLASS / NUMBER.wav``, so many of each class."""
    for kind, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for take in range(count):
            soundfile.write(root / name / f"{take}{ending}", tone(3 * kind, seconds, take), RATE)
    return root


def make_table(path: Path, rows: list[dict[str, str]], sounds: bool = True, **choices) -> Path:
    """A CSV of these rows, and a tone of each class's own for each file. choices : of ``csv.DictWriter``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), **choices)
        table.writeheader()
        table.writerows(rows)
    classes = sorted({row["class"] for row in rows if "class" in row})
    for take, row in enumerate(rows if sounds else ()):
        (path.parent / row["file"]).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path.parent / row["file"], tone(3 * classes.index(row["class"]), 0.25, take), RATE)
    return path
