"""Intervals of shares."""

import pytest

from frami.intervals import wilson


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (50, 100, 0.4038, 0.5962), (1, 1, 0.2065, 1.0)],
)
def test_wilson(right, count, low, high):
    assert wilson(right, count) == pytest.approx((low, high), abs=1e-4)
    assert wilson(right, count)[0] <= right / count <= wilson(right, count)[1]
