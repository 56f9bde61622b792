"""The learning curve of a training: kept as a table, read again, drawn."""

import csv
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from frami import files
from frami.errors import FramiError
from frami.train import Epoch

#: What every row has.
_ALWAYS = ("epoch", "epochs", "loss", "accuracy", "seconds")


class Curve:
    """The learning curve of a training, ``NAME.curve.csv``: a row an epoch, written after each; one that is there is
    continued, unless it is damaged. ``best`` : the best epoch so far, None without validation."""

    def __init__(self, out: Path):
        self.path = out.with_name(out.name + ".curve.csv")
        self.rows: list[dict] = []
        with suppress(FramiError):
            self.rows = read_curve(self.path)

    @property
    def best(self) -> int | None:
        return best_epoch(self.rows)

    def add(self, epoch: Epoch) -> None:
        self.rows = [row for row in self.rows if row["epoch"] < epoch.epoch] + [asdict(epoch)]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [field.name for field in fields(Epoch)], lineterminator="\n")
        writer.writeheader()
        for row in self.rows:
            writer.writerow({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()})
        files.write(self.path, text.getvalue())


def best_epoch(rows: Sequence[dict]) -> int | None:
    """The last epoch that was the best so far; None without validation."""
    return next((row["epoch"] for row in reversed(rows) if row["best"]), None)


def read_curve(path: str | Path) -> list[dict]:
    """Rows of a learning curve, keys as ``Epoch`` (values that are not there: None). FramiError for a file that
    is none."""
    kinds = {"epoch": int, "epochs": int, "best": lambda text: text == "True"}
    rows = []
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            for cells in csv.DictReader(file):
                row = {k: kinds.get(k, float)(v) if v else None for k, v in cells.items()}
                if any(row[name] is None for name in _ALWAYS):
                    raise ValueError(f"row {len(rows) + 1} is not whole")
                rows.append(asdict(Epoch(**row)))
    except FileNotFoundError:
        raise FramiError(
            f"{path} is not there: a learning curve is kept beside what frami train-teacher trains"
        ) from None
    except (KeyError, TypeError):
        raise FramiError(f"{path}: not a learning curve: its columns are others") from None
    except (OSError, ValueError, csv.Error) as error:
        raise FramiError(f"{path}: not readable as a learning curve ({str(error)[:200]}); remove it") from error
    return rows


def draw(rows: Sequence[dict], title: str, out: str | Path) -> Path:
    """Loss and accuracy over the epochs, the best epoch marked; the ending of ``out`` chooses the format (none: PNG).

    Returns where it is drawn. FramiError where it cannot be written.
    """
    from matplotlib.figure import Figure

    out = Path(out)
    if not out.suffix:
        out = out.with_name(f"{out.name}.png")
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots(1, 2)
    best = best_epoch(rows)
    parts = (("loss", "validation_loss", 1, "cross-entropy"), ("accuracy", "validation", 100, "accuracy, %"))
    for axis, (training, validation, scale, label) in zip(axes, parts, strict=True):
        for key, what in ((training, "training, augmented"), (validation, "validation")):
            points = [(row["epoch"], scale * row[key]) for row in rows if row[key] is not None]
            if points:
                axis.plot(*zip(*points, strict=True), label=what)
        if best:
            axis.axvline(best, color="0.6", linestyle=":", label=f"best epoch, {best}")
        axis.set(xlabel="epoch", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.suptitle(title, parse_math=False)
    try:
        if not out.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {out.parent}")
        with files.replacing(out) as temporary:
            figure.savefig(temporary, dpi=150)
        return out
    except (OSError, ValueError) as error:
        raise FramiError(f"{out}: the curve cannot be drawn there ({error})") from error
