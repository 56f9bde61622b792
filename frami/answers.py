"""What a network's logits say: which class it is of all (softmax), or of each class by itself whether it sounds
(sigmoids, *multi-label*). Pure functions of logits Tensor[..., K]; ``multilabel`` : which of the two it is."""

import torch
import torch.nn.functional as F
from torch import Tensor

#: Numbers of classes of AudioSet's networks, whose sounds have several labels each.
AUDIOSET = (521, 527)


def several(scale: str, classes: int) -> bool:
    """Whether a network is taken for a multi-label one: it answers with sigmoids, or has AudioSet's classes. scale : a
    name of ``program.outputs.SCALES``."""
    return scale == "sigmoid" or (scale == "logits" and classes in AUDIOSET)


def probabilities(logits: Tensor, multilabel: bool = False) -> Tensor:
    """Probability of each class, of the logits' shape."""
    return logits.float().sigmoid() if multilabel else logits.float().softmax(-1)


def confidence(logits: Tensor, labels: Tensor, multilabel: bool = False) -> Tensor:
    """Probability of each clip's class, Tensor[B]; logits Tensor[B, K], labels Tensor[B]."""
    return probabilities(logits, multilabel).gather(1, labels[:, None])[:, 0]


def heard(logits: Tensor, labels: Tensor, multilabel: bool = False) -> Tensor:
    """The class that a network hears in each clip, Tensor[B]: the likeliest one. A multi-label network may hear
    several; where the clip's own class is one of them, as likely as not or more, it is that class.

    logits : Tensor[B, K]; labels : Tensor[B].
    """
    likeliest = logits.argmax(1)
    if not multilabel:
        return likeliest
    return torch.where(logits.gather(1, labels[:, None])[:, 0] >= 0, labels, likeliest)


def log_probabilities(logits: Tensor, multilabel: bool = False, temperature: float = 1.0) -> Tensor:
    """Logarithms of the probabilities of what may be the case: of each class, Tensor[B, K], or of each class that it
    sounds and that it does not, Tensor[B, K, 2]. logits : Tensor[B, K]."""
    logits = logits.float() / temperature
    return F.logsigmoid(torch.stack([logits, -logits], 2)) if multilabel else logits.log_softmax(1)


def divergences(p: Tensor, q: Tensor) -> Tensor:
    """Kullback-Leibler divergence of ``q`` from ``p``, Tensor[B]; both as of ``log_probabilities``. Of a multi-label
    network the sum of those of its classes."""
    return F.kl_div(q, p, reduction="none", log_target=True).flatten(1).sum(1)
