"""What the commands share: argument types, common options, progress bars."""

import argparse
import csv
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from frami.errors import FramiError, sentence

#: Digits of a whole number at most, so that it fits where it is counted.
_DIGITS = 19


class _Help(argparse.HelpFormatter):
    """Breaks lines between words only: names have hyphens."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """Reports bad arguments in one line, with exit status 2."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **({"formatter_class": _Help} | settings))

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {sentence(message)} Try: {self.prog} --help\n")


def command(commands, name: str, run: Callable, about: str = "") -> Parser:
    """A command of a group, added where it is not there yet; ``run(options)`` returns the JSON value and the lines for
    people."""
    sub = commands.choices.get(name) or commands.add_parser(name, help=about, description=about)
    sub.add_argument("--json", action="store_true", help="print one JSON value and nothing else")
    sub.set_defaults(run=run)
    return sub


def group(commands, name: str, metavar: str = "ACTION"):
    """The commands of a command that has some of its own."""
    return commands.choices[name].add_subparsers(dest="action", required=True, metavar=metavar, parser_class=Parser)


def data_option(parser: Parser) -> None:
    parser.add_argument("--data", help="folder that holds fsdd/, ESC-50/, … (default: FRAMI_DATA)")


#: What ``--skip-bad`` does.
BAD = "leave out files that are unreadable, empty or silent, and name them (default: an error)"


def recordings_option(parser: Parser, about: str) -> None:
    """``--dataset`` of the catalogue or of one's own, with ``--skip-bad``; both as they are given to the engine."""
    own = "or your own recordings: a folder with a folder for each class, or a CSV (file, class, fold, group)"
    parser.add_argument("--dataset", metavar="NAME|PATH", help=f"{about}; {own}")
    parser.add_argument("--skip-bad", action="store_true", help=BAD)


def skipping(options) -> Callable[[str], None] | None:
    """What ``--skip-bad`` does with each file that cannot be used: it is named once."""
    named: set[str] = set()

    def name(line: str) -> None:
        if line not in named:
            print(f"frami {options.command}: left out: {line}", file=sys.stderr)
        named.add(line)

    return name if options.skip_bad else None


def device_option(parser: Parser, data: bool = False) -> None:
    """``--device``, after ``--data`` for a command that reads recordings too."""
    if data:
        data_option(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def names(text: str) -> list[str]:
    """Names with commas between them; one that has a comma itself stands in double quotes, as in a CSV file."""
    found = split_names(text)
    if not found:
        raise argparse.ArgumentTypeError("expected names with commas between them")
    return found


def split_names(text: str) -> list[str]:
    rows = csv.reader([text.replace("\n", " ")], skipinitialspace=True)
    return [name for part in next(rows, []) if (name := part.strip())]


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads a whole number that is not below ``least`` and not above ``most``."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise argparse.ArgumentTypeError(f"'{shorten(text)}' is not a whole number")
        if len(text) > _DIGITS:
            raise argparse.ArgumentTypeError(f"{shorten(text)} is too large")
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is below {least}")
        if most is not None and value > most:
            raise argparse.ArgumentTypeError(f"{value} is above {most}")
        return value

    return read


#: A seed of random numbers.
seed = whole(0, 2**32 - 1)


def number(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{shorten(text)}' is not a number") from None
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{shorten(text)} is not between {least:g} and {most:g}")
        return value

    return read


def progress_bar(unit: str, label: str = "", scale: bool = False):
    from tqdm import tqdm

    return tqdm(unit=unit, desc=label or None, disable=None, leave=False, file=sys.stderr, unit_scale=scale)


def moved(bar) -> Callable[[int, int], None]:
    def report(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return report


@contextmanager
def progress(unit: str, label: str = "") -> Iterator[Callable[[int, int], None]]:
    """A progress bar for the block, which reports ``(done, total)``."""
    with progress_bar(unit, label) as bar:
        yield moved(bar)


def context(options):
    """Where a benchmark computes, finds recordings and reports; FramiError for a device that is not here."""
    from frami.bench.results import Context
    from frami.device import pick

    name = getattr(options, "device", "cpu")
    return Context(pick(name), options.data, progress, name)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, each column as wide as its longest cell; the first, of names, is cut at 60 characters."""
    rows = [[shorten(row[0]), *row[1:]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def class_numbers(given: Sequence[str] | None, classes: Sequence[str]) -> list[int] | None:
    """Indices of classes; each of ``given`` is one class's name, with whatever commas, or several names or numbers with
    commas between them. FramiError lists the classes for another one."""
    if given is None:
        return None
    found = []
    for text in given:
        found += [text] if text in classes else split_names(text)
    if not found:
        raise FramiError("name a class: its name or its number, several with commas between them")
    return [_class_number(name, classes) for name in found]


def _class_number(name: str, classes: Sequence[str]) -> int:
    if name in classes:
        return classes.index(name)
    if re.fullmatch(r"[0-9]{1,9}", name) and int(name) < len(classes):
        return int(name)
    from frami.data.matching import shortened

    last = len(classes) - 1
    raise FramiError(f"no class '{shorten(name)}'; choose 0 to {last} or out of: {shortened(classes, 60)}")


def shorten(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def checkpoint_path(text: str) -> Path:
    """Path (without ending) of a checkpoint given by name, by path, or as the run (id, its beginning or folder) whose
    student it is. FramiError when there is none."""
    from frami import checkpoints
    from frami.runs import RunError, Runs

    folder = Path(text)
    try:
        return checkpoints.resolve(text)
    except checkpoints.CheckpointError as error:
        if not checkpoints.exists(folder / "student"):
            try:
                folder = Runs().find(text).folder
            except RunError as none:
                raise FramiError(f"{sentence(error)} As a run: {none}") from None
    if not checkpoints.exists(folder / "student"):
        raise FramiError(f"run {text} has no student yet: {folder}/student.safetensors is not there")
    return folder / "student"
