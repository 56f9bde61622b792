"""The benchmark of distillations: what is measured once, what is left open, and time to an accuracy."""

import itertools
import json
from dataclasses import replace

import pytest

from frami import checkpoints
from frami.bench import distillation as measure
from frami.distill import OBJECTIVES
from tests.helpers.cli import run


def test_the_rows_are_every_method_objective_and_reference():
    names = [row.name for row in measure.ROWS]
    assert len(names) == len(set(names))
    for method in measure.METHODS:
        assert {f"{method} + frami", f"{method} + logits"} <= set(names)
    assert {f"frami + {o}" for o in OBJECTIVES} <= set(names)
    assert {row.source for row in measure.ROWS if row.group == "references"} == {"real", "noise"}
    assert [row.name for row in measure.chosen(["cmi"])] == ["cmi + frami", "cmi + logits"]
    assert [row.name for row in measure.chosen(["real clips frami"])] == ["real clips, frami"]


@pytest.mark.slow
def test_the_benchmark_fills_what_is_missing(capsys, tmp_path, fresh_home, make_tree):
    out = tmp_path / "page.md"
    make_tree("fsdd", tmp_path, speakers=("george", "jackson", "nicolas", "yweweler", "theo"))
    options = ["bench", "distillation", "--teachers", "fsdd", "--data", tmp_path, "--out", out, "--student", "nano"]
    quick = ["--budget", "0.5", "--clips", 4, "--batch", 4, "--seeds", 1, "--device", "cpu", "--json"]
    rows = "frami-fast + logits,real clips"
    status, text, err = run(capsys, *options, *quick, "--rows", "frami-fast + logits")
    assert status == 0, err
    first = json.loads(text)["cells"]
    assert len(first) == 1 and 0 <= next(iter(first.values()))["accuracy"] <= 1
    status, text, err = run(capsys, *options, *quick, "--rows", rows)
    assert status == 0, err
    both = json.loads(text)["cells"]
    assert status == 0 and len(both) == 4 and first.items() <= both.items(), err
    assert {cell["fingerprint"] for cell in both.values()} == {
        row.fingerprint for row in measure.chosen(rows.split(","))
    }
    page = out.read_text()
    assert "`real clips, from scratch`" in page and "frami bench distillation" in page and ".png" in page
    assert list(tmp_path.glob("page-fsdd-*.png"))


CELL = {
    "dataset": "fsdd", "held_out": "theo", "student": "nano", "budget": 1.0, "device": "CPU", "at_once": 4, "batch": 4,
    "weights": "0", "pace": 2, "fingerprint": "", "group": "references", "seed": 0, "teacher": 0.9, "accuracy": 0.5,
    "agreement": 0.5, "clips": 4, "steps": 4, "parameters": 4,
}  # fmt: skip


def test_a_row_that_ends_without_a_clip_is_run_once(capsys, tmp_path, fresh_home, make_tree, monkeypatch):
    make_tree("fsdd", tmp_path)
    monkeypatch.setattr(measure, "warm", lambda *_: None)
    options = ["bench", "distillation", "--teachers", "fsdd", "--rows", "dfq + logits", "--data", tmp_path, "--json"]
    for first, runs_done in ((0, 1), (4, 3)):
        clips = iter([first, 0, 0])
        monkeypatch.setattr(measure, "measure", lambda *_, clips=clips: CELL | {"clips": next(clips)})
        status, text, err = run(capsys, *options, "--out", tmp_path / f"page{first}.md")
        assert status == 0 and len(json.loads(text)["cells"]) == runs_done, err
    monkeypatch.setattr(measure, "warm", lambda *_: pytest.fail("nothing is left to do"))
    assert run(capsys, *options, "--out", tmp_path / "page0.md")[0] == 0


def test_what_another_process_has_measured_meanwhile_is_not_measured_again(
    capsys, tmp_path, fresh_home, make_tree, monkeypatch
):
    make_tree("fsdd", tmp_path)
    out = tmp_path / "page.md"
    names, done = iter("ab"), []

    def measured(*_):
        results = json.loads(out.with_suffix(".json").read_text()) if out.with_suffix(".json").exists() else {}
        out.with_suffix(".json").write_text(json.dumps(results | {"b": CELL | {"row": "noise, frami"}}))
        done.append(next(names))
        return dict(CELL)

    monkeypatch.setattr(measure, "measure", measured)
    monkeypatch.setattr(measure, "warm", lambda *_: None)
    monkeypatch.setattr(measure, "key", lambda teacher, row, *_: "b" if "frami" in row.name else "a")
    options = ["--teachers", "fsdd", "--rows", "noise", "--seeds", 1, "--data", tmp_path, "--out", out, "--json"]
    status, text, err = run(capsys, "bench", "distillation", *options)
    assert status == 0 and set(json.loads(text)["cells"]) == {"a", "b"}, err
    assert done == ["a"], "the second was there when its turn came"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["distillation", "--teachers", "fsdd,nobody"], "nobody"),
        (["distillation", "--rows", "magic"], "no such row"),
        (["distillation", "--teachers", "fsdd", "--page", "--out", "card.md"], "not a benchmark's results"),
        (["distillation", "--teachers", "fsdd", "--out", "notes.md"], "no page 'Distillation without data'"),
        (["distillation", "--teachers", "fsdd", "--folds", "2"], "--teachers esc10"),
        (["distillation", "--folds", "1,6"], "--teachers esc10"),
        (["time-to-accuracy", "--recipes", "frami-fast,magic"], "no recipe"),
    ],
)
def test_a_wrong_name_ends_a_benchmark_before_it_begins(capsys, tmp_path, fresh_home, command, message):
    (tmp_path / "card.json").write_text(json.dumps({"name": "a teacher's card", "split": {}}))
    out = ["--out", tmp_path / command.pop()] if "--out" in command else ["--out", tmp_path / "page.md"]
    command = [word for word in command if word != "--out"]
    out = out if command[0] == "distillation" else []
    (tmp_path / "notes.md").write_text("my own")
    status, _, err = run(capsys, "bench", *command, "--data", tmp_path, *out)
    assert status == 2 and message in err and len(err.strip().splitlines()) == 1
    assert (tmp_path / "notes.md").read_text() == "my own" and not (tmp_path / "page.md").exists()


def test_a_benchmark_that_measures_nothing_leaves_the_page_alone(capsys, tmp_path, fresh_home):
    """Recordings that are not there, a student that is none: what was written before stays as it was."""
    out = tmp_path / "page.md"
    assert run(capsys, "bench", "distillation", "--page", "--out", out)[0] == 0
    before = out.stat().st_mtime_ns
    options = ["bench", "distillation", "--teachers", "fsdd", "--rows", "noise", "--out", out]
    assert run(capsys, *options, "--data", tmp_path / "nowhere")[0] == 2
    assert out.stat().st_mtime_ns == before


@pytest.mark.slow
def test_students_of_the_ready_banks(capsys, tmp_path, fresh_home, make_tree):
    """Of equal size, of the teacher that is measured; other teachers have none."""
    make_tree("fsdd", tmp_path, speakers=("theo",))
    options = ["bench", "distillation", "--teachers", "fsdd", "--data", tmp_path, "--out", tmp_path / "page.md"]
    quick = ["--budget", "0.5", "--batch", 4, "--seeds", 1, "--student", "nano", "--device", "cpu", "--json"]
    status, text, err = run(capsys, *options, *quick, "--rows", "bank of frami,bank of cmi")
    assert status == 0, err
    cells = json.loads(text)["cells"].values()
    assert len(cells) == 4 and {cell["clips"] for cell in cells} == {100} and all(cell["steps"] for cell in cells)
    assert len({cell["fingerprint"] for cell in cells}) == 2
    assert "`bank of cmi, frami`" in (tmp_path / "page.md").read_text()
    other = checkpoints.load("fsdd")
    other.card = replace(other.card, sha256="0" * 64)
    assert all(measure.bank(other, row) is None for row in measure.chosen(["bank of"]))


def test_time_to_accuracy_counts_from_nothing(capsys, tmp_path, fresh_home, make_tree, monkeypatch):
    """By a clock that goes on by a tenth of a second at each look."""
    make_tree("fsdd", tmp_path)
    monkeypatch.setattr(measure, "clock", lambda teacher: itertools.count(step=0.1).__next__)
    options = ["bench", "time-to-accuracy", "--data", tmp_path, "--student", "nano", "--recipes", "frami-fast"]
    more = ["--budget", "3s", "--clips", 4, "--batch", 4, "--marks", "0.01,0.999", "--device", "cpu", "--json"]
    status, text, err = run(capsys, *options, *more)
    assert status == 0, err
    row = json.loads(text)["rows"][0]
    assert (
        set(row["seconds"]) == {"0.01", "0.999"}
        and row["seconds"]["0.01"] is not None
        and row["curve"]
        and 0 <= row["last"] <= row["best"] <= 1
    )
