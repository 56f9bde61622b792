"""Which points of a spectrogram decided that a network predicts a class, and the sound of these points alone."""

import torch
import torch.nn.functional as F
from torch import Tensor

from frami import answers
from frami.audio import MelSpec
from frami.checkpoints import Checkpoint

#: Ways of finding what decided; the page takes the first (docs/studio.md has the figures).
METHODS = ("occlusion", "integrated", "gradient")
#: Bands and seconds of a patch that is covered at a time; patches overlap by half in both directions.
PATCH = (10, 0.08)
#: Patches that are looked at together, and noisy copies or steps of the gradients.
_BATCH, _STEPS = 32, 16
#: Patches at most: those of a longer clip are longer.
_MOST = 1_200
#: Share of the points that count as those which decided.
SHARE = 0.25


def saliency(network: Checkpoint, mel: Tensor, label: int, method: str = METHODS[0]) -> Tensor:
    """How much each point adds to the score of a class, smoothed: positive where it speaks for it.

    mel : log-Mel Tensor[F, T]. ``occlusion`` : how far the class's log-odds fall when a patch is covered with the
    background, its band's 10 % quantile (Zeiler and Fergus, ECCV 2014); ``integrated`` : integrated gradients from the
    background (Sundararajan et al., ICML 2017); ``gradient`` : gradient times the distance from it, over noisy copies
    (SmoothGrad, Smilkov et al. 2017). Returns Tensor[F, T].
    """
    x = mel.to(network.device).float()
    floor = background(x)
    if method == "occlusion":
        found = _occluded(network, x, floor, label)
    else:
        found = _gradients(network, x, floor, label, method)
    return found.cpu()


def background(mel: Tensor) -> Tensor:
    """What is left where a sound is taken away, Tensor[F, 1]: each band's 10 % quantile. mel : Tensor[F, T]."""
    return mel.quantile(0.1, dim=1, keepdim=True)


@torch.inference_mode()
def _score(network: Checkpoint, x: Tensor, label: int) -> Tensor:
    return _odds(network.model(x[:, None]).logits.float(), label, network.multilabel)


def _odds(logits: Tensor, label: int, multilabel: bool) -> Tensor:
    """Log-odds of a class, Tensor[B], of logits Tensor[B, K]."""
    if multilabel:
        return logits[:, label]
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], 1)
    return logits[:, label] - others.logsumexp(1)


def _occluded(network: Checkpoint, x: Tensor, floor: Tensor, label: int) -> Tensor:
    spec, (bands, frames) = network.spec, x.shape
    high = min(bands, PATCH[0])
    wide = max(2, min(frames, round(PATCH[1] * spec.sample_rate / spec.hop_length)))
    while (2 * bands / high) * (2 * frames / wide) > _MOST:
        wide *= 2
    places = [
        (b, t)
        for b in range(-(high // 2), bands - high // 2, max(1, high // 2))
        for t in range(-(wide // 2), frames - wide // 2, max(1, wide // 2))
    ]
    whole = _score(network, x[None], label)
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    size = _batch(network)
    for start in range(0, len(places), size):
        some = places[start : start + size]
        covered = x.expand(size, -1, -1).clone()
        areas = [(slice(max(0, b), b + high), slice(max(0, t), t + wide)) for b, t in some]
        for i, area in enumerate(areas):
            covered[i][area] = torch.minimum(x, floor.expand_as(x))[area]
        falls = (whole - _score(network, covered, label))[: len(some)].tolist()
        for area, fall in zip(areas, falls, strict=True):
            total[area] += fall
            count[area] += 1
    return smoothed(total / count.clamp(min=1))


def _gradients(network: Checkpoint, x: Tensor, floor: Tensor, label: int, method: str) -> Tensor:
    apart, rng = (x - floor).clamp(min=0), torch.Generator().manual_seed(0)
    total = torch.zeros_like(x)
    for step in range(_STEPS):
        if method == "integrated":
            at = x - (1 - (step + 0.5) / _STEPS) * apart
        else:
            at = x + 0.1 * float(apart.max()) * torch.randn(x.shape, generator=rng).to(x.device)
        at = at.expand(_batch(network) if _fixed(network) else 1, -1, -1).clone().requires_grad_()
        with torch.enable_grad():
            score = _odds(network.model(at[:, None]).logits.float(), label, network.multilabel)[0]
            (slope,) = torch.autograd.grad(score, at)
        total += slope[0]
    return smoothed(apart * total / _STEPS)


def _fixed(network: Checkpoint) -> int | None:
    """Clips of a batch of a network that takes no other number."""
    takes = getattr(getattr(network.model, "config", None), "takes", None)
    return takes.clips if takes is not None and takes.clips > 1 else None


def _batch(network: Checkpoint) -> int:
    return _fixed(network) or _BATCH


def smoothed(x: Tensor) -> Tensor:
    """Tensor[F, T], each point the mean of five by five."""
    return F.avg_pool2d(x[None, None], 5, 1, 2, count_include_pad=False)[0, 0]


def mask(found: Tensor, share: float = SHARE) -> Tensor:
    """The points that decided most, Tensor[F, T] from 0 to 1: this share of all (fewer where fewer speak for the
    class), with soft edges."""
    least = max(float(found.flatten().quantile(1 - share)), 0.0)
    return smoothed((found > least).float())


def alone(samples: Tensor, spec: MelSpec, kept: Tensor) -> Tensor:
    """A sound of which only some points are left: its own STFT, each bin as loud as the bands around it are kept.

    samples : Tensor[N] at the front-end's rate; kept : Tensor[F, T] from 0 to 1. Returns Tensor[N].
    """
    bank = spec.filterbank()
    weights = bank / bank.sum(1, keepdim=True).clamp(min=1e-8)
    gains = weights @ kept  # Tensor[bins, T]; a bin outside of all bands is silent
    window = torch.hann_window(spec.n_fft)
    stft = torch.stft(samples, spec.n_fft, spec.hop_length, window=window, return_complex=True)
    gains = F.interpolate(gains[None], stft.shape[-1], mode="linear", align_corners=False)[0]
    return torch.istft(stft * gains, spec.n_fft, spec.hop_length, window=window, length=len(samples))


@torch.inference_mode()
def probability(network: Checkpoint, mels: Tensor, label: int) -> Tensor:
    """Probability of a class in each clip, Tensor[B]; mels : Tensor[B, F, T]."""
    size, fixed = len(mels), _fixed(network)
    if fixed:
        mels = torch.cat([mels, mels[-1:].expand(-size % fixed, -1, -1)])
    parts = mels.to(network.device).split(fixed or _BATCH)
    logits = torch.cat([network.model(part[:, None]).logits.float().cpu() for part in parts])
    return answers.probabilities(logits, network.multilabel)[:size, label]


def faithfulness(network: Checkpoint, mel: Tensor, label: int, found: Tensor, steps: int = 20) -> tuple[float, float]:
    """How well a saliency tells what decides: mean probability of the class while points are taken away, most salient
    first (``deletion``, the lower the better), and while they are added to the background (``insertion``, the higher
    the better; Petsiuk et al., BMVC 2018). mel, found : Tensor[F, T]."""
    order = found.flatten().argsort(descending=True)
    floor = torch.minimum(mel, background(mel).expand_as(mel))
    gone, there = [], []
    for step in range(steps + 1):
        some = order[: round(step / steps * len(order))]
        for made, frm, to in ((gone, mel, floor), (there, floor, mel)):
            one = frm.flatten().clone()
            one[some] = to.flatten()[some]
            made.append(one.reshape(mel.shape))
    deletion, insertion = (float(probability(network, torch.stack(made), label).mean()) for made in (gone, there))
    return deletion, insertion
