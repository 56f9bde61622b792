"""``frami bench WHAT``: measurements side by side, each with the command that makes its page."""

import argparse
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from frami import checkpoints, files
from frami.bench import (
    allocation,
    distillation,
    distillation_page,
    diversity,
    folds,
    in_turn,
    inversion,
    pages,
    parts,
    step,
    strangers,
    teachers,
    teachers_page,
    time_to_agreement,
    vocoder,
)
from frami.bench.results import TEACHERS, filling
from frami.cli import deployment, endurance, importing, scaling
from frami.cli.arguments import (
    BAD,
    Parser,
    command,
    context,
    data_option,
    device_option,
    group,
    names,
    number,
    progress,
    seed,
    skipping,
    whole,
)
from frami.cli.distillation import seconds
from frami.cluster import LOCAL, check
from frami.data import label
from frami.device import pick
from frami.distill import Settings
from frami.errors import FramiError
from frami.inversion import RECIPES, recipe
from frami.models import ARCHITECTURES, DEFAULT

_OUT = "page to write (.md); its figures lie beside it as .json"


def add(commands) -> None:
    bench = group(commands, "bench", "WHAT")
    sub = command(bench, "inversion", _inversion, "Clips per second of each recipe, beside the machine's ceiling.")
    sub.add_argument("--teacher", default="fsdd", help="name of a bundled teacher, or path")
    sub.add_argument("--recipes", type=names, help="default: all methods (no ablations)")
    sub.add_argument("--batch", type=whole(1), default=64, help="clips made at once")
    sub.add_argument("--seconds", type=number(0.1, 30), default=0.93, help="duration of a clip (0.93: 80 frames)")
    sub.add_argument("--rounds", type=whole(1), default=3, help="turns over all recipes")
    sub.add_argument("--ladder", action="store_true", help="also: what each measure against lost time is worth")
    device_option(sub)

    sub = command(bench, "step", _step, "Milliseconds of a step of both loops, making clips and learning from them.")
    sub.add_argument("--teacher", default="fsdd", help="name of a bundled teacher, or path")
    sub.add_argument("--recipe", default="frami")
    sub.add_argument("--student", default="tiny")
    sub.add_argument("--clips", type=whole(1), default=32, help="clips made at once")
    sub.add_argument("--batch", type=whole(2), default=32, help="clips of a training step")
    sub.add_argument("--steps", type=whole(1), default=50)
    device_option(sub)

    sub = command(bench, "diversity", _diversity, "Diversity of every recipe on each teacher; fills what is missing.")
    sub.add_argument("--teachers", type=names, help=f"default: {', '.join(TEACHERS)}")
    sub.add_argument("--recipes", type=names, help="default: all, ablations included")
    sub.add_argument("--samples", type=whole(2), default=256)
    sub.add_argument("--batch", type=whole(1), default=32, help="clips made at once")
    sub.add_argument("--seeds", type=whole(1), default=3, help="runs of each, seeds 0, 1, …")
    sub.add_argument("--split", default="test", help="real clips to compare with (default: held out)")
    sub.add_argument("--out", default="docs/results/diversity.md", help="page; its figures lie beside it as .json")
    sub.add_argument("--page", action="store_true", help="make no clips, write the page of what has been measured")
    device_option(sub, data=True)

    sub = command(bench, "duration", _duration, "Confidence of the teacher against the duration of made clips.")
    sub.add_argument("--teacher", default="fsdd", help="name of a bundled teacher, or path")
    sub.add_argument("--recipe", default="frami-fine")
    sub.add_argument("--samples", type=whole(2), default=200)
    sub.add_argument("--batch", type=whole(1), default=20)
    sub.add_argument("--shortest", type=number(0.1, 30), default=0.3, help="seconds")
    sub.add_argument("--longest", type=number(0.1, 30), default=5.0, help="seconds")
    sub.add_argument("--seed", type=seed, default=0)
    sub.add_argument("--out", help="picture to draw (.png, .svg, .pdf)")
    device_option(sub)

    about = "Students of every method on each teacher; fills what is missing."
    sub = command(bench, "distillation", _distillation, about)
    sub.add_argument("--teachers", type=names, help=f"default: {', '.join(TEACHERS)}")
    rows = "beginnings of rows' names, without their commas (default: all), e.g. 'frami +,cmi,real clips logits'"
    sub.add_argument("--rows", type=names, help=rows)
    sub.add_argument("--budget", type=seconds, help="time of each run (default: 120s)")
    sub.add_argument("--rounds", type=whole(1), help="instead: batches of clips, as many times --steps of learning")
    sub.add_argument("--steps", type=whole(1), help="steps of learning for each batch (default: 60)")
    _student_options(sub)
    sub.add_argument("--out", default="docs/results/distillation.md", help="page; figures and picture lie beside it")

    about = "Seconds from nothing until students agree with their teacher on real clips; fills what is missing."
    sub = command(bench, "time-to-agreement", _time, about)
    sub.add_argument("--teachers", type=names, help=f"default: {', '.join(TEACHERS)}")
    rows = "as of distillation (default: every method with objective frami, and real clips)"
    sub.add_argument("--rows", type=names, help=rows)
    budgets = ",".join(f"{budget:g}s" for budget in time_to_agreement.BUDGETS)
    sub.add_argument("--budgets", type=_budgets, default=time_to_agreement.BUDGETS, help=f"default: {budgets}")
    marks = ",".join(f"{mark:g}" for mark in time_to_agreement.MARKS)
    sub.add_argument("--marks", type=_shares, default=time_to_agreement.MARKS, help=f"agreements (default: {marks})")
    _student_options(sub)
    sub.add_argument("--out", default="docs/results/time-to-agreement.md", help="page; its figures lie beside it")

    sub = command(bench, "vocoder", _vocoder, "How near each vocoder's sound comes to recordings, and how fast.")
    sub.add_argument("--dataset", type=names, help="default: fsdd, esc10, urbansound8k")
    sub.add_argument("--split", default="test", help="test (default), train, or folds")
    sub.add_argument("--clips", type=whole(1), default=20, help="real clips of each data set (default: 20)")
    sub.add_argument("--seconds", type=number(0.1, 30), default=2.5, help="of a clip at most (default: 2.5)")
    sub.add_argument("--made", type=whole(0), default=30, help="made clips of each teacher's gallery (default: 30)")
    sub.add_argument("--vocoders", type=names, help="e.g. frami:32,griffin-lim:100 (default: all), or paths")
    sub.add_argument("--out", help=_OUT)
    data_option(sub)

    sub = command(bench, "strangers", _strangers, "Networks on people that they never heard: every data set in common.")
    sub.add_argument("--checkpoints", type=names, help="default: the bundled teachers and students of digits")
    sub.add_argument("--datasets", type=names, help="default: all that are here and whose classes they know")
    sub.add_argument("--out", help=_OUT)
    device_option(sub, data=True)

    about = "Networks that are not ours as teachers: trained plainly, imported, distilled; fills what is missing."
    sub = command(bench, "teachers", _teachers, about)
    sub.add_argument("--only", type=names, help="networks by name (default: all)")
    sub.add_argument("--budget", type=seconds, default=120.0, help="time of each student (default: 120s)")
    sub.add_argument("--student", default="tiny")
    sub.add_argument("--seeds", type=whole(1), default=1, help="students of each, seeds 0, 1, … (default: 1)")
    sub.add_argument("--page", action="store_true", help="train nothing, write the page of what has been measured")
    sub.add_argument("--out", default="docs/results/teachers.md", help=_OUT)
    device_option(sub, data=True)

    _allocation_options(bench)
    deployment.add(bench)
    endurance.add(bench)
    scaling.add_bench(bench)

    about = "Cross-validation: each fold in turn is the test of a teacher that all others train; goes on where it was."
    sub = command(bench, "folds", _folds, about)
    sub.add_argument("--dataset", required=True, help="name of a data set; urbansound8k: its official ten folds")
    sub.add_argument("--here", action="store_true", help="take turns among the folds that are here, if some are not")
    sub.add_argument("--folds", type=names, help="hold out these only (all others train all the same)")
    sub.add_argument("--architecture", default=DEFAULT, help=f"{', '.join(ARCHITECTURES)} (default: {DEFAULT})")
    sub.add_argument("--size", default="base", help="default: base")
    for name, kind in (("epochs", whole(1)), ("batch", whole(2)), ("lr", number(1e-6, 1)), ("seed", seed)):
        sub.add_argument(f"--{name}", type=kind, help="as of frami train-teacher")
    sub.add_argument("--keep", help="folder of the teachers (default: FRAMI_HOME/folds)")
    sub.add_argument("--skip-bad", action="store_true", help=BAD)
    scaling.add(sub, "a teacher")
    sub.add_argument("--out", help=_OUT)
    device_option(sub, data=True)


def _allocation_options(bench) -> None:
    about = "What clips and steps are worth on development parts: the law that divides a budget; fills what is missing."
    sub = command(bench, "allocation", _allocation, about)
    sub.add_argument("--teachers", type=names, default=["fsdd"], help="default: fsdd")
    sub.add_argument("--recipe", default="frami")
    sub.add_argument("--student", default="tiny")
    sub.add_argument("--clips", type=_wholes, default=[96, 320, 960], help="default: 96,320,960")
    sub.add_argument("--steps", type=_wholes, default=[300, 900, 2100], help="default: 300,900,2100")
    sub.add_argument("--seed", type=seed, default=0)
    sub.add_argument("--out", default="docs/results/allocation.md", help=_OUT)
    device_option(sub, data=True)


def _wholes(text: str) -> list[int]:
    return sorted({whole(1)(part) for part in names(text)})


def _student_options(sub) -> None:
    """What both benchmarks of students have in common."""
    sub.add_argument("--student", default="tiny")
    sub.add_argument("--clips", type=whole(1), default=32, help="clips made at once")
    sub.add_argument("--batch", type=whole(2), default=32, help="clips of a training step")
    sub.add_argument("--seeds", type=whole(1), default=3, help="runs of each, seeds 0, 1, …")
    folds = "hold each of these out in turn, e.g. george,jackson; their teachers are trained where they are not there"
    sub.add_argument("--folds", type=names, help=folds)
    sub.add_argument("--epochs", type=whole(1), help="of those teachers (default: as many as the named one had)")
    on = "reported: judged by held-out clips and strangers (default); development: by clips to choose settings on"
    sub.add_argument("--on", action=_On, default="reported", metavar="WHAT|WHERE", help=f"{on}; {scaling.WHERE}")
    sub.set_defaults(where=LOCAL)
    scaling.add(sub, "a cell of the table", on=False)
    sub.add_argument("--page", action="store_true", help="train nothing, write the page of what has been measured")
    device_option(sub, data=True)


class _On(argparse.Action):
    """``--on development`` says what judges, ``--on ray`` where it is measured; both may be given."""

    def __call__(self, parser, options, value, option_string=None):
        try:
            if value not in parts.ON:
                check(value)
        except FramiError as error:
            judges = f"choose {' or '.join(parts.ON)} (what judges), or "
            raise argparse.ArgumentError(self, str(error).replace("choose ", judges)) from error
        setattr(options, "on" if value in parts.ON else "where", value)


def _allocation(options) -> tuple[dict, list[str]]:
    here, out, rows = context(options), Path(options.out), []
    settings = Settings(student=options.student, recipe=recipe(options.recipe).name, budget=None, seed=options.seed)
    plan = allocation.Plan(tuple(options.clips), tuple(options.steps), settings)
    wanted = allocation.comparable
    with filling(out, "allocation", lambda results: allocation.page(wanted(results.cells, settings))) as results:
        for name in options.teachers:
            rows += allocation.fill(checkpoints.load(name, here.device), plan, results, here)
    return {"out": str(out), "rows": rows}, _written(out)


def _shares(text: str) -> list[float]:
    return [number(0.01, 1)(part) for part in names(text)]


def _budgets(text: str) -> list[float]:
    return sorted({seconds(part) for part in names(text)})


def _chosen(wanted: list[str] | None, ablations: bool) -> list:
    if wanted:
        return [recipe(name) for name in wanted]
    return [row for row in RECIPES.values() if ablations or not row.ablation]


def _inversion(options) -> tuple[dict, list[str]]:
    teacher = checkpoints.load(options.teacher, pick(options.device))
    timing = inversion.Timing(options.batch, options.seconds, options.rounds)
    recipes = _chosen(options.recipes, ablations=False)
    with progress("turn", "bench") as report:
        value = inversion.speed(teacher, recipes, timing, report)
    value["ladder"] = []
    if options.ladder:
        with progress("turn", "ladder") as report:
            value["ladder"] = inversion.ladder(teacher, RECIPES["frami-fine"], timing, report)
    macs, ceilings = value["macs"], value["ceiling"]
    lines = [
        f"{value['machine']}, torch {value['torch']}: {value['teacher']}, {value['batch']} clips of "
        f"{value['frames']} frames",
        f"forward pass of a clip, in million multiply-accumulates: teacher {macs['teacher'] / 1e6:.1f}, "
        f"generator {macs['generator'] / 1e6:.1f}",
        "ceiling of the teacher's convolutions, GFLOP/s: "
        + ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in ceilings.items()),
        "",
        "recipe         clips/s  clip-steps/s  steps  MFLOP/clip-step  GFLOP/s  of ceiling  peak MB",
    ]
    lines += [
        f"{row['recipe']:14} {row['clips_per_second']:7.2f} {row['clip_steps_per_second']:13.1f} {row['steps']:6} "
        f"{row['flops'] / 1e6:16.0f} {row['flops_per_second'] / 1e9:8.0f} {row['ceiling_ratio']:11.2f} "
        f"{row['peak_bytes'] / 1e6:8.0f}"
        for row in value["rows"]
    ]
    lines += ["", "frami-fine: clip-steps/s, ratio"] if options.ladder else []
    for row in value["ladder"]:
        what = "; ".join(inversion.LADDER[name] for name in row["without"]) or "as it is"
        lines.append(f"{row['clip_steps_per_second']:10.1f} {row['ratio']:6.2f}  {what}")
    return value, lines


def _step(options) -> tuple[dict, list[str]]:
    teacher = checkpoints.load(options.teacher, pick(options.device))
    settings = Settings(
        budget=None, recipe=recipe(options.recipe).name, student=options.student, clips=options.clips,
        batch=options.batch,
    )  # fmt: skip
    with progress("loop", "bench") as report:
        value = step.measure(teacher, settings, options.steps, report)
    low, high = value["frames"]
    lines = [f"{teacher.card.name}, clips of {low} to {high} frames; mean of {options.steps} steps, in ms", ""]
    lines += ["loop           wall clock   all cores"]
    lines += [f"{row['loop']:14} {row['wall']:10.1f} {row['cpu']:11.1f}" for row in value["rows"]]
    return value, lines


def _diversity(options) -> tuple[dict, list[str]]:
    here, out = context(options), Path(options.out)
    recipes = _chosen(options.recipes, ablations=True)
    listed = options.teachers or TEACHERS
    teachers = [checkpoints.load(name, here.device) for name in listed]
    plan = diversity.Plan(options.samples, options.batch, options.seeds, options.split)

    def tables(results) -> dict:
        return diversity.tables(teachers, recipes, plan, results)

    with filling(out, "diversity", lambda results: diversity.page(tables(results))) as results:
        if not options.page:
            diversity.fill(teachers, recipes, plan, results, here)
    return tables(results) | {"out": str(out)}, _written(out)


def _written(out: Path) -> list[str]:
    return [*out.read_text(encoding="utf-8").splitlines(), "", f"written to {out}"]


def _duration(options) -> tuple[dict, list[str]]:
    if options.shortest >= options.longest:
        raise FramiError("--shortest must be below --longest")
    teacher, seconds = checkpoints.load(options.teacher, pick(options.device)), (options.shortest, options.longest)
    choices = {"samples": options.samples, "batch": options.batch, "seed": options.seed}
    with progress("step", "duration") as report:
        value = inversion.by_duration(teacher, recipe(options.recipe), seconds, report, **choices)
    lines = [f"{value['teacher']}, {value['recipe']}: {len(value['clips']['seconds'])} clips of one run"]
    for row in value["rows"]:
        count, found = row["clips"], "-"
        if count:
            found = f"confidence {row['confidence']:.1%}, target accuracy {row['target_accuracy']:.1%} of {count}"
        lines.append(f"  {row['from']:4.1f} to {row['to']:4.1f} s: {found}")
    if options.out:
        title = f"{teacher.card.title}: one generator, clips of every duration"
        inversion.draw_durations(value, title, Path(options.out))
        lines.append(f"drawn to {options.out}")
    return value, lines


def _distillation(options) -> tuple[dict, list[str]]:
    out, rows = Path(options.out), distillation.chosen(options.rows)
    if (options.budget and options.rounds) or (options.steps and not options.rounds):
        raise FramiError("give --budget, or --rounds with --steps")
    length = {"budget": None if options.rounds else options.budget or 120.0}
    length |= {name: value for name in ("rounds", "steps") if (value := getattr(options, name))}
    with filling(out, "distillation", lambda results: distillation_page.page(results.cells, out)) as results:
        _fill(options, rows, [length], results)
    return {"out": str(out), "cells": results.cells}, _written(out)


def _time(options) -> tuple[dict, list[str]]:
    out, rows = Path(options.out), distillation.chosen(options.rows) if options.rows else time_to_agreement.DEFAULT

    def page(results) -> list[str]:
        return time_to_agreement.page(results.cells, out, options.marks)

    with filling(out, "time-to-agreement", page) as results:
        _fill(options, rows, [{"budget": budget} for budget in options.budgets], results)
    return {"out": str(out), "cells": results.cells}, _written(out)


def _fill(options, rows, lengths: list[dict], results) -> None:
    """Measure what is missing of these rows with these budgets, or rounds and steps."""
    if options.page:
        return
    if options.folds and not options.teachers:
        raise FramiError("--folds holds out folds of a teacher's data set; name it: --teachers esc10 --folds 1,2")
    if options.gpus is not None and options.gpus % 1 and any(length.get("budget") for length in lengths):
        raise FramiError("--gpus 0.25 shares a GPU, on which a budget of time buys less: give --rounds and --steps")
    here, shared = context(options), {"student": options.student, "clips": options.clips, "batch": options.batch}
    bases = [Settings(**length, **shared) for length in lengths]
    with scaling.engine(options) as engine:
        for teacher in in_turn.teachers(options.teachers or TEACHERS, options.folds, here, options.epochs, engine):
            distillation.fill(teacher, rows, bases, options.seeds, results, here, options.on, engine)


def _vocoder(options) -> tuple[dict, list[str]]:
    def compare() -> dict:
        return vocoder.compare(
            options.vocoders, options.dataset, context(options), split=options.split, clips=options.clips,
            seconds=options.seconds, made=options.made,
        )  # fmt: skip

    run = [*_given(options, "dataset"), *([f"--split {options.split}"] if options.split != "test" else [])]
    run += [f"--clips {options.clips} --seconds {options.seconds:g} --made {options.made}"]
    return _page(options, "vocoder", compare, vocoder.page, [*run, *_given(options, "vocoders")])


def _strangers(options) -> tuple[dict, list[str]]:
    def compare() -> dict:
        return strangers.compare(options.checkpoints, options.datasets, context(options))

    return _page(options, "strangers", compare, strangers.page, _given(options, "checkpoints", "datasets"))


def _teachers(options) -> tuple[dict, list[str]]:
    out, rows = Path(options.out), teachers.chosen(options.only)
    run = " ".join(["frami bench teachers", *_given(options, "only"), "--data FOLDER"])
    settings = Settings(student=options.student, budget=options.budget)
    with filling(out, "teachers", lambda results: teachers_page.page(results.cells, run)) as results:
        if not options.page:
            teachers.fill(rows, settings, options.seeds, results, context(options), _imported)
    return {"out": str(out), "cells": results.cells}, _written(out)


def _imported(arguments: Sequence[str]) -> dict:
    """What ``frami import`` with these arguments returns."""
    parser = Parser(prog="frami")
    importing.add(parser.add_subparsers(dest="command"))
    options = parser.parse_args(["import", *arguments])
    return options.run(options)[0]


def _folds(options) -> tuple[dict, list[str]]:
    settings = {k: getattr(options, k) for k in ("epochs", "batch", "lr", "seed") if getattr(options, k) is not None}
    plan = folds.Plan(
        options.dataset, options.architecture, options.size, options.here, tuple(options.folds or ()),
        Path(options.keep) if options.keep else None, settings, options.skip_bad,
    )  # fmt: skip
    run = [
        f"--dataset {shlex.quote(label(options.dataset))}",  # a page names one's own folder, not where it lies
        *(["--here"] if options.here else []),
        *_given(options, "folds"),
    ]
    run += [f"--architecture {options.architecture}"] if options.architecture != DEFAULT else []
    run += [f"--size {options.size}"] if options.size != "base" else []
    run += [f"--{name} {value}" for name, value in settings.items()]
    run += ["--skip-bad"] if options.skip_bad else []

    def measure() -> dict:
        with scaling.engine(options) as engine:
            return folds.run(plan, context(options), engine, skipping(options))

    return _page(options, "folds", measure, folds.page, run)


def _given(options, *wanted: str) -> list[str]:
    """Options that take names, as they were given."""
    values = {name: getattr(options, name) for name in wanted}
    return [f"--{name} {shlex.quote(','.join(value))}" for name, value in values.items() if value]


def _page(
    options, name: str, measure: Callable[[], dict], page: Callable[[dict, str], list[str]], run: list[str]
) -> tuple[dict, list[str]]:
    """Measure, and write the page with its figures beside it where there is an ``--out``; one that is something else is
    refused before."""
    out = Path(options.out) if options.out else None
    if out:
        pages.check(out, name)
    value = measure()
    lines = page(value, " ".join([f"frami bench {name}", *run, "--data FOLDER"]))
    if out:
        pages.write(out, lines)
        files.write_json(out.with_suffix(".json"), value)
    return value, lines
