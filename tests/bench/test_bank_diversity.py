"""``frami diversity``: banks made by the real command, beside made and real recordings."""

import contextlib
import io
import json
import shutil

import pytest

from frami import banks, checkpoints
from frami.cli import main
from frami.features import diversity, embeddings, judges
from tests.helpers import cli

MEASURES = [*diversity.MEASURES, "confidence", *diversity.JUDGED]
BESIDE_REAL = ("coverage", "density", "frechet", "judge_coverage", "judge_kad")


def run(capsys, *arguments):
    return cli.run(capsys, "diversity", *arguments)


def value(capsys, *arguments):
    status, out, err = run(capsys, *arguments, "--json")
    assert status == 0, err
    assert out.count("\n") == 1
    return json.loads(out)


def make(out, *more, teacher="fsdd", samples=10):
    settings = ["--teacher", teacher, "--samples", samples, "--steps", 2, "--seconds", 0.3, "--batch", 5, "--no-sounds"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["synthesize", *map(str, settings), "--out", str(out), *map(str, more)]) == 0
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the banks ``ten`` and ``twelve`` of the digits' teacher."""
    folder = tmp_path_factory.mktemp("banks")
    make(folder / "ten")
    make(folder / "twelve", "--seed", 1, samples=12)
    return folder


@pytest.fixture(scope="module")
def tree(make_tree, tmp_path_factory):
    """Made sounds in FSDD's layout: two clips a digit of the held-out speaker and of every training speaker."""
    speakers = ("theo", "george", "jackson", "nicolas", "yweweler")
    return make_tree("fsdd", tmp_path_factory.mktemp("data"), speakers=speakers, takes=2)


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    """No recordings are at hand unless a test says where."""
    monkeypatch.delenv("FRAMI_DATA", raising=False)
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "home"))


# --- what comes out --------------------------------------------------------------------------------------------------


def test_banks_beside_real_clips(capsys, made, tree):
    found = value(capsys, made / "twelve", made / "ten", "--data", tree)
    assert {key: found[key] for key in ("teacher", "dataset", "split", "real_clips", "samples", "k")} == {
        "teacher": "fsdd",
        "dataset": "fsdd",
        "split": "test",
        "real_clips": 20,
        "samples": 10,
        "k": 5,
    }
    assert [row["bank"] for row in found["rows"]] == [str(made / "twelve"), str(made / "ten")]
    for row in (*found["rows"], found["reference"]):
        assert row["samples"] == 10 and set(row["intervals"]) == {*diversity.MEASURES, *diversity.JUDGED}
        for name in MEASURES:
            if name == "within_class":
                assert row[name] is None and row["intervals"][name] is None, "no class has two of ten clips"
            else:
                assert isinstance(row[name], float) and (row[name] >= 0 or name == "judge_kad"), name
        low, high = row["intervals"]["vendi"]
        assert 1 <= low <= row["vendi"] <= high <= 10
    assert {row["recipe"] for row in found["rows"]} == {"frami-fine"}
    assert found["reference"]["clips"] == "real training clips (george, jackson, nicolas, yweweler)"
    assert value(capsys, made / "twelve", made / "ten", "--data", tree) == found, "the same figures every time"


def test_figures_are_those_of_the_first_clips(capsys, made, tree):
    found = value(capsys, made / "twelve", "--data", tree, "--samples", 11)
    bank, teacher = banks.load(made / "twelve"), checkpoints.load("fsdd")
    real = embeddings.embed(teacher, embeddings.recordings(teacher, data_folder=tree))
    row = found["rows"][0]
    assert found["samples"] == row["samples"] == 11
    assert (row["coverage"], row["density"]) == pytest.approx(diversity.coverage_density(real.pooled, bank.pooled[:11]))
    assert row["frechet"] == pytest.approx(diversity.frechet(bank.pooled[:11], real.pooled))
    assert row["vendi"] == pytest.approx(diversity.vendi(bank.pooled[:11]))
    assert row["within_class"] == pytest.approx(diversity.within_class(bank.pooled[:11], bank.target[:11]))
    assert row["target_accuracy"] == pytest.approx(float((bank.target == bank.predicted)[:11].float().mean()))
    assert row["confidence"] == pytest.approx(float(bank.confidence[:11].mean()))
    judge = judges.of(teacher)
    beside = embeddings.embed(judge.network, embeddings.recordings(teacher, data_folder=tree))
    heard = judges.hear(judge, bank.clips(range(11)))
    assert row["judge_accuracy"] == pytest.approx(float((heard.predicted == bank.target[:11]).float().mean()))
    assert row["judge_coverage"] == diversity.coverage_density(beside.pooled, heard.pooled)[0]
    assert row["judge_kad"] == pytest.approx(diversity.kernel_distance(beside.pooled, heard.pooled))
    assert found["judge"] == judge.says()


def test_a_table_for_people(capsys, made, tree):
    status, out, err = run(capsys, made / "ten", made / "twelve", "--data", tree)
    assert status == 0, err
    lines = out.splitlines()
    assert "10 clips each, beside 20 real ones of fsdd (test)" in lines[0]
    head = next(line for line in lines if "twelve" in line)
    assert head.split() == ["ten", "twelve", "real", "training", "clips"]
    rows = {line.split()[0]: line for line in lines[lines.index(head) + 1 :][: len(MEASURES) + 1]}
    assert list(rows) == ["recipe", *MEASURES]
    at = head.index("twelve")
    assert all(line[at - 1] == " " and line[at] != " " for line in rows.values()), "columns are aligned"
    assert "[" in rows["vendi"] and rows["within_class"].split()[1:] == ["-"] * 3
    for name in MEASURES:
        assert sum(line.startswith(name) for line in lines) == 2, f"{name} has a figure and a sentence"


def test_without_real_clips(capsys, made):
    found = value(capsys, made / "ten")
    row = found["rows"][0]
    assert found["real_clips"] == 0 and found["reference"] is None
    assert all(row[name] is None and row["intervals"][name] is None for name in BESIDE_REAL)
    assert row["vendi"] > 1 and 0 <= row["target_accuracy"] <= 1
    lines = run(capsys, made / "ten")[1].splitlines()
    assert sum("frami data download fsdd" in line for line in lines) == 1


def test_the_data_folder_is_used_where_it_holds_the_set(capsys, made, tree, tmp_path):
    shutil.copytree(tree, tmp_path / "home" / "data")
    assert value(capsys, made / "ten")["real_clips"] == 20


def test_the_split_is_chosen(capsys, made, tree, monkeypatch):
    monkeypatch.setenv("FRAMI_DATA", str(tree))
    assert value(capsys, made / "ten", "--split", "george,theo")["real_clips"] == 40
    found = value(capsys, made / "ten", "--split", "train")
    assert found["real_clips"] == 80 and found["reference"] is None, "no training clip is left to compare with"


def test_no_reference_where_training_clips_are_few(capsys, made, make_tree, tmp_path):
    root = make_tree("fsdd", tmp_path, speakers=("theo",))
    found = value(capsys, made / "ten", "--data", root)
    assert found["real_clips"] == 10 and found["reference"] is None


def test_another_data_set_of_the_same_classes(capsys, made, make_tree, tmp_path):
    root = make_tree("audiomnist", tmp_path, speakers=(1, 26, 28))
    found = value(capsys, made / "ten", "--data", root, "--dataset", "audiomnist", "--split", "all")
    assert found["dataset"] == "audiomnist" and found["real_clips"] == 30 and found["reference"] is None


def test_few_classes_are_remarked_upon(capsys, tmp_path):
    make(tmp_path / "two", "--classes", "3,7", samples=4)
    out = run(capsys, tmp_path / "two")[1]
    assert "two targets 2" in out and "of 10 classes" in out
    assert value(capsys, tmp_path / "two")["rows"][0]["within_class"] > 0


def test_a_teacher_of_ones_own(capsys, tiny_teacher, temporal_teacher, tmp_path, monkeypatch):
    """It is given by path, and recordings of no known data set cannot be missing."""
    make(tmp_path / "bank", teacher=tiny_teacher, samples=6)
    monkeypatch.setenv("FRAMI_DATA", str(tmp_path))
    found = value(capsys, tmp_path / "bank", "--teacher", tiny_teacher)
    assert found["teacher"] == "tiny" and found["dataset"] == "made" and found["real_clips"] == 0
    assert found["judge"] is None and all(found["rows"][0][name] is None for name in diversity.JUDGED)
    text = run(capsys, tmp_path / "bank", "--teacher", tiny_teacher)[1]
    assert "judge" not in text, "without one there is no line of it"
    own = value(capsys, tmp_path / "bank", "--teacher", tiny_teacher, "--judge", temporal_teacher)
    assert own["judge"].startswith("tc-resnet") and 0 <= own["rows"][0]["judge_accuracy"] <= 1
    status, _, err = run(capsys, tmp_path / "bank")
    assert status == 2 and "no checkpoint 'tiny'" in err and "by its path, with --teacher" in err


def test_what_is_damaged_is_told(capsys, made, tmp_path):
    shutil.copytree(made / "twelve", tmp_path / "bank")
    shard = sorted((tmp_path / "bank" / "shards").glob("*.safetensors"))[-1]
    shard.write_bytes(shard.read_bytes()[:-8])
    status, out, err = run(capsys, tmp_path / "bank", "--json")
    assert status == 0 and json.loads(out)["samples"] == 10
    assert err.count("\n") == 1 and shard.name in err and str(tmp_path / "bank") in err


# --- what can be wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["{made}/none"], "none"),
        (["{made}/ten", "--samples", "11"], "10 clips"),
        (["{made}/ten", "{made}/twelve", "--samples", "12"], "10 clips"),
        (["{made}/ten", "--samples", "1"], "--samples"),
        (["{made}/ten", "--seed", "-1"], "--seed"),
        (["{made}/ten", "--data", "/nowhere"], "/nowhere"),
        (["{made}/ten", "--dataset", "fsdd"], "download fsdd"),
        (["{made}/ten", "--dataset", "mnist"], "mnist"),
        (["{made}/ten", "--dataset", "esc10", "--data", "{tree}"], "classes"),
        (["{made}/ten", "--data", "{tree}", "--split", "nobody"], "nobody"),
        (["{made}/ten", "--data", "{tree}", "--split", "lucas"], "lucas"),
        (["{made}/ten", "--teacher", "esc10"], "'esc10'"),
        (["{made}/ten", "--judge", "nobody"], "no checkpoint 'nobody'"),
        (["{made}/ten", "--judge", "fsdd"], "itself"),
        (["{made}/ten", "--judge", "esc10"], "at least two"),
        (["{made}/ten", "--device", "abacus"], "abacus"),
        ([], "BANK"),
    ],
)
def test_bad_input_is_one_line_and_status_2(capsys, made, tree, arguments, word):
    status, out, err = run(capsys, *(text.format(made=made, tree=tree) for text in arguments))
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and word in err and "Traceback" not in err


def test_data_that_was_named_must_be_there(capsys, made, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_DATA", str(tmp_path))
    status, _, err = run(capsys, made / "ten")
    assert status == 2 and str(tmp_path) in err


def changed(folder, out, **settings):
    """A copy of a bank whose manifest names other settings."""
    shutil.copytree(folder, out)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["settings"] |= settings
    (out / "manifest.json").write_text(json.dumps(manifest))
    return out


def test_banks_of_two_teachers_do_not_compare(capsys, made, tmp_path):
    other = changed(made / "ten", tmp_path / "other", teacher="esc10")
    status, out, err = run(capsys, made / "ten", other)
    assert status == 2 and out == "" and "'fsdd'" in err and "'esc10'" in err and "other" in err


def test_a_teacher_that_was_trained_again_is_noticed(capsys, made, tmp_path):
    other = changed(made / "ten", tmp_path / "older", teacher_sha256="0" * 64)
    status, _, err = run(capsys, made / "ten", other)
    assert status == 2 and "older" in err and "other weights" in err


def test_a_bank_of_one_clip_is_too_small(capsys, tmp_path):
    make(tmp_path / "one", samples=1)
    status, _, err = run(capsys, tmp_path / "one")
    assert status == 2 and "1 clip," in err and "at least 2" in err


def test_too_few_real_clips_are_named(capsys, made, tree, tmp_path):
    (tmp_path / "fsdd" / "recordings").mkdir(parents=True)
    for digit in range(5):
        shutil.copy(tree / "fsdd" / "recordings" / f"{digit}_theo_0.wav", tmp_path / "fsdd" / "recordings")
    status, _, err = run(capsys, made / "ten", "--data", tmp_path)
    assert status == 2 and "at least 6 real clips" in err


# --- real recordings (FRAMI_DATA) ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_real_sound_gets_better_figures_than_unfinished_clips(capsys, made, real_data, own_home, monkeypatch):
    monkeypatch.setenv("FRAMI_HOME", str(own_home))
    found = value(capsys, make(made / "sixty", samples=60), "--data", real_data)
    row, reference = found["rows"][0], found["reference"]
    assert found["real_clips"] == 500 and found["samples"] == reference["samples"] == 60
    assert reference["target_accuracy"] > 0.97 and reference["confidence"] > 0.9
    assert reference["frechet"] < row["frechet"] and reference["vendi"] > row["vendi"]
    assert reference["coverage"] > row["coverage"]
