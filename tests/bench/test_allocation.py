"""The law that divides a budget: it is found where it is known, and fills its table on development parts."""

from pathlib import Path

import pytest

from frami import files
from frami.bench.allocation import Law, common, divergence, fit, page, triples
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
    lines = page(rows[::-1])
    assert "| 50 | 100 | 0.0500 | 0.0500 | 90.0% | 80.0% |" in lines
    run = "    frami bench allocation --teachers {} --clips 50,200,800 --steps 100,400,1600 --data FOLDER"
    assert run.format("fsdd") in lines and not any("The law" in line for line in lines)
    lines = page([*rows, *({**measured, "teacher": "esc10"} for measured in rows)])
    assert run.format("fsdd") in lines and run.format("esc10") in lines
    assert any("2 · clips^-1.00 + steps^-1.00" in line for line in lines), "both alike: 2 / clips and 1 / steps"
    assert any("clips^-1.00" in line and "steps^-1.00" in line for line in lines)


def test_teachers_share_exponents_and_the_mean_of_their_weights():
    grid = [(n, s) for n in (50, 200, 800) for s in (100, 400, 1600)]
    one, other = (
        [(n, s, k * (w * n**-0.8 + s**-0.6) + rest) for n, s in grid] for k, w, rest in ((9, 1, 0.1), (2, 4, 0))
    )
    found = common([one, other])
    assert (found.a, found.b, found.clips) == pytest.approx((0.8, 0.6, 2.0), rel=0.01) and found.error < 1e-3


def test_a_budget_is_divided_by_the_law_of_the_page():
    cells = files.read_json(RESULTS / "allocation.json")
    ways, rows = {name.split(" | ")[1] for name in cells}, list(cells.values())
    assert len(ways) == 1 and len(triples(rows)) > 1, "one law of measurements made in one way"
    law = common(triples(rows))
    assert (law.clips, law.a, law.b) == pytest.approx((pace.CLIPS, pace.A, pace.B), rel=5e-3)
