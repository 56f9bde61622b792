"""Real recordings: which clips a data set has, and their log-Mel-spectrograms in padded batches.

Clips are found by stem, with any ending that libsndfile reads. Spectrograms are computed once and stored
memory-mapped, one file per fold, so that an epoch decodes no sound.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from frami import audio, files
from frami.audio import MelSpec
from frami.data.catalogue import DATASETS
from frami.data.dataset import ENDINGS, Clip, DataError, DatasetInfo
from frami.paths import data_folder, home


def info(name: str) -> DatasetInfo:
    """Row of the catalogue; ``DataError`` with the known names for another one."""
    try:
        return DATASETS[name]
    except KeyError:
        raise DataError(f"no data set named '{name}'; choose one of: {', '.join(DATASETS)}") from None


def locate(name: str, data: str | Path | None = None) -> Path:
    """Folder of a data set inside ``data`` (or itself), by ``paths.data_folder`` when not given."""
    known, root = info(name), data_folder(data)
    for candidate in (root / known.folder, root):
        if (candidate / known.index_file).exists():
            return candidate
    fetch = f", or run: frami data download {name}" if known.archives else ""
    raise DataError(
        f"{known.title} is not in {root}: expected {root / known.folder / known.index_file}. "
        f"Give the folder that holds {known.folder}/ with --data or FRAMI_DATA{fetch}"
    )


def index(name: str, data: str | Path | None = None) -> list[Clip]:
    """All clips that the data set lists, in a fixed order. ``DataError`` for a foreign folder or broken list."""
    root = locate(name, data)
    clips = info(name).reader(root, info(name))
    if not clips:
        raise DataError(f"{root} lists no clip of {info(name).title}; is it another data set's folder?")
    return clips


def folds_of(name: str, split: str, train: Sequence[str] | None = None) -> tuple[str, ...]:
    """Folds of a split: ``test``, ``train``, ``all``, a fold's name, or several with commas."""
    known = info(name)
    if split == "all":
        return known.folds
    if split == "test":
        return (known.test_fold,)
    if split == "train":
        return tuple(train or (f for f in known.folds if f != known.test_fold))
    chosen = tuple(dict.fromkeys(fold.strip() for fold in split.split(",")))
    unknown = [fold for fold in chosen if fold not in known.folds]
    if unknown:
        raise DataError(
            f"{known.title} has no split '{', '.join(unknown)}'; "
            f"choose test, train, all or folds out of: {', '.join(known.folds)}"
        )
    return chosen


def select(clips: list[Clip], folds: Sequence[str], name: str) -> list[Clip]:
    """Clips of these folds; ``DataError`` if there are none."""
    chosen = [clip for clip in clips if clip.fold in folds]
    if not chosen:
        here = sorted({clip.fold for clip in clips})
        raise DataError(f"{info(name).title} here has no clip of fold {', '.join(folds)}; it has: {', '.join(here)}")
    return chosen


def find(clips: Sequence[Clip]) -> list[Path]:
    """The sound file of each clip; one ``DataError`` names the first missing ones and their number."""
    listings: dict[Path, dict[str, Path]] = {}
    found, missing = [], []
    for clip in clips:
        folder = clip.stem.parent
        if folder not in listings:
            entries = folder.iterdir() if folder.is_dir() else ()
            listings[folder] = {p.stem: p for p in entries if p.suffix.lower() in ENDINGS}
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
    name: str, split: str = "all", data: str | Path | None = None, spec: MelSpec | None = None,
    train: Sequence[str] | None = None, progress: Callable[[int, int], None] | None = None,
) -> LogMels:  # fmt: skip
    """Log-Mels of a split (see ``folds_of``), from the cache where it has them.

    ``progress(done, total)`` counts clips. Folds that were finished remain cached when a later one fails or is stopped.
    Raises DataError or AudioError, which name them, for missing, truncated or foreign files.
    """
    spec = spec or MelSpec()
    listed = index(name, data)
    folds = folds_of(name, split, train)
    if split == "all" or (split == "train" and train is None):
        here = {clip.fold for clip in listed}
        folds = tuple(fold for fold in folds if fold in here)
    clips = select(listed, folds, name)
    loaded, frames = [], []
    for fold in folds:
        members = select(clips, (fold,), name)
        before = len(loaded)
        report = (lambda done, before=before: progress(before + done, len(clips))) if progress else None
        frames += _cached(name, fold, members, spec, report)
        loaded += members
    return LogMels(loaded, frames, torch.tensor([clip.label for clip in loaded]), info(name).classes, spec)


def _cached(
    name: str, fold: str, clips: list[Clip], spec: MelSpec, report: Callable[[int], None] | None
) -> list[np.ndarray]:
    """Log-Mels of a fold, each (T_i, n_mels), views of one array on disk."""
    paths = find(clips)
    versions = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    key = hashlib.sha256(json.dumps([1, spec.to_dict(), versions]).encode()).hexdigest()[:16]
    stem = home() / "cache" / "log-mels" / f"{name}-{fold}-{key}"
    array, ends = Path(f"{stem}.npy"), Path(f"{stem}.json")
    if not (array.exists() and ends.exists()):
        _compute(paths, spec, array, ends, report)
    elif report:
        report(len(paths))
    offsets = json.loads(ends.read_text())
    frames = np.load(array, mmap_mode="r")
    return [frames[a:b] for a, b in pairwise(offsets)]


def _compute(paths: list[Path], spec: MelSpec, array: Path, ends: Path, report: Callable[[int], None] | None) -> None:
    def log_mel(path: Path) -> np.ndarray:
        return spec(audio.load(path, spec.sample_rate)).T.numpy().astype(np.float16)

    try:
        array.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{array.parent} cannot be made ({error.strerror}); set FRAMI_HOME to another folder"
        ) from error
    offsets, clips = [0], []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            for done, clip in enumerate(pool.map(log_mel, paths), 1):
                clips.append(clip)
                offsets.append(offsets[-1] + len(clip))
                if report and (done % 16 == 0 or done == len(paths)):
                    report(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    with files.replacing(array) as temporary:
        np.save(temporary, np.concatenate(clips))
    files.write_json(ends, offsets, indent=None)  # written last: it says that the array is complete
