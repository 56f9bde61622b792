"""``frami bench distillation | time-to-accuracy``: every method under the same budget, and the page of results."""

import re
import statistics
from dataclasses import asdict
from itertools import product
from pathlib import Path

from frami.cli.distillation import seconds
from frami.cli.parts import command, data_option, device_option, moved, names, number, progress_bar, save_picture, whole
from frami.errors import FramiError


def add(bench) -> None:
    sub = command(
        bench, "distillation", _distillation, "Students of every method on each teacher; fills what is missing."
    )
    sub.add_argument("--teachers", type=names, help="default: all bundled ones")
    sub.add_argument("--rows", type=names, help="beginnings of rows' names (default: all), e.g. 'frami +,cmi'")
    sub.add_argument("--student", default="tiny")
    sub.add_argument("--budget", type=seconds, default=60.0, help="time of each run (default: 60s)")
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
    from frami import bench
    from frami.device import describe, pick
    from frami.distill import Settings
    from frami.distill import bench as measure

    device = pick(options.device)
    rows = measure.chosen(options.rows)
    if not rows:
        raise FramiError(f"no such row; there are: {'; '.join(row.name for row in measure.ROWS)}")
    base = Settings(student=options.student, budget=options.budget, clips=options.clips, batch=options.batch)
    out = Path(options.out)
    results = bench.Results(out.with_suffix(".json"))
    try:
        if not options.page:
            for teacher in _teachers(options, device):
                _fill(teacher, rows, base, results, options, describe(device))
    finally:
        lines = write(results, out)
    return {"out": str(out), "cells": results.cells}, [*lines, "", f"written to {out}"]


def _teachers(options, device):
    """The teachers asked for, one by one; those of further folds are trained where they are not there yet."""
    from frami import checkpoints
    from frami.home import home
    from frami.teachers import train_teacher

    listed = options.teachers or [card.name for card in checkpoints.bundled("teacher")]
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
    from frami.distill import bench as measure
    from frami.teachers import recordings

    wanted = [(seed, row) for seed, row in product(range(options.seeds), rows)]
    missing = [(seed, row) for seed, row in wanted if results.get(key(teacher, row, base, seed, device)) is None]
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
        with progress_bar("%", f"{name}: {row.name}, seed {seed}") as bar:
            found = measure.measure(teacher, measure.settings(row, base, seed), training, test, own, moved(bar))
        what = {"row": row.name, "group": row.group, "seed": seed, "teacher_name": name, "device": device}
        held = ",".join(teacher.card.split["test"])
        more = {
            "budget": base.budget, "student": base.student, "dataset": teacher.card.dataset, "held_out": held,
            "at_once": base.clips, "batch": base.batch, "weights": teacher.card.sha256[:8], "pace": PACE,
        }  # fmt: skip
        results.put(key(teacher, row, base, seed, device), found | what | more)


def key(teacher, row, base, seed: int, device: str) -> str:
    """Name of a measurement: another teacher, device or setting, other numbers in a recipe make another name."""
    from frami.inversion.recipes import RECIPES, mark

    card = teacher.card
    what = f"{row.name} {mark(RECIPES[row.recipe])}" if row.source == "made" else row.name
    how = f"share{base.share:g} lr{base.lr:g} pace{PACE}"
    common = f"{base.budget:g}s {base.student} {base.clips}x{base.batch} {how} {device}"
    return f"{card.dataset} {','.join(card.split['test'])} {card.sha256[:8]} | {common} | {what} | {seed}"


def write(results, out: Path) -> list[str]:
    """Write the page (and its pictures) of everything that has been measured; returns its lines."""
    lines = page(list(results.cells.values()), out)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return lines


#: Version of how a run shares its time between making and learning; what was measured under another is another row.
PACE = 2

_SECTION = ("dataset", "held_out", "student", "budget", "device", "at_once", "batch", "weights", "pace")

#: Runs of each row that the finished table has.
SEEDS = 3

_READING = """\
# Distillation without data

Made by this command, which fills what is missing in `distillation.json` and writes this page:

    OMP_NUM_THREADS=1 frami bench distillation --budget 120s --data FOLDER

Several such commands may run side by side, one for each core, and fill the same file; on one thread of a CPU the
seconds are the processor's, so that other work on the machine shortens a run less (shared caches still slow it: on a
busy machine `frami-fast` made a fifth fewer clips). Each run gets the same seconds of making and learning together,
the same student and the same views on replay, so that a difference has one cause; clips are made at the pace that the
method and the device allow: *clips* says how many. Rows that were measured beside other work, as the first runs here
were, differ by that too. What a run needs to get going counts too: batches that a method throws away at its start, on
a GPU the recording of graphs (about a second a run). Accuracy is on held-out real recordings: mean ± sample standard
deviation over the seeds, or one run. *Agreement*: with the teacher, on the same recordings. Settings were chosen on
other held-out parts: of the digits the speaker yweweler, with a teacher that was trained on george, jackson and
nicolas only; nothing was chosen on the recordings of this page."""


def page(cells: list[dict], out: Path) -> list[str]:
    """The tables of these measurements, a section for each data set, held-out part, student, budget and device."""
    lines = _READING.splitlines()
    sections: dict[tuple, list[dict]] = {}
    for cell in cells:
        sections.setdefault(tuple(cell[name] for name in _SECTION), []).append(cell)
    lines += [*overview(sections), *verdicts(sections)]
    for kind, found in sorted(sections.items()):
        dataset, held, student, budget, device, at_once, batch, *_ = kind
        teacher = found[0]["teacher"]
        lines += [
            "",
            f"## {dataset}: {held} held out",
            "",
            f"Teacher {teacher:.1%}. Student `{student}`, {budget:g} s a run on {device}. The command's options: "
            f"`--budget {budget:g}s --clips {at_once} --batch {batch} --student {student}`.",
            "",
            "| row | accuracy | agreement | clips | steps | parameters | runs |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [_line(rows) for rows in grouped(found)]
        lines += [*_open(grouped(found)), *_reading(grouped(found))]
        where = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
        picture = out.with_name(f"{out.stem}-{dataset}-{held}-{student}-{budget:g}s-{where}.png")
        if len(grouped(found)) > 1:
            draw(grouped(found), teacher, f"{dataset}, {held} held out: {student}, {budget:g} s a run", picture)
            lines += ["", f"![Accuracy of each row]({picture.name})"]
    return lines


def overview(sections: dict[tuple, list[dict]]) -> list[str]:
    """A table for each student, budget and device: every method's clips, with the answer alone and with the hidden
    states, on each data set."""
    lines = []
    for shared, found in _alike(sections).items():
        accuracy = {place: {runs[0]["row"]: runs for runs in grouped(cells)} for place, cells in found.items()}
        student, budget, device, *_ = shared
        heads = [f"{place}, {what}" for place in accuracy for what in ("answer", "hidden states")]
        lines += [
            "",
            f"## All together: `{student}`, {budget:g} s on {device}",
            "",
            "Accuracy in % with the answer alone (`logits`) and with the hidden states reused (`frami`):",
            "",
            f"| clips by | {' | '.join(heads)} |",
            f"|---|{'---|' * len(heads)}",
        ]
        for label, rows in _pairs():
            if any(row in there for there in accuracy.values() for row in rows):
                shown = [_share(there.get(row, []), "accuracy") for there in accuracy.values() for row in rows]
                lines.append(f"| {label} | {' | '.join(shown)} |")
    return lines


def verdicts(sections: dict[tuple, list[dict]]) -> list[str]:
    """Each data set's best method in a sentence: beside the best published recipe, the real clips and the teacher."""
    lines = []
    for kind, cells in sorted(sections.items()):
        by_row = {runs[0]["row"]: [100 * run["accuracy"] for run in runs] for runs in grouped(cells)}
        mean = {row: statistics.fmean(values) for row, values in by_row.items()}
        own = [row for row in mean if row.startswith("frami") and row.endswith("+ frami")]
        others = [row for row in mean if "+" in row and not row.startswith("frami")]
        real = [row for row in mean if row.startswith("real")]
        if not (own and others and real):
            continue
        best, other, bound = (max(rows, key=mean.__getitem__) for rows in (own, others, real))
        ahead = mean[best] - mean[other]
        lines.append(
            f"- {kind[0]}, {kind[1]} held out, {kind[3]:g} s: `{best}` {mean[best]:.1f}; best published recipe "
            f"`{other}` {mean[other]:.1f} ({ahead:+.1f}, {_apart(by_row[best], by_row[other])}); `{bound}` "
            f"{mean[bound]:.1f} ({mean[best] - mean[bound]:+.1f}); teacher {100 * cells[0]['teacher']:.1f} "
            f"({mean[best] - 100 * cells[0]['teacher']:+.1f})."
        )
    return ["", "FRAMI's best row, in points of accuracy:", "", *lines] if lines else []


def _apart(a: list[float], b: list[float]) -> str:
    """Whether two rows' runs differ by more than their spread."""
    if min(len(a), len(b)) < 2:
        return "one run: no spread yet"
    spread = statistics.stdev(a) + statistics.stdev(b)
    return "outside the spread" if abs(statistics.fmean(a) - statistics.fmean(b)) > spread else "within the spread"


def _alike(sections: dict[tuple, list[dict]]) -> dict[tuple, dict[str, list[dict]]]:
    """Sections that differ in the recordings only: by what they share, by data set (and what is held out)."""
    found: dict[tuple, dict[str, list[dict]]] = {}
    for kind, cells in sorted(sections.items()):
        dataset, held, student, budget, device, at_once, batch, _, pace = kind
        alike = found.setdefault((student, budget, device, at_once, batch, pace), {})
        alike[f"{dataset} ({held})" if dataset in alike else dataset] = cells
    return found


def _pairs() -> list[tuple[str, tuple[str, str]]]:
    from frami.distill.bench import METHODS

    sources = [("*real training clips*", "real clips, "), ("*noise*", "noise, ")]
    named = [(f"`{name}`", f"{name} + ") for name in METHODS] + sources
    return [(label, (f"{start}logits", f"{start}frami")) for label, start in named]


def grouped(cells: list[dict]) -> list[list[dict]]:
    """Runs of the same row together, in the order of the table."""
    from frami.distill.bench import ROWS

    rows = [[cell for cell in cells if cell["row"] == row.name] for row in ROWS]
    return [found for found in rows if found]


def _open(groups: list[list[dict]]) -> list[str]:
    """What has not been measured yet, in a sentence."""
    from frami.distill.bench import ROWS

    there = {runs[0]["row"] for runs in groups}
    missing = [f"`{row.name}`" for row in ROWS if row.name not in there]
    few = min(len(runs) for runs in groups)
    said = [f"no run yet of {', '.join(missing)}"] if missing else []
    said += [f"{few} of {SEEDS} seeds" if few < SEEDS else ""]
    said = [part for part in said if part]
    return ["", f"Still open: {'; '.join(said)}."] if said else []


def _reading(groups: list[list[dict]]) -> list[str]:
    """What reusing the hidden states is worth to each method, where both objectives were run."""
    by_row = {runs[0]["row"]: statistics.fmean(run["accuracy"] for run in runs) for runs in groups}
    gains = {
        name.removesuffix(" + logits"): 100 * (by_row[name.replace("logits", "frami")] - value)
        for name, value in by_row.items()
        if name.endswith(" + logits") and name.replace("logits", "frami") in by_row
    }
    if not gains:
        return []
    listed = ", ".join(f"`{name}` {gain:+.1f}" for name, gain in gains.items())
    mean = statistics.fmean(gains.values())
    return [
        "",
        "Hidden states reused (`frami`) instead of the answer alone (`logits`), in points of accuracy: "
        f"{listed}; mean {mean:+.1f}.",
    ]


def _share(runs: list[dict], name: str) -> str:
    """Mean ± sample standard deviation in %, one run's value alone, a dash for none."""
    values = [100 * run[name] for run in runs]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}" if values else "–"


def _line(runs: list[dict]) -> str:
    middle = [f"{statistics.fmean(run[name] for run in runs):,.0f}" for name in ("clips", "steps", "parameters")]
    cells = [f"`{runs[0]['row']}`", _share(runs, "accuracy"), _share(runs, "agreement"), *middle, str(len(runs))]
    return "| " + " | ".join(cells) + " |"


_COLOURS = {"methods": "#b5306f", "objectives": "#6f1d4d", "references": "#7b7285"}


def draw(groups: list[list[dict]], teacher: float, title: str, path: Path) -> None:
    """Bars of each row's accuracy with its spread, the teacher's as a line."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    means = [100 * statistics.fmean(run["accuracy"] for run in runs) for runs in groups]
    spread = [100 * statistics.stdev(run["accuracy"] for run in runs) if len(runs) > 1 else 0 for runs in groups]
    figure, axes = plt.subplots(figsize=(7.2, 0.6 + 0.22 * len(groups)), layout="constrained")
    places = range(len(groups))
    axes.barh(places, means, xerr=spread, color=[_COLOURS[runs[0]["group"]] for runs in groups], height=0.72)
    axes.axvline(100 * teacher, color="#2b2533", linestyle="--", linewidth=1, label="teacher")
    axes.set_yticks(places, [runs[0]["row"] for runs in groups], fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="accuracy on held-out recordings in %", xlim=(0, 100))
    axes.set_title(title, fontsize=9, loc="left")
    axes.legend(frameon=False, fontsize=7, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    save_picture(figure, path)


def _time(options) -> tuple[dict, list[str]]:
    from frami import checkpoints
    from frami.device import describe, pick
    from frami.distill import Settings
    from frami.distill import bench as measure
    from frami.teachers import recordings

    device = pick(options.device)
    teacher = checkpoints.load(options.teacher, device)
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
