"""A person's own recordings, the whole way: from a folder to a teacher, its clips, a student, files for elsewhere."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from frami import checkpoints, data, evaluation, teachers
from frami.data import DataError
from frami.distill.run import held_out
from frami.features import maps
from frami.runs import Runs
from frami.runs.queue import Queue
from frami.studio.services.distillations import Distillations
from frami.studio.services.feature_maps import FeatureMaps
from frami.studio.services.map_layers import of_recordings
from frami.studio.services.syntheses import Syntheses
from tests.helpers.cli import run
from tests.helpers.own import make_folder, make_table
from tests.helpers.recordings import RATE, tone

CLASSES = {"low tone": 10, 'a "high", one': 10, "🐦 bird": 10}
#: Options of a training of a second.
QUICK = ("--size", "nano", "--epochs", 12, "--batch", 8, "--device", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("music") / "My Sounds (1)", CLASSES)


@pytest.mark.slow
def test_the_whole_way(folder, tmp_path, fresh_home, capsys):
    status, out, err = run(capsys, "train-teacher", "--dataset", folder, *QUICK, "--json")
    assert status == 0, err
    card, home = json.loads(out), tmp_path / "home"
    assert "no fold or group given: split 1 of 5 held out by class, seed 0" in err
    assert card["path"] == str(home / "teachers" / "my-sounds-1") and card["title"] == "My Sounds (1)"
    assert card["dataset"] == str(folder) and card["clips"] == 6 and set(card["classes"]) == set(CLASSES)
    assert "my-sounds-1" in run(capsys, "teachers")[1]

    status, out, err = run(capsys, "evaluate", "my-sounds-1", "--json")
    assert status == 0 and json.loads(out)["accuracy"] == pytest.approx(card["accuracy"], abs=1e-4), err
    bank = tmp_path / "bank"
    chosen = ["--samples", 3, "--steps", 3, "--seconds", 0.3]
    assert run(capsys, "synthesize", "--teacher", "my-sounds-1", *chosen, "--out", bank)[0] == 0
    status, out, err = run(capsys, "gallery", "--teachers", "my-sounds-1", "--each", 1, "--steps", 2, "--json")
    assert status == 0, err
    assert json.loads(out)["teachers"][0]["folder"] == str(home / "gallery" / "my-sounds-1")
    assert len([*(home / "gallery" / "my-sounds-1").glob("*.flac")]) == 3
    assert run(capsys, "diversity", bank, "--dataset", folder, "--split", "all")[0] == 0

    teacher = checkpoints.load("my-sounds-1")
    layer = of_recordings(maps.recorded(teacher), teacher)
    assert len(layer.layer) == 6 and layer.sound(0, None)[:4] == b"RIFF"
    assert str(folder) not in json.dumps(layer.show(0)) and "My Sounds (1)" in layer.show(0)["origin"]

    small = ["--student", "nano", "--rounds", 1, "--clips", 6, "--steps", 2]
    status, out, err = run(capsys, "distill", "--teacher", "my-sounds-1", *small, "--out", tmp_path / "s", "--json")
    assert status == 0 and json.loads(out)["accuracy"] is not None, err
    student = checkpoints.read_card(tmp_path / "s" / "student")
    assert card["measured"] and not student.measured, "what was measured of the teacher is none of the student's"
    real = ["--student", "nano", "--source", "real", "--rounds", 1, "--steps", 2, "--dataset", folder]
    assert run(capsys, "distill", "--teacher", "my-sounds-1", *real, "--out", tmp_path / "r")[0] == 0
    status, out, err = run(capsys, "evaluate", tmp_path / "r")
    assert status == 0 and "another corpus" not in out, err
    for source in ("my-sounds-1", tmp_path / "s", tmp_path / "r"):
        shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
        out = tmp_path / "elsewhere" / "it"
        assert run(capsys, "export", source, "--format", "safetensors", "--out", out)[0] == 0
        text = out.with_suffix(".json").read_text()
        assert str(tmp_path) not in text and str(folder.parent) not in text and '"My Sounds (1)"' in text
        assert checkpoints.load(out).card.sha256
    runs = Runs()
    for stored in runs.list():
        _, content = Distillations(Queue(runs), checkpoints.load, ["my-sounds-1"]).file(stored.id, "safetensors")
        assert str(tmp_path).encode() not in content and str(folder.parent).encode() not in content


def test_the_folder_is_gone(folder, tmp_path, fresh_home, capsys):
    """What needs no recordings goes on; what does says so in a line."""
    root = shutil.copytree(folder, tmp_path / "was here")
    settings = {"size": "nano", "epochs": 1, "batch": 8}
    teachers.train_teacher(str(root), tmp_path / "home" / "teachers" / "mine", **settings)
    moved = root.rename(tmp_path / "is here")
    found = FeatureMaps(tmp_path, Syntheses(tmp_path / "runs"), checkpoints.load, ["mine"])
    assert not found.has_recordings("mine") and found.choices("mine", []) == []
    assert held_out(checkpoints.load("mine"), None) is None
    assert held_out(checkpoints.load("mine"), tmp_path) is None, "--data holds published data sets"
    out = ["--samples", 2, "--steps", 2, "--seconds", 0.3, "--no-sounds", "--out", tmp_path / "bank"]
    assert run(capsys, "synthesize", "--teacher", "mine", *out)[0] == 0
    status, out, _ = run(capsys, "diversity", tmp_path / "bank", "--data", tmp_path)
    assert status == 0 and "no such folder or table" in out
    status, _, err = run(capsys, "evaluate", "mine")
    assert status == 2 and "no such folder or table; name where your recordings are now with --dataset" in err
    status, out, err = run(capsys, "evaluate", "mine", "--dataset", moved, "--json")
    assert status == 0 and json.loads(out)["clips"] == 6, "the same files in another place are the same data set"
    assert not json.loads(out)["other_corpus"]


def test_a_folder_that_has_grown_is_split_in_another_way(folder, tmp_path, fresh_home):
    root = shutil.copytree(folder, tmp_path / "growing")
    teachers.train_teacher(str(root), tmp_path / "it", size="nano", epochs=1, batch=8)
    assert evaluation.evaluate(tmp_path / "it").clips == 6
    soundfile.write(root / "low tone" / "more.wav", tone(0, seed=99), RATE)
    with pytest.raises(DataError, match="files have come or gone since the training"):
        evaluation.evaluate(tmp_path / "it")
    assert evaluation.evaluate(tmp_path / "it", split="all").clips == 31
    assert held_out(checkpoints.load(tmp_path / "it"), None) is None


def test_given_folds_stay_when_a_table_grows(tmp_path, fresh_home):
    rows = [{"file": f"{i}.wav", "class": "ab"[i % 2], "fold": ["train", "test"][i // 8]} for i in range(12)]
    table = make_table(tmp_path / "t.csv", rows)
    card = teachers.train_teacher(str(table), tmp_path / "it", size="nano", epochs=1, batch=4)
    assert card.split["train"] == ["train"] and card.split["test"] == ["test"]
    make_table(table, [*rows, {"file": "12.wav", "class": "a", "fold": "test"}])
    assert evaluation.evaluate(tmp_path / "it").clips == 5


def test_bad_files_are_skipped_when_asked(folder, tmp_path, fresh_home, capsys):
    root = shutil.copytree(folder, tmp_path / "it")
    soundfile.write(root / "low tone" / "silent.wav", np.zeros(RATE), RATE)
    command = ["train-teacher", "--dataset", root, "--out", tmp_path / "t", "--size", "nano", "--epochs", 1]
    status, _, err = run(capsys, *command)
    assert status == 2 and "silent.wav: silent" in err and "--skip-bad" in err
    status, out, err = run(capsys, *command, "--skip-bad")
    assert status == 0 and "on fold 1 (held out)" in out and err.count("left out: ") == 1 and "silent.wav" in err
    assert evaluation.evaluate(tmp_path / "t", split="all").clips == 30, "of a card that says so they need no flag"


@pytest.mark.parametrize("counts", [{"a": 1, "b": 12}, {"a": 1, "b": 1, "c": 6}, {"rare": 2, "usual": 60}])
def test_imbalance_is_no_error_and_is_said(counts, tmp_path, fresh_home, capsys):
    root = make_folder(tmp_path / "it", counts, seconds=0.1)
    out = tmp_path / "t"
    status, _, err = run(capsys, "train-teacher", "--dataset", root, "--out", out, "--size", "nano", "--epochs", 1)
    assert status == 0, err
    assert ("classes of one clip: a" in err) == (counts.get("a") == 1)
    assert run(capsys, "evaluate", out)[0] == 0
    assert run(capsys, "evaluate", out, "--split", "all")[0] == 0


def test_where_a_checkpoint_goes_without_out(tmp_path, fresh_home, capsys):
    for name in ("fsdd", "音"):
        root = make_folder(tmp_path / name, {"a": 2, "b": 2})
        status, _, err = run(capsys, "train-teacher", "--dataset", root, "--size", "nano")
        assert status == 2 and "say where it goes with --out" in err and "home/teachers/my-" in err
    status, _, err = run(capsys, "train-teacher", "--dataset", "esc10")
    assert status == 2 and "--out" in err
    status, _, err = run(capsys, "train-teacher")
    assert status == 2 and "esc50" in err and "your own recordings" in err


def test_files_and_pages_name_the_folder_not_its_path(folder):
    assert data.label(str(folder)) == "My Sounds (1)"
    assert data.label("C:\\Users\\me\\birds\\") == "birds" and data.label("fsdd") == "fsdd"
