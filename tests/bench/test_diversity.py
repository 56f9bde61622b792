"""Diversity of every recipe: nothing is measured twice, and the page says what was measured."""

import json
from dataclasses import replace

from frami.bench import diversity
from frami.inversion import RECIPES
from tests.helpers.cli import run

SPEAKERS = ("george", "jackson", "nicolas", "theo", "yweweler")


def test_diversity_fills_what_is_missing(capsys, tmp_path, make_tree, monkeypatch):
    made, calls = make_tree("fsdd", tmp_path / "data", speakers=SPEAKERS), []
    real_richness = diversity.richness

    def counted(teacher, row, *more, **settings):
        calls.append(row.name)
        return real_richness(teacher, replace(row, steps=2, warmup=0), *more, **settings)

    monkeypatch.setattr(diversity, "richness", counted)
    out = tmp_path / "results" / "page.md"
    options = ["--samples", 20, "--batch", 10, "--out", out, "--data", made, "--teachers", "fsdd", "--json"]
    status, text, err = run(capsys, "bench", "diversity", "--recipes", "frami,dafl", "--seeds", 2, *options)
    assert status == 0, err
    assert sorted(calls) == ["dafl", "dafl", "frami", "frami"]
    table = json.loads(text)["teachers"]["fsdd"]
    assert [row["recipe"] for row in table["rows"]] == ["frami", "dafl"] and table["rows"][0]["runs"] == 2
    assert table["reference"]["target_accuracy"] <= 1
    page = out.read_text()
    assert "frami bench diversity --samples 20 --batch 10 --seeds 2" in page and "| `frami` |" in page
    figures = out.with_suffix(".json")
    cells = json.loads(figures.read_text())
    elsewhere = next(name for name in cells if " frami " in name)
    cells[elsewhere] |= {"device": "a slow one", "seconds": 1e6}
    figures.write_text(json.dumps(cells))
    calls.clear()
    status, _, _ = run(capsys, "bench", "diversity", "--recipes", "frami,dafl,cmi", "--seeds", 2, *options)
    assert status == 0 and calls == ["cmi", "cmi"], "what was measured is not measured again"
    page = out.read_text()
    assert "1000000" not in page and "a slow one" in page, "seconds are those of one device"

    def interrupted(teacher, row, *more):
        if row.name == "dafl":
            raise KeyboardInterrupt
        return counted(teacher, row, *more)

    monkeypatch.setattr(diversity, "richness", interrupted)
    status, _, _ = run(capsys, "bench", "diversity", "--recipes", "frami,dafl", "--seeds", 3, *options)
    assert status == 130 and "| `dafl` (2 of 3 seeds) |" in out.read_text(), "a stopped benchmark saves what it has"


def test_other_numbers_are_another_measurement():
    from frami.inversion.recipes import fingerprint

    frami = RECIPES["frami"]
    assert fingerprint(frami) == fingerprint(replace(frami, source="elsewhere"))
    assert fingerprint(frami) != fingerprint(replace(frami, steps=99))
    assert fingerprint(frami) != fingerprint(RECIPES["frami-image-views"])
