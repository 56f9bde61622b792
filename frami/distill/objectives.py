"""What a student learns from its teacher: pure functions of both networks' features, chosen by name.

Every term is free of the teacher's scale, so that one set of weights serves all teachers: logits are compared as
probabilities, features by the share of the teacher's variance that the student misses (0: the same, 1: no better than
the mean), attention maps at unit length.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from frami import answers
from frami.errors import FramiError
from frami.models import Features, length_mask

#: Temperature of both softmaxes (Hinton et al. 2015); teachers trained with mixup are soft already.
TEMPERATURE = 4.0
#: The same of sigmoids, of which most say no: softened, the many classes that are far from it would outweigh the few.
#: (Of ten classes 1, 2 and 4 gave students alike, two seeds each.)
TEMPERATURE_EACH = 1.0
#: Weights of the terms in the sum that is minimised, where they are not one.
WEIGHTS = {"before": 8.0}


def kd_loss(teacher: Tensor, student: Tensor, temperature: float | None = None, multilabel: bool = False) -> Tensor:
    """Kullback-Leibler divergence of the softened predictions, times the temperature's square (Hinton et al. 2015); of
    a multi-label teacher the sum of the Bernoulli divergences of its classes.

    teacher, student : logits Tensor[B, K]; temperature : default ``TEMPERATURE``, or ``TEMPERATURE_EACH`` of a
    multi-label teacher. Returns Tensor[].
    """
    temperature = temperature or (TEMPERATURE_EACH if multilabel else TEMPERATURE)
    p, q = (answers.log_probabilities(x, multilabel, temperature) for x in (teacher, student))
    return F.kl_div(q, p, reduction="batchmean", log_target=True) * temperature**2


def frames_loss(teacher: Features, student: Features) -> Tensor:
    """Share of the variance of the teacher's frame-level features that the student's miss, within each clip's length.

    frames : Tensor[B, C, F', T'] both; another resolution is averaged to the coarser one. Returns Tensor[].
    """
    target, found, mask = _aligned(teacher, student)
    count = mask.sum() * target.shape[2]
    centre = (target * mask).sum((0, 2, 3), keepdim=True) / count
    spread = ((target - centre) * mask).square().sum()
    return ((found - target) * mask).square().sum() / spread.clamp(min=1e-6)


def pooled_loss(teacher: Tensor, student: Tensor) -> Tensor:
    """Share of the variance of the teacher's clip-level embeddings that the student's miss; Tensor[B, D] both."""
    teacher, student = teacher.float(), student.float()
    spread = (teacher - teacher.mean(0)).square().sum()
    return (student - teacher).square().sum() / spread.clamp(min=1e-6)


def attention_loss(teacher: Features, student: Features) -> Tensor:
    """Squared distance of the attention maps: mean square over channels, at unit length for each clip (Zagoruyko and
    Komodakis, ICLR 2017). Channels may differ."""
    *both, mask = _aligned(teacher, student)
    maps = [F.normalize((x.square().mean(1, keepdim=True) * mask).flatten(1), dim=1) for x in both]
    return (maps[0] - maps[1]).square().sum(1).mean()


def labels_loss(student: Tensor, labels: Tensor, partners: Tensor, share: Tensor, multilabel: bool = False) -> Tensor:
    """Cross entropy with the true classes of mixed clips: logits Tensor[B, K], the others as of ``Batch``; of a
    multi-label student the binary ones, where both clips of a mixture sound."""
    if multilabel:
        there = F.one_hot(labels, student.shape[1])
        there = torch.where(share[:, None] < 1, there | F.one_hot(partners, student.shape[1]), there).float()
        return F.binary_cross_entropy_with_logits(student.float(), there, reduction="sum") / len(student)
    own, partner = (F.cross_entropy(student.float(), classes, reduction="none") for classes in (labels, partners))
    return (share * own + (1 - share) * partner).mean()


def _aligned(teacher: Features, student: Features) -> tuple[Tensor, Tensor, Tensor]:
    """Both networks' frames at the coarser resolution of the two, and the mask of what lies within the clips."""
    both = [teacher.frames.float(), student.frames.float()]
    size = tuple(map(min, both[0].shape[2:], both[1].shape[2:]))
    lengths = teacher.lengths if size[1] == both[0].shape[3] else student.lengths
    target, found = (x if x.shape[2:] == size else F.adaptive_avg_pool2d(x, size) for x in both)
    return target, found, length_mask(lengths, size[1])


@dataclass(frozen=True)
class Batch:
    """What a loss compares: the features of both networks for the same clips, and what the clips are.

    ``hint`` : the student's features with frames at the teacher's width, where a helper layer takes them there;
    ``labels``, ``partners`` : classes of each clip and of the one mixed into it, Tensor[B]; ``share`` : the clip's own
    part of the mixture, Tensor[B]; ``multilabel`` : as of ``Card``.
    """

    teacher: Features
    student: Features
    hint: Features | None = None
    labels: Tensor | None = None
    partners: Tensor | None = None
    share: Tensor | None = None
    multilabel: bool = False


#: Terms by the name that they have in objectives and curves.
LOSSES: dict[str, Callable[[Batch], Tensor]] = {
    "kd": lambda batch: kd_loss(batch.teacher.logits, batch.student.logits, multilabel=batch.multilabel),
    "before": lambda batch: frames_loss(batch.teacher, batch.hint or batch.student),
    "after": lambda batch: pooled_loss(batch.teacher.pooled, batch.student.pooled),
    "attention": lambda batch: attention_loss(batch.teacher, batch.student),
    "labels": lambda batch: labels_loss(
        batch.student.logits, batch.labels, batch.partners, batch.share, batch.multilabel
    ),
}


@dataclass(frozen=True)
class Objective:
    """How a student is built and what it learns.

    ``title``, ``about`` : its name for people, and what it is in a sentence; ``losses`` : names of ``LOSSES``, which
    are summed with their ``WEIGHTS``; ``reuse`` : a projector takes the student into the teacher's own pooling and
    classifier, which stay as they are; ``bottleneck`` : that projector has three layers; ``hint`` : a layer beside the
    student takes its frames to the teacher's width while it learns.
    """

    name: str
    title: str
    about: str
    losses: tuple[str, ...]
    reuse: bool = False
    bottleneck: bool = False
    hint: bool = False

    def terms(self, batch: Batch) -> dict[str, Tensor]:
        """Each loss by name, Tensor[]."""
        return {name: LOSSES[name](batch) for name in self.losses}


def total(terms: dict[str, Tensor]) -> Tensor:
    """What is minimised: the weighted sum of an objective's terms, Tensor[]."""
    return torch.stack([WEIGHTS.get(name, 1.0) * term for name, term in terms.items()]).sum()


OBJECTIVES: dict[str, Objective] = {
    row.name: row
    for row in (
        Objective(
            "frami", "FRAMI",
            "KD loss, frame-level features and embedding, through a projector into the teacher's own pooling and "
            "classifier (our formulation of what the abstract of Kang et al., ICASSP 2023 says).",
            ("kd", "before", "after"), reuse=True,
        ),
        Objective("logits", "Logits (KD)", "The KD loss of the logits alone (Hinton et al. 2015).", ("kd",)),
        Objective(
            "before", "Frame-level features",
            "KD loss and frame-level features, through a projector into the teacher's own pooling and classifier.",
            ("kd", "before"), reuse=True,
        ),
        Objective(
            "after", "Embedding",
            "KD loss and embedding, through a projector into the teacher's own pooling and classifier.",
            ("kd", "after"), reuse=True,
        ),
        Objective(
            "simkd", "SimKD",
            "The frame-level features alone, through a deeper projector into the teacher's classifier (Chen et al., "
            "CVPR 2022).",
            ("before",), reuse=True, bottleneck=True,
        ),
        Objective(
            "fitnet", "FitNets",
            "KD loss and the frame-level features through a helper layer that is discarded (Romero et al., ICLR 2015, "
            "in one stage).",
            ("kd", "before"), hint=True,
        ),
        Objective(
            "attention", "Attention maps",
            "KD loss and the attention map of the frame-level features (Zagoruyko and Komodakis, ICLR 2017).",
            ("kd", "attention"),
        ),
    )
}  # fmt: skip

#: The reference: what a student learns from labelled real clips, without its teacher.
LABELS = Objective("labels", "True classes", "Cross entropy with the true classes of real clips.", ("labels",))


def objective(name: str) -> Objective:
    """A row of ``OBJECTIVES``, or ``LABELS``, by name. FramiError for an unknown one."""
    found = {LABELS.name: LABELS, **OBJECTIVES}.get(name)
    if found is None:
        raise FramiError(f"no objective '{name}'; choose one of: {', '.join(OBJECTIVES)}")
    return found
