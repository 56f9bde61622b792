"""Pages of results and their pictures: introductions, tables, statistics; written whole, never over another file."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, stdev

from frami import files
from frami.errors import FramiError


def intro(page: str, **values) -> list[str]:
    """Title and text at the head of a page, from the file of its name, with the values of this run."""
    return _template(page).format(**values).splitlines()


def _template(page: str) -> str:
    return (Path(__file__).parent / "intro" / f"{page}.md").read_text(encoding="utf-8")


def check(out: Path, page: str) -> None:
    """Refuse to write over a file that is no such page. Raises FramiError."""
    title = _template(page).partition("\n")[0]
    try:
        ours = not out.exists() or out.read_text(encoding="utf-8").startswith(f"{title}\n")
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise FramiError(f"{out} is there and is no page '{title[2:]}'; move it away, or choose another --out")


def write(out: Path, lines: Sequence[str]) -> None:
    """Write a page. Raises FramiError."""
    try:
        files.write(out, "\n".join(lines) + "\n")
    except files.FullError as error:
        error.advice = "give the same command again: it measures again what it has not stored"
        raise
    except OSError as error:
        raise FramiError(f"{out}: the page cannot be written ({error.strerror})") from error


def heading(title: str, *paragraphs: str) -> list[str]:
    return ["", f"## {title}", *(line for text in paragraphs for line in ("", text))]


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, after an empty one."""
    return ["", _row(heads), f"|{'---|' * len(heads)}", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    """Text of a cell: names hold any sign, and a bar or the end of a line would end it."""
    return " ".join(text.splitlines()).replace("|", "\\|")


def mean_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean (None of nothing) and sample standard deviation (None of one value)."""
    return fmean(values) if values else None, stdev(values) if len(values) > 1 else None


def plus_minus(mean: float | None, sd: float | None, form: str = ".1f", none: str = "–") -> str:
    """``mean ± sd``, the mean alone, or ``none``."""
    if mean is None:
        return none
    return f"{mean:{form}}" + ("" if sd is None else f" ± {sd:{form.lstrip('+')}}")


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator:
    """Axes, in inches, that are written to ``path`` at the end of the block. Raises FramiError."""
    from matplotlib.figure import Figure

    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots()
    yield axes
    axes.spines[["top", "right"]].set_visible(False)
    try:
        with files.replacing(path) as temporary:
            figure.savefig(temporary, dpi=150)
    except (OSError, ValueError) as error:
        raise FramiError(f"{path}: the picture cannot be written there ({error})") from error
