"""The law that divides a budget: it is found where it is known, and fills its table on development parts."""

import pytest

from frami.bench.allocation import Law, divergence, fit, page


def test_a_law_is_found_from_what_it_gives():
    true = Law(3.0, 0.5, 20.0, 0.9, 0.02, 0.0)
    found = fit([(n, s, true(n, s)) for n in (50, 200, 800) for s in (100, 400, 1600)])
    assert found.error < 1e-3 and found.a == pytest.approx(0.5) and found.b == pytest.approx(0.9)
    assert found(300, 700) == pytest.approx(true(300, 700), rel=0.01)


def test_factors_are_never_negative():
    found = fit([(n, s, 1.0 + 0.001 * n) for n in (50, 200, 800) for s in (100, 400)])
    assert min(found.clips, found.steps, found.rest) >= 0


def test_the_page_tells_the_law_and_every_row():
    rows = [
        {
            "teacher": "fsdd", "recipe": "frami", "student": "tiny", "clips": n, "steps": s,
            "parts": [
                {"part": "training clips", "clips": 9, "divergence": 2 / s, "agreement": 0.9},
                {"part": "re-recorded", "clips": 9, "divergence": 4 / n, "agreement": 0.8},
            ],
        }
        for n in (50, 200, 800) for s in (100, 400, 1600)
    ]  # fmt: skip
    assert divergence(rows[0]) == pytest.approx((0.02 + 0.08) / 2)
    lines = page(rows, "frami bench allocation")
    assert "| 50 | 100 | 0.0500 | 0.0500 | 90.0% | 80.0% |" in lines
    assert any("clips^-1.00" in line and "steps^-1.00" in line for line in lines)
