"""``frami teachers | train-teacher | evaluate``: classifiers and real recordings."""

import time

from frami.cli.parts import command, data_option, device_option, moved, names, number, progress_bar, whole


def add(commands) -> None:
    command(commands, "teachers", _teachers, "The teachers that are here.")

    sub = command(commands, "train-teacher", _train_teacher, "Train a teacher; goes on where it was stopped.")
    sub.add_argument("--dataset", required=True, help="fsdd, audiomnist, esc10, esc50 or urbansound8k")
    sub.add_argument("--out", required=True, help="path of the checkpoint, without ending")
    sub.add_argument("--size", default="base", help="nano, tiny, mini, small, base (default), large or huge")
    sub.add_argument("--overwrite", action="store_true", help="replace a finished checkpoint at --out")
    sub.add_argument("--train", type=names, help="folds to train on (default: all here but the test fold)")
    sub.add_argument("--test", type=names, help="folds to hold out (default: the data set's test fold)")
    sub.add_argument("--epochs", type=whole(1))
    sub.add_argument("--batch", type=whole(2))
    sub.add_argument("--lr", type=number(1e-6, 1))
    sub.add_argument("--seed", type=whole(0), default=0)
    data_option(sub)
    device_option(sub)

    sub = command(commands, "evaluate", _evaluate, "Accuracy of a checkpoint on real recordings.")
    sub.add_argument("checkpoint", help="name of a bundled teacher, or path")
    sub.add_argument("--dataset", help="default: the one that it was trained on")
    sub.add_argument("--split", default="test", help="test (what its card holds out), train, all, or a fold")
    data_option(sub)
    device_option(sub)


def _teachers(options) -> tuple[list, list[str]]:
    from frami.checkpoints import bundled

    rows = [
        {
            "name": card.name,
            "dataset": card.dataset,
            "classes": list(card.classes),
            "parameters": card.parameters,
            "accuracy": card.accuracy,
            "split": card.split,
        }
        for card in bundled("teacher")
    ]
    lines = []
    for row in rows:
        accuracy = "not measured" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
        held = ", ".join(row["split"].get("test", [])) or "nothing"
        lines.append(
            f"{row['name']:13} {row['parameters'] / 1e6:5.2f} M parameters  {accuracy} on {held} (held out)  "
            f"{', '.join(row['classes'])}"
        )
    return rows, lines or ["no teacher is here; make one with: frami train-teacher"]


def _train_teacher(options) -> tuple[dict, list[str]]:
    from dataclasses import asdict

    from frami.device import pick
    from frami.teachers import train_teacher

    settings = {k: getattr(options, k) for k in ("epochs", "batch", "lr", "seed") if getattr(options, k) is not None}
    start = time.perf_counter()
    with progress_bar("clip", "log-Mels") as clips, progress_bar("epoch", options.dataset) as epochs:

        def on_epoch(epoch) -> None:
            epochs.set_postfix(loss=f"{epoch.loss:.3f}", accuracy=f"{epoch.accuracy:.1%}")
            moved(epochs)(epoch.epoch, epoch.epochs)

        card = train_teacher(
            options.dataset,
            options.out,
            data_folder=options.data,
            size=options.size,
            train_folds=options.train,
            test_folds=options.test,
            device=pick(options.device),
            on_clips=moved(clips),
            on_epoch=on_epoch,
            overwrite=options.overwrite,
            **settings,
        )
    value = asdict(card) | {"seconds_spent": round(time.perf_counter() - start, 1)}
    return value, [f"{options.out}.safetensors: {card.accuracy:.1%} on {', '.join(card.split['test'])} (held out)"]


def _evaluate(options) -> tuple[dict, list[str]]:
    from frami import checkpoints
    from frami.device import pick
    from frami.teachers import evaluate

    teacher = checkpoints.load(options.checkpoint, pick(options.device))
    with progress_bar("clip", "evaluate") as bar:
        result = evaluate(teacher, options.dataset, options.split, options.data, moved(bar))
    shares = result.per_class().tolist()
    value = {
        "checkpoint": teacher.card.name,
        "dataset": options.dataset or teacher.card.dataset,
        "split": options.split,
        "accuracy": result.accuracy,
        "clips": result.clips,
        "per_class": {
            name: None if share != share else share for name, share in zip(teacher.classes, shares, strict=True)
        },
        "confusion": result.confusion.tolist(),
    }
    width = max(map(len, teacher.classes))
    lines = [f"{result.accuracy:.2%} of {result.clips} clips ({value['dataset']}, {options.split})"]
    lines += [f"  {name:{width}} {share:6.1%}" for name, share in value["per_class"].items() if share is not None]
    return value, lines
