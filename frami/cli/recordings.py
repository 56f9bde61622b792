"""``frami recordings``: the held-out recordings that ship with the project, made again from the data sets."""

from pathlib import Path

from frami import checkpoints
from frami.cli.arguments import command, data_option, moved, progress_bar
from frami.data import shipping
from frami.data.dataset import DataError
from frami.data.shipped import FOLDER
from frami.errors import FramiError


def add(commands) -> None:
    sub = command(commands, "recordings", _recordings)
    sub.add_argument("--out", type=Path, default=FOLDER, help="default: assets/recordings")
    data_option(sub)


def held_out() -> dict[str, set[str]]:
    """Of the data set of each bundled teacher the folds that its card holds out. FramiError where one of them is among
    those that a network of that data set learnt from."""
    found: dict[str, set[str]] = {}
    cards = [*checkpoints.bundled("teacher"), *checkpoints.bundled("student")]
    for card in cards:
        if card.kind == "teacher":
            found.setdefault(card.dataset, set(card.split["test"])).intersection_update(card.split["test"])
    for card in cards:
        learnt = {fold for part, folds in card.split.items() if part != "test" for fold in folds}
        if learnt & found.get(card.dataset, set()):
            raise FramiError(f"'{card.name}' was trained on what another network holds out of {card.dataset}")
    return found


def _recordings(options) -> tuple[dict, list[str]]:
    folds = held_out()
    if missing := {part.dataset for part in shipping.PARTS} - set(folds):
        raise DataError(f"no bundled teacher says what it holds out of {', '.join(sorted(missing))}")
    with progress_bar("clip", "recordings") as bar:

        def report(what: str, done: int, total: int) -> None:
            bar.set_description(what, refresh=False)
            moved(bar)(done, total)

        rows = shipping.make(folds, options.data, options.out, report)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    counts = {name: sum(name in row.datasets for row in rows) for name in sorted({n for r in rows for n in r.datasets})}
    value = {"out": str(options.out), "recordings": len(rows), "bytes": size, "datasets": counts}
    said = ", ".join(f"{count} of {name}" for name, count in counts.items())
    return value, [f"{len(rows)} recordings ({said}), {size / 1e6:.1f} MB: {options.out}"]
