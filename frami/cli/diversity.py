"""``frami diversity``: how rich the clips of banks are, beside each other and beside real recordings."""

import sys
from collections.abc import Iterable
from pathlib import Path

from frami import banks
from frami.bench import bank_diversity
from frami.cli.arguments import aligned, command, context, device_option, recordings_option, seed, skipping, whole
from frami.features.diversity import JUDGED, READING


def add(commands) -> None:
    sub = command(commands, "diversity", _diversity)
    sub.add_argument("banks", nargs="+", metavar="BANK", help="folder as written by frami synthesize")
    sub.add_argument("--teacher", help="path of the banks' teacher, where its name is not enough to find it")
    judge = "path of another network that hears the clips (default: the judge that comes with the teacher, if any)"
    sub.add_argument("--judge", help=judge)
    recordings_option(sub, "real recordings (default: those that the teacher was trained on)")
    sub.add_argument("--split", default="test", help="test (what the teacher's card holds out), train, all, or a fold")
    sub.add_argument("--samples", type=whole(2), help="clips of each bank, the first ones (default: of the smallest)")
    sub.add_argument("--seed", type=seed, default=0, help="of the draws for the intervals")
    device_option(sub, data=True)


def _diversity(options) -> tuple[dict, list[str]]:
    named = [(name, banks.load(name)) for name in options.banks]
    for name, bank in named:
        for part in bank.damaged:
            print(f"frami diversity: {name}: left out: {part}", file=sys.stderr)
    value, notes = bank_diversity.compare(
        named, context(options), samples=options.samples, teacher=options.teacher, dataset=options.dataset,
        split=options.split, seed=options.seed, skip=skipping(options), judge=options.judge,
    )  # fmt: skip
    return value, _lines(value, notes)


def _lines(value: dict, notes: list[str]) -> list[str]:
    """A column for each bank and a line for each measure, intervals in brackets, and how to read them."""
    names = [Path(row["bank"]).name for row in value["rows"]]
    shown = {name: how for name, how in READING.items() if value["judge"] or name not in JUDGED}
    columns = [["", "recipe", *shown]]
    for name, row in zip(names, value["rows"], strict=True):
        columns.append([row["bank"] if names.count(name) > 1 else name, str(row["recipe"]), *_cells(row, shown)])
    if value["reference"]:
        columns.append(["real training clips", "recorded", *_cells(value["reference"], shown)])
    beside = f", beside {value['real_clips']} real ones of {value['dataset']} ({value['split']})"
    equal = "Figures compare for equal numbers of clips only"
    if value["reference"]:
        equal += "; what real sound gets is in the last column"
    return [
        f"teacher {value['teacher']}; {value['samples']} clips each{beside if value['real_clips'] else ''}; "
        "95% intervals in brackets",
        "",
        *aligned([*zip(*columns, strict=True)]),
        "",
        *aligned([*shown.items()]),
        *([f"judge: {value['judge']}"] if value["judge"] else []),
        f"{equal}.",
        *notes,
    ]


def _cells(row: dict, shown: Iterable[str]) -> list[str]:
    cells = []
    for name in shown:
        ends = row["intervals"].get(name)
        interval = f" [{_figure(ends[0])}, {_figure(ends[1])}]" if ends else ""
        cells.append("-" if row[name] is None else _figure(row[name]) + interval)
    return cells


def _figure(value: float) -> str:
    """About three significant digits, never with an exponent."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.3f}"
