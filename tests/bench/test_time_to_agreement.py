"""Seconds from nothing until a student agrees with its teacher: of several budgets, each a run of its own."""

import json

import pytest

from frami.bench import distillation as measure
from frami.bench import time_to_agreement
from tests.bench.test_distillation_page import cells
from tests.helpers.cli import run


def measured(row: str, agreement: dict[float, list[float]], strangers: bool = True) -> list[dict]:
    found = []
    for budget, values in agreement.items():
        for cell, value in zip(
            cells("fsdd", {row: [0.5] * len(values)}, budget, "theo", strangers), values, strict=True
        ):
            cell["parts"][-1]["agreement"] = value
            found.append(cell | {"seconds": budget + 1})
    return found


def page(some: list[dict], out, marks=(0.8, 0.9)) -> list[str]:
    return time_to_agreement.page({str(number): cell for number, cell in enumerate(some)}, out, marks)


def test_the_shortest_run_that_reaches_a_mark_counts(tmp_path):
    some = [
        *measured("frami + frami", {120.0: [0.95], 30.0: [0.7, 0.88], 60.0: [0.81, 0.83]}),
        *measured("real clips, frami", {30.0: [0.9], 60.0: [0.99]}),
    ]
    lines = page(some, tmp_path / "page.md")
    start = lines.index("strangers (elsewhere), 50 clips:")
    assert lines[start + 2 : start + 6] == [
        "| row | to 80% | to 90% | in 30 s | in 60 s | in 120 s |",
        "|---|---|---|---|---|---|",
        "| `frami + frami` | 61 s | 121 s | 79.0 ± 12.7 | 82.0 ± 1.4 | 95.0 |",
        "| `real clips, frami` | 31 s | 31 s | 90.0 | 99.0 | – |",
    ]
    assert "| `frami + frami` | – | – | 50.0 ± 0.0 | 50.0 ± 0.0 | 50.0 |" in lines, "the held-out part by itself"
    assert sum(line.startswith("| row |") for line in lines) == 2, "one stranger's part is not told twice"
    assert (tmp_path / "page-fsdd-theo-tiny.png").exists()


def test_parts_of_strangers_stand_behind_all_of_them(tmp_path):
    some = measured("frami + frami", {30.0: [0.6]})
    some[0]["parts"].append(some[0]["parts"][1] | {"name": "far", "clips": 150, "agreement": 1.0})
    lines = page(some, tmp_path / "page.md")
    titles = [line for line in lines if line.endswith(" clips:")]
    assert titles == [
        "strangers (elsewhere, far), 200 clips:", "held out (theo), 50 clips:", "strangers (elsewhere), 50 clips:",
        "strangers (far), 150 clips:",
    ]  # fmt: skip
    assert "| `frami + frami` | 31 s | 31 s | 90.0 |" in lines


def test_without_strangers_the_held_out_part_judges(tmp_path):
    lines = page(measured("frami + frami", {30.0: [0.85]}, strangers=False), tmp_path / "page.md")
    assert "held out (theo), 50 clips:" in lines and "| `frami + frami` | 31 s | – | 85.0 |" in lines


@pytest.mark.slow
def test_the_command_goes_on_where_it_was(capsys, tmp_path, fresh_home, make_tree, monkeypatch):
    make_tree("fsdd", tmp_path)
    make_tree("audiomnist", tmp_path, speakers=(1,))
    monkeypatch.setattr(measure, "warm", lambda *_: None)
    out = tmp_path / "page.md"
    options = ["bench", "time-to-agreement", "--teachers", "fsdd", "--rows", "noise logits", "--out", out]
    quick = ["--seeds", 1, "--data", tmp_path, "--student", "nano", "--device", "cpu", "--json"]
    quick += ["--marks", "0.01,0.999"]
    status, text, err = run(capsys, *options, *quick, "--budgets", "0.4s")
    assert status == 0, err
    first = json.loads(text)["cells"]
    status, text, err = run(capsys, *options, *quick, "--budgets", "0.8s,0.4")
    assert status == 0, err
    both = json.loads(text)["cells"]
    assert len(first) == 1 and len(both) == 2 and first.items() <= both.items()
    assert sorted(cell["budget"] for cell in both.values()) == [0.4, 0.8]
    assert "| row | to 1% | to 99.9% | in 0.4 s | in 0.8 s |" in out.read_text() and "audiomnist" in out.read_text()
