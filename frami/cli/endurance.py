"""``frami bench load`` and ``frami bench kills``: what a studio and commands endure."""

from pathlib import Path

from frami import files
from frami.bench import kills, load, pages
from frami.cli.arguments import command, number, progress, seed, whole
from frami.cli.distillation import seconds

_OUT = "page to write (.md); its figures lie beside it as .json"


def add(bench) -> None:
    sub = command(
        bench, "load", _load, "A studio of its own under many visitors at once: answers, memory, what is left."
    )
    usual = load.Plan()
    for name in ("listening", "synthesising", "distilling", "trying"):
        count = getattr(usual, name)
        sub.add_argument(f"--{name}", type=whole(0), default=count, help=f"visitors (default: {count})")
    sub.add_argument("--time", type=seconds, default=usual.seconds, help=f"default: {usual.seconds:g}s")
    sub.add_argument("--pause", type=number(0.05, 60), default=usual.pause, help="mean seconds between two clicks")
    sub.add_argument("--hosted", action="store_true", help="with the limits of a studio that strangers share")
    sub.add_argument("--out", help=_OUT)
    about = (
        "Commands and the studio, killed at random moments and given again: what was finished stays, and work goes on. "
        "Ends with status 1 where something was lost or stayed behind."
    )
    sub = command(bench, "kills", _kills, about)
    sub.add_argument("--times", type=whole(1), default=100, help="default: 100; Ctrl-C ends it before")
    sub.add_argument("--only", help=f"one of: {', '.join(kills.NAMES)} (default: in turn)")
    sub.add_argument("--seed", type=seed, default=0)
    sub.add_argument("--out", help=_OUT)


def _load(options) -> tuple[dict, list[str]]:
    who = ("listening", "synthesising", "distilling", "trying")
    counts = {name: getattr(options, name) for name in who}
    plan = load.Plan(**counts, seconds=options.time, pause=options.pause, hosted=options.hosted)
    run = [f"frami bench load --time {plan.seconds:g}s --pause {plan.pause:g}", *["--hosted"] * plan.hosted]
    run += [f"--{name} {count}" for name, count in counts.items()]
    if options.out:
        pages.check(Path(options.out), "load")
    with progress("s", "load") as report:
        value = load.run(plan, report)
    lines = load.page(value, " ".join(run))
    if options.out:
        pages.write(Path(options.out), lines)
        files.write_json(Path(options.out).with_suffix(".json"), value)
    return value, lines


def _kills(options) -> tuple[dict, list[str], bool]:
    words = f"frami bench kills --times {options.times} --seed {options.seed}"
    words += f" --only {options.only}" if options.only else ""
    if options.out:
        pages.check(Path(options.out), "kills")
    with progress("kills", "kills") as report:
        value = kills.run(options.times, report, options.seed, options.only)
    lines = kills.page(value, words)
    if options.out:
        pages.write(Path(options.out), lines)
        files.write_json(Path(options.out).with_suffix(".json"), value)
    return value, lines, not kills.held(value)
