"""Intervals of shares."""

import pytest

from frami.intervals import over_groups, wilson


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (1, 1, 0.2065, 1.0), (0, 0, 0.0, 1.0)],
)
def test_wilson(right, count, low, high):
    assert wilson(right, count) == pytest.approx((low, high), abs=1e-4)
    assert wilson(right, count)[0] <= right / max(count, 1) <= wilson(right, count)[1]


def test_wilson_is_that_of_scipy():
    from scipy.stats import binomtest

    for right, count in ((0, 1), (3, 7), (837, 837), (1, 10_000), (631, 837)):
        expected = binomtest(right, count).proportion_ci(0.95, "wilson")
        assert wilson(right, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_groups_that_differ_widen_the_interval():
    """Half of the speakers are always understood, half never; against clips that differ alone."""
    apart, alike = over_groups([10, 0] * 10, [10] * 20), over_groups([5] * 20, [10] * 20)
    assert alike == (0.5, 0.5) and apart[0] < 0.32 and apart[1] > 0.68
    assert apart == over_groups([10, 0] * 10, [10] * 20), "the same each time"
    assert over_groups([1] * 4, [2] * 4) is None
