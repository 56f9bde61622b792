"""What a check says of a data set: counts, durations, and each kind of problem."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from frami.data.check import check
from tests.helpers.cli import run
from tests.helpers.own import make_folder, make_table
from tests.helpers.recordings import RATE, tone


def test_counts_and_durations(tmp_path):
    root = make_folder(tmp_path / "it", {"a": 10, "b": 5})
    soundfile.write(root / "b" / "long.flac", np.stack([tone(3, 2)] * 2, 1), 16_000)
    (root / "notes.txt").write_text("x")
    found = check(root)
    assert (found["clips"], found["classes"]) == (16, {"a": 10, "b": 6})
    assert found["seconds"] == pytest.approx(15 * 0.25 + 1)
    assert found["durations"] == {"shortest": 0.25, "median": 0.25, "longest": 1.0}
    assert found["rates"] == {"8000": 15, "16000": 1} and found["channels"] == {"1": 15, "2": 1}
    assert {name: fold["a"] for name, fold in found["folds"].items()} == dict.fromkeys("12345", 2)
    assert found["ignored"] == 1 and found["problems"] == []


def test_duplicates_are_equal_in_samples_not_in_bytes(tmp_path):
    rows = [{"file": f"{i}.wav", "class": "ab"[i % 2], "fold": "12"[i // 4]} for i in range(8)]
    table = make_table(tmp_path / "t.csv", rows)
    sound, _ = soundfile.read(tmp_path / "0.wav")
    soundfile.write(tmp_path / "6.wav", sound, RATE, subtype="PCM_24")
    shutil.copy(tmp_path / "1.wav", tmp_path / "2.wav")
    found = check(table)
    assert sorted(found["duplicates"]) == [["0.wav", "6.wav"], ["1.wav", "2.wav"]]
    assert found["leaks"] == [{"kind": "content", "folds": ["1", "2"], "files": ["0.wav", "6.wav"]}]
    assert "1 sound under two classes: 1.wav = 2.wav" in found["problems"]
    assert [line for line in found["problems"] if line.startswith("1 sound in two folds")]


def test_a_group_in_two_folds(tmp_path):
    rows = [{"file": f"{i}.wav", "class": "ab"[i % 2], "fold": "12"[i // 4], "group": "xxyyzzzz"[i]} for i in range(8)]
    rows[7]["group"] = "x"
    found = check(make_table(tmp_path / "t.csv", rows))
    assert found["leaks"] == [{"kind": "group", "folds": ["1", "2"], "group": "x"}]


def test_bad_files_by_kind(tmp_path):
    root = make_folder(tmp_path / "it", {"a": 30, "b": 2})
    soundfile.write(root / "a" / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(root / "a" / "silent too.wav", np.zeros(RATE), RATE)
    soundfile.write(root / "a" / "short.wav", tone(0, 0.01), RATE)
    soundfile.write(root / "a" / "empty.wav", np.zeros(0), RATE)
    (root / "a" / "text.wav").write_text("no sound")
    (root / "a" / "nothing.mp3").touch()
    (root / "b" / "gone.wav").symlink_to("nowhere.wav")
    soundfile.write(root / "lost.wav", tone(0), RATE)
    for name, samples in (("nan", [0.1, np.nan] * 4000), ("loud", 20_000 * tone(0))):
        soundfile.write(root / "a" / f"{name}.wav", np.array(samples, np.float32), RATE, subtype="FLOAT")
    found = check(root)
    kinds = {kind: sorted(files) for kind, files in found["bad"].items()}
    assert kinds == {
        "silent": ["a/silent too.wav", "a/silent.wav"], "too short": ["a/short.wav"],
        "empty": ["a/empty.wav", "a/nothing.mp3"], "unreadable": ["a/loud.wav", "a/nan.wav", "a/text.wav"],
        "missing": ["b/gone.wav"],
    }  # fmt: skip
    assert found["bad"]["unreadable"]["a/nan.wav"].startswith("samples that are not numbers")
    assert found["duplicates"] == [], "silence is no duplicate of silence"
    assert found["imbalance"] == pytest.approx(38 / 3, abs=0.01)
    for words in ("2 files silent", "uneven classes: 38 clips of a, 3 of b", "1 sound file in no class's folder: lost"):
        assert any(line.startswith(words) for line in found["problems"]), words


def test_rare_classes_are_said(tmp_path):
    rows = [
        {"file": f"{i}.wav", "class": c, "fold": f} for i, (c, f) in enumerate(["a1", "b1", "a2", "b2", "c1", "d2"])
    ]
    problems = check(make_table(tmp_path / "t.csv", rows))["problems"]
    assert "1 of 4 classes only in the held-out fold, so not learnt: c" in problems
    assert "1 of 4 classes not in the held-out fold, so not measured: d" in problems
    assert "2 of 4 classes of one clip: c, d" in problems


def test_a_published_set_with_a_file_gone(make_tree, tmp_path):
    root = make_tree("fsdd", tmp_path, speakers=("george", "theo"))
    (root / "fsdd" / "recordings" / "3_theo_0.wav").unlink()
    (root / "fsdd" / "recordings" / "4_theo_0.wav").write_bytes(b"RIFF")
    found = check("fsdd", root)
    assert found["clips"] == 19 and found["split"] == "as published" and found["classes"]["three"] == 1
    assert list(found["bad"]) == ["unreadable"]
    esc = make_tree("esc50", tmp_path)
    next((esc / "ESC-50" / "audio").iterdir()).unlink()
    assert list(check("esc50", esc)["bad"]) == ["missing"]


def test_the_command(tmp_path, capsys):
    root = make_folder(tmp_path / "my sounds", {"a, b": 6, "🐦": 6})
    soundfile.write(root / "🐦" / "still.wav", np.zeros(RATE), RATE)
    status, out, _ = run(capsys, "data", "check", root)
    assert status == 0 and "my sounds: 13 clips of 2 classes" in out and "problem: 1 file silent: 🐦/still.wav" in out
    status, out, _ = run(capsys, "data", "check", root, "--json")
    assert status == 0 and json.loads(out)["classes"] == {"a, b": 6, "🐦": 7}
    status, out, err = run(capsys, "data", "check", tmp_path / "my sounds" / "🐦")
    assert (status, out) == (2, "") and "at least two folders" in err and len(err.splitlines()) == 1
    assert run(capsys, "data", "check", "nothing")[0] == 2
    many = make_folder(tmp_path / "many", {f"class {k}": 1 for k in range(40)}, seconds=0.1)
    _, out, _ = run(capsys, "data", "check", many)
    assert "the smallest of 40 classes" in out and len(out.splitlines()) < 45
