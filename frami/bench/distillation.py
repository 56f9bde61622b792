"""Measurements of distillation: every method under the same student, replay views and wall-clock budget."""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch

from frami import banks, train
from frami.banks import Bank
from frami.checkpoints import Checkpoint
from frami.data import LogMels
from frami.distill.loop import BudgetError, Settings, distill
from frami.features.gallery import EXPLORE
from frami.inversion.recipes import RECIPES, fingerprint
from frami.paths import ASSETS

#: Published and own recipes of the table.
METHODS = ("frami", "frami-fast", "frami-flash", "cmi", "deepinversion", "dafl", "dfq", "zskt", "fast")
#: Objectives of the ablation, beside ``frami`` and ``logits``.
OBJECTIVES_ALONE = ("before", "after", "simkd", "fitnet", "attention")
#: Where the banks of ``EXPLORE`` lie, by teacher: of equal size, so that rows on them differ in the clips alone.
READY = ASSETS / "explore"


@dataclass(frozen=True)
class Row:
    """A line of the table: what differs between the runs. ``group`` : methods, objectives, banks or references."""

    name: str
    group: str
    objective: str
    recipe: str = "frami"
    source: str = "made"

    @property
    def numbers(self) -> str:
        """Tells the row's recipe from itself with other numbers, and ready banks from others; else empty."""
        if self.source == "bank":
            found = sorted(READY.glob(f"*/{self.recipe}/manifest.json"))
            return hashlib.sha256(b"".join(path.read_bytes() for path in found)).hexdigest()[:8]
        return fingerprint(RECIPES[self.recipe]) if self.source == "made" else ""


ROWS: tuple[Row, ...] = (
    *(Row(f"{m} + {o}", "methods", o, recipe=m) for m in METHODS for o in ("frami", "logits")),
    *(Row(f"frami + {o}", "objectives", o) for o in OBJECTIVES_ALONE),
    *(Row(f"frami-flash + {o}", "objectives", o, "frami-flash") for o in OBJECTIVES_ALONE),
    *(Row(f"bank of {m}, {o}", "banks", o, m, "bank") for m in EXPLORE for o in ("logits", "frami")),
    Row("real clips, from scratch", "references", "labels", source="real"),
    Row("real clips, logits", "references", "logits", source="real"),
    Row("real clips, frami", "references", "frami", source="real"),
    Row("noise, logits", "references", "logits", source="noise"),
    Row("noise, frami", "references", "frami", source="noise"),
)


def chosen(names: Sequence[str] | None) -> list[Row]:
    """Rows whose name begins with one of ``names``, commas aside; all of them for None."""
    return [row for row in ROWS if names is None or any(_plain(row.name).startswith(_plain(name)) for name in names)]


def _plain(name: str) -> str:
    return name.replace(",", "")


def bank(teacher: Checkpoint, row: Row) -> Bank | None:
    """The ready bank that a row learns from; None where this teacher has none."""
    folder = READY / teacher.card.name / row.recipe
    found = banks.load(folder) if (folder / "manifest.json").exists() else None
    return found if found and found.manifest["settings"].get("teacher_sha256") == teacher.card.sha256 else None


def settings(row: Row, base: Settings, seed: int) -> Settings:
    """Settings of a row's run: ``base`` but for what the row is about."""
    return replace(base, objective=row.objective, recipe=row.recipe, source=row.source, seed=seed)


def measure(
    teacher: Checkpoint,
    wanted: Settings,
    clips: LogMels | Bank | None,
    test: LogMels,
    own: train.Evaluation,
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """One run to its end; ``clips``: what it learns from where it makes none. Returns plain numbers: accuracy on
    ``test``, agreement with the teacher (whose answers there are ``own``) there and on unseen made clips, seconds,
    clips, steps."""
    with suppress(BudgetError):  # then the student knows nothing, which is what this budget gives
        for state in distill(
            teacher, wanted, clips if wanted.source in ("real", "bank") else None, every=0.2, now=clock(teacher)
        ):
            if report:
                report(int(100 * state.share), 100)
    found = train.evaluate(state.student, test, batch=128)
    return {
        "accuracy": found.accuracy,
        "agreement": float((found.predictions == own.predictions).float().mean()),
        "made_agreement": None if math.isnan(state.agreement) else state.agreement,
        "teacher": own.accuracy,
        "seconds": round(state.seconds, 2),
        "clips": state.clips,
        "steps": state.steps,
        "parameters": sum(p.numel() for p in state.student.parameters()),
    }


def clock(teacher: Checkpoint) -> Callable[[], float]:
    """What tells the seconds of a budget: on one thread of a CPU the processor's, so that other work on the machine
    shortens a run less; else the wall's."""
    alone = next(teacher.model.parameters()).device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def warm(teacher: Checkpoint, base: Settings) -> None:
    """A short run whose result nobody wants: libraries load and choose their kernels outside the budget."""
    short = replace(base, budget=None, rounds=1, clips=base.clips, steps=6, recipe="frami-fast", source="made")
    for _ in distill(teacher, short, every=60):
        pass
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def time_to(
    teacher: Checkpoint,
    wanted: Settings,
    test: LogMels,
    marks: Sequence[float],
    *,
    every: float = 2.0,
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """Seconds of work until the student's accuracy on ``test`` reaches each of ``marks`` (None where it never does),
    the best, the last, and the curve as (seconds, accuracy). Measuring does not count as work."""
    reached: dict[float, float | None] = dict.fromkeys(marks)
    curve = []
    for state in distill(teacher, wanted, every=every, now=clock(teacher)):
        if not state.steps:
            continue
        accuracy = train.evaluate(state.student, test, batch=128).accuracy
        curve.append((round(state.seconds, 1), round(accuracy, 4)))
        for aim in marks:
            if reached[aim] is None and accuracy >= aim:
                reached[aim] = round(state.seconds, 1)
        if report:
            report(int(100 * state.share), 100)
    best = max((accuracy for _, accuracy in curve), default=0.0)
    return {
        "seconds": {f"{aim:g}": spent for aim, spent in reached.items()},
        "best": best,
        "last": curve[-1][1] if curve else 0.0,
        "curve": curve,
    }
