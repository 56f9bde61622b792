"""A student within a minute: it learns from clips that are ready, made from its teacher before."""

from collections.abc import Callable
from pathlib import Path

from frami import banks
from frami.checkpoints import Checkpoint
from frami.distill import RunSettings, Settings
from frami.errors import FramiError
from frami.paths import made
from frami.studio.services import clip_ids, clips, page_values

#: Seconds that it learns, and its size; with the start of its process a minute.
BUDGET, STUDENT = 45.0, "tiny"
#: The recipe of the ready clips, and how many of them the page shows, at most so many of a class.
RECIPE, SHOWN, EACH = "frami", 20, 2


def ready(name: str) -> Path | None:
    """Folder of the ready clips of a teacher; None where there are none."""
    folder = made("explore", name) / RECIPE
    return folder if (folder / banks.MANIFEST).is_file() else None


def request(name: str, seed: int = 0) -> RunSettings:
    """The run of a student that learns from the ready clips. FramiError where there are none."""
    if (folder := ready(name)) is None:
        raise FramiError("no clips of this teacher are ready; choose a recipe below, which makes them")
    return RunSettings(name, Settings(student=STUDENT, source="bank", budget=BUDGET, seed=seed), bank=str(folder))


def shown(name: str, load_teacher: Callable[[str], Checkpoint]) -> dict:
    """Some of the ready clips as the page draws them, every class in turn: ``{"clips", "axis", "of"}``, ``of`` how many
    there are."""
    folder, teacher = ready(name), load_teacher(name)
    if folder is None:
        return {"clips": [], "axis": page_values.axis(teacher.spec), "of": 0}
    bank = clips.read(folder)
    rows = sorted(_chosen(bank.target.tolist()))
    prefix = clip_ids.prefix("explore", name, RECIPE)
    found = [
        page_values.clips(
            bank.clips([row]), prefix, teacher.classes, bank.spec, "made from the teacher's weights", row
        )[0]
        for row in rows
    ]
    return {"clips": found, "axis": page_values.axis(bank.spec), "of": len(bank)}


def _chosen(targets: list[int]) -> list[int]:
    """Rows of at most ``EACH`` clips of a class and ``SHOWN`` in all."""
    taken: dict[int, list[int]] = {}
    for row, target in enumerate(targets):
        if len(taken.setdefault(target, [])) < EACH:
            taken[target].append(row)
    turns = (rows[turn] for turn in range(EACH) for rows in taken.values() if turn < len(rows))
    return list(turns)[:SHOWN]
