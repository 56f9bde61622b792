"""A person's own recordings as a data set: a folder with a folder for each class, or a table of files and classes.

Listing them decodes nothing. Where the recordings name neither folds nor groups they are split by class, with a fixed
seed (``frami/data/splits.py``).
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from frami import audio, sound_files
from frami.data import splits
from frami.data.catalogue import DATASETS
from frami.data.dataset import ENDINGS, FOREIGN_ENDINGS, Clip, DataError, DatasetInfo, split_ending
from frami.data.readers import table_cells

#: Columns of a table and what else each may be called; lower and upper case are the same.
COLUMNS = {
    "file": ("file", "filename", "file_name", "path", "filepath", "audio", "wav"),
    "class": ("class", "label", "category", "class_name"),
    "fold": ("fold", "split", "subset"),
    "group": ("group", "speaker", "source", "recording"),
}
#: Names of folds: those that are held out (the first that is there), and those that choose a training's best epoch.
TEST, VALIDATION = ("test", "testing", "eval", "evaluation"), ("validation", "valid", "val", "dev")
#: Folders that are folds and no classes, where all folders are named so.
PARTS = ("train", "training", *VALIDATION, *TEST)
#: Seconds of a recording, least and most; peak below which it is silent.
SHORTEST, LONGEST, SILENT = 0.05, 600.0, 1e-4
#: Entries of a folder, with all below it, that are looked at: more is not a folder of recordings.
MOST = 1_000_000
#: How the note on the split begins where folds are given.
GIVEN = "split by the folds that are given"
#: Characters of a class's or fold's name at most; as many as a folder's has.
NAME = 255
# Control characters, and those that turn the direction of writing.
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_KEEP = 8


@dataclass(frozen=True)
class Listing:
    """What a folder or table lists: the data set, its clips, and what is there but belongs to no class.

    ``others`` : number of files that are no sound; ``outside`` : sound files that lie in no class's folder; ``empty`` :
    folders without a sound. ``stamps`` : when each folder, or the table, was changed last.
    """

    info: DatasetInfo
    clips: tuple[Clip, ...]
    others: int
    outside: tuple[str, ...]
    empty: tuple[str, ...]
    stamps: dict[str, int]


@dataclass(frozen=True)
class _Entry:
    file: str
    name: str
    label: str
    fold: str
    group: str


_KEPT: dict[Path, Listing] = {}


def is_path(name: str | Path) -> bool:
    """Whether a data set's name is the path of a folder or table."""
    text = str(name)
    written = isinstance(name, Path) or re.search(r"[\\/]", text) or text.startswith((".", "~"))
    return bool(text) and bool(written or text.lower().endswith((".csv", ".tsv")) or os.path.exists(text))


def label(name: str) -> str:
    """What files and pages call a data set: a row's name in the catalogue, of a path the last part only."""
    return name if name in DATASETS else re.split(r"[\\/]", name.rstrip("\\/"))[-1]


def describe(path: str | Path) -> DatasetInfo:
    """The data set at this path. DataError where there is none, or one of less than two classes."""
    return listing(path).info


def listing(path: str | Path) -> Listing:
    """What is at this path; read again when a folder in it, or the table, has changed. DataError as ``describe``."""
    root = Path(os.path.abspath(Path(path).expanduser()))
    kept = _KEPT.get(root)
    if kept is not None and all(_stamp(place) == time for place, time in kept.stamps.items()):
        return kept
    try:
        str(root).encode()
        found = _read_folder(root) if root.is_dir() else _read_table(root)
    except UnicodeEncodeError as error:
        raise DataError(f"{str(root)!a}: a name that is not UTF-8; rename the folder") from error
    except OSError as error:
        raise DataError(f"{error.filename or root}: cannot be read ({error.strerror})") from error
    while len(_KEPT) >= _KEEP:
        _KEPT.pop(next(iter(_KEPT)), None)
    _KEPT[root] = found
    return found


def _stamp(place: str) -> int:
    try:
        return os.stat(place).st_mtime_ns
    except OSError:
        return -1


# --- folders ---------------------------------------------------------------------------------------------------------


class _Walk:
    """Files below a folder; counts what it meets."""

    def __init__(self, root: Path):
        self.stamps: dict[str, int] = {}
        self.others = self.seen = 0
        self.root = self._id(root)

    @staticmethod
    def _id(folder: str | Path) -> tuple[int, int]:
        found = os.stat(folder)
        return found.st_dev, found.st_ino

    def entries(self, folder: str) -> tuple[list[str], list[str]]:
        """Sound files and folders in one, sorted. Hidden ones are passed over, links are followed."""
        self.stamps[folder] = _stamp(folder)
        sounds, folders = [], []
        with os.scandir(folder) as there:
            for entry in there:
                self.seen += 1
                if self.seen > MOST:
                    raise DataError(f"{folder}: among more than {MOST:,} files; name a folder of recordings")
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    folders.append(entry.path)
                elif os.path.splitext(entry.name)[1].lower() in ENDINGS + FOREIGN_ENDINGS:  # the latter are named
                    sounds.append(entry.path)
                else:
                    self.others += 1
        return sorted(sounds), sorted(folders)

    def sounds(self, folder: str) -> list[str]:
        """All sound files below a folder, once each where links lead around."""
        found, left, been = [], [folder], {self.root}
        while left:
            here = left.pop()
            if (id := self._id(here)) not in been:
                been.add(id)
                sounds, folders = self.entries(here)
                found += sounds
                left += folders
        return sorted(found)


def _is_folder(entry: os.DirEntry) -> bool:
    """Whether it is one, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _read_folder(root: Path) -> Listing:
    """A folder with a folder for each class; or with ``train``, ``test``, … that hold one each."""
    walk = _Walk(root)
    outside, folders = walk.entries(str(root))
    parts = [("", folder) for folder in folders]
    if len(folders) > 1 and all(os.path.basename(folder).lower() in PARTS for folder in folders):
        inside = {folder: walk.entries(folder) for folder in folders}
        if not any(sounds for sounds, _ in inside.values()):
            parts = [(os.path.basename(part), folder) for part, (_, some) in inside.items() for folder in some]
    entries, empty, start = [], [], len(str(root).rstrip(os.sep)) + 1
    for fold, folder in parts:
        sounds = walk.sounds(folder)
        if not sounds:
            empty.append(os.path.basename(folder))
        name = _tidy(os.path.basename(folder)) or ascii(os.path.basename(folder))
        entries += [_Entry(file, file[start:], name, fold, "") for file in sounds]
    if len({entry.label for entry in entries}) < 2:
        tables = sorted(path.name for path in root.glob("*.[cC][sS][vV]"))
        hint = f". There is a table: give {root / tables[0]}" if tables else ""
        raise DataError(
            f"{root}: expected at least two folders with sound files, one a class; found "
            f"{', '.join(sorted({entry.label for entry in entries})) or 'none'}{hint}"
        )
    return _listing(root, root.name or str(root), entries, walk.stamps, walk.others, outside, empty)


def _tidy(text: str) -> str:
    """A class's name: composed characters, single spaces, in UTF-8, nothing that steers a terminal or the direction of
    writing."""
    shown = _UNSEEN.sub(" ", os.fsencode(text).decode("utf-8", "replace"))
    return " ".join(unicodedata.normalize("NFC", shown).split())


# --- tables ----------------------------------------------------------------------------------------------------------


def _read_table(path: Path) -> Listing:
    """A CSV with the columns file and class, and perhaps fold and group; files are relative to its folder."""
    if path.is_file() and path.suffix.lower() in ENDINGS + FOREIGN_ENDINGS:
        raise DataError(f"{path}: a sound file; give a folder with a folder for each class, or a table of files")
    if not path.is_file():
        raise DataError(f"{path}: no such folder or table; name where your recordings are now with --dataset")
    stamps = {str(path): _stamp(str(path))}
    rows = table_cells(path)
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    at = {name: next((header.index(n) for n in names if n in header), None) for name, names in COLUMNS.items()}
    if at["file"] is None or at["class"] is None:
        raise DataError(
            f"{path}: expected the columns file and class (and fold, group, if you like); it has: "
            f"{', '.join(header)[:200] or 'none'}"
        )
    entries = []
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        cells = {name: row[i].strip() if i is not None and i < len(row) else "" for name, i in at.items()}
        needed = ("file", "class", "fold") if at["fold"] is not None else ("file", "class")
        if missing := [name for name in needed if not cells[name]]:
            raise DataError(f"{path}: row {number} has no {' and no '.join(missing)}")
        name, fold = cells["file"], re.sub(r"^(\d+)\.0$", r"\1", _tidy(cells["fold"]))
        if "," in fold:
            raise DataError(f"{path}: row {number}: the name of a fold has no comma: '{fold[:NAME]}'")
        if wide := [kind for kind in ("class", "fold") if len(cells[kind]) > NAME]:
            raise DataError(f"{path}: row {number}: the name of a {wide[0]} has more than {NAME} characters")
        file = os.path.join(path.parent, name)
        if "\\" in name and os.sep == "/" and not os.path.exists(file):
            name = name.replace("\\", "/")
            file = os.path.join(path.parent, name)
        label = _tidy(cells["class"])
        if not label:
            raise DataError(f"{path}: row {number} has no class")
        # However its path is written, a file is one: it must not be learnt and measured.
        name = os.path.normpath(name).removeprefix(f"{path.parent}{os.sep}")
        entries.append(_Entry(file, name, label, fold, cells["group"]))
    entries = list({(e.name, e.label, e.fold, e.group): e for e in reversed(entries)}.values())[::-1]
    if len({entry.label for entry in entries}) < 2:
        only = ", ".join(sorted({entry.label for entry in entries})) or "none"
        raise DataError(f"{path}: expected files of at least two classes; found {only}")
    return _listing(path, path.stem, entries, stamps, 0, (), ())


# --- both ------------------------------------------------------------------------------------------------------------


def _listing(
    path: Path, title: str, entries: Sequence[_Entry], stamps: dict[str, int], others: int, outside, empty
) -> Listing:
    classes = _ordered({entry.label for entry in entries})
    number = {name: i for i, name in enumerate(classes)}
    labels = [number[entry.label] for entry in entries]
    sources = [entry.group or entry.name for entry in entries]
    folds, note = _folds(entries, labels, sources)
    clips = tuple(
        Clip(split_ending(file := Path(entry.file))[0], label, fold, source, file)
        for entry, label, fold, source in zip(entries, labels, folds, sources, strict=True)
    )
    named = _ordered(set(folds))
    test = next((fold for kind in (*TEST, *VALIDATION) for fold in named if fold.casefold() == kind), named[0])
    lines = sorted(f"{entry.name}\t{entry.label}\t{fold}" for entry, fold in zip(entries, folds, strict=True))
    info = DatasetInfo(
        name=str(path),
        title=title,
        folder="",
        index_file="",
        reader=lambda root, info: list(clips),
        classes=classes,
        folds=named,
        test_fold=test,
        validation_folds=tuple(fold for fold in named if fold.casefold() in VALIDATION and fold != test),
        clips=len(clips),
        licence="not stated",
        subject=title,
        training={"epochs": min(200, max(20, 60_000 // len(clips)))},
        note=note,
        own=path,
        fingerprint=hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:16],
    )
    return Listing(info, clips, others, tuple(outside), tuple(empty), stamps)


def _ordered(names: set[str]) -> tuple[str, ...]:
    """Sorted, numbers by their value."""
    numbers = all(name.isascii() and name.isdigit() for name in names)
    return tuple(sorted(names, key=int if numbers else None))


def _folds(entries: Sequence[_Entry], labels: Sequence[int], sources: Sequence[str]) -> tuple[list[str], str]:
    """Fold of each, and one line on how they were split."""
    if entries[0].fold:
        spelt: dict[str, str] = {}  # "Test" and "test" are one
        given = [spelt.setdefault(entry.fold.casefold(), entry.fold) for entry in entries]
        folds = defaultdict(set)
        for source, fold in zip(sources, given, strict=True):
            folds[source].add(fold)
        torn = sum(len(some) > 1 for some in folds.values())
        warning = f"; {torn} {'group is' if torn == 1 else 'groups are'} in two folds: frami data check names them"
        return given, GIVEN + warning * bool(torn)
    if any(entry.group for entry in entries):
        numbers, what, unit = splits.by_group(labels, sources), "fold", "group"
    else:
        numbers, what, unit = splits.by_class(labels, [entry.name for entry in entries]), "fold or group", "class"
        first: dict[str, int] = {}  # a file under two classes is on one side nevertheless
        numbers = [first.setdefault(entry.name, fold) for entry, fold in zip(entries, numbers, strict=True)]
    drawn = {number: str(i) for i, number in enumerate(sorted(set(numbers)), 1)}  # of few recordings some may be empty
    how = f"no {what} given: split 1 of {len(drawn)} held out by {unit}, seed {splits.SEED}"
    return [drawn[number] for number in numbers], how


def absent(info: DatasetInfo) -> list[str]:
    """Lines on classes that cannot be learnt, or not measured, because no fold but the held-out one, or not that one,
    has a clip of them; and on classes of one clip."""
    clips = info.reader(Path(), info)
    test = Counter(clip.label for clip in clips if clip.fold == info.test_fold)
    rest = Counter(clip.label for clip in clips if clip.fold != info.test_fold)
    lines = []
    for what, names in (
        ("only in the held-out fold, so not learnt", [c for i, c in enumerate(info.classes) if not rest[i]]),
        ("not in the held-out fold, so not measured", [c for i, c in enumerate(info.classes) if not test[i]]),
        ("of one clip", [c for i, c in enumerate(info.classes) if rest[i] + test[i] == 1]),
    ):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            lines.append(f"{len(names)} of {len(info.classes)} classes {what}: {', '.join(names[:5])}{more}")
    return lines


def sound(path: Path, rate: int) -> Tensor:
    """Samples of a recording, Tensor[N], mono at ``rate``. AudioError, which names it, for one that cannot be used:
    missing, unreadable, empty, silent, shorter than 50 ms or longer than ten minutes."""
    found = sound_files.read(path, LONGEST + 2)
    fault = unusable(found)
    if fault:
        raise audio.AudioError(f"{path}: {fault}")
    return audio.mono(found.samples, found.rate, rate, str(path))


def unusable(found: sound_files.Sound) -> str | None:
    """What keeps a decoded recording from being used; None where nothing does."""
    seconds = len(found.samples) / found.rate
    if not len(found.samples):
        return "empty"
    if seconds > LONGEST + 1:
        minutes = f"{max(seconds, found.claimed or 0) / 60:,.1f}".removesuffix(".0")
        return f"too long ({minutes} minutes); cut it to pieces of {LONGEST / 60:.0f} at most"
    if seconds < SHORTEST - 1e-3:
        return f"too short ({1000 * seconds:.0f} ms; {1000 * SHORTEST:.0f} are the least)"
    return "silent" if max(float(found.samples.max()), -float(found.samples.min())) < SILENT else None
