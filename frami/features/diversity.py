"""How rich made clips are: measures of fidelity and diversity on features, with intervals.

Features are a network's embeddings of clips, Tensor[N, D]; everything is computed on the CPU in double precision.
Coverage, density, Fréchet distance and Vendi score depend on the number of clips: compare equal numbers only.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from frami.errors import FramiError
from frami.features.distances import chunks, matched, points, squares, to_others
from frami.intervals import wilson

MEASURES = ("coverage", "density", "frechet", "vendi", "within_class", "target_accuracy")
#: Measures in the space of a judge (``features.judges``).
JUDGED = ("judge_accuracy", "judge_coverage", "judge_kad")

#: Neighbours that make a real clip's ball, for coverage and density, as in their paper.
K = 5

#: How to read each figure.
READING = {
    "coverage": "share of the real clips that have a made one among their neighbours: 1 is best",
    "density": "how thickly made clips lie where real ones do: 1 if they were drawn alike",
    "frechet": "distance between the means and spreads of made and real clips: 0 is best",
    "vendi": "how many wholly different clips these amount to: more is richer",
    "within_class": "mean distance between two clips of a class: more is richer",
    "target_accuracy": "share that the teacher classifies as the target class",
    "confidence": "mean probability that the teacher gives to the target class",
    "judge_accuracy": "share that another network, the judge, hears as the target class",
    "judge_coverage": "coverage in the judge's space",
    "judge_kad": "kernel audio distance of made and real clips in the judge's space: about 0 if they were drawn alike",
}

_SPECTRA = 50  # draws that Fréchet distance, Vendi score and kernel distance are taken in
_NORMAL = 1.959964  # 97.5 % quantile of the normal distribution

# --------------------------------------------------------------------------------------------- measures


def coverage_density(real: Tensor, made: Tensor, k: int = K) -> tuple[float, float]:
    """Coverage (0–1) and density of made clips among real ones (Naeem et al., ICML 2020).

    A real clip's ball reaches to its ``k``-th nearest other real clip. Coverage is the share of balls with a made clip
    in them; density is the mean number of balls around a made clip, over ``k``. When equally many come from one
    distribution, density is about 1 and coverage about 1 − 2^−k.

    real : Tensor[M, D], M > k; made : Tensor[N, D]. Raises FramiError.
    """
    real, made = _enough(real, made, k)
    centre = real.mean(0)
    real, made = real - centre, made - centre
    nearest = [found.topk(k, dim=1, largest=False).values[:, -1] for found in to_others(real)]
    # Squares come out of a matrix product: what equals a radius up to rounding is inside.
    radii = torch.cat(nearest) + 1e-12 * real.square().sum(1).max()
    covered, inside = torch.zeros(len(real), dtype=torch.bool), 0
    for rows in chunks(made, len(real)):
        hit = squares(real, rows) <= radii[:, None]
        covered |= hit.any(1)
        inside += int(hit.sum())
    return float(covered.double().mean()), inside / (k * len(made))


def _enough(real: Tensor, made: Tensor, k: int) -> tuple[Tensor, Tensor]:
    real, made = matched(real, made)
    if not 1 <= k < len(real):
        raise FramiError(f"coverage with k = {k} needs at least {max(k, 1) + 1} real clips, not {len(real)}")
    return real, made


def frechet(a: Tensor, b: Tensor) -> float:
    """Fréchet distance of Gaussians fitted to two sets (Dowson and Landau 1982; Heusel et al., NeurIPS 2017).

    ``|μa − μb|² + tr Σa + tr Σb − 2 tr (Σa Σb)^½``. The last trace is the sum of the singular values of ``A Bᵀ``, where
    ``AᵀA = Σa`` and ``BᵀB = Σb``: no matrix root is taken, so fewer clips than dimensions do no harm.

    a : Tensor[N, D], b : Tensor[M, D], at least two clips each. Raises FramiError.
    """
    a, b = matched(a, b)
    if min(len(a), len(b)) < 2:
        raise FramiError("a Fréchet distance needs at least 2 clips on each side")
    roots = [_root(a), _root(b)]
    traces = sum(root.square().sum() for root in roots)
    common = torch.linalg.svdvals(roots[0] @ roots[1].T).sum()
    return max(0.0, float((a.mean(0) - b.mean(0)).square().sum() + traces - 2 * common))


def _root(x: Tensor) -> Tensor:
    """A with ``AᵀA`` the covariance of x : Tensor[N, D]; at most D rows."""
    centred = (x - x.mean(0)) / math.sqrt(len(x) - 1)
    return torch.linalg.qr(centred, mode="r").R if len(x) > x.shape[1] else centred


def kernel_distance(real: Tensor, made: Tensor) -> float:
    """Kernel audio distance (Chung et al., arXiv 2502.15602): 100 times the unbiased squared maximum mean discrepancy
    (Gretton et al., JMLR 2012) of the kernel ``exp(−|x − y|² / 2σ²)``, σ the median distance of two real clips.

    Of sets that were drawn alike it is 0 on average, so below 0 as often as above; the number of clips changes its
    spread only.

    real : Tensor[M, D], made : Tensor[N, D], at least two clips each. Raises FramiError.
    """
    real, made = matched(real, made)
    if min(len(real), len(made)) < 2:
        raise FramiError("a kernel distance needs at least 2 clips on each side")
    centre = real.mean(0)
    real, made = real - centre, made - centre
    # Where most real clips are copies, σ is rounding.
    width = max(float(np.median(torch.pdist(real).numpy())) ** 2, 1e-12 * float(real.square().sum(1).max()), 1e-300)

    def mean(parts: Iterator[Tensor], pairs: int) -> float:
        return sum(float((part / (-2 * width)).exp().sum()) for part in parts) / pairs

    within = sum(mean(to_others(x), len(x) * (len(x) - 1)) for x in (real, made))
    return 100 * (within - 2 * mean((squares(rows, real) for rows in chunks(made, len(real))), len(real) * len(made)))


def vendi(features: Tensor) -> float:
    """Vendi score (Friedman and Dieng, TMLR 2023): how many wholly different clips these amount to, 1 to N.

    The exponential of the Shannon entropy of the eigenvalues of ``K / N``; K holds the cosines between the clips.

    features : Tensor[N, D]. Raises FramiError.
    """
    x = torch.nn.functional.normalize(points(features), dim=1)
    shares = torch.linalg.eigvalsh(x @ x.T if len(x) <= x.shape[1] else x.T @ x)
    shares = shares[shares > 0] / shares.sum().clamp(min=1e-12)
    return float((-(shares * shares.log()).sum()).exp())


def mean_distance(features: Tensor) -> float:
    """Mean Euclidean distance between two different clips.

    features : Tensor[N, D], N ≥ 2. Raises FramiError.
    """
    x = points(features)
    if len(x) < 2:
        raise FramiError("a mean distance needs at least two clips")
    total = sum(float(found.sqrt().nan_to_num(posinf=0).sum()) for found in to_others(x - x.mean(0)))
    return total / (len(x) * (len(x) - 1))


def within_class(features: Tensor, labels: Tensor) -> float | None:
    """Mean Euclidean distance between two clips of a class, averaged over the classes with two clips or more.

    features : Tensor[N, D]; labels : Tensor[N]. None when no class has two. Raises FramiError.
    """
    return _within_class(points(features), _labels(features, labels))[0]


def _within_class(x: Tensor, labels: Tensor) -> tuple[float | None, float]:
    """The mean distance (None without a pair) and its standard error (nan where unknown); see ``measure``."""
    means, variances = [], []
    for label in labels.unique():
        own = x[labels == label]
        n = len(own)
        if n < 2:
            continue
        own = own - own.mean(0)
        sums = torch.cat([found.sqrt().nan_to_num(posinf=0).sum(1) for found in to_others(own)])
        means.append(float(sums.sum()) / (n * (n - 1)))
        without = (sums.sum() - 2 * sums) / max((n - 1) * (n - 2), 1)  # the mean when one clip is left out
        variances.append((n - 1) * float(without.var(correction=0)) if n > 2 else math.nan)
    if not means:
        return None, math.nan
    error = math.sqrt(sum(variances)) / len(means)
    if math.isnan(error) and len(means) > 1:
        error = float(np.std(means, ddof=1)) / math.sqrt(len(means))
    return float(np.mean(means)), error


# --------------------------------------------------------------------------------------------- all, with intervals


@dataclass(frozen=True)
class Diversity:
    """The measures of a set of made clips, and a 95 % interval of each; None where a measure cannot be had.

    ``target_accuracy`` : share classified as their target (0–1); ``within_class`` is in units of the features,
    ``frechet`` in their square; ``intervals`` : ``(low, high)`` by the measure's name.
    """

    coverage: float | None
    density: float | None
    frechet: float | None
    vendi: float
    within_class: float | None
    target_accuracy: float
    intervals: dict[str, tuple[float, float] | None]


def measure(
    pooled: Tensor,
    target: Tensor,
    predicted: Tensor,
    real: Tensor | None = None,
    *,
    real_labels: Tensor | None = None,
    k: int = K,
    resamples: int = 200,
    seed: int = 0,
) -> Diversity:
    """All measures of made clips, each with a 95 % interval for another draw of as many made and real clips.

    A bootstrap draws clips twice, and copies are just what coverage, Vendi and Fréchet measure: it would shift them.
    Here no clip is drawn twice.

    - Coverage, density, Fréchet, Vendi: ``resamples`` times a share f of the clips (three quarters; less of more than
      1,024) is drawn from either side without replacement, from each class in proportion. The spread of the measure
      times √(f / (1 − f)) is its standard error (delete-d jackknife, Shao and Wu 1989), laid around the measure of all
      clips, for Fréchet and Vendi on a logarithmic scale. These two, which need a spectrum each, are taken in 50 draws
      at most: enough to know the width to a tenth. Coverage's interval is never narrower than Wilson's for M real
      clips.
    - Within a class: the jackknife that leaves out one clip (Arvesen 1969); with classes of two clips, the spread
      between classes, which is too wide rather than too narrow.
    - Target accuracy: Wilson's interval (1927).

    pooled : Tensor[N, D], N ≥ 2; target, predicted : Tensor[N] class indices; real : Tensor[M, D], M > k, or None, and
    its classes Tensor[M] where they are known. The same seed gives the same intervals. Raises FramiError.
    """
    made = points(pooled)
    target, predicted = _labels(pooled, target), _labels(pooled, predicted)
    if len(made) < 2:
        raise FramiError("diversity needs at least 2 clips")
    if resamples < 2:
        raise FramiError(f"intervals need at least 2 resamples, not {resamples}")
    values: dict[str, float | None] = dict.fromkeys(MEASURES)
    intervals: dict[str, tuple[float, float] | None] = dict.fromkeys(MEASURES)
    right = int((target == predicted).sum())
    values["target_accuracy"], intervals["target_accuracy"] = right / len(made), wilson(right, len(made))
    values["within_class"], error = _within_class(made, target)
    intervals["within_class"] = _around(values["within_class"], error)
    sides = [(made, target)]
    if real is not None:
        sides.append(_real_side(real, real_labels, pooled, k))
    values |= _resampled([side for side, _ in sides], k)
    intervals |= _delete_some(values, sides, k, resamples, seed)
    if intervals["vendi"]:
        intervals["vendi"] = max(1.0, intervals["vendi"][0]), min(float(len(made)), intervals["vendi"][1])
    if intervals["coverage"]:
        intervals["coverage"] = _of_share(values["coverage"], intervals["coverage"], len(real))
    return Diversity(**values, intervals=intervals)


def summary(
    pooled: Tensor,
    target: Tensor,
    predicted: Tensor,
    confidence: Tensor,
    real: Tensor | None = None,
    real_labels: Tensor | None = None,
    **choices,
) -> dict:
    """``measure`` as plain numbers, with ``samples``, the mean ``confidence`` and ``intervals`` [low, high].

    ``choices`` : its ``seed`` and ``resamples``.
    """
    values = asdict(measure(pooled, target, predicted, real, real_labels=real_labels, **choices))
    intervals = {name: interval and list(interval) for name, interval in values.pop("intervals").items()}
    return {"samples": len(pooled)} | values | {"confidence": float(confidence.mean()), "intervals": intervals}


def judged(
    pooled: Tensor,
    target: Tensor,
    predicted: Tensor,
    real: Tensor | None = None,
    real_labels: Tensor | None = None,
    *,
    k: int = K,
    resamples: int = 200,
    seed: int = 0,
) -> dict:
    """The measures ``JUDGED`` of made clips as a judge hears them, as plain numbers, with ``intervals`` [low, high] as
    ``measure`` has them (without ``resamples`` only of the share); None where a measure cannot be had.

    pooled : Tensor[N, D], the judge's embeddings; target, predicted : Tensor[N], classes; real : Tensor[M, D] and
    real_labels : Tensor[M]. Raises FramiError.
    """
    made = points(pooled)
    target, predicted = _labels(pooled, target), _labels(pooled, predicted)
    right = int((target == predicted).sum())
    values = dict.fromkeys(JUDGED) | {"judge_accuracy": right / len(made)}
    intervals = dict.fromkeys(JUDGED) | {"judge_accuracy": wilson(right, len(made))}
    if real is not None and len(real) > k and len(made) > 1:
        side = _real_side(real, real_labels, pooled, k)
        values |= _beside([made, side[0]], k)
        if resamples:
            intervals |= _delete_some(values, [(made, target), side], k, resamples, seed, _beside)
            intervals["judge_coverage"] = _of_share(values["judge_coverage"], intervals["judge_coverage"], len(real))
    return values | {"intervals": {name: ends and list(ends) for name, ends in intervals.items()}}


def _real_side(real: Tensor, labels: Tensor | None, pooled: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Real clips as points beside made ones, and their classes; one class where none are known."""
    real, _ = _enough(real, pooled, k)
    return real, torch.zeros(len(real)) if labels is None else _labels(real, labels)


def _beside(sides: list[Tensor], k: int, spectra: bool = True) -> dict[str, float]:
    """Of made and real clips, the judge's measures whose intervals come from draws, where there are enough clips."""
    made, real = sides
    found = {"judge_coverage": coverage_density(real, made, k)[0]} if len(real) > k else {}
    return found | ({"judge_kad": kernel_distance(real, made)} if spectra and min(len(real), len(made)) > 1 else {})


def _of_share(share: float, interval: tuple[float, float] | None, count: int) -> tuple[float, float]:
    """The interval of a share of ``count`` clips, never narrower than Wilson's."""
    both = [wilson(round(share * count), count), *([interval] if interval else [])]
    return min(low for low, _ in both), min(1.0, max(high for _, high in both))


def _resampled(sides: list[Tensor], k: int, spectra: bool = True) -> dict[str, float]:
    """Of made and perhaps real clips, the measures whose intervals come from draws, where there are enough clips."""
    made, found = sides[0], {}
    if spectra and len(made) > 1:
        found["vendi"] = vendi(made)
    for real in sides[1:]:
        if len(real) > k:
            found["coverage"], found["density"] = coverage_density(real, made, k)
        if spectra and min(len(real), len(made)) > 1:
            found["frechet"] = frechet(made, real)
    return found


def _delete_some(
    values: dict[str, float | None],
    sides: list[tuple[Tensor, Tensor]],
    k: int,
    resamples: int,
    seed: int,
    measured: Callable[[list[Tensor], int, bool], dict[str, float]] | None = None,
) -> dict[str, tuple[float, float] | None]:
    """Intervals around ``values`` from draws without replacement, each ``measured`` (``_resampled``); see
    ``measure``."""
    measured = measured or _resampled
    sizes = [len(side) for side, _ in sides]
    share = min(0.75, max(768 / sum(sizes), 64 / min(sizes)))
    parts = [int(share * size) for size in sizes]
    scale = math.sqrt(max(part / (size - part) for part, size in zip(parts, sizes, strict=True)))
    rng = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {}
    for number in range(resamples):
        drawn = [side[_rows(labels, part, rng)] for (side, labels), part in zip(sides, parts, strict=True)]
        for name, value in measured(drawn, k, number < _SPECTRA).items():
            draws.setdefault(name, []).append(value)
    intervals = {}
    for name, found in draws.items():
        if name in ("frechet", "vendi"):
            error = scale * float(np.log(np.maximum(found, 1e-12)).std(ddof=1))
            factor = math.exp(min(_NORMAL * error, 100))
            intervals[name] = values[name] / factor, values[name] * factor
        else:
            least = -math.inf if name == "judge_kad" else 0.0
            intervals[name] = _around(values[name], scale * float(np.std(found, ddof=1)), least)
    return intervals


def _rows(labels: Tensor, part: int, rng: np.random.Generator) -> Tensor:
    """``part`` of the rows at random, of each class in proportion: even steps through the classes in random order."""
    order = np.lexsort((rng.random(len(labels)), labels.numpy()))
    return torch.from_numpy(order[((np.arange(part) + rng.random()) * (len(labels) / part)).astype(int)])


def _around(value: float | None, error: float, least: float = 0.0) -> tuple[float, float] | None:
    """95 % interval of a normal error, not below ``least``; None where the error is not known."""
    return None if math.isnan(error) else (max(least, value - _NORMAL * error), value + _NORMAL * error)


def in_turns(labels: Tensor, count: int, seed: int = 0) -> Tensor:
    """``count`` clips chosen at random such that classes take turns, as in made banks: indices, Tensor[count].

    labels : Tensor[N] class indices. A class that has run out is passed over. Raises FramiError when count > N.
    """
    if not 0 < count <= len(labels):
        raise FramiError(f"{count} of {len(labels)} clips cannot be chosen")
    rng = np.random.default_rng(seed)
    mixed = rng.permutation(len(labels))
    classes = torch.as_tensor(labels).cpu().numpy()[mixed]
    turn = np.empty(len(classes), dtype=int)
    for label in np.unique(classes):
        turn[classes == label] = np.arange((classes == label).sum())
    return torch.from_numpy(mixed[np.lexsort((classes, turn))[:count]])


def _labels(features: Tensor, labels: Tensor) -> Tensor:
    labels = torch.as_tensor(labels).cpu()
    if labels.shape != (len(features),):
        raise FramiError(f"{len(features)} clips, but labels of shape {tuple(labels.shape)}")
    return labels
