"""Real recordings in a teacher's feature space."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frami import answers
from frami.checkpoints import Checkpoint
from frami.data import LogMels, Skip
from frami.errors import FramiError
from frami.features.recordings import choose


def recordings(
    teacher: Checkpoint,
    dataset: str | None = None,
    split: str = "test",
    data_folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    skip: Skip = None,
    else_shipped: bool = False,
) -> LogMels:
    """Real clips for a teacher: those that ``choose`` takes. Raises FramiError."""
    return choose(teacher.card, dataset, split, data_folder, teacher.spec, progress, skip, else_shipped)[0]


@dataclass
class Embedded:
    """Real clips in a teacher's feature space, on the CPU.

    pooled : Tensor[M, D], embeddings; logits : Tensor[M, K]; labels : Tensor[M], their classes; multilabel : as of
    ``Card``.
    """

    pooled: Tensor
    logits: Tensor
    labels: Tensor
    multilabel: bool = False

    @property
    def predicted(self) -> Tensor:
        """The classes that the network hears in them, Tensor[M] (``answers.heard``)."""
        return answers.heard(self.logits, self.labels, self.multilabel)

    @property
    def confidence(self) -> Tensor:
        """The teacher's probability of the right class, Tensor[M]."""
        return answers.confidence(self.logits, self.labels, self.multilabel)


@torch.inference_mode()
def embed(
    teacher: Checkpoint,
    clips: LogMels,
    chosen: Sequence[int] | None = None,
    *,
    batch: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Embedded:
    """Real clips (``chosen`` ones, or all) in a teacher's feature space, each at its full length and in their order.

    ``progress(done, total)`` counts clips.
    """
    device = teacher.device
    rows = list(range(len(clips)) if chosen is None else chosen)
    if not rows:
        raise FramiError("there is no clip to embed")
    order, pooled, logits = [], [], []
    for positions, mels, lengths in clips.batches(batch, rows):
        out = teacher.model(mels.to(device), lengths.to(device))
        pooled.append(out.pooled.float().cpu())
        logits.append(out.logits.float().cpu())
        order += positions
        if progress:
            progress(len(order), len(rows))
    back = torch.tensor(order).argsort()
    labels = clips.labels[torch.tensor(rows)]
    return Embedded(torch.cat(pooled)[back], torch.cat(logits)[back], labels, teacher.multilabel)
