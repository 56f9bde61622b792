"""The benchmarks: figures that add up, nothing measured twice, pages that name their command."""

import itertools
import json

import pytest
import torch
from torch import nn

from frami import checkpoints
from frami.bench import inversion
from frami.device import precision, processor
from frami.inversion import RECIPES, arithmetic
from tests.helpers.cli import run

SPEAKERS = ("george", "jackson", "nicolas", "theo", "yweweler")


@pytest.mark.slow
def test_speed_of_recipes_side_by_side():
    """By a clock that goes on by a second at each look: every step and every pass takes one."""
    ticking = inversion.Timing(clips=4, seconds=0.3, rounds=2, clock=itertools.count().__next__)
    recipes = [RECIPES[name] for name in ("frami-fine", "frami-fast", "deepinversion")]
    counted = []
    value = inversion.speed(checkpoints.load("fsdd"), recipes, ticking, lambda *at: counted.append(at))
    assert counted == [(done, 6) for done in range(1, 7)]
    assert [row["recipe"] for row in value["rows"]] == ["frami-fine", "frami-fast", "deepinversion"]
    for row in value["rows"]:
        assert row["clips_per_second"] == pytest.approx(row["clip_steps_per_second"] / row["steps"])
        assert row["flops_per_second"] == pytest.approx(row["flops"] * row["clip_steps_per_second"])
        assert row["clip_steps_per_second"] == 4 and row["peak_bytes"] >= 0
        assert row["ceiling_ratio"] == row["flops_per_second"] / list(value["ceiling"].values())[-1]
    one, fast, free = value["rows"]
    assert one["flops"] > 1.3 * fast["flops"], "the contrastive view is a second pass through the teacher"
    assert fast["flops"] > free["flops"], "the generator counts"


@pytest.mark.slow
def test_the_command_and_its_ladder(capsys):
    options = ["--recipes", "frami-fast", "--batch", 4, "--seconds", 0.3, "--rounds", 1, "--ladder"]
    status, text, _ = run(capsys, "bench", "inversion", *options)
    assert status == 0
    lines = text.splitlines()
    assert "fsdd, 4 clips of 25 frames" in lines[0] and processor() in lines[0]
    assert f", {precision(torch.device('cpu'))}, torch" in lines[0] and lines[5].startswith("frami-fast")
    first, *rest, none = lines[lines.index("frami-fine: clip-steps/s, ratio") + 1 :]
    assert first.split()[1:] == ["1.00", "as", "it", "is"]
    assert [line.split(maxsplit=2)[2] for line in rest] == list(inversion.LADDER.values())
    assert none.endswith("; ".join(inversion.LADDER.values()))


def test_operations_of_a_step_are_those_of_its_passes():
    """Teacher forward and gradient of its input, generator forward and both gradients, counted by hand."""
    teacher = checkpoints.load("fsdd")
    recipe = RECIPES["frami-fast"]
    counted = inversion._operations(inversion._stepper(teacher, recipe, 4, 0.5)) / 4
    cost = arithmetic(teacher, 0.5)
    expected = 2 * (2 * cost["teacher"] + 3 * cost["generator"])
    assert 0.85 * expected < counted < 1.1 * expected


def test_the_ceiling_is_that_of_convolutions():
    """By a clock of a second a look, their operations over their number."""
    teacher = checkpoints.load("fsdd")
    rate = inversion.ceiling(teacher, 4, 32, torch.float32, itertools.count().__next__)
    layers = [m for m in teacher.model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)][1:]
    assert 0.8 < rate * len(layers) / (2 * 2 * 4 * arithmetic(teacher, teacher.spec.seconds(32))["teacher"]) < 1


def test_a_step_of_both_loops(capsys):
    status, text, _ = run(capsys, "bench", "step", "--clips", 2, "--batch", 2, "--steps", 1, "--json")
    value = json.loads(text)
    assert status == 0 and [row["loop"] for row in value["rows"]] == ["inversion", "distillation"]
    assert all(row["wall"] > 0 and row["cpu"] > 0 for row in value["rows"]) and value["frames"] == [20, 47]


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
