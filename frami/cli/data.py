"""``frami data``: which recordings are here, and how to get them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from frami import data
from frami.cli.arguments import command, data_option, group, progress_bar
from frami.data.catalogue import DATASETS
from frami.data.dataset import Clip, DatasetInfo, Speaker
from frami.data.download import download
from frami.errors import FramiError
from frami.paths import data_folder


def add(commands) -> None:
    data = group(commands, "data")
    data_option(command(data, "list", _data_list, "Which data sets are here, their size and licence."))
    sub = command(data, "download", _data_download, "Download a data set (resumes; mirror: FRAMI_MIRROR).")
    sub.add_argument("dataset")
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
