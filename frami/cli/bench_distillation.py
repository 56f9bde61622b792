"""``frami bench distillation | time-to-accuracy``: every method under the same budget, and the page of results."""

from dataclasses import asdict
from itertools import product
from pathlib import Path

from frami.bench.distillation_page import check, write
from frami.cli.arguments import command, data_option, device_option, moved, names, number, progress_bar, whole
from frami.cli.distillation import seconds
from frami.errors import FramiError

#: Version of how a run shares its time between making and learning; what was measured under another is another row.
PACE = 2
#: Data set (and bundled teacher) whose folds can be held out in turn.
IN_TURN = "esc10"


def add(bench) -> None:
    sub = command(
        bench, "distillation", _distillation, "Students of every method on each teacher; fills what is missing."
    )
    sub.add_argument("--teachers", type=names, help="default: all bundled ones")
    sub.add_argument(
        "--rows",
        type=names,
        help="beginnings of rows' names, without their commas (default: all), e.g. 'frami +,cmi,real clips logits'",
    )
    sub.add_argument("--student", default="tiny")
    sub.add_argument("--budget", type=seconds, default=120.0, help="time of each run (default: 120s)")
    sub.add_argument("--clips", type=whole(1), default=32, help="clips made at once")
    sub.add_argument("--batch", type=whole(2), default=32, help="clips of a training step")
    sub.add_argument("--seeds", type=whole(1), default=3, help="runs of each, seeds 0, 1, …")
    sub.add_argument(
        "--folds", type=names, help="ESC-10 only: hold each of these out in turn, with teachers of their own"
    )
    sub.add_argument("--out", default="docs/results/distillation.md", help="page; figures and picture lie beside it")
    sub.add_argument("--page", action="store_true", help="train nothing, write the page of what has been measured")
    data_option(sub)
    device_option(sub)

    sub = command(bench, "time-to-accuracy", _time, "Seconds from nothing to an accuracy on held-out real clips.")
    sub.add_argument("--teacher", default="fsdd", help="name of a bundled teacher, or path")
    sub.add_argument("--recipes", type=names, default=["frami", "frami-fast", "frami-flash", "cmi", "fast"])
    sub.add_argument("--student", default="tiny")
    sub.add_argument("--objective", default="frami")
    sub.add_argument("--budget", type=seconds, default=120.0, help="time of each run (default: 120s)")
    sub.add_argument("--marks", type=_shares, default=[0.85, 0.9], help="accuracies (default: 0.85,0.9)")
    sub.add_argument("--clips", type=whole(1), default=32, help="clips made at once")
    sub.add_argument("--batch", type=whole(2), default=32, help="clips of a training step")
    sub.add_argument("--seed", type=whole(0), default=0)
    data_option(sub)
    device_option(sub)


def _shares(text: str) -> list[float]:
    return [number(0.01, 1)(part) for part in names(text)]


def _distillation(options) -> tuple[dict, list[str]]:
    from frami.bench import distillation as measure
    from frami.bench import inversion
    from frami.device import describe, pick
    from frami.distill import Settings

    device = pick(options.device)
    rows = measure.chosen(options.rows)
    if not rows:
        raise FramiError(f"no such row; there are: {'; '.join(row.name for row in measure.ROWS)}")
    base = Settings(student=options.student, budget=options.budget, clips=options.clips, batch=options.batch)
    out = Path(options.out)
    check(out)
    results = inversion.Results(out.with_suffix(".json"))
    before, whole = dict(results.cells), False
    try:
        if not options.page:
            for teacher in _teachers(options, device):
                _fill(teacher, rows, base, results, options, describe(device))
        whole = True
    finally:
        if whole or results.cells != before:
            lines = write(results, out)
    return {"out": str(out), "cells": results.cells}, [*lines, "", f"written to {out}"]


def _teachers(options, device):
    """The teachers asked for, one by one; those of further folds are trained where they are not there yet."""
    from frami import checkpoints
    from frami.paths import home
    from frami.teachers import train_teacher

    every = [IN_TURN] if options.folds else [card.name for card in checkpoints.bundled("teacher")]
    listed = options.teachers or every
    for name in listed:  # a wrong name is told before the first of many hours
        card = checkpoints.read_card(checkpoints.resolve(name))
        folds = {fold for part in card.split.values() for fold in part}
        if options.folds and (card.dataset != IN_TURN or not folds.issuperset(options.folds)):
            raise FramiError(f"--folds holds out folds of ESC-10 in turn; give --teachers {IN_TURN} --folds 1,2,3,4,5")
    for name in listed:
        if not options.folds:
            yield checkpoints.load(name, device)
            continue
        for fold in options.folds:
            card = checkpoints.read_card(checkpoints.resolve(name))
            if card.split.get("test") == [fold]:
                yield checkpoints.load(name, device)
                continue
            path = home() / "teachers" / f"{name}-{fold}"
            if not checkpoints.exists(path):
                with progress_bar("epoch", f"{name}, fold {fold} held out") as bar:

                    def epoch(e, bar=bar) -> None:
                        moved(bar)(e.epoch, e.epochs)

                    train_teacher(
                        card.dataset, path, data_folder=options.data, test_folds=[fold], device=device, on_epoch=epoch
                    )
            yield checkpoints.load(path, device)


def _fill(teacher, rows, base, results, options, device: str) -> None:
    from frami import train
    from frami.bench import distillation as measure
    from frami.features.embeddings import recordings

    def is_open(seed, row) -> bool:
        """Whether it is still to be run. Without a clip in the time all seeds are alike: then once is enough."""
        runs = [results.get(key(teacher, row, base, other, device)) for other in range(options.seeds)]
        there = [cell for cell in runs if cell is not None]
        idle = row.source == "made" and there and not any(cell["clips"] for cell in there)
        if runs[seed] is not None or idle:
            return False
        return row.source != "bank" or measure.bank(teacher, row) is not None

    missing = [(seed, row) for seed, row in product(range(options.seeds), rows) if is_open(seed, row)]
    if not missing:
        return
    name = teacher.card.name
    with progress_bar("clip", f"{name}: real clips") as bar:
        test = recordings(teacher, None, "test", options.data, moved(bar))
        real = any(row.source == "real" for _, row in missing)
        training = recordings(teacher, None, "train", options.data, moved(bar)) if real else None
    own = train.evaluate(teacher.model, test, batch=128)
    measure.warm(teacher, base)
    for seed, row in missing:
        results.renew()  # another process may have done it meanwhile
        if not is_open(seed, row):
            continue
        with progress_bar("%", f"{name}: {row.name}, seed {seed}") as bar:
            clips = measure.bank(teacher, row) if row.source == "bank" else training
            found = measure.measure(teacher, measure.settings(row, base, seed), clips, test, own, moved(bar))
        what = {"row": row.name, "group": row.group, "seed": seed, "teacher_name": name, "device": device}
        held = ",".join(teacher.card.split["test"])
        more = {
            "budget": base.budget, "student": base.student, "dataset": teacher.card.dataset, "held_out": held,
            "at_once": base.clips, "batch": base.batch, "weights": teacher.card.sha256[:8], "pace": PACE,
            "numbers": row.numbers,
        }  # fmt: skip
        results.put(key(teacher, row, base, seed, device), found | what | more)


def key(teacher, row, base, seed: int, device: str) -> str:
    """Name of a measurement: another teacher, device or setting, other numbers in a recipe make another name."""
    card = teacher.card
    what = f"{row.name} {row.numbers}".strip()
    how = f"share{base.share:g} lr{base.lr:g} pace{PACE}"
    common = f"{base.budget:g}s {base.student} {base.clips}x{base.batch} {how} {device}"
    return f"{card.dataset} {','.join(card.split['test'])} {card.sha256[:8]} | {common} | {what} | {seed}"


def _time(options) -> tuple[dict, list[str]]:
    from frami import checkpoints
    from frami.bench import distillation as measure
    from frami.device import describe, pick
    from frami.distill import Settings
    from frami.features.embeddings import recordings
    from frami.inversion import recipe

    device = pick(options.device)
    teacher = checkpoints.load(options.teacher, device)
    for name in options.recipes:
        recipe(name)
    with progress_bar("clip", "real clips") as bar:
        test = recordings(teacher, None, "test", options.data, moved(bar))
    base = Settings(
        student=options.student, objective=options.objective, budget=options.budget, clips=options.clips,
        batch=options.batch, seed=options.seed,
    )  # fmt: skip
    measure.warm(teacher, base)
    rows = []
    for name in options.recipes:
        with progress_bar("%", name) as bar:
            wanted = Settings(**(asdict(base) | {"recipe": name}))
            rows.append({"recipe": name} | measure.time_to(teacher, wanted, test, options.marks, report=moved(bar)))
    held = ", ".join(teacher.card.split.get("test", []))
    value = {
        "device": describe(device), "teacher": teacher.card.name, "held_out": held, "student": options.student,
        "objective": options.objective, "budget": options.budget, "rows": rows,
    }  # fmt: skip
    lines = [
        f"{value['device']}: student {options.student}, objective {options.objective}, at most {options.budget:g} s; "
        f"accuracy on {held} (held out)",
        "recipe         " + "".join(f"{f'to {mark:.0%}':>10}" for mark in options.marks) + "      best   at the end",
    ]
    for row in rows:
        spent = "".join(f"{'-' if s is None else f'{s:.0f} s':>10}" for s in row["seconds"].values())
        lines.append(f"{row['recipe']:15}{spent}{row['best']:10.1%}{row['last']:13.1%}")
    return value, lines
