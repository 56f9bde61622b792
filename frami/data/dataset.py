"""What a data set is: its row in the catalogue, the clips that it lists, the error for one that is not as published."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from frami.errors import FramiError

#: Endings of the files whose sound is read; of several files of one name the first of these is taken.
ENDINGS = (
    *(".wav", ".flac", ".aiff", ".aif", ".aifc", ".w64", ".rf64", ".caf", ".au"),
    *(".ogg", ".oga", ".opus", ".mp3"),
    *(".m4a", ".mp4", ".aac", ".webm", ".mka", ".mkv", ".mov", ".wma", ".amr", ".3gp", ".ape", ".wv"),
)
#: Endings of sound files that are not read.
FOREIGN_ENDINGS = (".mpc", ".tta", ".dsf", ".ra", ".spx")


class DataError(FramiError):
    """A data set that is missing, incomplete or not in its published layout."""


@dataclass(frozen=True)
class Clip:
    """One recording: its file without the ending, class index, official fold, and source (speaker or recording).

    ``file`` : the file itself, where a list names one with its ending; ``span`` : first and last second of a segment of
    it, None for the whole; ``ending`` : the one that a table lists, which is preferred to others.
    """

    stem: Path
    label: int
    fold: str
    source: str
    file: Path | None = None
    span: tuple[float, float] | None = None
    ending: str = ""

    @property
    def key(self) -> str:
        """Name of the clip, another for each segment of a file."""
        where = "" if self.span is None else f"@{self.span[0]:.3f}-{self.span[1]:.3f}"
        return f"{self.file or self.stem}{where}"


def split_ending(file: Path) -> tuple[Path, str]:
    """A sound file without its ending, and the ending; what follows another dot belongs to the name."""
    known = file.suffix.lower() in ENDINGS + FOREIGN_ENDINGS
    return (file.with_suffix(""), file.suffix) if known else (file, "")


@dataclass(frozen=True)
class Archive:
    """One file to download.

    ``checksum`` is ``md5:…`` or ``sha256:…``. Zenodo publishes one for its files; GitHub packs its archives on demand
    and publishes none, so theirs is what other projects noted of the same pinned commit. ``None`` where nobody noted
    one: then every unpacked clip is counted and its header read. ``size`` and ``unpacked`` are bytes, 0 when unknown.
    ``file`` is the name that a browser saves it under, and that a mirror offers it by.
    """

    url: str
    checksum: str | None
    size: int
    file: str = ""
    unpacked: int = 0


@dataclass(frozen=True)
class Speaker:
    """What a data set says of a speaker, None where nothing. ``age`` : years; ``native`` : whether of English."""

    age: int | None = None
    gender: str | None = None
    accent: str | None = None
    native: bool | None = None
    origin: str | None = None
    room: str | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """A data set as it was published, and what is done with it here.

    ``folds`` are its official folds, ``fold_kind`` the word for one of them, ``test_fold`` the one that is held out
    (several: with commas) unless another is named, ``clips`` the number of clips of the whole set. ``index_file`` is a
    file or folder below ``folder`` by which the set is recognised; ``reader(root, info)`` lists the clips of ``root``.
    ``validation_folds`` choose a training's best epoch (none: a share of the training clips does); ``parts`` : the
    names of the data sets that it puts together, if any.
    ``training`` holds the settings of a teacher's training where they differ from ``TrainConfig``, chosen on training
    folds only; ``for_vocoder``: vocoders are trained and measured on it unless others are named. ``subject`` completes
    the sentence "a network that knows …"; ``speakers(root)`` : what the folder ``root`` says of each speaker. ``own`` :
    where a person's own recordings are, a folder or a table; None for a row of the catalogue. ``fingerprint`` : of
    their list, classes and folds. ``groups`` are the categories of its classes, where it has published some: their
    titles, and the classes of each.
    """

    name: str
    title: str
    folder: str
    index_file: str
    reader: Callable[[Path, "DatasetInfo"], list[Clip]]
    classes: tuple[str, ...]
    folds: tuple[str, ...]
    test_fold: str
    clips: int
    licence: str
    subject: str
    homepage: str = ""
    citation: str = ""
    archives: tuple[Archive, ...] = ()
    fold_kind: str = "fold"
    training: Mapping[str, float] = field(default_factory=dict)
    for_vocoder: bool = False
    note: str = ""
    speakers: Callable[[Path], Mapping[str, Speaker]] | None = None
    own: Path | None = None
    fingerprint: str = ""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    validation_folds: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def test_folds(self) -> tuple[str, ...]:
        """The folds that are held out unless others are named."""
        return tuple(self.test_fold.split(","))
