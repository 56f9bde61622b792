"""Pages of results and their pictures: Markdown tables, written whole, never over a file that is something else."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from frami import files
from frami.errors import FramiError


def check(out: Path, title: str) -> None:
    """Refuse to write over a file that is no page of this title. Raises FramiError."""
    try:
        ours = not out.exists() or out.read_text(encoding="utf-8").startswith(f"# {title}\n")
    except (OSError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise FramiError(f"{out} is there and is no page '{title}'; move it away, or choose another --out")


def write(out: Path, lines: Sequence[str]) -> None:
    """Write a page. Raises FramiError."""
    try:
        files.write(out, "\n".join(lines) + "\n")
    except OSError as error:
        raise FramiError(f"{out}: the page cannot be written ({error.strerror})") from error


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table, after an empty one."""
    return ["", _row(heads), f"|{'---|' * len(heads)}", *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def mean_sd(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean (None of nothing) and sample standard deviation (None of one value)."""
    return (
        statistics.fmean(values) if values else None,
        statistics.stdev(values) if len(values) > 1 else None,
    )


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
