"""What a classifier is worth on real recordings, and what it costs: for a teacher or a student."""

import copy
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frami import checkpoints, data, models
from frami.checkpoints import Card, Checkpoint
from frami.data import LogMels
from frami.device import threads
from frami.features import embeddings
from frami.intervals import wilson

#: Bins of the calibration error (Guo et al., ICML 2017).
BINS = 15


@dataclass(frozen=True)
class Report:
    """A classifier's answers to real clips, and its size.

    ``interval`` : 95 % of the accuracy, as if clips were drawn independently; ``confusion[i, j]`` : clips of class i
    heard as class j, Tensor[K, K]; ``agreement`` : share of clips heard as its teacher hears them, None without one;
    ``ece`` : expected calibration error, 0–1; ``macs`` : multiply-accumulates of a clip of ``frames`` frames;
    ``latency_ms`` : of that clip on one CPU thread; ``bytes`` : of the weights' file.
    """

    accuracy: float
    interval: tuple[float, float]
    clips: int
    confusion: Tensor
    agreement: float | None
    ece: float
    parameters: int
    macs: int
    latency_ms: float
    frames: int
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
    frames = classifier.spec.frames(classifier.card.seconds)
    clip = torch.full((1, 1, classifier.spec.n_mels, frames), classifier.spec.floor, device=device)
    return Report(
        **answers(logits, clips.labels),
        agreement=_agreement(classifier, logits, clips, dataset or classifier.card.dataset, data_folder),
        parameters=models.parameters(classifier.model),
        macs=models.macs(classifier.model, clip),
        latency_ms=latency(classifier.model, clip),
        frames=frames,
        bytes=Path(f"{checkpoints.stem(checkpoints.resolve(path))}.safetensors").stat().st_size,
    )


def answers(logits: Tensor, labels: Tensor) -> dict:
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


def latency(model: torch.nn.Module, clip: Tensor, passes: int = 50, most: float = 3.0) -> float:
    """Median milliseconds of a forward pass on one CPU thread, after five to warm up.

    clip : Tensor[1, 1, F, T]. At least ten passes, then until ``passes`` or ``most`` seconds are reached.
    """
    model = copy.deepcopy(model).cpu().eval()
    clip = clip.cpu()
    spent = []
    begin = time.perf_counter()
    with threads(1), torch.inference_mode():
        for _ in range(5):
            model(clip)
        while len(spent) < 10 or (len(spent) < passes and time.perf_counter() - begin < most):
            start = time.perf_counter()
            model(clip)
            spent.append(time.perf_counter() - start)
    return 1e3 * sorted(spent)[len(spent) // 2]


def _agreement(
    classifier: Checkpoint, logits: Tensor, clips: LogMels, dataset: str, data_folder: str | Path | None
) -> float | None:
    """Share of the clips that a student hears as its teacher does; None without a teacher, or where that is not here
    any more."""
    path = teacher_of(classifier.card)
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


def teacher_of(card: Card) -> Path | None:
    """Path of the teacher that a student learnt from: where it was then, or by its name, and with the same weights as
    far as the student's card tells; None where it is not here."""
    weights = card.training.get("teacher_sha256", "")
    for name in filter(None, (card.training.get("teacher"), card.teacher)):
        with suppress(checkpoints.CheckpointError):
            path = checkpoints.resolve(name)
            if not weights or checkpoints.read_card(path).sha256 == weights:
                return path
    return None
