"""Files that an earlier version wrote (version 0.1.0, before keys and modules got their present names) still serve."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
import torch

from frami import banks, checkpoints, models, train
from frami.runs import Runs
from tests.helpers.cli import run
from tests.helpers.teachers import make_mels, plain_training

EARLIER = Path(__file__).parent / "earlier"
NAMES = json.loads((EARLIER / "runs.json").read_text())


@pytest.fixture
def earlier(tmp_path, monkeypatch) -> Path:
    """A copy of these files; the stored runs know where it lies, and ``FRAMI_HOME`` is the one in it."""
    folder = shutil.copytree(EARLIER, tmp_path / "earlier")
    with sqlite3.connect(folder / "home" / "runs" / "runs.sqlite") as base:
        for id, settings in base.execute("SELECT id, settings FROM runs").fetchall():
            moved = json.loads(settings) | {"teacher": str(folder / "teacher")}
            values = (str(folder / "home" / "runs" / id), json.dumps(moved), id)
            base.execute("UPDATE runs SET folder = ?, settings = ? WHERE id = ?", values)
    base.close()
    monkeypatch.setenv("FRAMI_HOME", str(folder / "home"))
    monkeypatch.delenv("FRAMI_DATA", raising=False)
    return folder


def synthesize(folder: Path, out: str, recipe: str) -> list:
    settings = ["--recipe", recipe, "--samples", 4, "--batch", 2, "--steps", 3, "--seconds", 0.2]
    return ["synthesize", "--teacher", folder / "teacher", *settings, "--out", folder / out]


def test_a_bank_and_its_manifest(earlier, capsys):
    assert {"asked", "heard"} <= set(json.loads((earlier / "bank" / "manifest.json").read_text())["clips"][0])
    bank = banks.load(earlier / "bank")
    assert sorted(bank.target.tolist()) == [0, 1, 2, 3]
    assert [clip["target"] for clip in bank.manifest["clips"]] == bank.target.tolist() and not bank.damaged
    again = checkpoints.load(earlier / "teacher").model(*bank.batch(range(4))[:2]).logits.argmax(1)
    assert torch.equal(again, bank.predicted) and bank.sound(0).is_file()
    assert bank.manifest["target_accuracy"] == bank.target_accuracy == 0.5
    before = {path: path.read_bytes() for path in (earlier / "bank").rglob("*") if path.is_file()}
    status, out, err = run(capsys, *synthesize(earlier, "bank", "dafl"))
    assert status == 0 and "already there: 4 clips" in out, err
    assert before == {path: path.read_bytes() for path in (earlier / "bank").rglob("*") if path.is_file()}


def test_an_unfinished_bank_goes_on(earlier, capsys):
    first = banks.load(earlier / "half-frami-fast")
    assert len(first) == 2
    status, out, err = run(capsys, *synthesize(earlier, "half-frami-fast", "frami-fast"), "--no-sounds")
    assert status == 0 and "behind the 2 clips" in err and out.startswith("4 clips"), err
    bank = banks.load(earlier / "half-frami-fast")
    assert len(bank) == 4 and bank.manifest["complete"] and torch.equal(bank.frames[: len(first.frames)], first.frames)


def test_a_bank_of_the_studio(earlier):
    (folder,) = (earlier / "home" / "studio").iterdir()
    bank = banks.load(folder)
    assert "teacher_sha256" not in bank.manifest["settings"] and len(bank) == 2
    steps, mels = bank.trajectory(0)
    assert len(steps) == len(mels) > 1


def test_stored_runs(earlier, capsys):
    store = Runs()
    found = {run.id: run.status for run in store.list()}
    assert found == {NAMES[name]: name for name in ("finished", "stopped", "waiting")}
    assert store.get(NAMES["finished"]).result == NAMES["result"]
    curves = store.metrics(NAMES["finished"])
    assert set(curves) == ({*NAMES["metrics"]} - {"answer"}) | {"kd"}, "under the present names"
    for command in ("show", "compare"):
        ids = [NAMES["finished"], NAMES["stopped"]][: 1 + (command == "compare")]
        status, out, err = run(capsys, "runs", command, *ids, "--json")
        assert status == 0 and json.loads(out), err


@pytest.mark.parametrize("name", ["stopped", "waiting"])
def test_a_run_goes_on(earlier, capsys, name):
    status, out, err = run(capsys, "distill", "--resume", NAMES[name], "--json")
    assert status == 0, err
    value = json.loads(out)
    rounds = {"stopped": 3, "waiting": 2}[name]
    assert (value["clips"], value["steps"]) == (2 * rounds, 4 * rounds)
    curves = Runs().metrics(NAMES[name])
    assert "answer" not in curves and ("kd" in curves) == (name == "waiting"), "simkd has no such term"
    steps = [step for step, *_ in curves["clips"]]
    assert steps == sorted(set(steps)) and steps[-1] == 4 * rounds
    status, out, err = run(capsys, "distill", "--resume", NAMES["finished"], "--json")
    assert status == 0 and json.loads(out)["steps"] == 8, "a finished run is left as it is"


def test_a_student_of_a_run(earlier, capsys):
    folder = earlier / "home" / "runs" / NAMES["finished"]
    student = checkpoints.load(folder / "student")
    assert student.card.kind == "student" and student.card.training["objective"] == "frami"
    status, _, err = run(capsys, "export", NAMES["finished"], "--out", earlier / "student.onnx")
    assert status == 0 and (earlier / "student.onnx").is_file(), err


def test_a_training_goes_on(earlier):
    torch.manual_seed(1)
    model = models.build("nano", 4)
    state = earlier / "half-training.pt"
    settings = plain_training(epochs=4, batch=8)
    assert [epoch.epoch for epoch in train.train(model, make_mels(each=4), settings, state)] == [3, 4]
