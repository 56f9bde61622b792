"""What an inversion makes: clips, and the state of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Clips:
    """Made clips, on the CPU.

    mels : Tensor[N, 1, F, T] log-Mels; lengths : Tensor[N] frames; target, predicted : Tensor[N] class indices;
    confidence : Tensor[N], the teacher's probability of the target class; logits : Tensor[N, K];
    pooled : Tensor[N, D], the teacher's embedding; multilabel : whether its classes are independent (``answers``).
    """

    mels: Tensor
    lengths: Tensor
    target: Tensor
    predicted: Tensor
    confidence: Tensor
    logits: Tensor
    pooled: Tensor
    multilabel: bool = False

    def __len__(self) -> int:
        return len(self.mels)

    @property
    def target_accuracy(self) -> float:
        """Share that the teacher classifies as the target class."""
        return float((self.target == self.predicted).float().mean())

    @classmethod
    def join(cls, parts: Sequence["Clips"]) -> "Clips":
        """One after the other; shorter clips are padded with their own last values behind their end."""
        longest = max(part.mels.shape[-1] for part in parts)
        padded = [F.pad(p.mels[:, 0], (0, longest - p.mels.shape[-1]), mode="replicate")[:, None] for p in parts]
        names = [f.name for f in fields(cls) if f.name not in ("mels", "multilabel")]
        rest = {name: torch.cat([getattr(p, name) for p in parts]) for name in names}
        return cls(mels=torch.cat(padded), **rest, multilabel=parts[0].multilabel)


@dataclass
class Trajectory:
    """How the clips of a batch formed: log-Mels in half precision, Tensor[S, B, F, T], after each of ``steps``; the
    last are the finished ones."""

    steps: list[int]
    mels: Tensor


@dataclass
class Progress:
    """State of a running inversion: the clips of the present batch as they are now, and where it stands.

    ``losses`` : unweighted terms by name; ``finished`` : the clips will not change any more; ``done`` of ``total``
    steps of the whole run, after ``seconds``, with ``left`` (estimated) to go, of which ``warmup`` went to batches that
    are discarded; ``to_keep`` : a run that ends here may save the clips: they are as many as the batch has; ``notes`` :
    remarks on the result (a term that this teacher lacks). With a finished batch only: ``trajectory`` : its snapshots;
    ``memory()`` : what a later run needs to go on from here (see ``invert``), to be called before the next state is
    requested.
    """

    batch: int
    batches: int
    step: int
    steps: int
    clips: Clips
    losses: dict[str, float]
    finished: bool
    done: int
    total: int
    seconds: float
    left: float
    warmup: float = 0.0
    to_keep: bool = True
    notes: tuple[str, ...] = ()
    trajectory: Trajectory | None = None
    memory: Callable[[], dict] | None = None

    @property
    def confidence(self) -> float:
        """Mean of the teacher's probabilities of the target classes."""
        return float(self.clips.confidence.mean())
