"""Confidence intervals of shares."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

#: Standard deviations of the normal distribution that hold 95 % of it.
_Z = NormalDist().inv_cdf(0.975)
#: Draws of a bootstrap, and groups from which on it says something.
_DRAWS, _FEWEST = 2000, 5


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share ``right / count``, lowest and highest, within 0–1 (Wilson 1927); it has a width at 0 and
    1, too, and of nothing it is all that can be."""
    if not count:
        return 0.0, 1.0
    share, square = right / count, _Z**2 / count
    middle = (share + square / 2) / (1 + square)
    half = _Z / (1 + square) * (share * (1 - share) / count + square / (4 * count)) ** 0.5
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def difference(right: tuple[int, int], count: tuple[int, int]) -> tuple[float, float]:
    """95 % interval of the difference of two shares, the second less the first, by their Wilson intervals (Newcombe
    1998, method 10), as if both were counted on clips of their own: on the same clips it is rather too wide."""
    (low, high), (lower, higher) = (wilson(*one) for one in zip(right, count, strict=True))
    first, second = (one / max(all, 1) for one, all in zip(right, count, strict=True))
    change = second - first
    down = ((second - lower) ** 2 + (high - first) ** 2) ** 0.5
    up = ((higher - second) ** 2 + (first - low) ** 2) ** 0.5
    return max(-1.0, change - down), min(1.0, change + up)


def over_groups(right: Sequence[int], count: Sequence[int], seed: int = 0) -> tuple[float, float] | None:
    """95 % interval of a share for groups drawn anew, as other speakers would be: the bootstrap over whole groups
    (Field and Welsh 2007). ``right`` of ``count`` of each group. None of fewer than five groups."""
    groups = len(count)
    if groups < _FEWEST:
        return None
    drawn = np.random.default_rng(seed).integers(0, groups, (_DRAWS, groups))
    shares = np.asarray(right)[drawn].sum(1) / np.asarray(count)[drawn].sum(1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)
