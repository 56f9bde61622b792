"""How rich the clips of every recipe are on each teacher, beside real clips: measurements, and the page of them."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from frami.bench.pages import heading, intro, mean_sd, plus_minus, table
from frami.bench.results import Context, Report, Results
from frami.checkpoints import Checkpoint
from frami.data import Clip, DataError, LogMels
from frami.device import describe
from frami.features import diversity, judges
from frami.features.embeddings import Embedded, embed, recordings
from frami.features.judges import Judge
from frami.inversion import Recipe, make_clips
from frami.inversion.recipes import fingerprint

#: Title and digits of each column.
MEASURES = {
    "coverage": ("coverage", 3),
    "density": ("density", 3),
    "frechet": ("Fréchet", 2),
    "vendi": ("Vendi", 2),
    "within_class": ("within class", 2),
    "target_accuracy": ("target accuracy", 3),
    "confidence": ("confidence", 3),
    "seconds": ("seconds", 1),
}

#: Draws for intervals, which are not among the results here: as few as there can be.
_FEW = 2

#: Title and digits of what the judge says.
JUDGED = {
    "judge_accuracy": ("recognised", 3),
    "judge_coverage": ("coverage", 3),
    "judge_kad": ("KAD", 2),
}


@dataclass(frozen=True)
class Plan:
    """``samples`` clips of each recipe, ``batch`` at once, for seeds 0 to ``seeds`` - 1, beside real clips of
    ``split``."""

    samples: int
    batch: int
    seeds: int
    split: str = "test"

    def folds(self, teacher: Checkpoint) -> list[str]:
        return teacher.card.split.get(self.split, [self.split])

    def key(self, teacher: Checkpoint, recipe: Recipe | None, seed: int = 0) -> str:
        """Name of a measurement (without a recipe: of real training clips): another teacher, a changed recipe or
        other settings make another name."""
        what = f"{recipe.name} {fingerprint(recipe)} {seed}" if recipe else "real"
        folds = ",".join(self.folds(teacher))
        return f"{teacher.card.name} {teacher.card.sha256[:8]} {folds} {self.samples}x{self.batch} {what}"

    def judge_key(self, teacher: Checkpoint, judge: Judge, recipe: Recipe | None, seed: int = 0) -> str:
        """Name of what a judge says of the same clips, or of clips made in the same way."""
        return f"{self.key(teacher, recipe, seed)} judged {judge.sha256[:8]}"

    def cells(self, teacher: Checkpoint, recipe: Recipe, results: Results, judge: Judge | None = None) -> list[dict]:
        """Measurements of a recipe, or its judge's, as far as there are any."""
        keys = [
            self.judge_key(teacher, judge, recipe, seed) if judge else self.key(teacher, recipe, seed)
            for seed in range(self.seeds)
        ]
        return [cell for key in keys if (cell := results.get(key)) is not None]


@dataclass(frozen=True)
class Beside:
    """Real clips of a teacher to measure beside, in its own space and in that of its ``judge``, if it has one."""

    clips: LogMels
    real: Embedded
    judge: Judge | None
    judged: Embedded | None


def fill(
    teachers: Sequence[Checkpoint], recipes: Sequence[Recipe], plan: Plan, results: Results, here: Context
) -> None:
    """Measure what is not among the results yet, and a reference of each teacher where its training clips are here."""
    listeners = {teacher.card.name: judges.of(teacher) for teacher in teachers}
    loaded: dict[str, Beside] = {}

    def beside(teacher: Checkpoint) -> Beside:
        name = teacher.card.name
        if name not in loaded:
            with here.progress("clip", f"{name}: real clips") as report:
                clips = recordings(teacher, None, plan.split, here.data_folder, report)
                judge = listeners[name]
                judged = embed(judge.network, clips) if judge else None
                loaded[name] = Beside(clips, embed(teacher, clips, progress=report), judge, judged)
        return loaded[name]

    def names(teacher: Checkpoint, recipe: Recipe | None, seed: int = 0) -> list[str]:
        judge = listeners[teacher.card.name]
        judged = [plan.judge_key(teacher, judge, recipe, seed)] if judge else []
        return [plan.key(teacher, recipe, seed), *judged]

    def is_open(teacher: Checkpoint, recipe: Recipe | None, seed: int = 0) -> bool:
        return any(results.get(name) is None for name in names(teacher, recipe, seed))

    def put(names: list[str], found: Sequence[dict | None], **more) -> None:
        """What was measured, as far as it is not there yet."""
        for name, values in zip(names, found, strict=False):
            if values is not None and results.get(name) is None:
                results.put(name, {key: value for key, value in values.items() if key != "intervals"} | more)

    runs = [(teacher, row, seed) for seed, teacher, row in product(range(plan.seeds), teachers, recipes)]
    for teacher, row, seed in results.still_open(runs, lambda run: is_open(*run)):
        real = beside(teacher)
        with here.progress("step", f"{teacher.card.name}: {row.name}, seed {seed}") as report:
            found = richness(teacher, row, real, plan, seed, report)
        put(names(teacher, row, seed), found, device=describe(here.device))
    for teacher in teachers:
        if is_open(teacher, None):
            try:
                found = reference(teacher, beside(teacher), plan.samples, here)
            except DataError:
                continue
            put(names(teacher, None), found)


def richness(
    teacher: Checkpoint, recipe: Recipe, beside: Beside, plan: Plan, seed: int, report: Report
) -> tuple[dict, dict | None]:
    """Make clips by a recipe and measure how rich they are, beside real ones. Returns plain numbers: those of
    ``diversity.summary`` with the seconds spent on making, and those of the judge."""
    start = time.perf_counter()
    choices = {"samples": plan.samples, "batch": plan.batch, "seconds": None, "seed": seed}
    clips = make_clips(teacher, recipe, report=report, **choices)
    spent = time.perf_counter() - start
    own = measures(clips, clips.target, beside.real, resamples=_FEW) | {"seconds": spent}
    return own, judges.measures(beside.judge, clips, beside.judged, resamples=0) if beside.judge else None


def reference(teacher: Checkpoint, beside: Beside, count: int, here: Context) -> tuple[dict | None, dict | None]:
    """The same of ``count`` real training clips in the place of made ones, for the judge of those that it never heard,
    at most as many; None where there are none."""
    clips = training_clips(teacher, beside.clips.clips, here)
    own = judged = None
    if clips and (rows := chosen(clips, count)):
        found = embed(teacher, clips, rows)
        own = measures(found, found.labels, beside.real, resamples=_FEW)
    if clips and beside.judge:
        judged = judged_training(teacher, beside.judge, beside.judged, clips, count, here, resamples=0)
    return own, judged


def measures(clips, target: Tensor, real: Embedded | None, count: int | None = None, **choices) -> dict:
    """``diversity.summary`` of the first ``count`` made or embedded clips beside real ones, if there are any."""
    first = (part[:count] for part in (clips.pooled, target, clips.predicted, clips.confidence))
    return diversity.summary(*first, *((real.pooled, real.labels) if real else ()), **choices)


def training_clips(teacher: Checkpoint, others: Sequence[Clip], here: Context) -> LogMels | None:
    """Real clips of the teacher's training folds, none of them among ``others``; None where they are not here."""
    taken = set(others)
    with here.progress("clip", "real training clips") as report:
        try:
            clips = recordings(teacher, None, "train", here.data_folder, report)
        except DataError:
            return None
    free = [i for i, clip in enumerate(clips.clips) if clip not in taken]
    return clips.take(free) if free else None


def chosen(clips: LogMels, count: int, seed: int = 0) -> list[int]:
    """``count`` of real clips, classes in turn, as made ones are measured; none where there are not so many."""
    return diversity.in_turns(clips.labels, count, seed).tolist() if len(clips) >= count else []


def judged_training(
    teacher: Checkpoint,
    judge: Judge,
    real: Embedded | None,
    clips: LogMels,
    count: int,
    here: Context,
    seed: int = 0,
    **choices,
) -> dict | None:
    """What a judge says of real training clips that it never heard, ``count`` or as many as there are; None where there
    are none. ``choices`` : of ``diversity.judged``."""
    free = judges.unheard(judge, clips, teacher.card.dataset, here.data_folder)
    if len(free) < 2:
        return None
    rows = diversity.in_turns(clips.labels[free], min(count, len(free)), seed).tolist()
    return judges.of_real(judge, clips, [free[i] for i in rows], real, seed=seed, **choices)


def tables(teachers: Sequence[Checkpoint], recipes: Sequence[Recipe], plan: Plan, results: Results) -> dict:
    """Mean and spread of what has been measured so far; seconds on the device that most of it was measured on."""
    listeners = [judges.of(teacher) for teacher in teachers]
    runs = [{row.name: plan.cells(teacher, row, results) for row in recipes} for teacher in teachers]
    devices = Counter(cell["device"] for rows in runs for cells in rows.values() for cell in cells)
    device = max(devices, key=devices.get, default=None)
    found = {
        teacher.card.name: {
            "rows": [_mean(name, cells, device) for name, cells in rows.items() if cells],
            "reference": results.get(plan.key(teacher, None)),
            "folds": ", ".join(plan.folds(teacher)),
            "device": device,
            "judge": judge and _judge(teacher, judge, recipes, plan, results),
        }
        for teacher, judge, rows in zip(teachers, listeners, runs, strict=True)
    }
    return {"samples": plan.samples, "batch": plan.batch, "seeds": plan.seeds, "teachers": found}


def _judge(teacher: Checkpoint, judge: Judge, recipes: Sequence[Recipe], plan: Plan, results: Results) -> dict:
    """What a judge is, and says of the rows that it has heard."""
    heard = {row.name: plan.cells(teacher, row, results, judge) for row in recipes}
    return {
        "says": judge.says(),
        "sha256": judge.sha256,
        "rows": [_mean(name, cells, None, JUDGED) for name, cells in heard.items() if cells],
        "reference": results.get(plan.judge_key(teacher, judge, None)),
    }


def _mean(recipe: str, cells: list[dict], device: str | None, columns: Iterable[str] = MEASURES) -> dict:
    """Mean over the seeds, and the sample standard deviation by ``…_sd``; seconds are those on ``device`` only."""
    row: dict = {"recipe": recipe}
    for name in columns:
        values = [cell[name] for cell in cells if name != "seconds" or cell["device"] == device]
        row[name], row[f"{name}_sd"] = mean_sd([] if None in values else values)
    return row | {"runs": len(cells), "devices": sorted({cell["device"] for cell in cells})}


def page(value: dict) -> list[str]:
    """Lines of the page of these ``tables``."""
    run = f"--samples {value['samples']} --batch {value['batch']} --seeds {value['seeds']}"
    lines = intro("diversity", run=run, seeds=value["seeds"])
    for name, found in value["teachers"].items():
        others = sorted({device for row in found["rows"] for device in row["devices"]} - {found["device"]})
        elsewhere = f"; some rows also or only come from: {', '.join(others)}" if others else ""
        lines += heading(name, f"Held out: {found['folds']}. Seconds on {found['device']}{elsewhere}.")
        lines += _table(found, MEASURES, value["seeds"])
        if found["judge"] and (found["judge"]["rows"] or found["judge"]["reference"]):
            lines += ["", f"The judge: {found['judge']['says']}."]
            lines += _table(found["judge"], JUDGED, value["seeds"])
    return lines


def _table(found: dict, columns: dict[str, tuple[str, int]], seeds: int) -> list[str]:
    rows = []
    for row in found["rows"]:
        some = "" if row["runs"] == seeds else f" ({row['runs']} of {seeds} seeds)"
        rows.append([f"`{row['recipe']}`{some}", *_cells(row, columns)])
    if found["reference"]:
        rows.append(["*real training clips*", *_cells(found["reference"], columns)])
    return table(["recipe", *(title for title, _ in columns.values())], rows)


def _cells(row: dict, columns: dict[str, tuple[str, int]]) -> list[str]:
    return [
        plus_minus(row.get(name), row.get(f"{name}_sd"), f".{digits}f", none="")
        for name, (_, digits) in columns.items()
    ]
