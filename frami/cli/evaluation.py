"""``frami evaluate``: what a network is worth on real recordings."""

from dataclasses import asdict

from frami import checkpoints
from frami.checkpoints import Card
from frami.cli.arguments import (
    aligned,
    checkpoint_path,
    command,
    device_option,
    moved,
    progress_bar,
    recordings_option,
    skipping,
)
from frami.data.catalogue import DATASETS, in_words
from frami.data.matching import shortened
from frami.device import pick
from frami.evaluation import Report, evaluate
from frami.intervals import wilson

#: Classes up to which all are printed; of more, so many of the worst and of the best.
ALL, WORST, BEST = 20, 10, 3


_ALL_OF_THEM = "the data set is not here; of the whole test part: --data, or FRAMI_DATA, names the folder that holds it"


def add(commands) -> None:
    sub = command(commands, "evaluate", _evaluate)
    sub.add_argument("checkpoint", help="name of a teacher or student, a path, or a run (id or folder)")
    other = "default: the one that it was trained on; of another one those clips count whose classes it knows"
    recordings_option(sub, other)
    folds = "test (what its card holds out, or the other data set's test fold), train, all, or folds"
    sub.add_argument("--split", default="test", help=folds)
    device_option(sub, data=True)


def _evaluate(options) -> tuple[dict, list[str]]:
    path = checkpoint_path(options.checkpoint)
    card = checkpoints.read_card(path)
    with progress_bar("clip", "evaluate") as bar:
        found = evaluate(
            path, options.dataset, options.split, options.data, pick(options.device), moved(bar), skipping(options)
        )
    value = _value(found, card, options.split)
    return value, _summary(value, card)


def _value(found: Report, card: Card, split: str) -> dict:
    """An evaluation as plain numbers; classes by name, None of those without clips."""
    count, right = found.confusion.sum(1).tolist(), found.confusion.diagonal().tolist()
    shares = [r / n if n else None for r, n in zip(right, count, strict=True)]
    intervals = [wilson(r, n) if n else None for r, n in zip(right, count, strict=True)]
    scalars = ("accuracy", "interval", "balanced_accuracy", "clips", "agreement", "ece", "average_precision")
    return {
        "checkpoint": card.name, "dataset": found.origin.dataset, "split": split,
        **{name: getattr(found, name) for name in scalars},
        "trained_on": card.dataset, "other_corpus": found.origin.other, "trained_on_some": found.origin.trained,
        "shipped": found.origin.shipped,
        **{name: getattr(found.origin, name) for name in ("folds", "sources", "matched", "left_out", "heard")},
        **asdict(found.cost),
        "bytes": found.bytes,
        "per_class": dict(zip(card.classes, shares, strict=True)),
        "per_class_clips": dict(zip(card.classes, count, strict=True)),
        "per_class_interval": dict(zip(card.classes, intervals, strict=True)),
        "without_clips": [name for name, n in zip(card.classes, count, strict=True) if not n],
        "confusion": found.confusion.tolist(),
    }  # fmt: skip


def _summary(value: dict, card: Card) -> list[str]:
    """An evaluation as lines for people."""
    low, high = value["interval"]
    agreement = ""
    if value["agreement"] is not None:
        agreement = (
            f"; predicts the class that its teacher {card.teacher} does for {value['agreement']:.1%} of the clips"
        )
    elif card.teacher:
        agreement = f"; its teacher {card.teacher} is not here to compare with, or has other weights now"
    precision = value["average_precision"]
    clips = f"{value['clips']} clips ({value['dataset']}, {value['split']})"
    if value["shipped"]:
        held = in_words(value["dataset"], value["folds"])
        clips = f"{value['clips']} shipped recordings ({DATASETS[value['dataset']].title}, held-out {held})"
    return [
        *([] if precision is None else [f"mean average precision {precision:.3f} (multi-label); the likeliest class:"]),
        f"{value['accuracy']:.2%} of {clips}; "
        f"95% interval {low:.1%} to {high:.1%}; balanced accuracy {value['balanced_accuracy']:.1%}",
        *[_ALL_OF_THEM] * value["shipped"],
        *_origin(value, card),
        f"calibration error {value['ece']:.1%}{agreement}",
        f"{value['parameters']:,} parameters, {value['bytes'] / 1e3:,.0f} kB; a clip of {value['frames']} frames: "
        f"{value['macs'] / 1e6:,.1f} M multiply-adds, {value['latency_ms']:.2f} ms on one CPU thread",
        *_classes(value),
        *_confusions(value["confusion"], card),
    ]


def _origin(value: dict, card: Card) -> list[str]:
    """That the clips are of another corpus, and what was left out of it; that some are training clips."""
    if value["trained_on_some"]:
        return ["some of these clips are of folds that it was trained on"]
    if not value["other_corpus"]:
        return []
    left = sum(value["left_out"].values())
    parts = [f"another corpus than it was trained on ({card.title}): {value['sources']} speakers or sources"]
    parts += [f"{len(value['matched'])} of its {len(card.classes)} classes are there"]
    parts += [f"{left} clips of classes that it does not know are left out ({shortened([*value['left_out']], 5)})"] * (
        left > 0
    )
    parts += [f"{value['heard']} clips of its training's speakers or sources are left out"] * (value["heard"] > 0)
    return ["; ".join(parts)]


def _classes(value: dict) -> list[str]:
    """Accuracy of each class; of many classes that of the worst and of the best."""
    here = [(name, share) for name, share in value["per_class"].items() if share is not None]
    count = value["per_class_clips"]

    def rows(some) -> list[str]:
        return [f"  {line}" for line in aligned([(name, f"{share:6.1%} of {count[name]}") for name, share in some])]

    if len(here) <= ALL:
        lines = ["accuracy of each class", *rows(here)]
    else:
        here.sort(key=lambda row: row[1])
        lines = [f"the {WORST} worst of {len(here)} classes (all: --json)", *rows(here[:WORST])]
        lines += [f"the {BEST} best", *rows(here[: -BEST - 1 : -1])]
    without = value["without_clips"]
    return lines + [f"without clips: {shortened(without)}"] * bool(without)


def _confusions(confusion: list[list[int]], card: Card) -> list[str]:
    rows = enumerate(confusion)
    wrong = sorted(((n, i, j) for i, row in rows for j, n in enumerate(row) if i != j and n), reverse=True)
    lines = [f"  {card.classes[i]} predicted as {card.classes[j]}: {count}" for count, i, j in wrong[:3]]
    return ["most frequent confusions", *lines] if wrong else []
