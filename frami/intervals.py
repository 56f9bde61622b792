"""Confidence intervals of shares."""

from statistics import NormalDist

#: Standard deviations of the normal distribution that hold 95 % of it.
_Z = NormalDist().inv_cdf(0.975)


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share ``right / count``, lowest and highest, within 0–1 (Wilson 1927); it has a width at 0 and
    1, too, and of nothing it is all that can be."""
    if not count:
        return 0.0, 1.0
    share, square = right / count, _Z**2 / count
    middle = (share + square / 2) / (1 + square)
    half = _Z / (1 + square) * (share * (1 - share) / count + square / (4 * count)) ** 0.5
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
