"""What workers do for the Teachers & data tab: fetch and unpack recordings, train and import teachers, make galleries.

What they tell on the way is ``{"stage", "done", "total"}``, of a training also ``{"epoch": …}`` as of ``train.Epoch``.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from frami import checkpoints, files, hub, locks
from frami.data import download, zipped
from frami.errors import FramiError
from frami.features import gallery
from frami.paths import data_folder, made
from frami.teachers import train_teacher as trained
from frami.workers.teller import Teller

#: Seconds between two reports of what goes quickly.
_OFTEN = 0.2


def download_data(teller: Teller, *, name: str) -> dict:
    """Fetch a data set of the catalogue into the folder of recordings; what was fetched before is not fetched again."""

    def report(now: download.DownloadProgress) -> None:
        teller.send(
            {"stage": now.stage, "file": now.file, "done": now.done, "total": now.total, "left": now.seconds_left}
        )

    download.download(name, data_folder(), progress=report, stop=lambda: teller.stopped)
    return {}


def unpack_data(teller: Teller, *, archive: str, folder: str) -> dict:
    """Unpack class folders of a ZIP archive, as of ``zipped.unpack``."""
    return zipped.unpack(Path(archive), Path(folder), _seldom(teller), lambda: teller.stopped)


def train_teacher(teller: Teller, *, dataset: str, out: str, device: str, settings: dict) -> dict:
    """Train a teacher on recordings that are here; files of one's own that cannot be used are passed over."""
    reading = _seldom(teller)
    skipped: list[str] = []
    card = trained(
        dataset, out, device=device, on_clips=lambda done, total: reading("reading", done, total),
        on_epoch=lambda epoch: teller.send({"epoch": asdict(epoch)}), stop=lambda: teller.stopped,
        skip=skipped.append, **settings,
    )  # fmt: skip
    return {"accuracy": card.accuracy, "clips": card.clips, "skipped": len(skipped)}


def import_teacher(teller: Teller, *, source: str, files: list[str], out: str) -> dict:
    """A teacher of the Hub or of a folder (``source``), or of weights and their card (``files``); its notes."""
    from frami.adapter.hub import from_hub

    target = Path(out)
    teller.send({"stage": "fetching" if source else "reading", "done": 0, "total": None})
    with tempfile.TemporaryDirectory() as folder, locks.checkpoint(target):
        found = hub.find(source or _beside(files, Path(folder)))
        teller.send({"stage": "trying it", "done": 0, "total": None})
        teacher, about, _ = from_hub(found, name=target.name)
        if teacher.card.kind != "teacher":
            raise FramiError(f"this is a {teacher.card.kind}, which learnt from a teacher; import a teacher")
        if checkpoints.exists(target):
            raise FramiError(f"a network named {target.name} is there already; choose another name")
        checkpoints.save(target, teacher.model, teacher.card)
    notes = []
    if not about.norms:
        notes.append("it has no batch norm, so nothing tells how its training data sounded: expect little of students")
    if not about.reusable:
        notes.append("students cannot reuse its classifier: choose the objective Logits, FitNet or Attention")
    return {"notes": notes, "classes": len(teacher.card.classes)}


def make_gallery(teller: Teller, *, teacher: str, device: str) -> dict:
    """The bank of clips that the Listen tab opens with, for a teacher by its name."""

    def report(done: int, total: int) -> None:
        if teller.stopped:
            raise FramiError("stopped; the gallery goes on from what was made when it is begun again")
        told("making clips", done, total)

    told = _seldom(teller)
    gallery.make(checkpoints.load(teacher, device), made("gallery", teacher), report=report)
    return {}


def _beside(given: list[str], folder: Path) -> str:
    """A folder with these two files, weights and card, under the names that a checkpoint has. FramiError for others."""
    weights = [path for path in given if path.lower().endswith(".safetensors")]
    cards = [path for path in given if path.lower().endswith(".json")]
    if len(weights) != 1 or len(cards) != 1 or len(given) != 2:
        raise FramiError(
            "choose two files: the weights (.safetensors), and the card (.json) that was written beside them"
        )
    try:
        shutil.copyfile(weights[0], folder / f"{hub.MODEL}.safetensors")
        shutil.copyfile(cards[0], folder / f"{hub.MODEL}.json")
    except OSError as error:
        files.raise_full(folder, error)
        raise FramiError("the files are not there any more; choose them again") from error
    return str(folder)


def _seldom(teller: Teller) -> Callable[[str, int, int], None]:
    """``report(stage, done, total)``, told a few times a second and at the end of a stage."""
    last = 0.0

    def report(stage: str, done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= _OFTEN:
            last = time.monotonic()
            teller.send({"stage": stage, "done": done, "total": total})

    return report
