"""Log-Mel-spectrograms on disk, those of many clips behind one another in one array that is read memory-mapped.

A store is ``STEM.npy``, half precision, beside ``STEM.json``: where each clip ends, and which could not be made.
"""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from frami import files
from frami.audio import AudioError
from frami.data.dataset import DataError
from frami.paths import home


def folder() -> Path:
    """Where stores lie."""
    return home() / "cache" / "log-mels"


def _paths(stem: Path) -> tuple[Path, Path]:
    return Path(f"{stem}.npy"), Path(f"{stem}.json")


def tidy() -> None:
    """Remove what processes that were killed left of stores that they were writing."""
    for found in (folder(), *files.folders(folder())):
        files.clear_dead(found, ending=".npy")


def complete(stem: Path) -> bool:
    """Whether a store is there."""
    return all(path.exists() for path in _paths(stem))


def read(stem: Path, bands: int) -> tuple[list[np.ndarray], dict[int, str]]:
    """Frames (T_i, bands) of each clip, views of one array on disk; and of those that could not be made, which have
    no frames, a line each."""
    array, ends = _paths(stem)
    offsets, bad, _ = _described(ends).values()
    frames = np.load(array, mmap_mode="r") if offsets[-1] else np.zeros((0, bands), np.float16)
    return [frames[a:b] for a, b in pairwise(offsets)], {int(i): line for i, line in bad.items()}


def refused(stem: Path) -> list[int]:
    """Clips whose file the system refused: for them there may be another answer, though the file is the same."""
    return _described(_paths(stem)[1])["refused"]


def _described(ends: Path) -> dict:
    value = json.loads(ends.read_text())
    found = value if isinstance(value, dict) else {"ends": value}
    return {"ends": found["ends"], "bad": found.get("bad", {}), "refused": found.get("refused", [])}


def write(
    stem: Path,
    count: int,
    bands: int,
    make: Callable[[int], np.ndarray],
    report: Callable[[int], None] | None = None,
    lenient: bool = False,
) -> None:
    """Make the frames of ``count`` clips in threads and write them, whole or not at all.

    make(i) : frames (T, bands) of clip i, float16; with ``lenient`` its AudioError is noted, else raised. ``report``
    counts clips. DataError where the folder cannot be made.
    """
    array, ends = _paths(stem)

    def one(i: int) -> np.ndarray | AudioError:
        try:
            return make(i)
        except AudioError as error:
            if not lenient:
                raise
            return error

    try:
        array.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        files.raise_full(array, error)
        raise DataError(
            f"{array.parent} cannot be made ({error.strerror}); set FRAMI_HOME to another folder"
        ) from error
    offsets, bad, refused = [0], {}, []
    with (
        files.replacing(array, long=True) as temporary,
        temporary.open("wb") as file,
        ThreadPoolExecutor(max_workers=os.cpu_count()) as pool,
    ):
        _header(file, 0, bands)
        try:
            for done, clip in enumerate(pool.map(one, range(count)), 1):
                if isinstance(clip, AudioError):
                    bad[done - 1] = str(clip)
                    refused += [done - 1] * isinstance(clip.__cause__, OSError)
                    offsets.append(offsets[-1])
                else:
                    file.write(np.ascontiguousarray(clip).data)
                    offsets.append(offsets[-1] + len(clip))
                if report and (done % 16 == 0 or done == count):
                    report(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        file.seek(0)
        _header(file, offsets[-1], bands)
    # Written last: it says that the array is complete.
    found = {"ends": offsets, "bad": bad, "refused": refused} if bad else offsets
    files.write(ends, json.dumps(found))  # in ASCII, in which any name fits


def _header(file: BinaryIO, frames: int, bands: int) -> None:
    """Write the header of an array of so many frames. It is as long for any number: NumPy leaves room to grow."""
    about = {"descr": "<f2", "fortran_order": False, "shape": (frames, bands)}
    np.lib.format.write_array_header_1_0(file, about)
