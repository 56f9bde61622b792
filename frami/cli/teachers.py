"""``frami teachers | students | train-teacher``: classifiers, and their training on real recordings."""

import re
import sys
import time
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from frami import checkpoints, curve, data
from frami.cli.arguments import (
    command,
    device_option,
    moved,
    names,
    number,
    progress_bar,
    recordings_option,
    seed,
    skipping,
    split_names,
    whole,
)
from frami.data import own
from frami.data.catalogue import DATASETS
from frami.data.matching import shortened
from frami.device import pick
from frami.distributed import Group, joined
from frami.errors import FramiError
from frami.models import ARCHITECTURES
from frami.paths import BUNDLED, home
from frami.teachers import train_teacher
from frami.weights import stem

#: Classes of a network that a list of networks names at most.
CLASSES = 12


def add(commands) -> None:
    command(commands, "teachers", _teachers)
    command(commands, "students", _students)

    sub = command(commands, "train-teacher", _train_teacher)
    recordings_option(sub, f"needed: {', '.join(DATASETS)}")
    out = "path of the checkpoint, without ending (default for your own: FRAMI_HOME/teachers and the folder's name)"
    sub.add_argument("--out", help=out)
    kinds = "; ".join(f"{name}: {row.about}" for name, row in ARCHITECTURES.items())
    sizes = " or ".join(f"{', '.join(row.sizes)} ({name})" for name, row in ARCHITECTURES.items())
    sub.add_argument("--architecture", default="residual", help=f"{kinds} (default: residual)")
    sub.add_argument("--size", default="base", help=f"{sizes} (default: base)")
    sub.add_argument("--overwrite", action="store_true", help="replace a finished checkpoint at --out")
    sub.add_argument("--train", type=names, help="folds to train on (default: all here but the test fold)")
    sub.add_argument("--test", type=names, help="folds to hold out (default: the data set's test fold)")
    sub.add_argument(
        "--validation",
        help="folds that choose the best epoch, or the share of the training clips that "
        "does (default: the data set's own, else 0.1; 0: none, the last epoch is taken)",
    )
    suited = "(default: what suits the data set)"
    sub.add_argument("--epochs", type=whole(1), help=f"turns over the training clips {suited}")
    sub.add_argument("--batch", type=whole(2), help=f"clips of a training step {suited}")
    sub.add_argument("--lr", type=number(1e-6, 1), help=f"highest learning rate {suited}")
    sub.add_argument("--seed", type=seed, default=0, help="same seed, same teacher (default: 0)")
    device_option(sub, data=True)

    sub = command(commands, "curve", _curve)
    sub.add_argument("checkpoint", help="name or path of a teacher, or of its NAME.curve.csv; while it trains, too")
    sub.add_argument("--out", help="draw it to this file (.png, .svg, .pdf)")


def _teachers(options) -> tuple[list, list[str]]:
    rows = [_row(card) for card in checkpoints.bundled("teacher")]
    return rows, [_line(row) for row in rows] or ["no teacher is here; make one with: frami train-teacher"]


def _students(options) -> tuple[list, list[str]]:
    cards = checkpoints.bundled("student")
    rows = [_row(card) | {"teacher": card.teacher, "agreement": card.agreement} for card in cards]
    lines = []
    for row in rows:
        agrees = "" if row["agreement"] is None else f", agrees with it on {row['agreement']:.1%} of made clips"
        lines.append(f"{_line(row)}; teacher {row['teacher'] or 'unknown'}{agrees}")
    return rows, lines or ["no student is here; make one with: frami distill"]


def _row(card) -> dict:
    fields = ("name", "dataset", "classes", "parameters", "accuracy", "split")
    return {name: getattr(card, name) for name in fields} | {"classes": list(card.classes)}


def _named(folds: Sequence[str]) -> str:
    """Folds as a sentence has them: a number alone says nothing."""
    kind = ("fold " if len(folds) == 1 else "folds ") * all(fold.isdigit() for fold in folds)
    return f"{kind}{', '.join(folds)}" if folds else "nothing"


def _line(row: dict) -> str:
    accuracy, held = "not measured" if row["accuracy"] is None else f"{row['accuracy']:.1%}", row["split"].get("test")
    accuracy += f" on {_named(held)} (held out)" if held else ""
    return (
        f"{row['name']:13} {row['parameters'] / 1e6:5.2f} M parameters  {accuracy}  "
        f"{shortened(row['classes'], CLASSES)}"
    )


def _out(options) -> Path:
    """Where the checkpoint goes: ``--out``, or for one's own recordings a name of the folder's below ``FRAMI_HOME``, in
    small letters, that any system takes. FramiError where that name would not be found again."""
    if options.out:
        return stem(options.out)
    known = data.info(options.dataset)
    name = unicodedata.normalize("NFKD", known.title.lower()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", name).strip("-")[:60]
    folder = home() / "teachers"
    if not known.own or not name or checkpoints.exists(BUNDLED / name):
        why = f"'{name}' is a bundled checkpoint's name; " if name and known.own else ""
        example = folder / f"my-{name or 'teacher'}"
        raise FramiError(f"{why}say where it goes with --out, for example --out {example}")
    return folder / name


def _train_teacher(options) -> tuple[dict | None, list[str]]:
    with joined(options.device) as group:
        return _trained(options, group)


def _asked(options) -> tuple:
    """What a training is asked for: settings, data set, where it goes, notes and the folds of ``--validation``."""
    settings = {k: getattr(options, k) for k in ("epochs", "batch", "lr", "seed") if getattr(options, k) is not None}
    if not options.dataset:
        raise FramiError(f"name a data set with --dataset: {', '.join(DATASETS)}, or the path of your own recordings")
    known, out = data.info(options.dataset), _out(options)
    notes = [known.note, *own.absent(known)] if known.own else []
    for note in notes:
        print(f"frami train-teacher: {note}", file=sys.stderr)
    folds = None
    if options.validation is not None:
        share = _share(options.validation)
        settings |= {"validation": share or 0.0}
        folds = None if share is not None else split_names(options.validation)
        if folds == []:
            raise FramiError("--validation: expected a share, or folds with commas between them")
    return settings, known, out, notes, folds


def _trained(options, group: Group) -> tuple[dict | None, list[str]]:
    with group.main_first():
        settings, known, out, notes, folds = _asked(options)
    start = time.perf_counter()
    with progress_bar("clip", "log-Mels") as clips, progress_bar("epoch", known.title) as epochs:

        def on_epoch(epoch) -> None:
            epochs.set_postfix(loss=f"{epoch.loss:.3f}", accuracy=f"{epoch.accuracy:.1%}")
            moved(epochs)(epoch.epoch, epoch.epochs)

        card = train_teacher(
            options.dataset, out, data_folder=options.data, architecture=options.architecture,
            size=options.size, train_folds=options.train, validation_folds=folds, test_folds=options.test,
            device=group.device or pick(options.device), on_clips=moved(clips), on_epoch=on_epoch,
            overwrite=options.overwrite, skip=skipping(options), group=group, **settings,
        )  # fmt: skip
    if card is None:  # the main process tells
        return None, []
    value = asdict(card) | {"seconds_spent": round(time.perf_counter() - start, 1), "path": str(out), "notes": notes}
    return value, [
        f"{out}.safetensors: {card.accuracy:.1%} on {_named(card.split['test'])} (held out)",
        *_notes(card),
    ]


def _notes(card: checkpoints.Card) -> list[str]:
    """What else a training says of its result."""
    low, high = card.measured["interval"]
    shares = sorted(card.measured["per_class"].items(), key=lambda pair: pair[1])
    best, empty = card.training["best_epoch"], card.training.get("classes_without_clips", ())
    lines = [
        f"95% interval {low:.1%} to {high:.1%} of {card.clips} clips; mean of the classes "
        f"{card.measured['balanced_accuracy']:.1%}; lowest: "
        + ", ".join(f"{name} {share:.0%}" for name, share in shares[:3]),
    ]
    if best:
        lines.append(
            f"epoch {best} of {card.training['epochs']}, best on {card.training['validation_clips']} other clips"
        )
    if empty:
        lines.append(f"no clip to learn from: {', '.join(empty)}")
    return lines


def _share(text: str) -> float | None:
    """A share of 0 to 0.5; None for what is no number below 1 (the name of a fold)."""
    try:
        value = float(text)
    except ValueError:
        return None
    if value >= 1 and value.is_integer():
        return None
    if not 0 <= value <= 0.5:
        raise FramiError(f"--validation {text}: a share must be between 0 and 0.5")
    return value


def _curve(options) -> tuple[list[dict], list[str]]:
    path = Path(options.checkpoint)
    if path.suffix != ".csv":
        beside = path.parent / f"{path.name}.curve.csv"
        path = stem(path if beside.is_file() else checkpoints.resolve(options.checkpoint))
        path = path.with_name(f"{path.name}.curve.csv")
    rows = curve.read_curve(path)
    if not rows:
        raise FramiError(f"{path} holds no epoch yet")
    lines = ["epoch    loss  accuracy  validation"]
    for row in rows:
        seen = "" if row["validation"] is None else f"{row['validation']:11.1%}" + "  best so far" * row["best"]
        lines.append(f"{row['epoch']:5} {row['loss']:7.3f} {row['accuracy']:9.1%}{seen}")
    if options.out:
        drawn = curve.draw(rows, path.name.removesuffix(".curve.csv"), options.out)
        lines.append(f"drawn to {drawn}")
    return rows, lines
