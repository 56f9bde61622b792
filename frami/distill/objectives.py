"""What a student learns from its teacher: pure functions of both networks' features, chosen by name.

Every term is free of the teacher's scale, so that one set of weights serves all teachers: answers are compared as
probabilities, hidden states by the share of the teacher's variance that the student misses (0: the same, 1: no better
than the mean), attention maps at unit length. So all weights are one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from frami.models import Features, length_mask

#: Softening of both answers (Hinton et al. 2015); teachers trained with mixup are soft already.
TEMPERATURE = 4.0

Terms = dict[str, Tensor]


def kd_loss(teacher: Tensor, student: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Kullback-Leibler divergence of the softened answers, times the temperature's square (Hinton et al. 2015).

    teacher, student : logits Tensor[B, K]. Returns Tensor[].
    """
    p, q = ((x.float() / temperature).log_softmax(1) for x in (teacher, student))
    return F.kl_div(q, p, reduction="batchmean", log_target=True) * temperature**2


def frames_loss(teacher: Features, student: Features) -> Tensor:
    """Share of the variance of the teacher's frame-level features that the student's miss, within each clip's length.

    frames : Tensor[B, C, F', T'] both; another resolution is averaged to the coarser one. Returns Tensor[].
    """
    wanted, made, mask = _aligned(teacher, student)
    count = mask.sum() * wanted.shape[2]
    centre = (wanted * mask).sum((0, 2, 3), keepdim=True) / count
    spread = ((wanted - centre) * mask).square().sum()
    return ((made - wanted) * mask).square().sum() / spread.clamp(min=1e-6)


def pooled_loss(teacher: Tensor, student: Tensor) -> Tensor:
    """Share of the variance of the teacher's clip-level embeddings that the student's miss; Tensor[B, D] both."""
    teacher, student = teacher.float(), student.float()
    spread = (teacher - teacher.mean(0)).square().sum()
    return (student - teacher).square().sum() / spread.clamp(min=1e-6)


def attention_loss(teacher: Features, student: Features) -> Tensor:
    """Squared distance of the attention maps: mean square over channels, at unit length for each clip (Zagoruyko and
    Komodakis, ICLR 2017). Channels may differ."""
    wanted, made, mask = _aligned(teacher, student)
    maps = [F.normalize((x.square().mean(1, keepdim=True) * mask).flatten(1), dim=1) for x in (wanted, made)]
    return (maps[0] - maps[1]).square().sum(1).mean()


def _aligned(teacher: Features, student: Features) -> tuple[Tensor, Tensor, Tensor]:
    """Both networks' frames at the coarser resolution of the two, and the mask of what lies within the clips."""
    wanted, made = teacher.frames.float(), student.frames.float()
    size = tuple(min(a, b) for a, b in zip(wanted.shape[2:], made.shape[2:], strict=True))
    lengths = teacher.lengths if size[1] == wanted.shape[3] else student.lengths
    if wanted.shape[2:] != size:
        wanted = F.adaptive_avg_pool2d(wanted, size)
    if made.shape[2:] != size:
        made = F.adaptive_avg_pool2d(made, size)
    return wanted, made, length_mask(lengths, size[1])


# Objectives: teacher's and student's features, and the student's frames at the teacher's width where a helper layer
# takes them there (FitNets).


def logits(teacher: Features, student: Features, hint: Features | None) -> Terms:
    """The answer alone (Hinton et al. 2015)."""
    return {"answer": kd_loss(teacher.logits, student.logits)}


def before(teacher: Features, student: Features, hint: Features | None) -> Terms:
    """The answer, and the hidden state before the statistics pooling."""
    return logits(teacher, student, hint) | {"before": frames_loss(teacher, student)}


def after(teacher: Features, student: Features, hint: Features | None) -> Terms:
    """The answer, and the hidden state after the statistics pooling."""
    return logits(teacher, student, hint) | {"after": pooled_loss(teacher.pooled, student.pooled)}


def frami(teacher: Features, student: Features, hint: Features | None) -> Terms:
    """The answer and both hidden states, through a projector into the teacher's own pooling and classifier (our
    formulation of what the abstract of Kang et al., ICASSP 2023 says)."""
    return before(teacher, student, hint) | after(teacher, student, hint)


def simkd(teacher: Features, student: Features, hint: Features | None) -> Terms:
    """The hidden state before the pooling alone; the teacher's classifier is reused (SimKD, Chen et al., CVPR 2022)."""
    return {"before": frames_loss(teacher, student)}


def fitnet(teacher: Features, student: Features, hint: Features | None) -> Terms:
    """The answer, and the last frame-level features through a helper layer that is thrown away (FitNets, Romero et al.,
    ICLR 2015, in one stage)."""
    return logits(teacher, student, hint) | {"before": frames_loss(teacher, hint)}


def attention(teacher: Features, student: Features, hint: Features | None) -> Terms:
    """The answer, and the attention map of the last frame-level features (Zagoruyko and Komodakis, ICLR 2017)."""
    return logits(teacher, student, hint) | {"attention": attention_loss(teacher, student)}


@dataclass(frozen=True)
class Objective:
    """How a student is built and what it learns.

    ``terms`` : named losses, summed; ``reuse`` : a projector takes the student into the teacher's own pooling and
    classifier, which stay as they are; ``bottleneck`` : that projector has three layers; ``hint`` : a layer beside the
    student takes its frames to the teacher's width while it learns.
    """

    name: str
    terms: Callable[[Features, Features, Features | None], Terms]
    reuse: bool = False
    bottleneck: bool = False
    hint: bool = False

    @property
    def about(self) -> str:
        """What it is, in a sentence."""
        return " ".join((self.terms.__doc__ or "").split())


OBJECTIVES: dict[str, Objective] = {
    row.name: row
    for row in (
        Objective("frami", frami, reuse=True),
        Objective("logits", logits),
        Objective("before", before, reuse=True),
        Objective("after", after, reuse=True),
        Objective("simkd", simkd, reuse=True, bottleneck=True),
        Objective("fitnet", fitnet, hint=True),
        Objective("attention", attention),
    )
}


def labelled_loss(student: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy with the true classes of each clip, Tensor[B]. logits Tensor[B, K], labels Tensor[B]."""
    return F.cross_entropy(student.float(), labels, reduction="none")


def agreement(teacher: Tensor, student: Tensor) -> Tensor:
    """Share of clips to which both give the same answer; logits Tensor[B, K] both, Tensor[]."""
    return (teacher.argmax(1) == student.argmax(1)).float().mean()
