"""Recordings that come as a ZIP archive with a folder for each class: nothing in it is believed.

Only files with a sound's ending are written, below their folder alone; links, paths that lead elsewhere, encrypted and
oversized archives are refused as a whole. Each file is decoded once, and those that cannot be used are left out.
"""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

from frami import files, sound_files
from frami.data import own
from frami.data.dataset import ENDINGS, DataError, DatasetInfo
from frami.errors import FramiError

#: Entries, sound files, bytes of one and of all of them, folders within folders, bytes of a name: at most.
MOST_ENTRIES, MOST_SOUNDS, MOST_BYTES, MOST_TOTAL, DEEPEST, NAME = 60_000, 20_000, 200_000_000, 4_000_000_000, 6, 200
_CHUNK = 1 << 20
#: Files that are named among those that cannot be used.
_NAMED = 3

Report = Callable[[str, int, int], None] | None


def unpack(archive: Path, folder: Path, report: Report = None, stop: Callable[[], bool] | None = None) -> dict:
    """Unpack the recordings of ``archive`` into ``folder``, which must not be there; its class folders may lie in one
    folder around them all.

    Returns ``{"clips", "classes", "unusable", "named", "others"}``: how many recordings and classes there are, how many
    files could not be used (with the first few and why), and how many are no sounds. ``report(stage, done, total)``
    counts files. Raises DataError, and leaves nothing behind.
    """
    beside = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        if folder.exists():
            raise DataError(f"recordings named {folder.name} are here already; choose another name")
        with zipfile.ZipFile(archive) as opened:
            chosen, others = _chosen(opened)
            beside.mkdir(parents=True)
            for done, (member, parts) in enumerate(chosen, 1):
                _write(opened, member, beside.joinpath(*parts))
                _tell(report, stop, "unpacking", done, len(chosen))
        unusable = _decode(beside, report, stop)
        found = _described(beside, unusable)
        beside.rename(folder)
        kept = found.clips
        return {
            "clips": kept, "classes": len(found.classes), "unusable": len(unusable), "named": unusable[:_NAMED],
            "others": others,
        }  # fmt: skip
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeError) as error:
        raise DataError("this is no ZIP archive that can be read, or it is damaged; pack the folders again") from error
    except OSError as error:
        files.raise_full(folder, error)
        raise DataError(f"the recordings cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _described(folder: Path, unusable: list[str]) -> DatasetInfo:
    """The recordings as a data set. DataError where they are of less than two classes."""
    try:
        return own.describe(folder)
    except DataError as error:
        why = f"; {len(unusable):,} files could not be used, the first: {unusable[0]}" if unusable else ""
        raise DataError(f"this archive has no two folders with sounds that can be used, one a class{why}") from error


def _chosen(opened: zipfile.ZipFile) -> tuple[list[tuple[zipfile.ZipInfo, tuple[str, ...]]], int]:
    """The sound files of an archive with their places below the folder, and how many other files it has. DataError for
    an archive that is refused."""
    members = opened.infolist()
    if len(members) > MOST_ENTRIES:
        raise DataError(f"this archive has {len(members):,} entries; {MOST_ENTRIES:,} are the most")
    chosen, others = [], 0
    for member in members:
        mode = member.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DataError("this archive holds a link or another special file; pack plain folders with sound files")
        path = PureWindowsPath(member.filename)
        if path.anchor or path.drive or ".." in path.parts:
            raise DataError("this archive holds a path that leads out of its folder; pack the folders again")
        if member.flag_bits & 1:
            raise DataError("this archive is encrypted; pack it without a password")
        if member.is_dir():
            continue
        hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
        if hidden or path.suffix.lower() not in ENDINGS:
            others += not hidden
            continue
        if len(path.parts) > DEEPEST or any(len(part.encode()) > NAME for part in path.parts):
            raise DataError("this archive has names that are too long, or too many folders within folders")
        if member.file_size > MOST_BYTES:
            raise DataError(f"a sound in this archive is larger than {MOST_BYTES / 1e6:.0f} MB; cut it to pieces")
        chosen.append((member, path.parts))
    total = sum(member.file_size for member, _ in chosen)
    if len(chosen) > MOST_SOUNDS or total > MOST_TOTAL:
        raise DataError(
            f"this archive holds {len(chosen):,} sounds of {total / 1e9:.1f} GB; {MOST_SOUNDS:,} and "
            f"{MOST_TOTAL / 1e9:.0f} GB are the most"
        )
    if not chosen:
        raise DataError("this archive holds no sound file; pack a folder for each class, with WAV, FLAC, OGG or MP3")
    around = {parts[0] for _, parts in chosen}
    if len(around) == 1 and all(len(parts) > 2 for _, parts in chosen):
        chosen = [(member, parts[1:]) for member, parts in chosen]
    return chosen, others


def _write(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """A member's content, as long as its entry says at most. Of two of one name the first is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return
    size = 0
    with opened.open(member) as source, path.open("xb") as target:
        while piece := source.read(_CHUNK):
            size += target.write(piece)
            if size > min(member.file_size, MOST_BYTES):
                raise DataError("a file in this archive is larger than it says; pack the folders again")


def _decode(folder: Path, report: Report, stop: Callable[[], bool] | None) -> list[str]:
    """Remove the files that cannot be used; a line on each."""
    paths, bad = sorted(path for path in folder.rglob("*") if path.is_file()), []
    for done, path in enumerate(paths, 1):
        try:
            fault = own.unusable(sound_files.read(path, own.LONGEST + 2))
        except FramiError as error:
            fault = str(error).removeprefix(str(path)).lstrip(": ").partition(";")[0]
        if fault:
            bad.append(f"{path.relative_to(folder)}: {fault}")
            path.unlink()
        _tell(report, stop, "decoding", done, len(paths))
    for place in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(place.iterdir()):
            place.rmdir()
    return bad


def _tell(report: Report, stop: Callable[[], bool] | None, stage: str, done: int, total: int) -> None:
    if stop and stop():
        raise DataError("stopped; nothing of the archive is kept")
    if report:
        report(stage, done, total)
