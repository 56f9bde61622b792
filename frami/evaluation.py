"""What a classifier is worth on real recordings, and what it costs: for a teacher or a student."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frami import checkpoints, cost, train
from frami.adapter import chosen
from frami.checkpoints import Card, Checkpoint
from frami.cost import Cost
from frami.data import LogMels, Skip
from frami.errors import FramiError
from frami.features.embeddings import embed
from frami.features.recordings import Origin, choose
from frami.intervals import wilson
from frami.weights import paths

#: Bins of the calibration error (Guo et al., ICML 2017).
BINS = 15


@dataclass(frozen=True)
class Report:
    """What a classifier predicts of real clips, and what it costs.

    ``interval`` : 95 % of the accuracy, as if clips were drawn independently; ``balanced_accuracy`` : mean over the
    classes that have clips of the share that is recognised; ``confusion[i, j]`` : clips of class i predicted as class
    j, Tensor[K, K]; ``agreement`` : share of clips of which its teacher predicts the same class, None without one;
    ``ece`` : expected calibration error, 0–1; ``origin`` : where the clips come from; ``cost`` : of a clip as long as
    its training clips; ``bytes`` : of the weights' file; ``average_precision`` : mean over the classes that have clips
    (mAP), of a multi-label network, else None.
    """

    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    clips: int
    confusion: Tensor
    agreement: float | None
    ece: float
    origin: Origin
    cost: Cost
    bytes: int
    average_precision: float | None = None

    def per_class(self) -> Tensor:
        """Share of each class that is recognised, Tensor[K] (NaN where no clip is)."""
        return recall(self.confusion)


def evaluate(
    path: str | Path,
    dataset: str | None = None,
    split: str = "test",
    data_folder: str | Path | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    skip: Skip = None,
) -> Report:
    """Measure a checkpoint (by name or path) on the real clips that ``recordings.choose`` takes, at full length.

    Where its own data set is not here and no folder is named, these are the held-out recordings that ship
    (``Report.origin.shipped``). Of a multi-label network all rows of one's own table that name the same file are one
    clip of several classes.

    Of another data set than it was trained on, those classes count that both have; the network still chooses among all
    that it knows. Long recordings of one's own count by their segments. ``progress(done, total)`` counts clips. skip :
    as of ``data.load``. Raises FramiError subclasses.
    """
    classifier = checkpoints.load(path, device)
    card, more = classifier.card, {"skip": skip, "else_shipped": True}
    clips, origin = choose(card, dataset, split, data_folder, classifier.spec, **more)
    logits = embed(classifier, clips, progress=progress).logits
    predicted, there = logits.argmax(1), None
    if classifier.multilabel:
        rows, there = together(clips)
    return Report(
        **(scores(logits, clips.labels) if there is None else scores_of_several(logits[rows], there)),
        agreement=agreement(classifier, predicted, clips, dataset, split, data_folder),
        origin=origin,
        cost=cost.measure(classifier.model, classifier.spec, classifier.card.seconds),
        bytes=paths(checkpoints.resolve(path))[0].stat().st_size,
    )


def scores(logits: Tensor, labels: Tensor) -> dict:
    """Accuracies with the interval, confusions and calibration, as fields of a ``Report``.

    logits : Tensor[N, K], labels : Tensor[N]; one clip is enough, and classes may be without any.
    """
    from torchmetrics.functional import classification as measures

    count, classes = logits.shape
    confusion = train.confusion(labels, logits.argmax(1), classes)
    ece = measures.multiclass_calibration_error(logits.softmax(1), labels, classes, n_bins=BINS)
    return shares(confusion) | {"clips": count, "confusion": confusion, "ece": float(ece)}


def scores_of_several(logits: Tensor, there: Tensor) -> dict:
    """The same of a multi-label network, with its mean average precision: the accuracy is the share of clips whose
    likeliest class is one of theirs, calibration that of all probabilities.

    logits : Tensor[N, K]; there : Tensor[N, K], 1 for each class of a clip, of which it has at least one, else 0.
    """
    from torchmetrics.functional import classification as measures

    labels = _nearest(there, logits.argmax(1))
    ece = measures.binary_calibration_error(logits.sigmoid().flatten(), there.flatten(), n_bins=BINS)
    return scores(logits, labels) | {"ece": float(ece), "average_precision": average_precision(logits, there)}


def confusion(predicted: Tensor, clips: LogMels, multilabel: bool = False) -> Tensor:
    """Clips of class i predicted as class j, Tensor[K, K]; predicted : classes, Tensor[N]. Of a multi-label network
    each file counts once: as its predicted class where that is one of its own, else as the first of these."""
    classes = len(clips.classes)
    if not multilabel:
        return train.confusion(clips.labels, predicted, classes)
    rows, there = together(clips)
    return train.confusion(_nearest(there, predicted[rows]), predicted[rows], classes)


def _nearest(there: Tensor, predicted: Tensor) -> Tensor:
    """The class of each clip, Tensor[N], that its predicted one is, else the first; there : Tensor[N, K]."""
    return torch.where(there.gather(1, predicted[:, None])[:, 0] > 0, predicted, there.argmax(1))


def together(clips: LogMels) -> tuple[list[int], Tensor]:
    """Clips that are listed once for each of their classes: the first row of each, and their classes, Tensor[N, K] of
    0 and 1."""
    first: dict[str, int] = {}
    for row, clip in enumerate(clips.clips):
        first.setdefault(clip.key, row)
    numbers = {key: number for number, key in enumerate(first)}
    there = torch.zeros(len(first), len(clips.classes), dtype=torch.long)
    there[[numbers[clip.key] for clip in clips.clips], clips.labels] = 1
    return list(first.values()), there


def average_precision(logits: Tensor, there: Tensor) -> float:
    """Mean average precision (mAP): of each class that has clips the area under the steps of precision against recall.

    logits : Tensor[N, K]; there : Tensor[N, K], 1 for each class that is in a clip, else 0.
    """
    from torchmetrics.functional import classification as measures

    some = there.any(0).nonzero()[:, 0].tolist()
    each = [measures.binary_average_precision(logits[:, k].sigmoid(), there[:, k]) for k in some]
    return float(torch.stack(each).mean())


def shares(confusion: Tensor) -> dict:
    """Accuracy with its interval, and balanced accuracy, of confusions Tensor[K, K] with at least one clip."""
    right, count = int(confusion.diagonal().sum()), int(confusion.sum())
    return {
        "accuracy": right / count,
        "interval": wilson(right, count),
        "balanced_accuracy": float(recall(confusion).nanmean()),
    }


def recall(confusion: Tensor) -> Tensor:
    """Share of each class that is recognised, Tensor[K] (NaN where no clip is), of confusions Tensor[K, K]."""
    return confusion.diagonal() / confusion.sum(1)


def agreement(
    classifier: Checkpoint,
    predicted: Tensor,
    clips: LogMels,
    dataset: str | None,
    split: str,
    data_folder: str | Path | None,
) -> float | None:
    """Share of the clips of which a student and its teacher predict the same class; None without a teacher, or where
    that is not here any more.

    predicted : the student's classes, Tensor[N], of ``clips``, which ``choose`` took of ``dataset`` and ``split``.
    """
    path = teacher_path(classifier.card)
    if path is None:
        return None
    teacher = checkpoints.load(path, classifier.device)
    if set(classifier.classes) < set(teacher.classes):
        with suppress(FramiError):
            teacher = chosen(teacher, classifier.classes)
    if teacher.classes != classifier.classes:
        return None
    if teacher.spec != classifier.spec:
        more = {"skip": lambda line: None, "else_shipped": True}
        clips, _ = choose(classifier.card, dataset, split, data_folder, teacher.spec, **more)
    return float((embed(teacher, clips).logits.argmax(1) == predicted).float().mean())


def teacher_path(card: Card) -> Path | None:
    """Path of the teacher that a student learnt from: where it was then, or by its name, and with the weights that the
    student's card names, if any; None where it is not here."""
    weights = card.training.get("teacher_sha256", "")
    for name in filter(None, (card.training.get("teacher"), card.teacher)):
        with suppress(checkpoints.CheckpointError):
            path = checkpoints.resolve(name)
            if not weights or checkpoints.read_card(path).sha256 == weights:
                return path
    return None
