"""``frami teachers | students | train-teacher``: classifiers, and their training on real recordings."""

import time
from dataclasses import asdict

from frami import checkpoints
from frami.cli.arguments import command, device_option, moved, names, number, progress_bar, whole
from frami.device import pick
from frami.models import ARCHITECTURES
from frami.teachers import train_teacher


def add(commands) -> None:
    command(commands, "teachers", _teachers)
    command(commands, "students", _students)

    sub = command(commands, "train-teacher", _train_teacher)
    sub.add_argument("--dataset", required=True, help="fsdd, audiomnist, esc10, esc50 or urbansound8k")
    sub.add_argument("--out", required=True, help="path of the checkpoint, without ending")
    kinds = "; ".join(f"{name}: {row.about}" for name, row in ARCHITECTURES.items())
    sizes = " or ".join(f"{', '.join(row.sizes)} ({name})" for name, row in ARCHITECTURES.items())
    sub.add_argument("--architecture", default="residual", help=f"{kinds} (default: residual)")
    sub.add_argument("--size", default="base", help=f"{sizes} (default: base)")
    sub.add_argument("--overwrite", action="store_true", help="replace a finished checkpoint at --out")
    sub.add_argument("--train", type=names, help="folds to train on (default: all here but the test fold)")
    sub.add_argument("--test", type=names, help="folds to hold out (default: the data set's test fold)")
    sub.add_argument("--epochs", type=whole(1))
    sub.add_argument("--batch", type=whole(2))
    sub.add_argument("--lr", type=number(1e-6, 1))
    sub.add_argument("--seed", type=whole(0), default=0)
    device_option(sub, data=True)


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


def _line(row: dict) -> str:
    accuracy = "not measured" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
    held = ", ".join(row["split"].get("test", [])) or "nothing"
    return (
        f"{row['name']:13} {row['parameters'] / 1e6:5.2f} M parameters  {accuracy} on {held} (held out)  "
        f"{', '.join(row['classes'])}"
    )


def _train_teacher(options) -> tuple[dict, list[str]]:
    settings = {k: getattr(options, k) for k in ("epochs", "batch", "lr", "seed") if getattr(options, k) is not None}
    start = time.perf_counter()
    with progress_bar("clip", "log-Mels") as clips, progress_bar("epoch", options.dataset) as epochs:

        def on_epoch(epoch) -> None:
            epochs.set_postfix(loss=f"{epoch.loss:.3f}", accuracy=f"{epoch.accuracy:.1%}")
            moved(epochs)(epoch.epoch, epoch.epochs)

        card = train_teacher(
            options.dataset, options.out, data_folder=options.data, architecture=options.architecture,
            size=options.size, train_folds=options.train, test_folds=options.test, device=pick(options.device),
            on_clips=moved(clips), on_epoch=on_epoch, overwrite=options.overwrite, **settings,
        )  # fmt: skip
    value = asdict(card) | {"seconds_spent": round(time.perf_counter() - start, 1)}
    return value, [f"{options.out}.safetensors: {card.accuracy:.1%} on {', '.join(card.split['test'])} (held out)"]
