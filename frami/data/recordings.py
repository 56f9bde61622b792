"""Real recordings: which clips a data set has, and their log-Mel-spectrograms in padded batches.

Clips are found by stem, with any ending that libsndfile reads. Spectrograms are computed once and kept memory-mapped,
one file a fold, so that an epoch decodes no sound.
"""

import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from frami import audio
from frami.audio import MelSpec
from frami.data.catalogue import AUDIOMNIST_FOLDS, DATASETS, DatasetInfo
from frami.errors import FramiError
from frami.paths import data_folder, home

_ENDINGS = (".wav", ".ogg", ".flac", ".mp3", ".aiff", ".aif", ".opus", ".au", ".w64", ".caf")


class DataError(FramiError):
    """A data set that is missing, incomplete or not in its published layout."""


@dataclass(frozen=True)
class Clip:
    """One recording: its file without the ending, class index, official fold, and source (speaker or recording)."""

    stem: Path
    label: int
    fold: str
    source: str


def info(name: str) -> DatasetInfo:
    """The catalogue's entry; ``DataError`` lists the names for another one."""
    try:
        return DATASETS[name]
    except KeyError:
        raise DataError(f"no data set named '{name}'; choose one of: {', '.join(DATASETS)}") from None


def locate(name: str, data: str | Path | None = None) -> Path:
    """Folder of a data set inside ``data`` (or itself), by ``home.data_folder`` when not given."""
    folder = info(name).folder
    root = data_folder(data)
    for candidate in (root / folder, root):
        if (candidate / _INDEX_MARK[folder]).exists():
            return candidate
    raise DataError(
        f"{info(name).title} is not in {root}: expected {root / folder / _INDEX_MARK[folder]}. "
        f"Give the folder that holds {folder}/ with --data or FRAMI_DATA, or run: frami data download {name}"
    )


def index(name: str, data: str | Path | None = None) -> list[Clip]:
    """All clips that the data set lists, in a fixed order. ``DataError`` for a foreign folder or broken list."""
    root = locate(name, data)
    clips = _READERS[name](root)
    if not clips:
        raise DataError(f"{root} lists no clip of {info(name).title}; is it another data set's folder?")
    return clips


def folds_of(name: str, split: str, train: Sequence[str] | None = None) -> tuple[str, ...]:
    """Folds meant by ``test``, ``train``, ``all``, a fold's name or several with commas."""
    known = info(name)
    if split == "all":
        return known.folds
    if split == "test":
        return (known.test_fold,)
    if split == "train":
        return tuple(train or (f for f in known.folds if f != known.test_fold))
    chosen = tuple(dict.fromkeys(part.strip() for part in split.split(",")))
    unknown = [part for part in chosen if part not in known.folds]
    if unknown:
        raise DataError(
            f"{known.title} has no split '{', '.join(unknown)}'; "
            f"choose test, train, all or folds out of: {', '.join(known.folds)}"
        )
    return chosen


def select(clips: list[Clip], folds: Sequence[str], name: str) -> list[Clip]:
    """The clips of these folds; ``DataError`` when there is none."""
    chosen = [clip for clip in clips if clip.fold in folds]
    if not chosen:
        here = sorted({clip.fold for clip in clips})
        raise DataError(f"{info(name).title} here has no clip of fold {', '.join(folds)}; it has: {', '.join(here)}")
    return chosen


# --------------------------------------------------------------------------------------------- published layouts

_INDEX_MARK = {
    "fsdd": "recordings",
    "ESC-50": "meta/esc50.csv",
    "UrbanSound8K": "metadata/UrbanSound8K.csv",
    "AudioMNIST": "data",
}


def _read_fsdd(root: Path) -> list[Clip]:
    clips = []
    for path in sorted((root / "recordings").iterdir()):
        parts = path.stem.split("_")
        if path.suffix.lower() in _ENDINGS and len(parts) == 3 and parts[0].isdigit() and parts[2].isdigit():
            digit, speaker, _ = parts
            if int(digit) > 9 or speaker not in DATASETS["fsdd"].folds:
                raise DataError(f"{path}: not a clip of FSDD (digit_speaker_index); remove it or check the folder")
            clips.append(Clip(path.with_suffix(""), int(digit), speaker, speaker))
    return list(dict.fromkeys(clips))


def _read_audiomnist(root: Path) -> list[Clip]:
    fold_of = {speaker: fold for fold, speakers in AUDIOMNIST_FOLDS.items() for speaker in speakers}
    clips = []
    for folder in sorted(p for p in (root / "data").iterdir() if p.is_dir() and p.name.isdigit()):
        for path in sorted(folder.iterdir()):
            parts = path.stem.split("_")
            if path.suffix.lower() in _ENDINGS and len(parts) == 3 and parts[0].isdigit():
                if int(folder.name) not in fold_of or int(parts[0]) > 9:
                    raise DataError(f"{path}: not a clip of AudioMNIST (digit_speaker_index of speakers 1 to 60)")
                clips.append(Clip(path.with_suffix(""), int(parts[0]), fold_of[int(folder.name)], folder.name))
    return list(dict.fromkeys(clips))


def _read_table(path: Path, columns: Sequence[str]) -> list[dict]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not readable as a table ({error})") from error
    if any(row.get(column) is None for row in rows for column in columns):
        raise DataError(f"{path}: expected the columns {', '.join(columns)}; is it the published file, complete?")
    return rows


def _read_esc(root: Path, name: str) -> list[Clip]:
    classes = info(name).classes
    clips = []
    for row in _read_table(root / "meta" / "esc50.csv", ("filename", "fold", "category", "esc10", "src_file")):
        if name == "esc10" and row["esc10"] != "True":
            continue
        if row["category"] not in classes:
            raise DataError(f"{root}/meta/esc50.csv: '{row['category']}' is not a class of {info(name).title}")
        stem = (root / "audio" / row["filename"]).with_suffix("")
        clips.append(Clip(stem, classes.index(row["category"]), row["fold"], row["src_file"]))
    return clips


def _read_urbansound(root: Path) -> list[Clip]:
    classes = info("urbansound8k").classes
    clips = []
    path = root / "metadata" / "UrbanSound8K.csv"
    for row in _read_table(path, ("slice_file_name", "fsID", "fold", "classID", "class")):
        if row["class"] not in classes:
            raise DataError(f"{path}: '{row['class']}' is not a class of UrbanSound8K")
        stem = (root / "audio" / f"fold{row['fold']}" / row["slice_file_name"]).with_suffix("")
        clips.append(Clip(stem, classes.index(row["class"]), row["fold"], row["fsID"]))
    return clips


_READERS: dict[str, Callable[[Path], list[Clip]]] = {
    "fsdd": _read_fsdd,
    "audiomnist": _read_audiomnist,
    "esc10": lambda root: _read_esc(root, "esc10"),
    "esc50": lambda root: _read_esc(root, "esc50"),
    "urbansound8k": _read_urbansound,
}


def find(clips: Sequence[Clip]) -> list[Path]:
    """The sound file of each clip; one ``DataError`` names the first missing ones and their number."""
    listings: dict[Path, dict[str, Path]] = {}
    found, missing = [], []
    for clip in clips:
        folder = clip.stem.parent
        if folder not in listings:
            entries = folder.iterdir() if folder.is_dir() else ()
            listings[folder] = {p.stem: p for p in entries if p.suffix.lower() in _ENDINGS}
        path = listings[folder].get(clip.stem.name)
        (found.append(path) if path else missing.append(clip.stem))
    if missing:
        first = ", ".join(str(stem) for stem in missing[:3])
        more = "" if len(missing) <= 3 else f" and {len(missing) - 3} more"
        raise DataError(
            f"{len(missing)} of {len(clips)} listed clips have no sound file: {first}{more}. "
            "Complete the folder, or choose another split"
        )
    return found


# --------------------------------------------------------------------------------------------- spectrograms


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

    def clip(self, i: int) -> Tensor:
        """Log-Mel-spectrogram of one clip, Tensor[n_mels, T]."""
        return torch.from_numpy(np.ascontiguousarray(self.frames[i].T, dtype=np.float32))

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Padded batch: log-Mels Tensor[B, 1, F, T] (silence behind the end), lengths Tensor[B], labels Tensor[B]."""
        mels, lengths = pad([self.clip(i) for i in indices], self.spec)
        return mels, lengths, self.labels[torch.as_tensor(list(indices))]

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """All clips once, in an order of rising length so that little is padded."""
        order = sorted(range(len(self)), key=lambda i: len(self.frames[i]))
        for start in range(0, len(order), size):
            yield self.batch(order[start : start + size])


def pad(clips: Sequence[Tensor], spec: MelSpec) -> tuple[Tensor, Tensor]:
    """Join clips Tensor[F, T_i] to Tensor[B, 1, F, max T], silence behind each end, and lengths Tensor[B]."""
    lengths = torch.tensor([clip.shape[-1] for clip in clips])
    mels = torch.full((len(clips), 1, spec.n_mels, int(lengths.max())), spec.floor)
    for row, clip in zip(mels, clips, strict=True):
        row[0, :, : clip.shape[-1]] = clip
    return mels, lengths


def load(
    name: str,
    split: str = "all",
    data: str | Path | None = None,
    spec: MelSpec | None = None,
    train: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LogMels:
    """Log-Mels of the folds meant by ``split`` (see ``folds_of``), from the cache where it has them.

    ``progress(done, total)`` counts clips. A fold that was finished stays when a later one fails or is stopped.
    Raises DataError or AudioError for missing, truncated or foreign files, naming them.
    """
    spec = spec or MelSpec()
    known = info(name)
    listed = index(name, data)
    folds = folds_of(name, split, train)
    if split == "all" or (split == "train" and train is None):
        here = {clip.fold for clip in listed}
        folds = tuple(fold for fold in folds if fold in here)
    clips = select(listed, folds, name)
    chosen, frames = [], []
    for fold in folds:
        part = select(clips, (fold,), name)
        before = len(chosen)
        report = (lambda done, before=before: progress(before + done, len(clips))) if progress else None
        frames += _cached(name, fold, part, spec, report)
        chosen += part
    return LogMels(chosen, frames, torch.tensor([clip.label for clip in chosen]), known.classes, spec)


def _cached(
    name: str, fold: str, clips: list[Clip], spec: MelSpec, report: Callable[[int], None] | None
) -> list[np.ndarray]:
    paths = find(clips)
    stamp = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    key = hashlib.sha256(json.dumps([1, spec.to_dict(), stamp]).encode()).hexdigest()[:16]
    store = home() / "cache" / "log-mels" / f"{name}-{fold}-{key}"
    if not all(store.with_suffix(ending).exists() for ending in (".json", ".npy")):
        _compute(paths, spec, store, report)
    offsets = json.loads(store.with_suffix(".json").read_text())
    if report:
        report(len(paths))
    frames = np.load(store.with_suffix(".npy"), mmap_mode="r")
    return [frames[a:b] for a, b in pairwise(offsets)]


def _compute(paths: list[Path], spec: MelSpec, store: Path, report: Callable[[int], None] | None) -> None:
    def one(path: Path) -> np.ndarray:
        return spec(audio.load(path, spec.sample_rate)).T.numpy().astype(np.float16)

    try:
        store.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{store.parent} cannot be made ({error.strerror}); set FRAMI_HOME to another folder"
        ) from error
    offsets, parts = [0], []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            for done, part in enumerate(pool.map(one, paths), 1):
                parts.append(part)
                offsets.append(offsets[-1] + len(part))
                if report and done % 16 == 0:
                    report(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    # The list of offsets is written last and atomically: it says that the array beside it is whole.
    with TemporaryDirectory(dir=store.parent) as temporary:
        frames, mark = Path(temporary) / "frames.npy", Path(temporary) / "offsets.json"
        np.save(frames, np.concatenate(parts))
        mark.write_text(json.dumps(offsets))
        frames.replace(store.with_suffix(".npy"))
        mark.replace(store.with_suffix(".json"))
