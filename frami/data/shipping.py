"""Makes the folder of recordings that ship (``frami/data/shipped.py``) from the published data sets.

Of each class of a held-out part the clips are taken evenly through their list by name, whatever a network makes of
them: of every source recording one where there are enough, and only those whose own licence allows to give them on. The
same folders give the same bytes.
"""

import hashlib
import io
import re
import shutil
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from frami import audio, files
from frami.data import recordings
from frami.data.catalogue import DATASETS
from frami.data.dataset import Clip, DataError
from frami.data.shipped import CREDITS, FOLDER, FORMAT, LICENCES, TABLE, Recording, table

#: Samples a second of what is encoded again: what the bundled networks hear.
RATE = 22_050
#: Of Ogg Vorbis, 0 (best) to 1 (smallest).
_COMPRESSION = 0.5
_FSDD_CREDIT = {
    "author": "theo, Free Spoken Digit Dataset",
    "url": "https://github.com/Jakobovski/free-spoken-digit-dataset",
    "licence": "CC BY-SA 4.0",
}
_KEPT = "the same samples, stored as FLAC"
_ENCODED = "cut by ESC-50; here in mono at 22.05 kHz, encoded again as Ogg Vorbis"
#: How ESC-50 names the licences of its clips; others forbid commercial use or are no licence for whole sounds. Its
#: list names no version of "CC-BY": Freesound, where the clips are from, had 3.0 alone when ESC-50 was published.
_ESC_LICENCES = {"CC0": "CC0 1.0", "CC-BY": "CC BY 3.0"}
_ESC_CREDITS = "LICENSE-and-credits.txt"
_ESC_LINE = re.compile(r"- \[(\S+)\.ogg\]:\s+clip derived from (.*) \(http://(\S*)\) by (.*) \[([^\]]*)\]\s*")
#: Published names of these credits, ours first.
_ESC_FILES = (_ESC_CREDITS, "LICENSE")


@dataclass(frozen=True)
class Part:
    """What is taken of a data set: ``each`` clips of every class at most. beside : data sets that have the same
    recordings, for which they stand too."""

    dataset: str
    folder: str
    each: int
    beside: tuple[str, ...] = ()


#: ESC-10 is a part of ESC-50: their files are in one folder, and one of both is there once.
PARTS = (Part("fsdd", "fsdd", 10, ("digits",)), Part("esc10", "esc", 8), Part("esc50", "esc", 2))


def make(
    folds: dict[str, Collection[str]],
    data: str | Path | None = None,
    folder: Path = FOLDER,
    report: Callable[[str, int, int], None] | None = None,
) -> list[Recording]:
    """Write sounds, table and credits anew; returns the table.

    folds : of each data set (also of those ``beside``) the folds that no network learnt from. ``report(what, done,
    total)`` counts clips. Raises DataError where a data set is not in ``data``, or a fold is of no use.
    """
    rows: dict[str, dict] = {}
    for part in PARTS:
        chosen = _chosen(part, folds, data)
        for done, (clip, credit) in enumerate(chosen, 1):
            row = _row(part, clip, credit)
            there = rows.setdefault(row["file"], row)
            there["datasets"] = tuple(dict.fromkeys((*there["datasets"], part.dataset, *part.beside)))
            if report:
                report(DATASETS[part.dataset].title, done, len(chosen))
    beside = folder.with_name(f".{folder.name}.next")
    shutil.rmtree(beside, ignore_errors=True)
    for name, row in rows.items():
        files.write(beside / name, row.pop("content"))
    found = [Recording(**row) for row in rows.values()]
    lines = [files.as_json(row.model_dump(mode="json"), None).rstrip("\n") for row in found]
    files.write(beside / TABLE, f'{{"format": {FORMAT}, "clips": [\n' + ",\n".join(lines) + "\n]}\n")
    files.write(beside / CREDITS, _credits(found))
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    return table(folder)


def _chosen(part: Part, folds: dict[str, Collection[str]], data: str | Path | None) -> list[tuple[Clip, dict]]:
    """The clips of a part, each with its title, author, address and licence; class by class."""
    known = DATASETS[part.dataset]
    held = set(folds[part.dataset])
    for name in part.beside:  # held out for all of them
        held &= {fold.removeprefix(f"{part.dataset}/") for fold in folds[name]}
    credit = _fsdd if part.dataset == "fsdd" else _esc(recordings.locate(part.dataset, data))
    clips = recordings.index(part.dataset, data)
    learnt = {clip.source for clip in clips if clip.fold not in held}
    new = [clip for clip in clips if clip.fold in held and clip.source not in learnt]  # ESC-50 has four in two folds
    free = [(clip, found) for clip in new if (found := credit(clip)) is not None]
    if not free:
        raise DataError(f"{known.title} has no clip of fold {', '.join(sorted(held)) or 'none'} that may be given on")
    of_class = [sorted((pair for pair in free if pair[0].label == k), key=_name) for k in range(len(known.classes))]
    return [pair for members in of_class for pair in evenly(members, part.each)]


def _name(pair: tuple[Clip, dict]) -> str:
    return pair[0].stem.name


def evenly(members: Sequence[tuple[Clip, dict]], each: int) -> list[tuple[Clip, dict]]:
    """At most ``each`` of these, evenly through their list: of the first of every source where these are enough."""
    seen: set[str] = set()
    first = [pair for pair in members if not (pair[0].source in seen or seen.add(pair[0].source))]
    pool = first if len(first) >= each else members
    count = min(each, len(pool))
    return [pool[i * len(pool) // count] for i in range(count)]


def _fsdd(clip: Clip) -> dict:
    return {"title": clip.stem.name, "change": _KEPT, **_FSDD_CREDIT}


def _esc(root: Path) -> Callable[[Clip], dict | None]:
    """Finds the credit of a clip of ESC-50 in its list of licences; None for one that may not be given on."""
    path = next((root / name for name in _ESC_FILES if (root / name).is_file()), None)
    if path is None:
        raise DataError(f"{root} has no list of licences ({' or '.join(_ESC_FILES)})")
    lines = path.read_text(encoding="utf-8").splitlines()
    named = {found[1]: found.groups()[1:] for line in lines if (found := _ESC_LINE.fullmatch(line))}

    def credit(clip: Clip) -> dict | None:
        title, url, author, licence = named.get(clip.stem.name.rpartition("-")[0], (None,) * 4)
        if licence not in _ESC_LICENCES:
            return None
        about = {"title": title, "author": author, "url": f"https://{url}", "licence": _ESC_LICENCES[licence]}
        return {name: " ".join(value.split()) for name, value in about.items()} | {"change": _ENCODED}

    return credit


def _row(part: Part, clip: Clip, credit: dict) -> dict:
    """A row of the table, with the file's ``content``."""
    (path,) = recordings.find([clip])
    content = _flac(path) if credit["change"] == _KEPT else _ogg(path)
    ending = "flac" if credit["change"] == _KEPT else "ogg"
    label = DATASETS[part.dataset].classes[clip.label]
    return {
        "file": f"{part.folder}/{clip.stem.name}.{ending}", "sha256": hashlib.sha256(content).hexdigest(),
        "datasets": (), "label": label, "fold": clip.fold, "source": clip.source, **credit, "content": content,
    }  # fmt: skip


def _flac(path: Path) -> bytes:
    samples, rate = soundfile.read(path, dtype="int16")
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def _ogg(path: Path) -> bytes:
    samples, out = audio.to_int16(audio.load(path, RATE)), io.BytesIO()
    soundfile.write(out, samples, RATE, format="OGG", subtype="VORBIS", compression_level=_COMPRESSION)
    return numbered(out.getvalue(), 1)


def numbered(ogg: bytes, serial: int) -> bytes:
    """An Ogg file whose stream has this number: the library draws one at random, here the same sound is the same file.

    Pages and their checksum are those of RFC 3533.
    """
    pages, at = [], 0
    while at < len(ogg):
        segments = ogg[at + 26]
        end = at + 27 + segments + sum(ogg[at + 27 : at + 27 + segments])
        page = bytearray(ogg[at:end])
        page[14:18], page[22:26] = struct.pack("<I", serial), bytes(4)
        page[22:26] = struct.pack("<I", _checksum(page))
        pages.append(bytes(page))
        at = end
    return b"".join(pages)


def _checksum(page: bytes) -> int:
    """CRC-32 of an Ogg page: polynomial 0x04c11db7, nothing reflected."""
    value = 0
    for byte in page:
        value = ((value << 8) & 0xFFFFFFFF) ^ int(_CRC[(value >> 24) ^ byte])
    return value


def _crc_table() -> Iterator[int]:
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = ((value << 1) ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        yield value


_CRC = np.fromiter(_crc_table(), np.uint32, 256).tolist()


def _credits(rows: Sequence[Recording]) -> str:
    """The same table for people."""
    lines = [
        "# Recordings in this folder",
        "",
        "Recordings by others, which no bundled teacher or student was trained on. Each keeps its own licence: the",
        "project's does not hold for them. `recordings.json` says the same for programs; `frami recordings` makes this",
        "folder.",
        "",
        *(f"- {name}: <{url}>" for name, url in LICENCES.items() if any(row.licence == name for row in rows)),
        "",
        "The Free Spoken Digit Dataset is by Zohar Jackson and others (doi:10.5281/zenodo.1342401). ESC-50 and ESC-10,",
        "from which the other recordings were taken, are by Karol J. Piczak (doi:10.1145/2733373.2806390).",
        "",
        "ESC-50 as a collection is CC BY-NC. What counts for a single clip is the licence that its author gave it on",
        "Freesound, which the list that ESC-50 is published with (LICENSE) names for each: only clips that it lists as",
        "CC0 or CC-BY are here, and nothing else of the collection. It writes “CC-BY” without a version; where this",
        "table says CC BY 3.0 of such a clip, that is the version that Freesound had when ESC-50 was published (2015).",
        "",
    ]
    for row in rows:
        title = re.sub(r"([\\`*_\[\]<>])", r"\\\1", row.title)
        author = re.sub(r"([\\`*_\[\]<>])", r"\\\1", row.author)
        lines.append(f"- `{row.file}` ({row.label}): “{title}” by {author}, <{row.url}>, {row.licence}; {row.change}")
    return "\n".join(lines) + "\n"
