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

    # The judge's measures are cells of their own, so that earlier files stay readable and are filled up.
    assert "The judge: tc-resnet" in page and page.count("| `dafl` |") == 2, "what the judge says has a table"
    judged = json.loads(run(capsys, "bench", "diversity", "--recipes", "frami", "--seeds", 2, "--page", *options)[1])
    judged = judged["teachers"]["fsdd"]["judge"]
    assert judged["rows"][0]["runs"] == 2 and 0 <= judged["rows"][0]["judge_accuracy"] <= 1
    assert judged["reference"]["samples"] == 20, "of the training speakers, whom the judge never heard"
    cells = json.loads(figures.read_text())
    before = {key: cell for key, cell in cells.items() if " judged " not in key}
    assert len(before) == len(cells) / 2, "a cell of the judge for each of the teacher"
    figures.write_text(json.dumps(before))
    status, _, _ = run(capsys, "bench", "diversity", "--recipes", "dafl", "--seeds", 1, *options)
    assert status == 0 and calls == ["cmi", "cmi", "dafl"], "clips are made again for the judge alone"
    after = json.loads(figures.read_text())
    assert {key: after[key] for key in before} == before, "and what was measured stays"
    new = sorted(set(after) - set(before))
    assert len(new) == 2 and " dafl " in new[0] and " real judged " in new[1] and all(" judged " in key for key in new)

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
    assert fingerprint(frami) != fingerprint(RECIPES["frami-fine-image-views"])
