"""The law that divides a budget: it is found where it is known, and fills its table on development parts."""

from pathlib import Path

import pytest

from frami import files
from frami.bench.allocation import Law, divergence, fit, page
from frami.distill import pace

RESULTS = Path(__file__).parents[2] / "docs" / "results"


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


def test_a_budget_is_divided_by_the_law_of_the_page():
    rows = list(files.read_json(RESULTS / "allocation.json").values())
    law = fit([(m["clips"], m["steps"], divergence(m)) for m in rows])
    assert (pytest.approx(law.a), pytest.approx(law.b)) == (pace.A, pace.B)
    assert (pytest.approx(law.clips, rel=5e-3), pytest.approx(law.steps, rel=5e-3)) == (pace.CLIPS, pace.STEPS)
