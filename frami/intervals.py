"""Confidence intervals of shares."""


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % interval of a share ``right / count``, lowest and highest, within 0–1 (Wilson 1927); it has a width at 0 and
    1, too."""
    from scipy.stats import binomtest  # takes a second to import

    low, high = binomtest(right, count).proportion_ci(0.95, "wilson")
    return float(low), float(high)
