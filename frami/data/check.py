"""What a data set's recordings are, and what may be wrong with them: every file is decoded once."""

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from frami import audio, sound_files
from frami.data import own
from frami.data.dataset import Clip, DatasetInfo
from frami.data.recordings import index, info, look_up
from frami.errors import FramiError

#: How many times as many clips the largest class has as the smallest, from which on it is a problem.
UNEVEN = 10
#: Files or classes that a line names.
_NAMED = 3


@dataclass(frozen=True)
class _File:
    """A decoded recording: ``seconds``, ``rate`` and ``channels``, and a checksum of the samples; or what is wrong."""

    kind: str = ""
    fault: str = ""
    seconds: float = 0.0
    rate: int = 0
    channels: int = 0
    digest: str = ""


def check(
    dataset: str | Path, data: str | Path | None = None, progress: Callable[[int, int], None] | None = None
) -> dict:
    """What there is of a data set, by name or path, as plain values.

    ``clips``, ``classes`` (clips of each), ``folds`` (clips of each class in each), ``seconds`` in all and
    ``durations`` (shortest, median, longest) of what can be read, ``rates`` and ``channels`` (clips of each), ``bad``
    (by kind: file and fault), ``duplicates`` (lists of files whose samples are equal), ``leaks`` (what stands in more
    than one fold: ``{"kind": "content" | "group", "folds", "files" | "group"}``), ``imbalance`` (largest class by
    smallest), ``problems`` (a line each). ``progress(done, total)`` counts files. Raises DataError where there is no
    data set.
    """
    known, clips = info(dataset), index(dataset, data)
    paths = [clip.file for clip in clips] if known.own else [Path(one) for one in look_up(clips)]
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        read = []
        try:
            for done, one in enumerate(pool.map(lambda path: _read(path, known), paths), 1):
                read.append(one)
                if progress and (done % 16 == 0 or done == len(paths)):
                    progress(done, len(paths))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    names = _names(paths, known)
    good = [one for one in read if not one.fault]
    seconds = sorted(one.seconds for one in good)
    sizes = Counter(known.classes[clip.label] for clip in clips)
    counts = [sizes[name] for name in known.classes]
    same = _duplicates(read)
    value = {
        "dataset": known.name,
        "title": known.title,
        "clips": len(clips),
        "classes": dict(zip(known.classes, counts, strict=True)),
        "folds": _by_fold(clips, known),
        "test_fold": known.test_fold,
        "split": known.note if known.own else "as published",
        "seconds": round(sum(seconds), 3),
        "durations": {"shortest": seconds[0], "median": median(seconds), "longest": seconds[-1]} if seconds else None,
        "rates": _counted(one.rate for one in good),
        "channels": _counted(one.channels for one in good),
        "bad": _bad(read, names),
        "duplicates": [[names[i] for i in group] for group in same],
        "leaks": [*_content_leaks(same, clips, names), *_group_leaks(clips)],
        "imbalance": round(max(counts) / max(1, min(counts)), 2),
        "ignored": own.listing(known.own).others if known.own else 0,
    }
    return value | {"problems": [*_problems(value, known), *_labelled_twice(same, clips, known, names)]}


def _read(path: Path, known: DatasetInfo) -> _File:
    if not os.path.isfile(path):
        return _File("missing", "a link to a file that is not there" if os.path.islink(path) else "not there")
    try:
        found = sound_files.read(path, own.LONGEST + 2 if known.own else None)
        if len(found.samples):
            audio.mono(found.samples, found.rate, found.rate, str(path))
    except FramiError as error:
        fault = str(error).removeprefix(f"{path}").lstrip(": ").removeprefix("is ").removeprefix("has ")
        return _File("empty" if fault.startswith("empty") else "unreadable", fault)
    fault = own.unusable(found)
    if fault and (known.own or not len(found.samples)):
        return _File(fault.partition(" (")[0], fault)
    digest = hashlib.sha256(f"{found.rate} ".encode() + found.samples.tobytes()).hexdigest()
    return _File("", "", len(found.samples) / found.rate, found.rate, found.channels, digest)


def _names(paths: Sequence[Path], known: DatasetInfo) -> list[str]:
    """Files as they are named: relative to the data set's folder, where they lie in it."""
    root = known.own if known.own and known.own.is_dir() else known.own.parent if known.own else None
    if root is None:
        return [f"{path.parent.name}/{path.name}" for path in paths]
    start = f"{root}{os.sep}"
    return [str(path).removeprefix(start) for path in paths]


def _counted(values: Iterable[int]) -> dict[str, int]:
    return {str(value): count for value, count in Counter(values).most_common()}


def _by_fold(clips: Sequence[Clip], known: DatasetInfo) -> dict[str, dict[str, int]]:
    count = Counter((clip.fold, known.classes[clip.label]) for clip in clips)
    here = [fold for fold in known.folds if any(clip.fold == fold for clip in clips)]
    return {fold: {name: count[fold, name] for name in known.classes if count[fold, name]} for fold in here}


def _bad(read: Sequence[_File], names: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for one, name in zip(read, names, strict=True):
        if one.fault:
            found[one.kind][name] = one.fault
    return dict(found)


def _duplicates(read: Sequence[_File]) -> list[list[int]]:
    """Groups of files with equal samples."""
    groups = defaultdict(list)
    for i, one in enumerate(read):
        if one.digest:
            groups[one.digest].append(i)
    return [group for group in groups.values() if len(group) > 1]


def _content_leaks(same: Sequence[list[int]], clips: Sequence[Clip], names: Sequence[str]) -> list[dict]:
    leaks = []
    for group in same:
        folds = sorted({clips[i].fold for i in group})
        if len(folds) > 1:
            leaks.append({"kind": "content", "folds": folds, "files": [names[i] for i in group]})
    return leaks


def _group_leaks(clips: Sequence[Clip]) -> list[dict]:
    folds = defaultdict(set)
    for clip in clips:
        folds[clip.source].add(clip.fold)
    return [{"kind": "group", "folds": sorted(some), "group": g} for g, some in folds.items() if len(some) > 1]


def _labelled_twice(same: Sequence[list[int]], clips: Sequence[Clip], known: DatasetInfo, names) -> list[str]:
    """A line on equal files of different classes."""
    torn = [group for group in same if len({clips[i].label for i in group}) > 1]
    named = [f"{names[group[0]]} = {names[group[1]]}" for group in torn]
    return [_line(len(torn), "sound", "under two classes", named)] if torn else []


def _problems(value: dict, known: DatasetInfo) -> list[str]:
    lines = []
    for kind, files in value["bad"].items():
        lines.append(_line(len(files), "file", f"{kind}", [*files]))
    if value["duplicates"]:
        equal = [" = ".join(group[:2]) for group in value["duplicates"]]
        lines.append(_line(len(equal), "sound", "more than once", equal))
    for kind, what in (("content", "sound"), ("group", "group")):
        torn = [one for one in value["leaks"] if one["kind"] == kind]
        named = [" = ".join(one["files"][:2]) if kind == "content" else one["group"] for one in torn]
        if torn:
            lines.append(_line(len(torn), what, "in two folds, so that a test knows some of the training", named))
    if value["imbalance"] > UNEVEN:
        sizes = sorted(value["classes"].items(), key=lambda item: item[1])
        (small, few), (large, many) = sizes[0], sizes[-1]
        lines.append(f"uneven classes: {many:,} clips of {large}, {few:,} of {small}")
    if known.own:
        listing = own.listing(known.own)
        lines += own.absent(known)
        if listing.outside:
            outside = [os.path.basename(path) for path in listing.outside]
            lines.append(_line(len(outside), "sound file", "in no class's folder", outside))
        if listing.empty:
            lines.append(_line(len(listing.empty), "folder", "without a sound", listing.empty))
    return lines


def _line(count: int, what: str, how: str, named: Sequence[str]) -> str:
    more = f" and {count - _NAMED:,} more" if count > _NAMED else ""
    return f"{count:,} {what if count == 1 else what + 's'} {how}: {', '.join(named[:_NAMED])}{more}"
