"""The benchmarks: figures that add up, nothing measured twice, pages that name their command."""

import json
from dataclasses import replace

import pytest
import torch

from frami import checkpoints
from frami.bench import inversion
from frami.errors import FramiError
from frami.inversion import RECIPES
from tests.helpers.cli import run

SPEAKERS = ("george", "jackson", "nicolas", "theo", "yweweler")


def test_speed_of_recipes_side_by_side(capsys):
    status, text, _ = run(
        capsys, "bench", "inversion", "--recipes", "frami,frami-fast,deepinversion", "--batch", 4, "--seconds", 0.3,
        "--rounds", 1, "--ladder", "--json",
    )  # fmt: skip
    assert status == 0
    value = json.loads(text)
    assert [row["recipe"] for row in value["rows"]] == ["frami", "frami-fast", "deepinversion"]
    for row in value["rows"]:
        assert row["clips_per_second"] == pytest.approx(row["clip_steps_per_second"] / row["steps"])
        assert row["flops_per_second"] == pytest.approx(row["flops"] * row["clip_steps_per_second"])
        assert row["ceiling_ratio"] == pytest.approx(
            row["flops_per_second"] / value["ceiling"].get("bfloat16", value["ceiling"]["float32"]), rel=0.01
        )
        assert 0 < row["ceiling_ratio"] < 2 and row["peak_bytes"] >= 0
    assert [row["without"] for row in value["ladder"]] == [
        [], ["precision"], ["order"], ["norms"], ["precision", "order", "norms"],
    ]  # fmt: skip
    assert value["ladder"][0]["ratio"] == 1
    one, fast, free = value["rows"]
    assert one["flops"] > 1.3 * fast["flops"], "the contrastive view is a second pass through the teacher"
    assert fast["flops"] > free["flops"], "the generator counts"


def test_operations_of_a_step_are_those_of_its_passes():
    """Teacher forward and gradient of its input, generator forward and both gradients, counted by hand."""
    from frami.inversion import arithmetic

    teacher = checkpoints.load("fsdd")
    recipe = RECIPES["frami-fast"]
    frames = teacher.spec.frames(0.5)
    counted = inversion._operations(inversion._stepper(teacher, recipe, 4, frames)) / 4
    cost = arithmetic(teacher, 0.5)
    expected = 2 * (2 * cost["teacher"] + 3 * cost["generator"])
    assert 0.85 * expected < counted < 1.1 * expected


def test_the_ceiling_is_that_of_convolutions():
    teacher = checkpoints.load("fsdd")
    rate = inversion.ceiling(teacher, 4, 32, torch.float32)
    assert 1e9 < rate < 1e15


def test_diversity_fills_what_is_missing(capsys, tmp_path, make_tree, monkeypatch):
    made, calls = make_tree("fsdd", tmp_path / "data", speakers=SPEAKERS), []
    real_richness = inversion.richness

    def counted(teacher, row, *more, **settings):
        calls.append(row.name)
        return real_richness(teacher, replace(row, steps=2, warmup=0), *more, **settings)

    monkeypatch.setattr(inversion, "richness", counted)
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
    kept = out.with_suffix(".json")
    cells = json.loads(kept.read_text())
    elsewhere = next(name for name in cells if " frami " in name)
    cells[elsewhere] |= {"device": "a slow one", "seconds": 1e6}
    kept.write_text(json.dumps(cells))
    calls.clear()
    status, _, _ = run(capsys, "bench", "diversity", "--recipes", "frami,dafl,cmi", "--seeds", 2, *options)
    assert status == 0 and calls == ["cmi", "cmi"], "what was measured is not measured again"
    page = out.read_text()
    assert "1000000" not in page and "a slow one" in page, "seconds are those of one device"

    def broken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(inversion, "richness", broken)
    status, _, _ = run(capsys, "bench", "diversity", "--recipes", "frami", "--seeds", 3, *options)
    assert status == 130 and "2 of 3 seeds" in out.read_text(), "a stopped benchmark keeps what it has"


def test_other_numbers_are_another_measurement():
    from frami.inversion.recipes import fingerprint

    frami = RECIPES["frami"]
    assert fingerprint(frami) == fingerprint(replace(frami, source="elsewhere"))
    assert fingerprint(frami) != fingerprint(replace(frami, steps=99))
    assert fingerprint(frami) != fingerprint(RECIPES["frami-image-views"])


def test_two_processes_fill_one_file(tmp_path):
    """Each knows only its own measurements when it begins; none is lost."""
    one, other = inversion.Results(tmp_path / "all.json"), inversion.Results(tmp_path / "all.json")
    one.put("a", {"x": 1})
    other.put("b", {"x": 2})
    one.put("c", {"x": 3})
    assert one.cells == inversion.Results(tmp_path / "all.json").cells == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 3}}


def test_damaged_results_are_named(tmp_path):
    path = tmp_path / "page.json"
    path.write_text("{")
    with pytest.raises(FramiError, match=r"page\.json"):
        inversion.Results(path)


def test_confidence_against_duration(capsys, tmp_path):
    out = tmp_path / "figure.png"
    status, text, _ = run(
        capsys, "bench", "duration", "--samples", 6, "--batch", 3, "--shortest", 0.2, "--longest", 0.6, "--out", out,
        "--recipe", "frami-fast", "--json",
    )  # fmt: skip
    value = json.loads(text)
    assert status == 0 and out.stat().st_size > 1000
    assert sum(row["clips"] for row in value["rows"]) == 6
    assert all(0.15 < seconds < 0.65 for seconds in value["clips"]["seconds"])
    assert len(set(value["clips"]["seconds"])) > 2, "a batch mixes durations"


@pytest.mark.parametrize(
    "arguments",
    [
        ("inversion", "--recipes", "soup"),
        ("inversion", "--teacher", "nobody"),
        ("duration", "--shortest", 3, "--longest", 1),
        ("diversity", "--teachers", "fsdd", "--data", "/nowhere", "--out", "{tmp}/x.md", "--recipes", "frami"),
        (),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, arguments):
    status, _, err = run(capsys, "bench", *(str(a).replace("{tmp}", str(tmp_path)) for a in arguments))
    assert status == 2 and len(err.strip().splitlines()) == 1
