"""The benchmark of distillations: what is measured once, and what is left open."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from frami import checkpoints
from frami.bench import distillation as measure
from frami.device import processor
from frami.distill import OBJECTIVES, Settings
from frami.distill.settings import MOST
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
    (cell,) = first.values()
    assert [(part["kind"], part["name"], part["clips"]) for part in cell["parts"]] == [("held out", "theo", 10)]
    assert all(0 <= cell["parts"][0][name] <= 1 for name in ("accuracy", "agreement", "teacher"))
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
    make_tree("audiomnist", tmp_path, speakers=(1,))
    status, text, err = run(capsys, *options, *quick, "--rows", "real clips logits")
    cells = json.loads(text)["cells"]
    assert status == 0 and len(cells) == 5 and both.items() <= cells.items(), "strangers have come: measured anew"
    (new,) = (cell for key, cell in cells.items() if key not in both)
    assert [part["name"] for part in new["parts"]] == ["theo", "audiomnist"]
    assert "accuracy, audiomnist" in out.read_text()


@pytest.mark.slow
def test_rows_of_equal_clips_and_steps(capsys, tmp_path, fresh_home, make_tree):
    """Counted instead of timed, and with the settings that a row is about."""
    make_tree("fsdd", tmp_path, speakers=("theo",))
    options = ["bench", "distillation", "--teachers", "fsdd", "--data", tmp_path, "--out", tmp_path / "page.md"]
    quick = ["--rounds", 2, "--steps", 3, "--clips", 8, "--batch", 4, "--seeds", 1, "--student", "nano", "--json"]
    rows = "frami + frami,frami-flash + frami,frami in two turns,frami replay,frami without,frami sliced,frami new"
    status, text, err = run(capsys, *options, *quick, "--rows", rows, "--device", "cpu")
    assert status == 0, err
    cells = {cell["row"]: cell for cell in json.loads(text)["cells"].values()}
    assert len(cells) == 7 and {(cell["clips"], cell["steps"]) for cell in cells.values()} == {(16, 6)}
    assert "16 clips and 6 steps" in (tmp_path / "page.md").read_text()
    rows = [measure.settings(row, Settings(), 0) for row in measure.ROWS if row.group == "schedule"]
    assert [(row.turns, row.replay, row.made_up, row.start) for row in rows] == [
        (2, "uniform", MOST, "fitting"), (1, "priority", MOST, "fitting"), (1, "uniform", 0, "fitting"),
        (1, "uniform", MOST, "sliced"), (1, "uniform", MOST, "new"),
    ]  # fmt: skip


PART = {"kind": "held out", "name": "theo", "clips": 10}
CELL = {
    "dataset": "fsdd", "held_out": "theo", "student": "nano", "budget": 1.0, "length": "1s", "device": "CPU",
    "at_once": 4, "batch": 4, "weights": "0", "pace": 0, "fingerprint": "", "group": "references", "seed": 0,
    "clips": 4, "steps": 4, "parameters": 4, "parts": [dict.fromkeys(("accuracy", "agreement", "teacher"), 0.5) | PART],
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
        (["distillation", "--teachers", "fsdd", "--folds", "2"], "knows no speaker '2'"),
        (["distillation", "--teachers", "esc10", "--folds", "1,6"], "knows no fold '6'; choose out of: 1, 2, 3, 4, 5"),
        (["distillation", "--folds", "1,2"], "--teachers esc10"),
        (["time-to-agreement", "--rows", "frami-fast,magic", "--teachers", "nobody"], "nobody"),
        (["time-to-agreement", "--rows", "magic"], "no such row"),
        (["time-to-agreement", "--budgets", "30s,soon"], "'soon' is no time"),
        (["distillation", "--on", "holidays"], "--on holidays: choose reported or development (what judges), or local"),
        (["distillation", "--on", "development", "--workers", "2"], "for several workers add --on ray"),
        (["distillation", "--budget", "30s", "--rounds", "4"], "--budget, or --rounds with --steps"),
        (["distillation", "--steps", "4"], "--budget, or --rounds with --steps"),
    ],
)
def test_a_wrong_name_ends_a_benchmark_before_it_begins(capsys, tmp_path, fresh_home, command, message):
    (tmp_path / "card.json").write_text(json.dumps({"name": "a teacher's card", "split": {}}))
    out = ["--out", tmp_path / command.pop()] if "--out" in command else ["--out", tmp_path / "page.md"]
    command = [word for word in command if word != "--out"]
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


def test_another_setting_is_another_measurement(teacher):
    """All that changes a run is in its name; what is off is not, so that a new switch leaves the others' names."""
    (row,) = measure.chosen(["real clips, frami"])
    base = Settings()
    counted = replace(base, budget=None)
    changed = [
        replace(base, budget=60.0), counted, replace(counted, rounds=9), replace(counted, steps=9),
        replace(base, student="mini"), replace(base, clips=8), replace(base, batch=8),
        replace(base, weight_decay=0.5), replace(base, architecture="tc-resnet"),
    ]  # fmt: skip
    names = [measure.key(teacher, row, one, 0, "a") for one in (base, *changed)]
    names += [measure.key(teacher, row, base, 1, "a"), measure.key(teacher, row, base, 0, "b")]
    names += [measure.key(teacher, other, base, 0, "a") for other in measure.chosen(["real clips logits", "cmi"])]
    assert len(set(names)) == len(names)
    assert measure.key(teacher, row, replace(base, weight_decay=0.0), 0, "a").count("weight_decay") == 0
    assert processor() in names[0]


@pytest.mark.slow
def test_folds_are_left_out_in_turn(capsys, tmp_path, fresh_home, make_tree, monkeypatch):
    """Each by a teacher that is trained first and has never heard it."""
    make_tree("fsdd", tmp_path, speakers=("george", "jackson", "nicolas", "yweweler", "theo"))
    monkeypatch.setattr(measure, "warm", lambda *_: None)
    options = ["bench", "distillation", "--teachers", "fsdd", "--folds", "george,theo", "--epochs", 1, "--rows"]
    quick = ["noise logits", "--student", "nano", "--budget", "0.5", "--seeds", 1, "--device", "cpu", "--json"]
    out = tmp_path / "page.md"
    status, text, err = run(capsys, *options, *quick, "--data", tmp_path, "--out", out)
    assert status == 0, err
    cells = json.loads(text)["cells"].values()
    assert {cell["held_out"]: cell["parts"][0]["name"] for cell in cells} == {"george": "george", "theo": "theo"}
    assert len({cell["weights"] for cell in cells}) == 2
    assert "## fsdd: 2 folds held out in turn" in out.read_text()
    # Where all is there, Ray is not needed: its workers here would be the same machine, with as many threads.
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    before, again = out.with_suffix(".json").read_text(), [*options, *quick, "--data", tmp_path, "--out", out, "--on"]
    status, text, err = run(capsys, *again, "ray")
    assert status == 0 and out.with_suffix(".json").read_text() == before, err
    status, _, err = run(capsys, *again, "ray://127.0.0.1:1")
    assert status == 2 and "this needs Ray" in err, "which machine a cluster's workers are, they are asked"
    assert run(capsys, *again, "ray", "--seeds", 2)[0] == 2


@pytest.mark.slow
def test_development_parts_are_marked_as_such(capsys, tmp_path, fresh_home, make_tree, monkeypatch):
    make_tree("urbansound8k", tmp_path)
    monkeypatch.setattr(measure, "warm", lambda *_: None)
    options = ["bench", "distillation", "--teachers", "urbansound8k", "--rows", "noise logits", "--on", "development"]
    quick = ["--student", "nano", "--budget", "0.5", "--seeds", 1, "--device", "cpu", "--json"]
    out = tmp_path / "page.md"
    status, text, err = run(capsys, *options, *quick, "--data", tmp_path, "--out", out)
    assert status == 0, err
    (cell,) = json.loads(text)["cells"].values()
    assert [part["kind"] for part in cell["parts"]] == ["training clips", "re-recorded"]
    text = out.read_text()
    assert ", development parts\n" in text and "--on development`" in text and "accuracy, re-recorded" in text
