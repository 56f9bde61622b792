"""What whoever deploys a network is told: from cards, exports, and whatever a stranger wrote there."""

import json
from dataclasses import asdict

import pytest

from frami import checkpoints, facts
from frami.files import read_json
from frami.hub.page import text
from tests.helpers.cli import run
from tests.helpers.listening import tones_onnx
from tests.test_docs import ROOT

QUESTIONS = [
    "data-free", "teacher", "licence", "front-end", "size", "latency", "precision", "accuracy", "known failures",
]  # fmt: skip


@pytest.mark.slow
def test_a_bundled_student_says_what_a_deployer_asks(capsys, tmp_path):
    status, out, err = run(capsys, "card", "fsdd-tiny", "--json", "--out", tmp_path / "card.md")
    assert status == 0, err
    told = json.loads(out)
    assert list(told) == QUESTIONS
    assert told["data-free"].startswith("yes") and "1,280 clips" in told["data-free"]
    assert told["teacher"] == "fsdd; licence of its weights: Apache-2.0"
    assert "CC BY-SA 4.0" in told["licence"] and "80 log-Mel bands" in told["front-end"]
    assert " ms for 0.39 s of sound, on one CPU thread of " in told["latency"]
    assert told["accuracy"].startswith("94.8% of 500 recordings") and "held out: theo" in told["accuracy"]
    assert "53.3% of 751 clips of Speech Commands, digits (296 speakers" in told["known failures"]
    page = (tmp_path / "card.md").read_text()
    assert "## In use" in page and "53.3%" in page and page.startswith("---\nlicense: apache-2.0")


@pytest.mark.parametrize("name", ["fsdd-tiny", "digits-mini"])
def test_figures_of_strangers_are_those_of_the_measurement(name):
    cells = read_json(ROOT / "docs" / "results" / "strangers.json")["cells"]
    measured = {c["dataset"]: c for c in cells if c["checkpoint"] == name}
    own = checkpoints.read_card(checkpoints.resolve(name)).measured["elsewhere"]
    assert {row["dataset"] for row in own} == {"audiomnist", "speechcommands-digits"}
    for row in own:
        cell = measured[row["dataset"]]
        assert (row["clips"], row["speakers"]) == (cell["clips"], cell["speakers"])
        assert row["accuracy"] == pytest.approx(cell["accuracy"], abs=1e-4)


@pytest.mark.parametrize("card", checkpoints.bundled("student"), ids=lambda card: card.name)
def test_every_student_says_that_it_is_data_free_and_what_was_not_measured(card):
    told = dict(facts.answers(asdict(card)))
    assert list(told) == QUESTIONS and told["data-free"].startswith("yes")
    assert told["latency"] == "not measured" and told["teacher"].endswith("not known here")
    assert ("not measured on other recordings" in told["known failures"]) == ("elsewhere" not in card.measured)
    assert "| data-free | yes" in text(asdict(card), "me/it")


@pytest.mark.parametrize(
    ("source", "word"), [("real", "no:"), ("noise", "yes:"), (None, "not known"), ([], "not known")]
)
def test_what_it_learnt_from(source, word):
    card = {"kind": "student", "training": {"source": source}}
    assert dict(facts.answers(card))["data-free"].startswith(word)


def test_a_file_in_eight_bits_says_how_it_was_calibrated(capsys, tmp_path):
    measured = {
        "agreement": 0.991,
        "calibration": {"calibration": "made", "source": "fsdd", "clips": 320, "per_class": 32, "method": "minmax"},
    }
    path = tones_onnx(
        tmp_path / "x.onnx", precision="int8", measured=json.dumps(measured),
        card=json.dumps({"kind": "student", "training": {"source": "made"}, "licence": "MIT"}),
    )  # fmt: skip
    status, out, _ = run(capsys, "card", path, "--json")
    told = json.loads(out)
    assert status == 0 and "weights: MIT" in told["licence"]
    assert told["precision"] == (
        "int8; calibrated on 320 clips, 32 of each class (made, fsdd); answers as in float32 for 99.1% of unseen made "
        "clips"
    )


@pytest.mark.parametrize("nonsense", [7, "x" * 9_000, ["a\n| b"], {"a": 1}, None, True, float("inf"), -3])
def test_whatever_a_stranger_writes_is_one_line_each(nonsense):
    fields = checkpoints.read_card(checkpoints.resolve("fsdd-tiny"))
    for name in asdict(fields):
        card = asdict(fields) | {name: nonsense}
        for one in (card, card | {"kind": "student"}):
            rows = facts.answers(one, {"latency": nonsense, "precision": nonsense, "measured": nonsense})
            assert all("\n" not in answer and len(answer) <= 601 for _, answer in rows)
    assert facts.answers(*facts.of_metadata({"card": str(nonsense), "measured": "[" * 10_000}))


def test_bad_input_is_one_line_and_status_2(capsys, tmp_path):
    (tmp_path / "x.onnx").write_text("none")
    tones_onnx(tmp_path / "y.onnx", classes=None)
    good = tones_onnx(tmp_path / "z.onnx")
    for words in ([tmp_path / "gone.onnx"], [tmp_path / "x.onnx"], [tmp_path / "y.onnx"], [good, "--out", "x.md"]):
        status, out, err = run(capsys, "card", *words)
        assert (status, out) == (2, "") and err.count("\n") == 1, err
