"""How rich the clips of every recipe are on each teacher, beside real clips: measurements, and the page of them."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from torch import Tensor

from frami.bench.pages import heading, intro, mean_sd, plus_minus, table
from frami.bench.results import Context, Report, Results
from frami.checkpoints import Checkpoint
from frami.data import Clip, DataError, LogMels
from frami.device import describe
from frami.features import diversity
from frami.features.embeddings import Embedded, embed, recordings
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

    def cells(self, teacher: Checkpoint, recipe: Recipe, results: Results) -> list[dict]:
        """Measurements of a recipe, as far as there are any."""
        found = [results.get(self.key(teacher, recipe, seed)) for seed in range(self.seeds)]
        return [cell for cell in found if cell is not None]


def fill(
    teachers: Sequence[Checkpoint], recipes: Sequence[Recipe], plan: Plan, results: Results, here: Context
) -> None:
    """Measure what is not among the results yet, and a reference of each teacher where its training clips are here."""
    loaded: dict[str, tuple[LogMels, Embedded]] = {}

    def real(teacher: Checkpoint) -> tuple[LogMels, Embedded]:
        name = teacher.card.name
        if name not in loaded:
            with here.progress("clip", f"{name}: real clips") as report:
                clips = recordings(teacher, None, plan.split, here.data_folder, report)
                loaded[name] = clips, embed(teacher, clips, progress=report)
        return loaded[name]

    def put(key: str, found: dict) -> None:
        results.put(key, {name: value for name, value in found.items() if name != "intervals"})

    runs = [(teacher, row, seed) for seed, teacher, row in product(range(plan.seeds), teachers, recipes)]
    for teacher, row, seed in results.still_open(runs, lambda run: results.get(plan.key(*run)) is None):
        _, beside = real(teacher)
        with here.progress("step", f"{teacher.card.name}: {row.name}, seed {seed}") as report:
            found = richness(teacher, row, beside, plan, seed, report)
        put(plan.key(teacher, row, seed), found | {"device": describe(here.device)})
    for teacher in teachers:
        if results.get(plan.key(teacher, None)) is None:
            try:
                clips, beside = real(teacher)
            except DataError:
                continue
            own = training_clips(teacher, plan.samples, clips.clips, here)
            if own is not None:
                put(plan.key(teacher, None), measures(own, own.labels, beside))


def richness(teacher: Checkpoint, recipe: Recipe, real: Embedded, plan: Plan, seed: int, report: Report) -> dict:
    """Make clips by a recipe and measure how rich they are, beside real ones. Returns plain numbers: those of
    ``diversity.summary``, and the seconds spent on making."""
    start = time.perf_counter()
    choices = {"samples": plan.samples, "batch": plan.batch, "seconds": None, "seed": seed}
    clips = make_clips(teacher, recipe, report=report, **choices)
    spent = time.perf_counter() - start
    return measures(clips, clips.target, real) | {"seconds": spent}


def measures(clips, target: Tensor, real: Embedded | None, count: int | None = None, seed: int = 0) -> dict:
    """``diversity.summary`` of the first ``count`` made or embedded clips beside real ones, if there are any."""
    first = (part[:count] for part in (clips.pooled, target, clips.predicted, clips.confidence))
    return diversity.summary(*first, *((real.pooled, real.labels) if real else ()), seed=seed)


def training_clips(
    teacher: Checkpoint, count: int, others: Sequence[Clip], here: Context, seed: int = 0
) -> Embedded | None:
    """``count`` clips of the teacher's training folds, classes in turn, none of them among ``others``, to be measured
    as made ones are; None where there are not so many."""
    taken = set(others)
    with here.progress("clip", "real training clips") as report:
        try:
            clips = recordings(teacher, None, "train", here.data_folder, report)
        except DataError:
            return None
        free = [i for i, clip in enumerate(clips.clips) if clip not in taken]
        if len(free) < count:
            return None
        chosen = [free[i] for i in diversity.in_turns(clips.labels[free], count, seed).tolist()]
        return embed(teacher, clips, chosen, progress=report)


def tables(teachers: Sequence[Checkpoint], recipes: Sequence[Recipe], plan: Plan, results: Results) -> dict:
    """Mean and spread of what has been measured so far; seconds on the device that most of it was measured on."""
    runs = [{row.name: plan.cells(teacher, row, results) for row in recipes} for teacher in teachers]
    devices = Counter(cell["device"] for rows in runs for cells in rows.values() for cell in cells)
    device = max(devices, key=devices.get, default=None)
    found = {
        teacher.card.name: {
            "rows": [_mean(name, cells, device) for name, cells in rows.items() if cells],
            "reference": results.get(plan.key(teacher, None)),
            "folds": ", ".join(plan.folds(teacher)),
            "device": device,
        }
        for teacher, rows in zip(teachers, runs, strict=True)
    }
    return {"samples": plan.samples, "batch": plan.batch, "seeds": plan.seeds, "teachers": found}


def _mean(recipe: str, cells: list[dict], device: str) -> dict:
    """Mean over the seeds, and the sample standard deviation by ``…_sd``; seconds are those on ``device`` only."""
    row: dict = {"recipe": recipe}
    for name in MEASURES:
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
        rows = []
        for row in found["rows"]:
            some = "" if row["runs"] == value["seeds"] else f" ({row['runs']} of {value['seeds']} seeds)"
            rows.append([f"`{row['recipe']}`{some}", *_cells(row)])
        if found["reference"]:
            rows.append(["*real training clips*", *_cells(found["reference"])])
        lines += heading(name, f"Held out: {found['folds']}. Seconds on {found['device']}{elsewhere}.")
        lines += table(["recipe", *(title for title, _ in MEASURES.values())], rows)
    return lines


def _cells(row: dict) -> list[str]:
    return [
        plus_minus(row.get(name), row.get(f"{name}_sd"), f".{digits}f", none="")
        for name, (_, digits) in MEASURES.items()
    ]
