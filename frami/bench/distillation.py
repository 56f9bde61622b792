"""Measurements of distillation: every method under the same student, augmentation and time."""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product

import torch

from frami import banks, checkpoints, train
from frami.banks import Bank
from frami.bench.results import TEACHERS, Context, Report, Results
from frami.checkpoints import Checkpoint
from frami.data import LogMels, label
from frami.device import describe
from frami.distill import Settings, distill
from frami.distill.loop import BudgetError
from frami.errors import FramiError
from frami.features.embeddings import recordings
from frami.features.gallery import EXPLORE
from frami.inversion.recipes import RECIPES, fingerprint
from frami.paths import ASSETS, home
from frami.teachers import train_teacher

#: Published and own recipes of the table.
METHODS = ("frami", "frami-fast", "frami-flash", "cmi", "deepinversion", "dafl", "dfq", "zskt", "fast")
#: Objectives of the ablation, beside ``frami`` and ``logits``.
OBJECTIVES_ALONE = ("before", "after", "simkd", "fitnet", "attention")
#: Where the banks of ``EXPLORE`` lie, by teacher: of equal size, so that rows on them differ in the clips alone.
READY = ASSETS / "explore"
#: Version of how a run shares its time between making and learning; what was measured under another is another row.
PACE = 2
#: Data set (and bundled teacher) whose folds can be held out in turn.
IN_TURN = "esc10"


@dataclass(frozen=True)
class Row:
    """A line of the table: what differs between the runs. ``group`` : methods, objectives, banks or references."""

    name: str
    group: str
    objective: str
    recipe: str = "frami"
    source: str = "made"

    @property
    def fingerprint(self) -> str:
        """Of the recipe's settings, or of the ready banks; empty for references."""
        if self.source == "bank":
            found = [path for name in TEACHERS if (path := READY / name / self.recipe / banks.MANIFEST).is_file()]
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
    """Rows whose name begins with one of ``names``, commas aside; all of them for None. Raises FramiError."""
    starts = tuple(name.replace(",", "") for name in names or [""])
    found = [row for row in ROWS if row.name.replace(",", "").startswith(starts)]
    if not found:
        raise FramiError(f"no such row; there are: {'; '.join(row.name for row in ROWS)}")
    return found


def bank(teacher: Checkpoint, row: Row) -> Bank | None:
    """The ready bank that a row learns from; None where this teacher has none."""
    folder = READY / teacher.card.name / row.recipe
    found = banks.load(folder) if (folder / banks.MANIFEST).exists() else None
    return found if found and found.made_from(teacher.card) else None


def teachers(names: Sequence[str] | None, folds: Sequence[str] | None, here: Context) -> Iterator[Checkpoint]:
    """Teachers by name (default: ``TEACHERS``), or for each of ``folds`` the one that it was held out from, which
    is trained where it is not there yet. Raises FramiError for any bad name before the first."""
    listed = names or ([IN_TURN] if folds else TEACHERS)
    cards = {name: checkpoints.read_card(checkpoints.resolve(name)) for name in listed}
    for card in cards.values():
        known = {fold for part in card.split.values() for fold in part}
        if folds and (card.dataset != IN_TURN or not known.issuperset(folds)):
            raise FramiError(f"--folds holds out folds of ESC-10 in turn; give --teachers {IN_TURN} --folds 1,2,3,4,5")
    for (name, card), fold in product(cards.items(), folds or [None]):
        path = checkpoints.resolve(name)
        if fold is not None and card.split.get("test") != [fold]:
            former = home() / "teachers" / f"{name}-{fold}"  # now for a person's teachers
            path = former if checkpoints.exists(former) else home() / "folds" / f"{name}-{fold}"
            if not checkpoints.exists(path):
                with here.progress("epoch", f"{name}, fold {fold} held out") as report:
                    train_teacher(
                        card.dataset, path, data_folder=here.data_folder, test_folds=[fold], device=here.device,
                        on_epoch=lambda epoch, report=report: report(epoch.epoch, epoch.epochs),
                    )  # fmt: skip
        yield checkpoints.load(path, here.device)


def fill(teacher: Checkpoint, rows: Sequence[Row], base: Settings, seeds: int, results: Results, here: Context) -> None:
    """Measure the runs of these rows, seeds 0 to ``seeds`` - 1, that are not among the results yet."""

    def is_open(run: tuple[int, Row]) -> bool:
        """Without a clip in the time all seeds are alike: then once is enough."""
        seed, row = run
        cells = [results.get(key(teacher, row, base, other)) for other in range(seeds)]
        measured = [cell for cell in cells if cell is not None]
        idle = row.source == "made" and measured and not any(cell["clips"] for cell in measured)
        return cells[seed] is None and not idle and (row.source != "bank" or bank(teacher, row) is not None)

    missing = [run for run in product(range(seeds), rows) if is_open(run)]
    if not missing:
        return
    card = teacher.card
    with here.progress("clip", f"{card.name}: real clips") as report:
        test = recordings(teacher, None, "test", here.data_folder, report)
        real = any(row.source == "real" for _, row in missing)
        training = recordings(teacher, None, "train", here.data_folder, report) if real else None
    reference = train.evaluate(teacher.model, test, batch=128)
    warm(teacher, base)
    for seed, row in results.still_open(missing, is_open):
        with here.progress("%", f"{card.name}: {row.name}, seed {seed}") as report:
            clips = bank(teacher, row) if row.source == "bank" else training
            found = measure(teacher, settings(row, base, seed), clips, test, reference, report)
        about = {
            "row": row.name, "group": row.group, "seed": seed, "teacher_name": card.name,
            "device": describe(teacher.device), "budget": base.budget, "student": base.student,
            "dataset": label(card.dataset), "held_out": ",".join(card.split["test"]), "at_once": base.clips,
            "batch": base.batch, "weights": card.sha256[:8], "pace": PACE, "fingerprint": row.fingerprint,
        }  # fmt: skip
        results.put(key(teacher, row, base, seed), found | about)


def key(teacher: Checkpoint, row: Row, base: Settings, seed: int) -> str:
    """Name of a measurement: another teacher, device or setting, a changed recipe make another name."""
    card = teacher.card
    what = f"{row.name} {row.fingerprint}".strip()
    how = f"share{base.share or 0:g} lr{base.lr:g} pace{PACE}"
    common = f"{base.budget:g}s {base.student} {base.clips}x{base.batch} {how} {describe(teacher.device)}"
    return f"{label(card.dataset)} {','.join(card.split['test'])} {card.sha256[:8]} | {common} | {what} | {seed}"


def settings(row: Row, base: Settings, seed: int) -> Settings:
    """Settings of a row's run: ``base`` but for what the row is about."""
    return replace(base, objective=row.objective, recipe=row.recipe, source=row.source, seed=seed)


def measure(
    teacher: Checkpoint, run: Settings, clips: LogMels | Bank | None, test: LogMels, reference: train.Evaluation,
    report: Report,
) -> dict:  # fmt: skip
    """One run to its end; ``clips``: what it learns from where it makes none. Returns plain numbers: accuracy on
    ``test``, agreement with the teacher (``reference``: its evaluation) there and on unseen made clips, seconds, clips,
    steps."""
    with suppress(BudgetError):  # the student is untrained then, which is what this budget gives
        source = clips if run.source in ("real", "bank") else None
        for state in distill(teacher, run, source, every=0.2, now=clock(teacher)):
            report(int(100 * state.share), 100)
    found = train.evaluate(state.student, test, batch=128)
    return {
        "accuracy": found.accuracy,
        "agreement": float((found.predictions == reference.predictions).float().mean()),
        "made_agreement": None if math.isnan(state.agreement) else state.agreement,
        "teacher": reference.accuracy, "seconds": round(state.seconds, 2), "clips": state.clips, "steps": state.steps,
        "parameters": sum(p.numel() for p in state.student.parameters()),
    }  # fmt: skip


def clock(teacher: Checkpoint) -> Callable[[], float]:
    """Clock of a budget: on one thread of a CPU the processor's, so that other work on the machine shortens a run
    less; else the wall's."""
    alone = teacher.device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def warm(teacher: Checkpoint, base: Settings) -> None:
    """A short run whose result is discarded: libraries load and choose their kernels outside the budget."""
    short = replace(base, budget=None, rounds=1, clips=base.clips, steps=6, recipe="frami-fast", source="made")
    for _ in distill(teacher, short, every=60):
        pass
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def time_to(teacher: Checkpoint, run: Settings, test: LogMels, targets: Sequence[float], report: Report) -> dict:
    """Seconds of work until the student's accuracy on ``test`` reaches each of ``targets`` (None where it never does),
    the best, the last, and the curve as (seconds, accuracy). Measuring does not count as work."""
    reached: dict[float, float | None] = dict.fromkeys(targets)
    curve = []
    for state in distill(teacher, run, every=2.0, now=clock(teacher)):
        if not state.steps:
            continue
        accuracy = train.evaluate(state.student, test, batch=128).accuracy
        curve.append((round(state.seconds, 1), round(accuracy, 4)))
        for target in targets:
            if reached[target] is None and accuracy >= target:
                reached[target] = round(state.seconds, 1)
        report(int(100 * state.share), 100)
    return {
        "seconds": {f"{target:g}": spent for target, spent in reached.items()},
        "best": max((accuracy for _, accuracy in curve), default=0.0),
        "last": curve[-1][1] if curve else 0.0,
        "curve": curve,
    }
