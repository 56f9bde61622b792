"""Real recordings: which clips a data set has, and their log-Mel-spectrograms in padded batches.

Clips are found by stem, with any ending that libsndfile reads. Spectrograms are computed once and stored
memory-mapped, one file per fold, so that an epoch decodes no sound. A data set is named by its row in the catalogue, or
by the path of one's own recordings (``frami/data/own.py``), long ones of which are taken in segments.
"""

import hashlib
import json
import math
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from frami import audio, sound_files
from frami.audio import AudioError, MelSpec
from frami.data import own, store
from frami.data.catalogue import DATASETS
from frami.data.dataset import ENDINGS, FOREIGN_ENDINGS, Clip, DataError, DatasetInfo
from frami.paths import data_folder

#: Seconds of a segment at most; one's own recordings that last longer are taken in equal segments.
SEGMENT = 10.0
#: What is done with a line on a file that cannot be used and is left out.
Skip = Callable[[str], None] | None


def info(name: str | Path) -> DatasetInfo:
    """Row of the catalogue, or one's own recordings by the path of their folder or table. ``DataError`` with the known
    names for another one, and for a path without recordings of two classes."""
    if name in DATASETS:
        return DATASETS[name]
    if own.is_path(name):
        return own.describe(name)
    raise DataError(
        f"no data set named '{name}'; choose one of: {', '.join(DATASETS)}; or give the path of your own recordings: a "
        "folder with a folder for each class, or a CSV with the columns file and class"
    )


def locate(name: str | Path, data: str | Path | None = None) -> Path:
    """Folder of a data set inside ``data`` (or itself), by ``paths.data_folder`` when not given; of one's own
    recordings their path."""
    known, root = info(name), data_folder(data)
    if known.own:
        return known.own
    for candidate in (root / known.folder, root):
        if (candidate / known.index_file).exists():
            return candidate
    fetch = f", or run: frami data download {name}" if known.archives or known.parts else ""
    folders = " and ".join(f"{DATASETS[part].folder}/" for part in known.parts) or f"{known.folder}/"
    raise DataError(
        f"{known.title} is not in {root}: expected {root / known.folder / known.index_file}. "
        f"Give the folder that holds {folders} with --data or FRAMI_DATA{fetch}"
    )


def index(name: str | Path, data: str | Path | None = None) -> list[Clip]:
    """All clips that the data set lists, in a fixed order. ``DataError`` for a foreign folder or broken list."""
    root = locate(name, data)
    clips = info(name).reader(root, info(name))
    if not clips:
        raise DataError(f"{root} lists no clip of {info(name).title}; is it another data set's folder?")
    return clips


def folds_of(name: str | Path, split: str | Sequence[str], train: Sequence[str] | None = None) -> tuple[str, ...]:
    """Folds of a split: ``test``, ``train``, ``all``, a fold's name, or several with commas. A sequence holds folds by
    their own names, which may be ``test`` or ``train`` too."""
    known = info(name)
    if not isinstance(split, str):
        return _known(known, split)
    if split == "all":
        return known.folds
    if split == "test":
        return known.test_folds
    if split == "train":
        return tuple(train or (f for f in known.folds if f not in known.test_folds))
    return _known(known, [fold.strip() for fold in split.split(",")])


def _known(known: DatasetInfo, folds: Sequence[str]) -> tuple[str, ...]:
    """These folds once each; ``DataError`` for one that there is not."""
    chosen = tuple(dict.fromkeys(folds))
    unknown = [fold for fold in chosen if fold not in known.folds]
    if unknown:
        raise DataError(
            f"{known.title} has no split '{', '.join(unknown)}'; "
            f"choose test, train, all or folds out of: {', '.join(known.folds)}"
        )
    return chosen


def select(clips: list[Clip], folds: Sequence[str], name: str | Path) -> list[Clip]:
    """Clips of these folds; ``DataError`` if there are none."""
    chosen = [clip for clip in clips if clip.fold in folds]
    if not chosen:
        here = sorted({clip.fold for clip in clips})
        raise DataError(f"{info(name).title} here has no clip of fold {', '.join(folds)}; it has: {', '.join(here)}")
    return chosen


def find(clips: Sequence[Clip]) -> list[Path]:
    """The sound file of each clip; one ``DataError`` names the first missing ones and their number."""
    found = look_up(clips)
    missing = [one for one in found if isinstance(one, str)]
    if missing:
        first = ", ".join(missing[:3])
        more = "" if len(missing) <= 3 else f" and {len(missing) - 3} more"
        raise DataError(
            f"{len(missing)} of {len(clips)} listed clips have no sound file: {first}{more}. "
            "Complete the folder, or choose another split"
        )
    return found


def look_up(clips: Sequence[Clip]) -> list[Path | str]:
    """The sound file of each clip, or what it should have been where there is none.

    Of several files of a clip's name that with the listed ending is taken, else the first by ``ENDINGS``. Names that
    differ only in how their accents are encoded are the same; links are followed.
    """
    listings: dict[Path, dict[str, list[Path]]] = {}
    found: list[Path | str] = []
    for clip in clips:
        if clip.file is not None:
            problem = f" ({_problem(clip.file)})" if clip.file.is_symlink() else ""
            found.append(clip.file if clip.file.exists() else f"{clip.file}{problem}")
            continue
        folder = clip.stem.parent
        if folder not in listings:
            listings[folder] = _sound_files(folder)
        here = listings[folder].get(_composed(clip.stem.name), [])
        paths = [path for path in here if path.suffix.lower() in ENDINGS and path.exists()]
        if paths:
            found.append(min(paths, key=lambda path: _rank(path, clip)))
        else:
            found.append(f"{here[0]} ({_problem(here[0])})" if here else str(clip.stem))
    return found


def _sound_files(folder: Path) -> dict[str, list[Path]]:
    """Sound files of a folder by name without ending, those too that cannot be read and links to nothing."""
    listing = defaultdict(list)
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix.lower() in ENDINGS + FOREIGN_ENDINGS:
            listing[_composed(path.stem)].append(path)
    return listing


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _rank(path: Path, clip: Clip) -> tuple:
    ending = path.suffix.lower()
    return path.suffix != clip.ending, ending != clip.ending.lower(), path.stem != clip.stem.name, ENDINGS.index(ending)


def _problem(path: Path) -> str:
    """Why a sound file that is listed in its folder is not taken."""
    if path.is_symlink() and not path.exists():
        return "a link to a file that is not there"
    return f"not read here; convert it, for example: {sound_files.conversion(path)}"


@dataclass
class LogMels:
    """Log-Mel-spectrograms of clips, memory-mapped.

    frames : per clip an array (T_i, n_mels) in half precision (a view into the cache)
    labels : Tensor[N] of class indices
    """

    clips: list[Clip]
    frames: list[np.ndarray]
    labels: Tensor
    classes: tuple[str, ...]
    spec: MelSpec

    def __len__(self) -> int:
        return len(self.clips)

    @classmethod
    def of(cls, clips: list[Clip], frames: list[np.ndarray], classes: tuple[str, ...], spec: MelSpec) -> "LogMels":
        """Clips with their frames, labelled as they say."""
        return cls(clips, frames, torch.tensor([clip.label for clip in clips]), classes, spec)

    def take(self, chosen: Sequence[int]) -> "LogMels":
        """These clips alone, in this order."""
        clips, frames = [self.clips[i] for i in chosen], [self.frames[i] for i in chosen]
        return LogMels(clips, frames, self.labels[torch.as_tensor(chosen, dtype=torch.long)], self.classes, self.spec)

    def clip(self, i: int) -> Tensor:
        """Log-Mel-spectrogram of one clip, Tensor[n_mels, T]."""
        return torch.from_numpy(np.ascontiguousarray(self.frames[i].T, dtype=np.float32))

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Log-Mels Tensor[B, 1, F, T] padded with silence, lengths Tensor[B], labels Tensor[B]."""
        mels, lengths = pad([self.clip(i) for i in indices], self.spec)
        return mels, lengths, self.labels[torch.as_tensor(list(indices))]

    def batches(self, size: int, chosen: Sequence[int] | None = None) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """These clips (default: all) once, ordered by length so that little is padded: of each batch the positions in
        ``chosen``, log-Mels Tensor[B, 1, F, T] and lengths Tensor[B]."""
        rows = range(len(self)) if chosen is None else chosen
        order = sorted(range(len(rows)), key=lambda i: len(self.frames[rows[i]]))
        for start in range(0, len(order), size):
            positions = order[start : start + size]
            mels, lengths, _ = self.batch([rows[i] for i in positions])
            yield positions, mels, lengths


def pad(clips: Sequence[Tensor], spec: MelSpec) -> tuple[Tensor, Tensor]:
    """Clips, Tensor[F, T_i], padded with silence to Tensor[B, 1, F, max T], and their lengths Tensor[B]."""
    lengths = torch.tensor([clip.shape[-1] for clip in clips])
    mels = torch.full((len(clips), 1, spec.n_mels, int(lengths.max())), spec.floor)
    for row, clip in zip(mels, clips, strict=True):
        row[0, :, : clip.shape[-1]] = clip
    return mels, lengths


def load(
    name: str | Path, split: str | Sequence[str] = "all", data: str | Path | None = None, spec: MelSpec | None = None,
    train: Sequence[str] | None = None, progress: Callable[[int, int], None] | None = None, skip: Skip = None,
) -> LogMels:  # fmt: skip
    """Log-Mels of a split (see ``folds_of``), from the cache where it has them.

    ``progress(done, total)`` counts files. Folds that were finished remain cached when a later one fails or is stopped.
    With ``skip``, it is called with a line on each file that cannot be used, and that file is left out. Raises
    DataError or AudioError, which name them, for missing, truncated or foreign files; of one's own recordings, also for
    silent, too short and too long ones, once all have been looked at.
    """
    spec, known = spec or MelSpec(), info(name)
    listed = index(name, data)
    folds = folds_of(name, split, train)
    if split in ("all", "test") or (split == "train" and train is None):
        here = {clip.fold for clip in listed}
        folds = tuple(fold for fold in folds if fold in here) or folds
    clips = select(listed, folds, name)
    loaded, frames, bad, done = [], [], [], 0
    for fold in folds:
        members = select(clips, (fold,), name)
        report = (lambda some, done=done: progress(done + some, len(clips))) if progress else None
        found, trouble = _cached(known, fold, members, spec, report, lenient=bool(known.own or skip))
        for i, clip in enumerate(members):
            if i in trouble:
                bad.append(trouble[i])
                continue
            for part, mel in _segments(clip, found[i], spec) if known.own else [(clip, found[i])]:
                loaded.append(part)
                frames.append(mel)
        done += len(members)
    if bad:
        _answer_for(bad, len(clips), known, skip)
    if not loaded:
        raise DataError(f"{known.title}: no file of fold {', '.join(folds)} can be used")
    return LogMels.of(loaded, frames, known.classes, spec)


def _answer_for(bad: list[str], files: int, known: DatasetInfo, skip: Skip) -> None:
    """Files that cannot be used are named to ``skip``; without it, the first of them in a DataError."""
    if skip is None:
        more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise DataError(
            f"{len(bad)} of {files} files of {known.title} cannot be used: {'; '.join(bad[:3])}{more}. Mend or remove "
            f"them, or add --skip-bad; frami data check {known.name} names all"
        )
    for line in bad:
        skip(line)


def _segments(clip: Clip, mel: np.ndarray, spec: MelSpec) -> Iterator[tuple[Clip, np.ndarray]]:
    """A recording of frames (T, n_mels), or the equal segments of a long one."""
    count = math.ceil(len(mel) / spec.frames(SEGMENT))
    if count == 1:
        yield clip, mel
        return
    ends = np.linspace(0, len(mel), count + 1).round().astype(int).tolist()
    for a, b in pairwise(ends):
        yield replace(clip, span=(spec.seconds(a), spec.seconds(b))), mel[a:b]


def sound(clip: Clip, rate: int, path: Path | None = None) -> Tensor:
    """Samples of a clip, Tensor[N], mono at ``rate``: of its file, or of its segment. Raises DataError, AudioError.

    path : the file, where it is known already; to ``find`` one takes as long as to find all clips of its folder.
    """
    samples = audio.load(path or find([clip])[0], rate)
    return samples if clip.span is None else samples[round(clip.span[0] * rate) : round(clip.span[1] * rate)]


def _cached(
    known: DatasetInfo, fold: str, clips: list[Clip], spec: MelSpec, report: Callable[[int], None] | None, lenient: bool
) -> tuple[list[np.ndarray], dict[int, str]]:
    """Log-Mels of a fold, each (T_i, n_mels), views of one array on disk; and of those that cannot be used, which have
    no frames, a line each. Without ``lenient``, the first of them is an error."""
    paths = [clip.file for clip in clips] if known.own else find(clips)
    name = f"own-{_plain(known.title)}-{_plain(fold)}" if known.own else f"{known.name}-{fold}"
    frames, bad = log_mels(name, paths, spec, report, lenient, own.sound if known.own else audio.load)
    if bad and not lenient:
        raise AudioError(next(iter(bad.values())))
    return frames, bad


def log_mels(
    name: str,
    paths: list[Path],
    spec: MelSpec,
    report: Callable[[int], None] | None = None,
    lenient: bool = True,
    load: Callable[[Path, int], Tensor] | None = None,
) -> tuple[list[np.ndarray], dict[int, str]]:
    """Frames of sound files, from the store of this name where it has them; see ``store.read``.

    ``report`` counts clips; ``lenient`` : files that cannot be used are noted, else the first is an error; ``load`` :
    reads a file at a rate (default: ``audio.load``).
    """
    load = load or audio.load
    versions = [_version(path) for path in paths]
    decoder = 2 if any(path.suffix.lower() == ".mp3" for path in paths) else 1  # 1 cut some MP3 files
    key = hashlib.sha256(json.dumps([decoder, spec.to_dict(), versions]).encode()).hexdigest()[:16]
    stem = store.folder() / f"{name}-{key}"

    def log_mel(i: int) -> np.ndarray:
        return spec(load(paths[i], spec.sample_rate)).T.numpy().astype(np.float16)

    if not store.complete(stem) or any(os.access(paths[i], os.R_OK) for i in store.refused(stem)):
        store.write(stem, len(paths), spec.n_mels, log_mel, report, lenient)
    elif report:
        report(len(paths))
    return store.read(stem, spec.n_mels)


def _version(path: Path) -> list:
    """Path, size and time of a file, which change with it."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # not there, or no name of a file
        return [str(path), 0, 0]
    return [str(path), found.st_size, found.st_mtime_ns]


def _plain(name: str) -> str:
    """Part of a file's name for any name."""
    return re.sub(r"[^\w.-]+", "-", name)[:40]
