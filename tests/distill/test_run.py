"""Distillations as runs: from the command line, killed and resumed, beside each other."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from frami import banks, checkpoints, locks, models
from frami.cost import parameters
from frami.distill import RunSettings, Settings, loop
from frami.distill import run as runs
from frami.errors import FramiError
from frami.runs import Runs
from frami.runs.store import bundled
from tests.helpers.cli import run
from tests.helpers.distillation import QUICK
from tests.test_locks import held_elsewhere

ROOT = Path(__file__).parents[2]


def test_a_run_from_the_command_line_to_a_student_that_runs_alone(capsys, tmp_path, fresh_home, tiny_teacher):
    out = tmp_path / "run"
    options = ["--student", "nano", "--rounds", 2, "--clips", 16, "--steps", 5, "--batch", 8, "--out", out]
    status, text, err = run(capsys, "distill", "--teacher", tiny_teacher, *options, "--json")
    assert status == 0, err
    value = json.loads(text)
    assert {"run", "accuracy", "agreement", "parameters", "seconds", "macs", "latency_ms", "bytes"} <= set(value)
    assert value["accuracy"] is None, "no recording of these classes is anywhere"
    assert value["clips"] == 32 and value["steps"] == 10 and value["confusion_of"] == "made"
    counted = sum(map(sum, value["confusion"]))
    assert counted == value["agreement_clips"] == 4, "those that it did not learn from, an eighth"
    right = sum(row[k] for k, row in enumerate(value["confusion"]))
    assert right / counted == pytest.approx(value["agreement"]), "the matrix counts what the figure beside it says"

    student = checkpoints.load(out / "student")
    assert student.card.kind == "student" and student.card.teacher == "tiny"
    assert student.card.parameters == value["parameters"] == parameters(student.model)
    assert len(banks.load(out / "bank")) == 32
    stored = Runs().get(value["run"])
    assert stored.status == "finished" and stored.result["steps"] == 10
    curves = Runs().metrics(value["run"])
    assert {"kd", "before", "after", "agreement", "clips", "share"} <= set(curves)

    status, _, err = run(capsys, "distill", "--teacher", tiny_teacher, *options)
    assert status == 2 and "not empty" in err
    again = json.loads(run(capsys, "distill", "--resume", out, "--json")[1])
    assert again["run"] == value["run"], "a finished run is not done again"

    bank = ["--bank", out / "bank", "--student", "nano", "--rounds", 1, "--steps", 3, "--out", tmp_path / "second"]
    status, text, err = run(capsys, "distill", "--teacher", tiny_teacher, *bank, "--json")
    assert status == 0 and json.loads(text)["clips"] == 32, err


def test_a_run_with_a_teacher_and_a_student_of_another_architecture(capsys, tmp_path, fresh_home, temporal_teacher):
    options = ["--student", "nano", "--rounds", 1, "--clips", 8, "--steps", 2, "--batch", 8, "--json"]
    for kind in ("residual", "tc-resnet"):
        out = tmp_path / kind
        more = ["--architecture", kind, "--out", out]
        status, text, err = run(capsys, "distill", "--teacher", temporal_teacher, *options, *more)
        assert status == 0, err
        student = checkpoints.load(out / "student")
        assert student.model.config.architecture == kind and student.model.config.pooling == "attentive"
        assert student.card.training.get("architecture", "residual") == kind
        assert json.loads(text)["parameters"] == student.card.parameters
    status, _, err = run(capsys, "export", json.loads(text)["run"], "--out", tmp_path / "student.onnx")
    assert status == 0, err
    assert "residual, tc-resnet" in run(capsys, "distill", "--teacher", temporal_teacher, "--architecture", "x")[2]


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGKILL])
def test_a_killed_run_goes_on(tmp_path, fresh_home, tiny_teacher, kill):
    """Killed in the middle, resumed: as many clips and steps as without, none of the first part lost."""
    out = tmp_path / "run"
    options = ["--student", "nano", "--rounds", "8", "--clips", "8", "--steps", "6", "--batch", "8", "--out", str(out)]
    command = [sys.executable, "-m", "frami", "distill", "--teacher", str(tiny_teacher), *options]
    process = subprocess.Popen(
        [*command, "--keep", "0.5"], cwd=ROOT, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )  # fmt: skip
    for _ in range(600):
        time.sleep(0.1)
        if (out / "state.pt").exists() and torch.load(out / "state.pt", weights_only=True)["steps"]:
            break
    assert Runs().list()[0].status == "running"
    process.send_signal(kill)
    process.wait(60)
    stopped = Runs().list()[0]
    assert stopped.status == "stopped" and (out / "student.safetensors").exists()
    saved = torch.load(out / "state.pt", weights_only=True)
    assert 0 < saved["steps"] < 48
    value = runs.work(stopped.id, Runs())
    assert value["steps"] == 48 and value["clips"] == 64
    assert len(banks.load(out / "bank")) == 64, "no batch is lost, none is there twice"
    steps = [step for step, _, _ in Runs().metrics(stopped.id)["kd"]]
    assert steps == sorted(steps) and steps[-1] == 48
    assert not (out / "state.pt").exists()


def test_curves_of_earlier_versions_are_read_under_their_new_names(fresh_home):
    """The KD loss was called ``answer``; a run that goes on writes the new name."""
    store = Runs()
    id = store.create("distill", "it", {}).id
    for step, name in ((1, "answer"), (2, "answer"), (3, "kd")):
        store.log(id, step, 0.5 * step, {name: 1 / step, "before": 1.0})
    assert store.metrics(id)["kd"] == [(1, 0.5, 1.0), (2, 1.0, 0.5), (3, 1.5, 1 / 3)]
    assert set(store.metrics(id)) == {"kd", "before"}
    for path in (ROOT / "checkpoints" / "runs").glob("*.json"):
        _, curves = bundled(path.stem)
        assert "answer" not in curves and len(curves["kd"]) > 100


def test_a_wrong_folder_of_recordings_leaves_a_stopped_run_alone(capsys, tmp_path, fresh_home):
    store = Runs()
    id = runs.begin(RunSettings("fsdd", Settings(**QUICK)), store)
    status, _, err = run(capsys, "distill", "--resume", id, "--data", tmp_path / "nowhere")
    assert status == 2 and "nowhere" in err and len(err.strip().splitlines()) == 1
    assert store.get(id).status != "failed"


def test_a_run_remembers_its_folder_of_recordings(capsys, tmp_path, fresh_home, make_tree, monkeypatch):
    """Resumed without it, it is measured all the same; the card does not name the folder."""
    monkeypatch.delenv("FRAMI_DATA", raising=False)
    make_tree("fsdd", tmp_path, speakers=("theo",))
    quick = ["--student", "nano", "--rounds", 1, "--clips", 4, "--steps", 2, "--batch", 4, "--out", tmp_path / "run"]
    with monkeypatch.context() as patch:
        patch.setattr(runs, "work", lambda *_, **__: (_ for _ in ()).throw(FramiError("cut off")))
        assert run(capsys, "distill", "--teacher", "fsdd", *quick, "--data", tmp_path)[0] == 2
    status, out, err = run(capsys, "distill", "--resume", tmp_path / "run", "--json")
    assert status == 0 and json.loads(out)["accuracy"] is not None, err
    assert str(tmp_path) not in (tmp_path / "run" / "student.json").read_text()


def test_a_command_that_was_killed_before_its_first_file_is_given_again(capsys, tmp_path, fresh_home, monkeypatch):
    """Its lock and half of its settings lay there, and the folder was refused."""
    out = tmp_path / "run"
    out.mkdir()
    (out / locks.NAME).write_text("1")
    (out / ".01234567.settings.json").write_text("{")
    monkeypatch.setattr(runs, "work", lambda *_, **__: (_ for _ in ()).throw(FramiError("cut off")))
    again = ["distill", "--teacher", "fsdd", "--out", out]
    assert "cut off" in run(capsys, *again)[2] and [path.name for path in out.iterdir()] == [runs.SETTINGS]
    (out / runs.SETTINGS).rename(out / "mine.json")
    status, _, err = run(capsys, *again)
    assert status == 2 and "not empty" in err and (out / "mine.json").exists(), "what is no leaving stays"
    (out / runs.RESULT).write_text("{}")
    assert "a finished run is there already; choose another --out" in run(capsys, *again)[2]


def test_the_folder_of_a_forgotten_run_is_not_resumed(capsys, tmp_path, fresh_home):
    store = Runs()
    id = runs.begin(RunSettings("fsdd", Settings(**QUICK)), store, tmp_path / "run")
    again = ["distill", "--teacher", "fsdd", "--out", tmp_path / "run"]
    assert "--resume" in run(capsys, *again)[2]
    store.delete(id)
    status, _, err = run(capsys, *again)
    assert status == 2 and "--resume" not in err and "another --out" in err


@pytest.mark.parametrize("where", ["first state", "step"])
def test_a_run_interrupted_at_a_bad_moment_goes_on(fresh_home, tiny_teacher, short_warmup, where, monkeypatch):
    """Before the first clips are finished, and within a step: nothing is lost or twice."""
    store = Runs()
    request = RunSettings(str(tiny_teacher), Settings(**(QUICK | {"recipe": "dafl", "rounds": 3})))
    id = runs.begin(request, store)
    calls = []
    real = loop.learn

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    def report(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if where == "step":
            patch.setattr(loop, "learn", interrupted)
        with pytest.raises(KeyboardInterrupt):
            runs.work(id, store, report=report if where == "first state" else None, save_every=0.0)
    assert store.get(id).status == "stopped"
    value = runs.work(id, store)
    bank = banks.load(store.get(id).folder / "bank")
    assert value["clips"] == len(bank) == 24 and value["steps"] == 9
    assert sorted(bank.target.tolist()) == sorted(i % 4 for i in range(24))


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["frami-warm", "dafl"])
def test_a_resumed_run_ends_as_one_that_was_never_stopped(fresh_home, tiny_teacher, short_warmup, recipe, monkeypatch):
    """The same weights, bit for bit: moments, learning rates and chance go on where they were."""
    work = runs.distill
    monkeypatch.setattr(runs, "REPORT_EVERY", 0.0)
    monkeypatch.setattr(runs, "distill", lambda *given, **named: work(*given, **(named | {"every": 0.0})))
    settings = Settings(**(QUICK | {"recipe": recipe, "rounds": 4, "steps": 8}))

    def student(stop_at: int | None) -> torch.Tensor:
        store = Runs()
        id = runs.begin(RunSettings(str(tiny_teacher), settings), store)

        def report(state, _) -> None:
            if state.steps >= stop_at:
                raise KeyboardInterrupt

        if stop_at:
            with pytest.raises(KeyboardInterrupt):
                runs.work(id, store, report=report, save_every=0.0)
            assert 16 <= torch.load(store.get(id).folder / "state.pt", weights_only=True)["steps"] < 32
        runs.work(id, store)
        model = checkpoints.load(store.get(id).folder / "student").model
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(student(16), student(None))


@pytest.mark.slow
def test_two_runs_at_once_do_no_harm(tmp_path, fresh_home, tiny_teacher):
    outs = [tmp_path / "one", tmp_path / "two"]
    options = ["--student", "nano", "--rounds", "3", "--clips", "8", "--steps", "6", "--batch", "8", "--keep", "0.2"]
    command = [sys.executable, "-m", "frami", "distill", "--teacher", str(tiny_teacher), *options, "--json"]
    processes = [
        subprocess.Popen([*command, "--out", str(out)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for out in outs
    ]
    values = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert len({value["run"] for value in values}) == 2
    weights = []
    for out, value in zip(outs, values, strict=True):
        assert value["steps"] == 18 and value["clips"] == len(banks.load(out / "bank")) == 24
        assert Runs().get(value["run"]).status == "finished"
        assert [step for step, _, _ in Runs().metrics(value["run"])["kd"]][-1] == 18
        weights.append((out / "student.safetensors").read_bytes())
    assert weights[0] == weights[1], "the same settings and seed, undisturbed"


def test_a_card_names_the_teacher_and_only_what_the_run_used(capsys, tmp_path, fresh_home, tiny_teacher):
    """A student of one's own teacher is compared with that one, also where another has its name."""
    from frami.evaluation import teacher_path

    out = tmp_path / "run"
    quick = ["--student", "nano", "--steps", 3, "--batch", 8, "--rounds", 4]
    run(capsys, "distill", "--teacher", tiny_teacher, *quick, "--clips", 8, "--out", out, "--json")
    card = checkpoints.read_card(out / "student")
    own = checkpoints.read_card(tiny_teacher)
    assert teacher_path(card) == tiny_teacher and card.evaluation.split()[-1] == card.training["run"]
    assert card.training["recipe"] == Settings().recipe and card.training["made_clips"] == 32
    other = tmp_path / "home" / "checkpoints" / "tiny"
    checkpoints.save(other, models.build("nano", 4), replace(own, accuracy=0.1))
    assert teacher_path(card) == tiny_teacher
    assert teacher_path(replace(card, training=card.training | {"teacher": "/gone/tiny"})) is None, "not the other one"
    assert teacher_path(replace(card, training={})) == other, "a card that does not tell: by its name"

    second = tmp_path / "second"
    run(capsys, "distill", "--teacher", tiny_teacher, *quick, "--bank", out / "bank", "--out", second)
    training = checkpoints.read_card(second / "student").training
    assert training["source"] == "bank" and not {"recipe", "clips", "share"} & set(training)
    assert json.loads((second / "settings.json").read_text())["bank"] == str(out / "bank")
    shard = next((out / "bank" / "shards").glob("shard-00000*"))
    shard.write_bytes(shard.read_bytes()[:-9])
    third = ["--bank", out / "bank", "--out", tmp_path / "third"]
    status, text, err = run(capsys, "distill", "--teacher", tiny_teacher, *quick, *third)
    assert status == 0 and f"left out of the bank: shards/{shard.name}" in text, err
    status, _, err = run(capsys, "distill", "--teacher", "fsdd", *quick, "--bank", out / "bank")
    assert status == 2 and "of other classes" in err


@pytest.mark.slow
def test_a_student_learns_what_real_recordings_are_from_made_ones(real_data, fresh_home):
    """Of a speaker that the teacher was not trained on, after a few rounds."""
    settings = Settings(budget=None, rounds=4, clips=24, steps=60, batch=24, lr=6e-3)
    store = Runs()
    value = runs.work(runs.begin(RunSettings("fsdd", settings), store), store, data_folder=real_data)
    assert value["accuracy"] > 0.5 and value["confusion_of"] == "real"
    assert sum(map(sum, value["confusion"])) == 500


def test_a_run_that_another_process_has_is_left_as_it_is(capsys, fresh_home):
    """It was noted as failed while the other went on."""
    store = Runs()
    id = runs.begin(RunSettings("fsdd", Settings(**QUICK)), store)
    with held_elsewhere("folder", store.get(id).folder):
        for command in (["--run", id], ["--resume", id]):
            status, _, err = run(capsys, "distill", *command)
            assert status == 2 and "is at work in another process; stop it first, or wait until it ends" in err
        assert (store.get(id).status, store.get(id).error) == ("waiting", None)
