"""Each fold in turn is the test of a teacher that all others train."""

import json
import sys

import pytest

from frami import checkpoints, teachers
from frami.bench import fold_teachers, folds
from tests.helpers.cli import run

QUICK = ["--size", "nano", "--epochs", 1, "--batch", 16, "--device", "cpu"]


@pytest.fixture(scope="module")
def tree(make_tree, tmp_path_factory):
    speakers = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    return make_tree("fsdd", tmp_path_factory.mktemp("data"), speakers=speakers)


@pytest.fixture(scope="module")
def part(make_tree, tmp_path_factory):
    return make_tree("fsdd", tmp_path_factory.mktemp("part"), speakers=("george", "lucas", "theo"))


@pytest.mark.slow
def test_every_fold_is_held_out_once(capsys, tree, fresh_home, tmp_path):
    out, keep = tmp_path / "page" / "folds.md", tmp_path / "kept"
    arguments = ["bench", "folds", "--dataset", "fsdd", "--data", tree, *QUICK, "--keep", keep, "--out", out, "--json"]
    status, text, err = run(capsys, *arguments)
    assert status == 0, err
    value = json.loads(text)
    assert json.loads(out.with_suffix(".json").read_text()) == value
    assert [row["fold"] for row in value["rows"]] == list(folds.data.info("fsdd").folds)
    for row in value["rows"]:
        card = checkpoints.read_card(row["teacher"])
        assert card.split["test"] == [row["fold"]] and row["fold"] not in card.split["train"] and row["clips"] == 10
        assert len(card.split["train"]) == 5
    shares = [row["accuracy"] for row in value["rows"]]
    assert value["mean"] == pytest.approx(sum(shares) / 6) == pytest.approx(value["pooled"]["accuracy"])
    assert value["sd"] >= 0 and value["pooled"]["clips"] == 60 == sum(map(sum, value["confusion"]))
    assert not value["whole"], "60 clips are not the 3,000 published ones"
    page = out.read_text()
    assert "frami bench folds --dataset fsdd --size nano --epochs 1 --batch 16 --data FOLDER" in page
    assert "60 of the 3,000 published clips are here, 6 of the folds are tested" in page and "| theo | 10 |" in page
    assert f"{100 * value['mean']:.1f} ± {100 * value['sd']:.1f}%" in page


@pytest.mark.slow
def test_bad_files_are_left_out_and_named_where_that_is_asked_for(capsys, make_tree, fresh_home, tmp_path):
    make_tree("fsdd", tmp_path, speakers=("george", "theo"))
    bad = sorted(tmp_path.rglob("*george*.wav"))[0]
    bad.write_bytes(b"no sound")
    arguments = ["bench", "folds", "--dataset", "fsdd", "--here", "--data", tmp_path, *QUICK, "--json"]
    status, _, err = run(capsys, *arguments)
    assert status == 2 and bad.name in err
    status, text, err = run(capsys, *arguments, "--skip-bad", "--out", tmp_path / "page.md")
    assert status == 0 and err.count("left out: ") == 1 and str(bad) in err, err
    value = json.loads(text)
    assert [row["clips"] for row in value["rows"]] == [9, 10] and "--skip-bad" in (tmp_path / "page.md").read_text()


@pytest.mark.slow
def test_a_finished_teacher_is_not_trained_again(capsys, part, fresh_home, monkeypatch):
    """Stopped in the second fold, the same command goes on there; with other settings it begins anew."""
    trained, original = [], teachers.train_teacher

    def watched(*args, **kwargs):
        trained.append(kwargs["test_folds"][0])
        if len(trained) == 2:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(fold_teachers, "train_teacher", watched)
    arguments = ["bench", "folds", "--dataset", "fsdd", "--here", "--data", part, *QUICK]
    assert run(capsys, *arguments)[0] == 130
    status, text, err = run(capsys, *arguments)
    assert status == 0 and trained == ["george", "lucas", "lucas", "theo"], err
    assert "10 |" in text and "george, lucas, theo" in text
    assert run(capsys, *arguments)[0] == 0 and len(trained) == 4
    assert run(capsys, *arguments, "--folds", "theo")[0] == 0 and len(trained) == 4
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(capsys, *arguments, "--folds", "theo", "--on", "ray")[0] == 0, "where all are there, no Ray is needed"
    assert run(capsys, *arguments, "--folds", "theo", "--seed", 1)[0] == 0 and trained[4:] == ["theo"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--dataset", "fsdd"], "jackson, nicolas, yweweler is here"),
        (["--dataset", "fsdd", "--here", "--folds", "jackson"], "no fold 'jackson'"),
        (["--dataset", "esc50"], "ESC-50"),
        (["--dataset", "nobody"], "nobody"),
    ],
)
def test_what_is_missing_is_one_line(capsys, part, fresh_home, options, word):
    status, out, err = run(capsys, "bench", "folds", *options, "--data", part)
    assert status == 2 and word in err and err.count("\n") == 1 and not out


def test_one_fold_alone_takes_no_turns(capsys, make_tree, fresh_home, tmp_path):
    make_tree("fsdd", tmp_path, speakers=("theo",))
    status, _, err = run(capsys, "bench", "folds", "--dataset", "fsdd", "--here", "--data", tmp_path)
    assert status == 2 and "two or more" in err


def test_a_fold_without_clips_of_a_class(make_tree, capsys, fresh_home, tmp_path):
    """A made ESC-50 has three of its fifty classes, one clip each in each fold."""
    make_tree("esc50", tmp_path, folds=(1, 2))
    out = tmp_path / "folds.md"
    status, text, err = run(
        capsys, "bench", "folds", "--dataset", "esc50", "--here", "--data", tmp_path, *QUICK, "--seed", 12345678,
        "--json", "--out", out,
    )  # fmt: skip
    assert status == 0, err
    assert "--batch 16 --seed 12345678 --data FOLDER" in out.read_text()
    value = json.loads(text)
    assert [row["clips"] for row in value["rows"]] == [3, 3] and value["per_class"]["hen"] is None
    assert 0 <= value["pooled"]["balanced_accuracy"] <= 1
