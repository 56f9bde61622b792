"""``frami bench``: measurements of speed, diversity and duration, each with the command that makes its page."""

import statistics
from collections import Counter
from dataclasses import asdict
from itertools import pairwise, product
from pathlib import Path

from frami.bench.pages import save_picture
from frami.cli import bench_distillation, vocoder
from frami.cli.arguments import (
    command,
    data_option,
    device_option,
    group,
    moved,
    names,
    number,
    progress_bar,
    whole,
)
from frami.errors import FramiError


def add(commands) -> None:
    bench = group(
        commands, "bench", "measurements side by side: inversion, diversity, distillation, vocoder, …", "WHAT"
    )
    sub = command(bench, "inversion", _inversion, "Clips per second of each recipe, beside the machine's ceiling.")
    sub.add_argument("--teacher", default="fsdd", help="name of a bundled teacher, or path")
    sub.add_argument("--recipes", type=names, help="default: all methods (no ablations)")
    sub.add_argument("--batch", type=whole(1), default=64, help="clips made at once")
    sub.add_argument("--seconds", type=number(0.1, 30), default=0.93, help="duration of a clip (0.93: 80 frames)")
    sub.add_argument("--rounds", type=whole(1), default=3, help="turns over all recipes")
    sub.add_argument("--ladder", action="store_true", help="also: what each measure against lost time is worth (frami)")
    device_option(sub)

    sub = command(bench, "diversity", _diversity, "Diversity of every recipe on each teacher; fills what is missing.")
    sub.add_argument("--teachers", type=names, help="default: all bundled ones")
    sub.add_argument("--recipes", type=names, help="default: all, ablations included")
    sub.add_argument("--samples", type=whole(2), default=256)
    sub.add_argument("--batch", type=whole(1), default=32, help="clips made at once")
    sub.add_argument("--seeds", type=whole(1), default=3, help="runs of each, seeds 0, 1, …")
    sub.add_argument("--split", default="test", help="real clips to compare with (default: held out)")
    sub.add_argument("--out", default="docs/results/diversity.md", help="page; its figures lie beside it as .json")
    sub.add_argument("--page", action="store_true", help="make no clips, write the page of what has been measured")
    data_option(sub)
    device_option(sub)

    sub = command(bench, "duration", _duration, "Confidence of the teacher against the duration of made clips.")
    sub.add_argument("--teacher", default="fsdd", help="name of a bundled teacher, or path")
    sub.add_argument("--recipe", default="frami")
    sub.add_argument("--samples", type=whole(2), default=200)
    sub.add_argument("--batch", type=whole(1), default=20)
    sub.add_argument("--shortest", type=number(0.1, 30), default=0.3, help="seconds")
    sub.add_argument("--longest", type=number(0.1, 30), default=5.0, help="seconds")
    sub.add_argument("--seed", type=whole(0), default=0)
    sub.add_argument("--out", help="picture to draw (.png, .svg, .pdf)")
    device_option(sub)
    bench_distillation.add(bench)
    vocoder.add_bench(bench)


def _chosen(wanted: list[str] | None, ablations: bool) -> list:
    from frami.inversion import RECIPES, recipe

    if wanted:
        return [recipe(name) for name in wanted]
    return [row for row in RECIPES.values() if ablations or not row.ablation]


def _inversion(options) -> tuple[dict, list[str]]:
    import torch

    from frami import checkpoints
    from frami.bench import inversion
    from frami.device import describe, pick
    from frami.inversion import RECIPES, arithmetic

    device = pick(options.device)
    teacher = checkpoints.load(options.teacher, device)
    recipes = _chosen(options.recipes, ablations=False)
    with progress_bar("turn", "bench") as bar:
        rows, ceilings = inversion.speed(
            teacher, recipes, clips=options.batch, seconds=options.seconds, rounds=options.rounds, report=moved(bar)
        )
    steps = []
    if options.ladder:
        with progress_bar("turn", "ladder") as bar:
            steps = inversion.ladder(
                teacher, RECIPES["frami"], clips=options.batch, seconds=options.seconds, rounds=options.rounds,
                report=moved(bar),
            )  # fmt: skip
    value = {
        "device": describe(device),
        "torch": torch.__version__,
        "teacher": teacher.card.name,
        "batch": options.batch,
        "frames": teacher.spec.frames(options.seconds),
        "macs": arithmetic(teacher, options.seconds),
        "ceiling": ceilings,
        "rows": [asdict(row) for row in rows],
        "ladder": steps,
    }
    cost = value["macs"]
    lines = [
        f"{value['device']}, torch {value['torch']}: {teacher.card.name}, {options.batch} clips of "
        f"{value['frames']} frames",
        f"forward pass of a clip, in million multiply-accumulates: teacher {cost['teacher'] / 1e6:.1f}, "
        f"generator {cost['generator'] / 1e6:.1f}",
        "ceiling of the teacher's convolutions, GFLOP/s: "
        + ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in ceilings.items()),
        "",
        "recipe         clips/s  clip-steps/s  steps  MFLOP/clip-step  GFLOP/s  of ceiling  peak MB",
    ]
    lines += [
        f"{row.recipe:14} {row.clips_per_second:7.2f} {row.clip_steps_per_second:13.1f} {row.steps:6} "
        f"{row.flops / 1e6:16.0f} {row.flops_per_second / 1e9:8.0f} {row.ceiling_ratio:11.2f} "
        f"{row.peak_bytes / 1e6:8.0f}"
        for row in rows
    ]
    if steps:
        lines += ["", "frami: clip-steps/s, ratio"]
    for row in steps:
        what = "; ".join(inversion.LADDER[name] for name in row["without"]) or "as it is"
        lines.append(f"{row['clip_steps_per_second']:10.1f} {row['ratio']:6.2f}  {what}")
    return value, lines


_MEASURES = ("coverage", "density", "frechet", "vendi", "within_class", "target_accuracy", "confidence", "seconds")


def _diversity(options) -> tuple[dict, list[str]]:
    from frami import checkpoints
    from frami.bench import inversion
    from frami.device import describe, pick
    from frami.features.embeddings import Embedded, embed, recordings

    device = pick(options.device)
    recipes = _chosen(options.recipes, ablations=True)
    out = Path(options.out)
    results = inversion.Results(out.with_suffix(".json"))
    teachers = [
        checkpoints.load(name, device)
        for name in options.teachers or [card.name for card in checkpoints.bundled("teacher")]
    ]
    real: dict[str, Embedded] = {}
    try:
        for seed, teacher, row in product(range(options.seeds), teachers, recipes):
            key = _key(teacher, row, seed, options)
            if options.page or results.get(key) is not None:
                continue
            name = teacher.card.name
            if name not in real:
                with progress_bar("clip", f"{name}: real clips") as bar:
                    clips = recordings(teacher, None, options.split, options.data, moved(bar))
                    real[name] = embed(teacher, clips, progress=moved(bar))
            with progress_bar("step", f"{name}: {row.name}, seed {seed}") as bar:
                found = inversion.richness(
                    teacher, row, real[name].pooled, real[name].labels,
                    samples=options.samples, batch=options.batch, seed=seed, report=moved(bar),
                )  # fmt: skip
            results.put(key, found | {"device": describe(device)})
        for teacher in teachers:
            if results.get(_key(teacher, None, 0, options)) is None:
                _reference(teacher, real.get(teacher.card.name), results, options)
    finally:
        value = _tables(teachers, recipes, results, options)
        lines = _page(value)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return value | {"out": str(out)}, [*lines, "", f"written to {out}"]


def _key(teacher, recipe, seed: int, options) -> str:
    """Name of a measurement: another teacher, other numbers in a recipe or other settings make another name."""
    from frami.inversion.recipes import fingerprint

    folds = ",".join(teacher.card.split.get(options.split, [options.split]))
    what = f"{recipe.name} {fingerprint(recipe)} {seed}" if recipe else "real"
    return f"{teacher.card.name} {teacher.card.sha256[:8]} {folds} {options.samples}x{options.batch} {what}"


def _tables(teachers, recipes, results, options) -> dict:
    """Mean and spread of what has been measured so far; seconds on the device that most of it was measured on."""
    cells = {
        (teacher.card.name, row.name): [results.get(_key(teacher, row, seed, options)) for seed in range(options.seeds)]
        for teacher, row in product(teachers, recipes)
    }
    cells = {which: [cell for cell in found if cell is not None] for which, found in cells.items()}
    devices = Counter(cell["device"] for found in cells.values() for cell in found)
    device = max(devices, key=devices.get, default=None)
    tables = {}
    for teacher in teachers:
        name = teacher.card.name
        tables[name] = {
            "rows": [_mean(row.name, cells[name, row.name], device) for row in recipes if cells[name, row.name]],
            "reference": results.get(_key(teacher, None, 0, options)),
            "folds": ", ".join(teacher.card.split.get(options.split, [options.split])),
            "device": device,
        }
    return {"samples": options.samples, "batch": options.batch, "seeds": options.seeds, "teachers": tables}


def _reference(teacher, real, results, options) -> None:
    """Measure real training clips, as many, in place of made ones: what real sound would get. Nothing without them."""
    from frami.data import DataError
    from frami.features import diversity
    from frami.features.embeddings import embed, recordings

    try:
        clips = recordings(teacher, None, "train", options.data)
        real = real or embed(teacher, recordings(teacher, None, options.split, options.data))
    except DataError:
        return
    own = embed(teacher, clips, diversity.in_turns(clips.labels, min(options.samples, len(clips)), 0).tolist())
    found = diversity.summary(own.pooled, own.labels, own.predicted, own.confidence, real.pooled)
    found.pop("intervals")
    results.put(_key(teacher, None, 0, options), found)


def _mean(recipe: str, found: list[dict], device: str) -> dict:
    """Mean over the seeds, and the sample standard deviation by ``…_sd``; seconds are those on ``device`` only."""
    row: dict = {"recipe": recipe}
    for name in _MEASURES:
        values = [cell[name] for cell in found if name != "seconds" or cell["device"] == device]
        known = bool(values) and None not in values
        row[name] = statistics.fmean(values) if known else None
        row[f"{name}_sd"] = statistics.stdev(values) if known and len(values) > 1 else None
    row["runs"] = len(found)
    row["devices"] = sorted({cell["device"] for cell in found})
    return row


def _page(value: dict) -> list[str]:
    run = f"--samples {value['samples']} --batch {value['batch']} --seeds {value['seeds']}"
    lines = ["# Diversity of made clips", "", *_READING.format(run=run, seeds=value["seeds"]).splitlines()]
    for name, table in value["teachers"].items():
        others = sorted({d for row in table["rows"] for d in row["devices"]} - {table["device"]})
        elsewhere = f"; some rows also or only come from: {', '.join(others)}" if others else ""
        lines += [
            "",
            f"## {name}",
            "",
            f"Held out: {table['folds']}. Seconds on {table['device']}{elsewhere}.",
            "",
            "| recipe | coverage | density | Fréchet | Vendi | within class | as asked | confidence | seconds |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in table["rows"]:
            cells = [_figure(m, row[m]) + _figure(m, row[f"{m}_sd"], " ± ") for m in _MEASURES]
            mark = "" if row["runs"] == value["seeds"] else f" ({row['runs']} of {value['seeds']} seeds)"
            lines.append(f"| `{row['recipe']}`{mark} | " + " | ".join(cells) + " |")
        ref = table["reference"]
        if ref is None:
            continue
        cells = [_figure(m, ref[m]) for m in _MEASURES[:-1]]
        lines.append("| *real training clips* | " + " | ".join(cells) + " | |")
    return lines


_READING = """\
Made by this command, which fills what is missing in `diversity.json` and writes this page:

    frami bench diversity {run} --data FOLDER

In the teacher's pooled space, against real clips that it never heard in training. Coverage: share of the real clips
that have a made one among their five nearest neighbours; density: how thickly made clips lie where real ones do (Naeem
et al. 2020); Fréchet: distance of means and spreads, 0 is best; Vendi: how many wholly different clips the set amounts
to (Friedman and Dieng 2023); within class: mean distance between two clips of a class. Mean ± standard deviation over
{seeds} seeds. The last row of each table puts as many real *training* clips in the place of made ones. Methods that
cannot be asked for a class (dafl, dfq, zskt) count as asked as far as their clips serve an even share of all
classes."""


def _figure(measure: str, value: float | None, before: str = "") -> str:
    digits = {"coverage": 3, "density": 3, "target_accuracy": 3, "confidence": 3, "seconds": 1}.get(measure, 2)
    return "" if value is None else f"{before}{value:.{digits}f}"


def _duration(options) -> tuple[dict, list[str]]:
    from frami import checkpoints
    from frami.bench import inversion
    from frami.device import pick
    from frami.inversion import recipe

    if options.shortest >= options.longest:
        raise FramiError("--shortest must be below --longest")
    teacher = checkpoints.load(options.teacher, pick(options.device))
    with progress_bar("step", "duration") as bar:
        found = inversion.by_duration(
            teacher, recipe(options.recipe), samples=options.samples, batch=options.batch,
            shortest=options.shortest, longest=options.longest, seed=options.seed, report=moved(bar),
        )  # fmt: skip
    edges = [options.shortest + (options.longest - options.shortest) * i / 5 for i in range(6)]
    rows = []
    for low, high in pairwise(edges):
        inside = [i for i, s in enumerate(found["seconds"]) if low <= s < high or (high == edges[-1] and s >= high)]
        rows.append(
            {
                "from": round(low, 2),
                "to": round(high, 2),
                "clips": len(inside),
                "confidence": statistics.fmean(found["confidence"][i] for i in inside) if inside else None,
                "target_accuracy": statistics.fmean(found["target_accuracy"][i] for i in inside) if inside else None,
            }
        )
    value = {"teacher": teacher.card.name, "recipe": options.recipe, "rows": rows, "clips": found}
    lines = [f"{teacher.card.name}, {options.recipe}: {len(found['seconds'])} clips of one run"]
    lines += [
        f"  {row['from']:4.1f} to {row['to']:4.1f} s: "
        + (
            f"confidence {row['confidence']:.1%}, as asked {row['target_accuracy']:.1%} of {row['clips']}"
            if row["clips"]
            else "-"
        )
        for row in rows
    ]
    if options.out:
        _draw(found, rows, f"{teacher.card.title}: one generator, clips of every duration", Path(options.out))
        lines.append(f"drawn to {options.out}")
    return value, lines


def _draw(found: dict, rows: list[dict], title: str, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    axes.scatter(found["seconds"], found["confidence"], s=9, color="#b5306f", alpha=0.45, label="clip")
    full = [row for row in rows if row["clips"]]
    axes.plot(
        [(row["from"] + row["to"]) / 2 for row in full], [row["confidence"] for row in full],
        color="#2b2533", marker="o", label="mean",
    )  # fmt: skip
    axes.set(xlabel="duration in s", ylabel="teacher's confidence", ylim=(0, 1.02), title=title)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save_picture(figure, path)
