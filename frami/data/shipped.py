"""Recordings that ship with the project: held-out clips of published data sets, a few of each class.

They lie in ``assets/recordings``: sounds, a table of them (``recordings.json``) with author, licence and what was
changed, and ``CREDITS.md``. ``frami recordings`` makes the folder (``frami/data/shipping.py``). Where no data set is at
hand they take its test part's place; where the folder is missing or damaged, nothing does.
"""

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from frami import files, schema
from frami.audio import MelSpec
from frami.data.catalogue import DATASETS
from frami.data.dataset import Clip, DataError
from frami.data.recordings import LogMels, log_mels
from frami.paths import ASSETS

FOLDER = ASSETS / "recordings"
TABLE, CREDITS = "recordings.json", "CREDITS.md"
FORMAT = 1
#: Licences under which a recording may be given on, with the address of each.
LICENCES = {
    "CC0 1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC BY 3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC BY-SA 4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
}
#: Clips of the table, and bytes of its file, at most.
_MOST, _LARGEST = 10_000, 2**23
_FILE = re.compile(r"[a-z0-9][a-z0-9_-]*/[A-Za-z0-9][A-Za-z0-9_-]*\.(?:flac|ogg)")


class Recording(BaseModel):
    """A row of the table.

    file : path below the folder; sha256 : of its content; datasets : names of the data sets that it stands for;
    label : name of its class; fold, source : as the data set has them; title, author, url, licence : of the recording;
    change : what was done to it.
    """

    model_config = ConfigDict(frozen=True)

    file: Annotated[schema.Line, AfterValidator(schema.fitting(lambda value: bool(_FILE.fullmatch(value))))]
    sha256: Annotated[schema.Line, AfterValidator(schema.fitting(re.compile(r"[0-9a-f]{64}").fullmatch))]
    datasets: Annotated[tuple[Literal[*DATASETS], ...], Field(min_length=1, max_length=len(DATASETS))]
    label: schema.Line
    fold: schema.Line
    source: schema.Line
    title: schema.Line
    author: schema.Line
    url: Annotated[schema.Line, AfterValidator(schema.fitting(lambda value: value.startswith("https://")))]
    licence: Literal[*LICENCES]
    change: schema.Line

    @property
    def credit(self) -> str:
        """Title, author, licence and change in a line."""
        return f"“{self.title}” by {self.author} ({self.url}), {self.licence}; {self.change}"

    def clip(self, dataset: str, folder: Path) -> Clip:
        """The recording as a clip of one of its data sets; of a set that puts several together, the fold and source
        begin with the part's name."""
        known = DATASETS[dataset]
        part = next((f"{name}/" for name in known.parts if name in self.datasets), "")
        path = folder / self.file
        label = known.classes.index(self.label)
        return Clip(path.with_suffix(""), label, f"{part}{self.fold}", f"{part}{self.source}", file=path)


class _Table(BaseModel):
    format: Literal[1]
    clips: Annotated[list[Recording], Field(max_length=_MOST)]


def table(folder: Path | None = None) -> list[Recording]:
    """All recordings of the folder whose file is there; none where the table is missing or damaged."""
    folder = folder or FOLDER
    try:
        written = (folder / TABLE).stat().st_mtime_ns
    except OSError:
        return []
    return list(_table(folder, written))


@lru_cache(maxsize=4)
def _table(folder: Path, written: int) -> tuple[Recording, ...]:
    """The same of a table as it was ``written`` then."""
    try:
        rows = schema.held(_Table, files.read_json(folder / TABLE, _LARGEST)).clips
    except (OSError, ValueError):
        return ()
    known = [row for row in rows if all(row.label in DATASETS[name].classes for name in row.datasets)]
    return tuple(row for row in known if (folder / row.file).is_file())


def listed(dataset: str, folds: Collection[str], folder: Path | None = None) -> list[Recording]:
    """Recordings of a data set, those of these folds alone; a network was trained on none where these are its test."""
    here = folder or FOLDER
    rows = [row for row in table(folder) if dataset in row.datasets]
    return [row for row in rows if row.clip(dataset, here).fold in folds]


def load(dataset: str, folds: Collection[str], spec: MelSpec | None = None, folder: Path | None = None) -> LogMels:
    """Log-Mels of the recordings of a data set that are of these folds; damaged files are left out. DataError where
    there is none."""
    here, spec = folder or FOLDER, spec or MelSpec()
    clips = [row.clip(dataset, here) for row in listed(dataset, folds, folder)]
    frames, bad = log_mels(f"{dataset}-shipped", [clip.file for clip in clips], spec) if clips else ([], {})
    good = [i for i in range(len(clips)) if i not in bad]
    if not good:
        raise DataError(f"no recording of {DATASETS[dataset].title} ships with this")
    return LogMels.of(clips, frames, DATASETS[dataset].classes, spec).take(good)


def are(clips: Iterable[Clip]) -> bool:
    """Whether these clips are some that ship."""
    here = [clip.file for clip in clips]
    return bool(here) and all(file is not None and file.is_relative_to(FOLDER) for file in here)


def recording(clip: Clip) -> Recording | None:
    """The row of a clip that ships; None for another one."""
    if clip.file is None or not clip.file.is_relative_to(FOLDER):
        return None
    return _rows().get(clip.file.relative_to(FOLDER).as_posix())


def _rows() -> dict[str, Recording]:
    return {row.file: row for row in table()}
