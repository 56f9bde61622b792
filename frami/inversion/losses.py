"""The terms that an inversion minimises: pure functions."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from frami import answers
from frami.answers import divergences
from frami.inversion.bn_statistics import NormInput

#: Factor of relative distances, with which their sum is that of the others on a converged batch of the bundled teacher
#: of digits: one set of weights serves both.
RELATIVE = 1.66


def class_loss(
    logits: Tensor, labels: Tensor, certainty: float = 1.0, weights: Tensor | None = None, multilabel: bool = False
) -> Tensor:
    """Cross entropy with the target classes. logits Tensor[B, K], labels Tensor[B]; weights Tensor[B], of mean one.

    It is constant, without a gradient, for a clip whose class has reached the probability ``certainty``: real sounds
    are not the extremes of their class either. ``multilabel`` : the binary cross entropy of the target class, of which
    that holds too, plus the mean of those of the other classes, which should not sound: some may, as in a dog an animal
    does.
    """
    if multilabel:
        logits = logits.float()
        target = logits.gather(1, labels[:, None])[:, 0]
        others = (F.softplus(logits).sum(1) - F.softplus(target)) / max(1, logits.shape[1] - 1)
        each = F.softplus(-target).clamp(min=-math.log(certainty)) + others
    else:
        each = F.cross_entropy(logits.float(), labels, reduction="none")
        each = each.clamp(min=-math.log(certainty))
    return each.mean() if weights is None else (weights * each).mean()


@torch.no_grad()
def difficulty(logits: Tensor, labels: Tensor, exponent: float, multilabel: bool = False) -> Tensor:
    """Weight of each clip: how far a network is from its class, ``(1 - p) ** exponent``, scaled to a mean of one (the
    focal loss's, Lin et al., ICCV 2017). logits Tensor[B, K], labels Tensor[B]. Returns Tensor[B]."""
    left = 1 - answers.confidence(logits, labels, multilabel)
    weights = left.clamp(min=1e-6) ** exponent
    return weights / weights.mean()


def batch_norm_loss(
    inputs: list[NormInput],
    past: list[Tensor] | None = None,
    share: Tensor | None = None,
    first: float = 1.0,
    relative: bool = False,
) -> Tensor:
    """Distance between the statistics of the batch norms' inputs and the stored ones.

    Sum over the layers of the Euclidean norms of the mean's and the variance's difference (DeepInversion, Yin et
    al. 2020). ``past`` : for each layer Tensor[2, C], mean and variance of earlier batches, which count for ``share``,
    Tensor[] (Fast-DataFree, Fang et al. 2022); ``first`` : factor of the first layer. ``relative`` : means in units of
    the stored deviation and variances as ratios to the stored ones, so that the same function in other units inside is
    inverted alike; times ``RELATIVE``.
    """
    found = torch.stack([torch.cat([entry.mean for entry in inputs]), torch.cat([entry.var for entry in inputs])])
    if past is not None:
        found = torch.lerp(found, torch.cat(past, 1), share)
    norms = [entry.norm for entry in inputs]
    stored = torch.stack([torch.cat([n.running_mean for n in norms]), torch.cat([n.running_var for n in norms])])
    layer = _layers(tuple(len(entry.mean) for entry in inputs), found.device)
    apart = found - stored
    if relative:
        variance = torch.cat([n.running_var + n.eps for n in norms])
        apart = RELATIVE * apart / torch.stack([variance.sqrt(), variance])
    # All layers at once: a step is some hundreds of small operations as it is.
    squares = found.new_zeros(2, len(inputs)).index_add(1, layer, apart.square().to(found.dtype))
    distances = squares.clamp(min=1e-24).sqrt().sum(0)  # without a gradient where nothing is left of it
    return distances.sum() + (first - 1) * distances[0]


@lru_cache(maxsize=64)
def _layers(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Number of the layer of each channel, where all layers' channels stand in a row: Tensor[sum of sizes]."""
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(device)


def adversarial_loss(
    teacher: Tensor, student: Tensor, divergence: str = "agreeing", multilabel: bool = False
) -> Tensor:
    """Minus the divergence of a student's prediction: pulls clips to where the student does not follow yet.

    Logits Tensor[B, K] both. ``agreeing``: Kullback-Leibler where both predict the same class (CMI, Fang et al. 2021);
    ``kl``: everywhere (ZSKT, Micaelli and Storkey 2019); ``js``: Jensen-Shannon at temperature 3 (ADI).
    """
    if divergence == "js":
        p, q = (answers.log_probabilities(logits, multilabel, 3.0) for logits in (teacher, student))
        middle = torch.logaddexp(p, q) - math.log(2)
        return -(divergences(p, middle) + divergences(q, middle)).mean() / 2
    each = divergences(*(answers.log_probabilities(logits, multilabel) for logits in (teacher, student)))
    if divergence == "agreeing":
        each = each * (teacher.argmax(1) == student.argmax(1))
    return -each.mean()


def balance_loss(logits: Tensor, multilabel: bool = False) -> Tensor:
    """Minus the entropy of the mean prediction: all classes occur equally often (DAFL, Chen et al. 2019)."""
    share = answers.probabilities(logits, multilabel).mean(0)
    share = share / share.sum() if multilabel else share
    return (share * share.clamp(min=1e-8).log()).sum()


def activation_loss(pooled: Tensor) -> Tensor:
    """Minus the mean size of the embedding, Tensor[B, D]: real input excites a network (DAFL)."""
    return -pooled.float().abs().mean()


def variation_loss(mels: Tensor, lengths: Tensor) -> Tensor:
    """Mean absolute difference of neighbours along both axes, within each clip: total variation (DeepInversion)."""
    inside = (torch.arange(mels.shape[-1], device=mels.device) < lengths[:, None])[:, None, None]
    along, across = mels.diff(dim=3).abs() * inside[..., 1:], mels.diff(dim=2).abs() * inside
    return (along.sum() + across.sum()) / (inside.sum() * mels.shape[2])


def repulsion_loss(rows: Tensor, temperature: float, allowed: Tensor | None = None) -> Tensor:
    """Log-mean-exp of each row's cosines with the others: InfoNCE's second half, low where no two rows are alike.

    rows : Tensor[B, D], L2-normalised, with gradients on both sides of a pair; allowed : bool Tensor[B, B] of the pairs
    that count, default all. A row without any has no part in it. Returns Tensor[].
    """
    pairs = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    pairs = pairs if allowed is None else pairs & allowed
    count = pairs.sum(1)
    cosines = (rows @ rows.T / temperature).masked_fill(~pairs, -1e4)
    each = cosines.logsumexp(1) - count.clamp(min=1).log()
    return torch.where(count > 0, each, 0.0).sum() / (count > 0).sum().clamp(min=1)


def segment_means(frames: Tensor, lengths: Tensor, numbers: Tensor, shortest: float = 0.4) -> Tensor:
    """Statistics pooling over one random time segment of each clip: mean and standard deviation of the frequency
    average, as of ``StatisticsPooling``.

    frames : Tensor[B, C, F', T']; lengths : Tensor[B], valid frames; numbers : Tensor[B, 2] uniform in 0 to 1, for the
    segment's share of the clip (at least ``shortest``) and its place. Segments end between frames, which then count in
    part: a short clip has few. Returns Tensor[B, 2 C].
    """
    x, valid = frames.float().mean(2), lengths[:, None].float()
    width = valid * (shortest + (1 - shortest) * numbers[:, :1])
    begin = (valid - width) * numbers[:, 1:]
    at = torch.arange(x.shape[-1], device=x.device)
    share = (torch.minimum(begin + width, at + 1.0) - torch.maximum(begin, at * 1.0)).clamp(0, 1) / width
    mean = (x * share[:, None]).sum(-1)
    variance = ((x - mean[..., None]).square() * share[:, None]).sum(-1)
    return torch.cat([mean, (variance + 1e-5).sqrt()], 1)


def contrastive_loss(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None,
    temperature: float,
    allowed: Tensor | None = None,
) -> Tensor:
    """InfoNCE: a view's feature is nearer to its own clip's than to the other clips' and to the bank's.

    anchors, positives : Tensor[B, D], L2-normalised; negatives : Tensor[N, D] or None; allowed : bool Tensor[B, B + N]
    of the pairs that count (a clip and its own always do), default all. No gradient should flow into ``positives`` and
    ``negatives`` (detach them). With one clip and no bank there is nothing to contrast: zero.
    """
    logits = anchors @ positives.T
    if negatives is not None and len(negatives):
        logits = torch.cat([logits, anchors @ negatives.T], 1)
    if logits.shape[1] == 1:
        return logits.sum() * 0
    own = torch.arange(len(anchors), device=anchors.device)
    logits = logits / temperature
    if allowed is not None:
        allowed = allowed | (own[:, None] == torch.arange(logits.shape[1], device=logits.device))
        logits = logits.masked_fill(~allowed, -math.inf)
    return F.cross_entropy(logits, own)
