"""``frami data``: which recordings are here, and how to get them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from frami import data
from frami.cli.arguments import aligned, command, data_option, group, progress, progress_bar
from frami.data.catalogue import DATASETS
from frami.data.check import check
from frami.data.dataset import Clip, DatasetInfo, Speaker
from frami.data.download import download
from frami.errors import FramiError
from frami.paths import data_folder

#: Classes that a check prints; of more, so many of the smallest.
MOST = 30


def add(commands) -> None:
    data = group(commands, "data")
    data_option(command(data, "list", _data_list, "Which data sets are here, their size and licence."))
    sub = command(data, "download", _data_download, "Download a data set (resumes; mirror: FRAMI_MIRROR).")
    sub.add_argument("dataset")
    data_option(sub)
    about = "Clips, classes, durations, duplicates, leaks and bad files of a data set, by its name or path."
    sub = command(data, "check", _data_check, about)
    sub.add_argument("dataset", metavar="NAME|PATH", help="of the catalogue, or a folder or CSV of your own")
    data_option(sub)


def _data_list(options) -> tuple[list, list[str]]:
    rows = []
    for name, known in DATASETS.items():
        row = {
            "name": name, "title": known.title, "classes": len(known.classes), "clips": known.clips, "here": 0,
            "folder": None, "problem": None, "speakers": None, "licence": known.licence,
            "download_bytes": _download_size(known), "homepage": known.homepage,
        }  # fmt: skip
        try:
            row["folder"] = str(data.locate(name, options.data))
            clips = data.index(name, options.data)
            row["here"] = len(clips)
            row["speakers"] = _speakers(known, Path(row["folder"]), clips)
        except FramiError as error:
            row["problem"] = str(error) if row["folder"] else None
        rows.append(row)
    lines = [f"looked in {data_folder(options.data)}", ""]
    for row in rows:
        fetch = f"; {row['download_bytes'] / 1e6:,.0f} MB: frami data download {row['name']}"
        state = row["problem"] or "not here" + fetch * bool(row["download_bytes"])
        if row["here"]:
            state = f"{row['here']:,} of {row['clips']:,} clips in {row['folder']}"
        lines.append(f"{row['name']:21} {row['title']:27} {row['classes']:3} classes  {row['licence']:13}  {state}")
    return rows, lines


def _download_size(known: DatasetInfo) -> int:
    """Bytes of its archives, or of its parts'."""
    return sum(archive.size for part in (known, *map(DATASETS.get, known.parts)) for archive in part.archives)


def _speakers(known: DatasetInfo, folder: Path, clips: Sequence[Clip]) -> dict | None:
    """What the data set says of each speaker of these clips; None where it says nothing of speakers."""
    if known.speakers is None:
        return None
    table = known.speakers(folder)
    return {name: asdict(table.get(name, Speaker())) for name in sorted({clip.source for clip in clips})}


def _data_download(options) -> tuple[dict, list[str]]:
    data.info(options.dataset)
    with progress_bar("B", options.dataset, scale=True) as bar:

        def report(progress) -> None:
            bar.set_description(f"{options.dataset}: {progress.stage}")
            bar.total = progress.total
            bar.n = progress.done
            bar.refresh()

        folder = download(options.dataset, data_folder(options.data), progress=report)
    return {"dataset": options.dataset, "folder": str(folder)}, [f"{options.dataset} is in {folder}"]


def _data_check(options) -> tuple[dict, list[str]]:
    with progress("file", "check") as report:
        value = check(options.dataset, options.data, report)
    return value, _found(value)


def _found(value: dict) -> list[str]:
    """What a check found, as lines for people."""
    lines = [
        f"{value['title']}: {value['clips']:,} clips of {len(value['classes']):,} classes, {_time(value['seconds'])}",
        f"split: {value['split']}",
    ]
    if value["durations"]:
        shortest, middle, longest = (f"{value['durations'][k]:.2f}" for k in ("shortest", "median", "longest"))
        lines.append(f"durations: {shortest} to {longest} s, median {middle} s")
        lines.append("sample rates: " + ", ".join(f"{rate} Hz ({n:,})" for rate, n in value["rates"].items()))
        lines.append("channels: " + ", ".join(f"{number} ({n:,})" for number, n in value["channels"].items()))
    rows = [("clips of each class", "all", *value["folds"])]
    few = sorted(value["classes"].items(), key=lambda item: item[1])[:MOST]
    for name, count in value["classes"].items() if len(value["classes"]) <= MOST else few:
        rows.append((f"  {name}", f"{count:,}", *(f"{fold.get(name, 0):,}" for fold in value["folds"].values())))
    lines += aligned(rows)
    if len(value["classes"]) > MOST:
        lines.append(f"  ... the smallest of {len(value['classes']):,} classes (all: --json)")
    if value["ignored"]:
        lines.append(f"{value['ignored']:,} other files were passed over: they have no ending of a sound file")
    return [*lines, "", *([f"problem: {line}" for line in value["problems"]] or ["nothing is wrong with it"])]


def _time(seconds: float) -> str:
    """A duration in the unit that suits it."""
    for unit, size in (("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"
