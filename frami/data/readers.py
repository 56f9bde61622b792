"""Readers of published layouts: each makes a function of a data set's folder and row, which lists its clips."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import dropwhile
from pathlib import Path
from string import Formatter

from frami.data.dataset import ENDINGS, Clip, DataError, DatasetInfo, split_ending

Reader = Callable[[Path, DatasetInfo], list[Clip]]


def digit_files(pattern: str, fold_of: Mapping[str, str]) -> Reader:
    """Sound files named ``CLASS_SPEAKER_NUMBER``, the class as a number.

    ``pattern`` : of their paths below the data set's folder; ``fold_of`` : fold of each speaker.
    """

    def read(root: Path, info: DatasetInfo) -> list[Clip]:
        clips = []
        for path in sorted(root.glob(pattern)):
            parts = path.stem.split("_")
            if path.suffix.lower() in ENDINGS and len(parts) == 3 and _is_number(parts[0]) and _is_number(parts[2]):
                label, speaker = int(parts[0]), parts[1]
                if label >= len(info.classes) or speaker not in fold_of:
                    raise DataError(
                        f"{path}: not a clip of {info.title} (class_speaker_number); remove it or check the folder"
                    )
                clips.append(Clip(path.with_suffix(""), label, fold_of[speaker], speaker))
        return list(dict.fromkeys(clips))

    return read


def split_lists(lists: Mapping[str, str], rest: str) -> Reader:
    """Sound files ``CLASS/SPEAKER_nohash_NUMBER``, whose fold stands in lists of such paths (Speech Commands).

    ``lists`` : name of the list of each fold; ``rest`` : fold of the files that no list names. What a list names and is
    not here is no clip, and neither are words that are no class.
    """

    def read(root: Path, info: DatasetInfo) -> list[Clip]:
        fold_of = {path: fold for fold, name in lists.items() for path in _listed(root / name)}
        clips = []
        for label, word in enumerate(info.classes):
            for path in sorted((root / word).glob("*_nohash_*")):
                speaker, _, number = path.stem.partition("_nohash_")
                is_clip = path.suffix.lower() in ENDINGS and not speaker.startswith(".")
                if is_clip and speaker and _is_number(number):
                    clips.append(Clip(path.with_suffix(""), label, fold_of.get(f"{word}/{path.stem}", rest), speaker))
        return list(dict.fromkeys(clips))

    return read


def _listed(path: Path) -> list[str]:
    """Paths that a list names, a line each, without their endings."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as a list of clips ({error}); is it the published file?") from error
    return [re.sub(r"\.\w+$", "", line.strip().removeprefix("./")) for line in lines]


def _is_number(text: str) -> bool:
    """Whether it is written in the ten digits alone: ``isdigit`` takes ² and other scripts' too."""
    return text.isascii() and text.isdigit()


def table(stem: str, label: str, source: str, only: str | None = None) -> Reader:
    """The rows of a CSV table, the data set's ``index_file``, which has a column ``fold``.

    ``stem`` : path of a sound file below the data set's folder, with columns in braces; ``label``, ``source`` : columns
    of the class name and of the source recording; ``only`` : column that says ``True`` for the rows to be taken.
    """

    def read(root: Path, info: DatasetInfo) -> list[Clip]:
        path, clips = root / info.index_file, []
        in_stem = [column for _, column, _, _ in Formatter().parse(stem) if column]
        for row in table_rows(path, [*in_stem, "fold", label, source, *([only] if only else [])]):
            if only and not _is_true(row[only], only, path):
                continue
            if row[label] not in info.classes:
                raise DataError(f"{path}: '{row[label]}' is not a class of {info.title}")
            file, ending = split_ending(root / stem.format_map(row))
            clips.append(Clip(file, info.classes.index(row[label]), row["fold"], row[source], ending=ending))
        return clips

    return read


def table_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a table by the names in its first one; empty rows are left out.

    Raises DataError for what is no table or lacks one of these ``columns``, in any row.
    """
    header, *cells = table_cells(path) or [[]]
    names = [name.strip() for name in header]
    rows = [dict(zip(names, (cell.strip() for cell in row), strict=False)) for row in cells if any(map(str.strip, row))]
    if not set(columns) <= set(names) or any(column not in row for row in rows for column in columns):
        raise DataError(f"{path}: expected the columns {', '.join(columns)}; is it the published file, complete?")
    return rows


def table_cells(path: Path) -> list[list[str]]:
    """Cells of a table as programs save it: UTF-8, or UTF-16 with its mark; commas, semicolons or tabs; any system's
    line ends. Rows from the first that is not empty. DataError for what is no table."""
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        first, _, rest = text.lstrip("\r\n").partition("\n")
        if found := re.fullmatch(r"sep=(.)\s*", first, re.IGNORECASE):  # a line of Excel's own
            text, separator = rest, found[1]
        else:
            separator = max(",;\t", key=first.count)
        return [*dropwhile(lambda row: not row, csv.reader(io.StringIO(text, newline=""), delimiter=separator))]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not readable as a table ({error.reason}); save it as CSV in UTF-8") from error
    except csv.Error as error:
        why = str(error)
        if "field larger" in why:
            why = f"a cell has more than {csv.field_size_limit():,} characters; is a quotation mark not closed?"
        raise DataError(f"{path}: not readable as a table ({why})") from error
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: not readable as a table ({error}); save it as CSV in UTF-8") from error


def _is_true(cell: str, column: str, path: Path) -> bool:
    """What a cell of yes or no says, however a program writes it."""
    if cell.lower() not in ("true", "false", "1", "0"):
        raise DataError(f"{path}: '{cell}' in the column {column} is neither True nor False")
    return cell.lower() in ("true", "1")


def union(parts: Sequence[DatasetInfo]) -> Reader:
    """The clips of several data sets of the same classes, whose folders lie beside one another; those that are not here
    are passed over. Folds and sources are named ``part/fold``, ``part/source``."""

    def read(root: Path, info: DatasetInfo) -> list[Clip]:
        clips = []
        for part in parts:
            folder = root / part.folder
            if (folder / part.index_file).exists():
                clips += [
                    replace(clip, fold=f"{part.name}/{clip.fold}", source=f"{part.name}/{clip.source}")
                    for clip in part.reader(folder, part)
                ]
        return clips

    return read
