"""The command line: real small runs, one JSON value, one line and status 2 for bad input."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch

from frami import banks, checkpoints, models
from frami.cli import synthesis
from frami.inversion import RECIPES
from frami.paths import home
from tests.helpers.cli import run, synthesize

ROOT = Path(__file__).parents[2]


def test_teachers_lists_the_bundled_ones(capsys):
    status, out, _ = run(capsys, "teachers", "--json")
    rows = json.loads(out)
    assert status == 0
    assert {"fsdd", "esc10", "urbansound8k"} <= {row["name"] for row in rows}
    for row in rows:
        assert {"name", "dataset", "classes", "parameters", "accuracy", "split"} <= set(row)
        assert 400_000 <= row["parameters"] <= 3_000_000
    assert "held out" in run(capsys, "teachers")[1]


def test_of_many_classes_a_list_names_some(capsys, fresh_home, make_card):
    model = models.build("nano", 500)
    card = make_card(model, "many", classes=tuple(f"class {k}" for k in range(500)))
    checkpoints.save(home() / "teachers" / "many", model, card)
    line = next(line for line in run(capsys, "teachers")[1].splitlines() if line.startswith("many"))
    assert line.endswith("class 11 and 488 more")


def test_synthesize_writes_bank_sounds_and_manifest(capsys, tmp_path):
    out = tmp_path / "bank"
    status, text, err = run(capsys, *synthesize(out, "--classes", "3,seven", "--batch", 2, "--json"))
    assert status == 0, err
    value = json.loads(text)
    assert {"clips", "target_accuracy", "seconds", "bank"} <= set(value)
    assert value["clips"] == 3 and 0 <= value["target_accuracy"] <= 1 and Path(value["bank"]).is_file()

    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["settings"]["classes"] == [3, 7] and manifest["settings"]["seed"] == 0
    assert [clip["target_name"] for clip in manifest["clips"]] == ["three", "seven", "three"]
    for clip in manifest["clips"]:
        samples, rate = soundfile.read(out / clip["file"])
        assert rate == 22_050 and abs(len(samples) / rate - clip["seconds"]) < 1e-3
        assert {"predicted", "predicted_name", "confidence"} <= set(clip)
    assert Path(value["bank"]) == out / "manifest.json" and manifest["complete"]
    assert manifest["settings"]["teacher_sha256"] == checkpoints.read_card(ROOT / "checkpoints" / "fsdd").sha256
    assert sorted(path.name for path in (out / "shards").iterdir()) == [
        "shard-00000.safetensors",
        "shard-00001.safetensors",
    ]

    bank = banks.load(out)
    assert len(bank) == 3 and bank.clips().mels.shape[:3] == (3, 1, 80)
    again = banks.predictor(checkpoints.load("fsdd").model)(*bank.batch(range(3))[:2])
    assert torch.equal(again, bank.predicted), "half precision must not change a prediction"


def test_synthesize_without_sounds_for_a_range_of_durations(capsys, tmp_path):
    out = tmp_path / "bank"
    arguments = ["--seconds", "0.2-0.5", "--samples", 6, "--batch", 6, "--no-sounds", "--json"]
    status, text, err = run(capsys, *synthesize(out, *arguments))
    assert status == 0, err
    assert json.loads(text)["notes"] == []
    bank = banks.load(out)
    assert bank.manifest["settings"]["seconds"] == [0.2, 0.5] and bank.manifest["vocoder"] is None
    assert len(set(bank.lengths.tolist())) > 1
    assert bank.spec.frames(0.2) <= bank.lengths.min() and bank.lengths.max() <= bank.spec.frames(0.5)
    assert not list(out.glob("*.wav")) and all(bank.sound(i) is None for i in range(6))


def test_help_names_the_recipes(capsys):
    status, out, _ = run(capsys, "synthesize", "--help")
    assert status == 0
    assert set(RECIPES) <= set(re.split(r"[\s,]+", out))


def test_notes_of_a_run_are_printed_once(capsys, tmp_path, monkeypatch):
    original = synthesis.invert

    def noted(*args, **kwargs):
        return (replace(state, notes=("a word", "another")) for state in original(*args, **kwargs))

    monkeypatch.setattr(synthesis, "invert", noted)
    status, text, err = run(capsys, *synthesize(tmp_path / "bank", "--batch", 1, "--json"))
    assert status == 0 and json.loads(text)["notes"] == ["a word", "another"]
    assert err.count("a word") == err.count("another") == 1


def test_same_seed_gives_the_same_bank(capsys, tmp_path):
    for name in ("a", "b"):
        assert run(capsys, *synthesize(tmp_path / name, "--seed", 7))[0] == 0
    one, two = (banks.load(tmp_path / name).frames for name in ("a", "b"))
    assert torch.equal(one, two)


def test_another_bank_is_not_lost(capsys, tmp_path, monkeypatch):
    out = tmp_path / "bank"
    assert run(capsys, *synthesize(out))[0] == 0
    before = (out / "manifest.json").read_text()
    shard = (out / "shards" / "shard-00000.safetensors").stat()
    monkeypatch.setattr("frami.banks.Writer.append", lambda *a, **k: pytest.fail("the bank is there already"))
    status, text, _ = run(capsys, *synthesize(out))
    assert status == 0 and "already there: 3 clips" in text
    assert json.loads(run(capsys, *synthesize(out, "--json"))[1])["already_there"]
    assert (out / "shards" / "shard-00000.safetensors").stat() == shard
    monkeypatch.undo()
    status, _, err = run(capsys, *synthesize(out, "--seed", 1))
    assert status == 2 and "--overwrite" in err
    assert (out / "manifest.json").read_text() == before
    assert run(capsys, *synthesize(out, "--seed", 1, "--samples", 1, "--overwrite"))[0] == 0
    assert len(list(out.glob("*.wav"))) == 1, "no stale clip stays"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    status, _, err = run(capsys, *synthesize(tmp_path / "mine"))
    assert status == 2 and "not empty" in err


def test_an_interrupted_run_goes_on_behind_its_last_finished_batch(capsys, tmp_path, monkeypatch):
    original = synthesis.invert
    begun = []

    def interrupted(*args, **kwargs):
        for state in original(*args, **kwargs):
            yield state
            if state.finished and state.batch == 2:
                raise KeyboardInterrupt

    def watched(*args, **kwargs):
        begun.append(kwargs.get("first"))
        return original(*args, **kwargs)

    out, whole = tmp_path / "bank", tmp_path / "whole"
    assert run(capsys, *synthesize(whole, "--batch", 1))[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(synthesis, "invert", interrupted)
        status, _, err = run(capsys, *synthesize(out, "--batch", 1))
    assert status == 130 and "saved" in err
    bank = banks.load(out)
    assert len(bank) == 2 and all(bank.sound(i).is_file() for i in range(2)) and (out / "resume.pt").is_file()
    before = (out / "shards" / "shard-00001.safetensors").stat()
    monkeypatch.setattr(synthesis, "invert", watched)
    status, _, err = run(capsys, *synthesize(out, "--batch", 1))
    assert status == 0 and begun[-1] == 2 and "behind the 2 clips" in err
    assert (out / "shards" / "shard-00001.safetensors").stat() == before
    # The features of earlier clips are remembered in half precision, so the rest is nearly the same.
    frames, expected = banks.load(out).frames, banks.load(whole).frames
    assert torch.equal(frames[: len(bank.frames)], expected[: len(bank.frames)])
    assert torch.allclose(frames.float(), expected.float(), atol=0.3)
    assert not (out / "resume.pt").exists()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["synthesize", "--teacher", "nobody", "--out", "x"], "nobody"),
        (["synthesize", "--teacher", "fsdd", "--recipe", "soup", "--out", "x"], "soup"),
        (["synthesize", "--teacher", "fsdd", "--classes", "ten", "--out", "x"], "ten"),
        (["synthesize", "--teacher", "fsdd", "--classes", "11", "--out", "x"], "11"),
        (["synthesize", "--teacher", "fsdd", "--samples", "0", "--out", "x"], "samples"),
        (["synthesize", "--teacher", "fsdd", "--seconds", "nan", "--out", "x"], "seconds"),
        (["synthesize", "--teacher", "fsdd", "--seconds", "0.8-0.3", "--out", "x"], "longer"),
        (["synthesize", "--teacher", "fsdd", "--seconds", "0.3-", "--out", "x"], "seconds"),
        (["synthesize", "--teacher", "fsdd", "--seconds", "-1", "--out", "x"], "seconds"),
        (["synthesize", "--teacher", "fsdd", "--vocoder", "kazoo", "--out", "x"], "kazoo"),
        (["synthesize", "--teacher", "fsdd", "--device", "abacus", "--out", "x"], "abacus"),
        (["synthesize", "--teacher", "fsdd"], "--out"),
        (["evaluate", "fsdd", "--data", "/nowhere"], "/nowhere"),
        (["synthesize", "--teacher", "fsdd", "--classes", "²", "--out", "x"], "²"),
        (["synthesize", "--teacher", "fsdd", "--device", "meta", "--out", "x"], "meta"),
        (["synthesize", "--teacher", "fsdd", "--seed", "99999999999999999999", "--out", "x"], "seed"),
        (["evaluate", "esc10", "--dataset", "fsdd"], "classes"),
        (["train-teacher", "--dataset", "mnist", "--out", "x"], "mnist"),
        (["data", "download", "mnist"], "mnist"),
        (["dance"], "dance"),
        ([], "COMMAND"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAMI_DATA", str(tmp_path / "data"))
    status, out, err = run(capsys, *arguments)
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and word in err and "Traceback" not in err
    assert not (tmp_path / "x").exists()


def test_an_older_bank_stays_until_the_new_one_is_there(capsys, tmp_path, monkeypatch):
    out = tmp_path / "bank"
    assert run(capsys, *synthesize(out))[0] == 0

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(synthesis, "invert", interrupted)
    assert run(capsys, *synthesize(out, "--seed", 5, "--overwrite"))[0] == 130
    assert len(banks.load(out)) == 3


def test_damage_is_named(capsys, tmp_path):
    out = tmp_path / "bank"
    assert run(capsys, *synthesize(out, "--batch", 2))[0] == 0
    shard = out / "shards" / "shard-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    status, text, err = run(capsys, *synthesize(out, "--batch", 2, "--json"))
    assert status == 0 and json.loads(text)["clips"] == 1 and "shard-00000" in err
    (out / "manifest.json").write_text('{"format": 2}')
    status, _, err = run(capsys, *synthesize(out, "--batch", 2))
    assert status == 2 and "manifest.json" in err
    assert run(capsys, *synthesize(out, "--overwrite"))[0] == 0, "a damaged bank can be replaced"
    assert len(banks.load(out)) == 3


def test_data_list_without_any_data(capsys, tmp_path):
    status, out, _ = run(capsys, "data", "list", "--data", tmp_path, "--json")
    rows = json.loads(out)
    assert status == 0 and {row["name"] for row in rows} >= {"fsdd", "audiomnist", "esc10", "esc50", "urbansound8k"}
    assert all(row["here"] == 0 and row["licence"] for row in rows)
    assert "download" in run(capsys, "data", "list", "--data", tmp_path)[1]


def test_an_unwritable_home_is_named(capsys, real_data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "file" / "home"))
    status, _, err = run(capsys, "evaluate", "esc10", "--data", real_data)
    assert status == 2 and "FRAMI_HOME" in err


def test_data_list_counts_real_data(capsys, real_data):
    rows = {row["name"]: row for row in json.loads(run(capsys, "data", "list", "--data", real_data, "--json")[1])}
    assert rows["fsdd"]["here"] == 2500 and rows["esc10"]["here"] == 400 and rows["urbansound8k"]["here"] == 2598


def test_an_unknown_split_is_named(capsys, real_data):
    status, _, err = run(capsys, "evaluate", "fsdd", "--split", "nobody", "--data", real_data)
    assert status == 2 and "nobody" in err and "theo" in err


def test_a_reader_that_leaves_early_is_no_error():
    command = f"{sys.executable} -m frami teachers --json | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in done.stderr


def test_evaluate_a_fold_of_real_data(capsys, real_data):
    status, out, err = run(capsys, "evaluate", "fsdd", "--split", "george", "--data", real_data, "--json")
    value = json.loads(out)
    assert status == 0, err
    assert value["clips"] == 500 and value["accuracy"] > 0.9 and sum(map(sum, value["confusion"])) == 500
    assert set(value["per_class"]) == set(checkpoints.read_card(ROOT / "checkpoints" / "fsdd").classes)


@pytest.mark.slow
def test_train_teacher_evaluate_and_use_it(capsys, real_data, tmp_path):
    out = tmp_path / "mine"
    status, text, err = run(
        capsys, "train-teacher", "--dataset", "fsdd", "--out", out, "--size", "nano", "--epochs", 1,
        "--train", "george", "--test", "theo", "--data", real_data, "--json",
    )  # fmt: skip
    assert status == 0, err
    card = json.loads(text)
    assert card["split"] == {"train": ["george"], "test": ["theo"]} and card["data_licence"] == "CC BY-SA 4.0"
    again = ["train-teacher", "--dataset", "fsdd", "--out", out, "--size", "nano", "--epochs", 1, "--data", real_data]
    before = (tmp_path / "mine.safetensors").read_bytes()
    status, _, err = run(capsys, *again)
    assert status == 2 and "--overwrite" in err and (tmp_path / "mine.safetensors").read_bytes() == before
    value = json.loads(run(capsys, "evaluate", out, "--data", real_data, "--json")[1])
    assert abs(value["accuracy"] - card["accuracy"]) < 1e-3 and value["clips"] == 500
    bank = tmp_path / "bank"
    status, _, err = run(capsys, "synthesize", "--teacher", out, "--samples", 2, "--steps", 2, "--out", bank)
    assert status == 0, err


def test_the_module_runs_as_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "frami", "teachers", "--json"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and json.loads(done.stdout) and done.stderr == ""
    done = subprocess.run([sys.executable, "-m", "frami", "evaluate"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
