"""What a classifier is worth on real recordings, and what it costs: for a teacher or a student."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frami import checkpoints, cost, data
from frami.checkpoints import Card, Checkpoint
from frami.cost import Cost
from frami.data import LogMels
from frami.features import embeddings
from frami.intervals import wilson
from frami.weights import paths

#: Bins of the calibration error (Guo et al., ICML 2017).
BINS = 15


@dataclass(frozen=True)
class Report:
    """What a classifier predicts of real clips, and what it costs.

    ``interval`` : 95 % of the accuracy, as if clips were drawn independently; ``confusion[i, j]`` : clips of class i
    predicted as class j, Tensor[K, K]; ``agreement`` : share of clips of which its teacher predicts the same class,
    None without one; ``ece`` : expected calibration error, 0–1; ``cost`` : of a clip as long as its training clips;
    ``bytes`` : of the weights' file.
    """

    accuracy: float
    interval: tuple[float, float]
    clips: int
    confusion: Tensor
    agreement: float | None
    ece: float
    cost: Cost
    bytes: int

    def per_class(self) -> Tensor:
        """Share of each class that is recognised, Tensor[K] (NaN where no clip is)."""
        return self.confusion.diagonal() / self.confusion.sum(1)


def evaluate(
    path: str | Path,
    dataset: str | None = None,
    split: str = "test",
    data_folder: str | Path | None = None,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Measure a checkpoint (by name or path) on the real clips that ``embeddings.recordings`` chooses, at full length.

    ``progress(done, total)`` counts clips. Raises FramiError subclasses.
    """
    classifier = checkpoints.load(path, device)
    clips = embeddings.recordings(classifier, dataset, split, data_folder)
    logits = embeddings.embed(classifier, clips, progress=progress).logits
    return Report(
        **scores(logits, clips.labels),
        agreement=_agreement(classifier, logits, clips, dataset or classifier.card.dataset, data_folder),
        cost=cost.measure(classifier.model, classifier.spec, classifier.card.seconds),
        bytes=paths(checkpoints.resolve(path))[0].stat().st_size,
    )


def scores(logits: Tensor, labels: Tensor) -> dict:
    """Accuracy with its interval, confusions and calibration, as fields of a ``Report``.

    logits : Tensor[N, K], labels : Tensor[N].
    """
    from torchmetrics.functional import classification as measures

    count, classes = logits.shape
    predicted = logits.argmax(1)
    accuracy = measures.multiclass_accuracy(predicted, labels, classes, average="micro")
    return {
        "accuracy": float(accuracy),
        "interval": wilson(int((predicted == labels).sum()), count),
        "clips": count,
        "confusion": measures.multiclass_confusion_matrix(predicted, labels, classes),
        "ece": float(measures.multiclass_calibration_error(logits.softmax(1), labels, classes, n_bins=BINS)),
    }


def _agreement(
    classifier: Checkpoint, logits: Tensor, clips: LogMels, dataset: str, data_folder: str | Path | None
) -> float | None:
    """Share of the clips of which a student and its teacher predict the same class; None without a teacher, or where
    that is not here any more."""
    path = teacher_path(classifier.card)
    if path is None:
        return None
    teacher = checkpoints.load(path, next(classifier.model.parameters()).device)
    if teacher.classes != classifier.classes:
        return None
    if teacher.spec != classifier.spec:
        folds = dict.fromkeys(clip.fold for clip in clips.clips)
        clips = data.load(dataset, ",".join(folds), data_folder, teacher.spec)
    predicted = embeddings.embed(teacher, clips).predicted
    return float((predicted == logits.argmax(1)).float().mean())


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
