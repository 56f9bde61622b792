"""Recordings without a data set: on the stored map, for evaluation, and for a student's curve."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from frami import checkpoints
from frami.data import DataError, shipped
from frami.distill.run import held_out
from frami.evaluation import evaluate
from frami.features import maps, stored_recordings
from frami.features.recordings import choose, measured_on, ship
from frami.paths import ASSETS
from tests.helpers.cli import run

EXPLORE = ASSETS / "explore"


@pytest.fixture
def fresh_clone(monkeypatch, tmp_path):
    """No data set is here."""
    monkeypatch.delenv("FRAMI_DATA", raising=False)
    monkeypatch.setattr("frami.data.recordings.data_folder", lambda given=None: Path(given or tmp_path / "none"))


@pytest.mark.parametrize("name", ["digits", "fsdd", "esc10", "esc50", "urbansound8k"])
def test_recordings_of_the_bundled_maps_are_held_out_and_of_this_teacher(name):
    teacher = checkpoints.load(name)
    found, stored = stored_recordings.load(EXPLORE / name, teacher), maps.load(EXPLORE / name)
    learnt = {fold for part, folds in teacher.card.split.items() if part != "test" for fold in folds}
    assert len(found.names) == len(set(found.names)) >= 79 and found.layer.real
    assert set(found.folds) <= set(teacher.card.split["test"]) and not learnt & set(found.folds)
    assert stored.digests[maps.REAL] == found.layer.digest and stored.measures["recordings"]["samples"] == len(
        found.names
    )
    right = float((found.layer.predicted == found.layer.target).float().mean())
    assert abs(right - teacher.card.accuracy) < 0.12, "about as many are recognised as the card says"
    if ship(teacher.card) is None:
        assert name == "urbansound8k" and not shipped.listed(name, teacher.card.split["test"])
        return
    listed = [row.file.rpartition("/")[2].partition(".")[0] for row in shipped.listed(name, found.folds)]
    assert listed == found.names


def test_of_urbansound8k_only_features_are_there(tmp_path):
    """An embedding is the mean over time: no sound and no spectrogram can be made of it."""
    path = EXPLORE / "urbansound8k" / stored_recordings.FILE
    tensors = safetensors.torch.load_file(path)
    assert set(tensors) == {"pooled", "logits", "labels", "frames"}
    assert tensors["pooled"].ndim == tensors["logits"].ndim == 2 and path.stat().st_size < 100_000
    assert not [
        path for path in ASSETS.rglob("*") if path.suffix in (".flac", ".ogg", ".wav") and "urban" in path.parts
    ]


def test_a_forged_file_of_features_does_without(tmp_path):
    teacher = checkpoints.load("fsdd")
    content = (EXPLORE / "fsdd" / stored_recordings.FILE).read_bytes()
    tensors = safetensors.torch.load(content)
    (tmp_path / stored_recordings.FILE).write_bytes(content)
    text = stored_recordings.weights.stored(tmp_path / stored_recordings.FILE, "file", DataError).texts["recordings"]
    assert stored_recordings.load(tmp_path, teacher) is not None
    about = json.loads(text)
    forged = [
        (tensors, about | {"teacher_sha256": "0" * 64}), (tensors, about | {"names": about["names"][:-1]}),
        (tensors, about | {"dataset": "esc10"}), (tensors, about | {"format": 2}), (tensors, []),
        (tensors | {"labels": tensors["labels"] + 10}, about), (tensors | {"logits": tensors["logits"][:, :9]}, about),
        (tensors | {"pooled": tensors["pooled"] * torch.nan}, about), ({"pooled": tensors["pooled"]}, about),
    ]  # fmt: skip
    for values, said in forged:
        plain = {name: value.contiguous() for name, value in values.items()}
        safetensors.torch.save_file(plain, tmp_path / stored_recordings.FILE, {"recordings": json.dumps(said)})
        assert stored_recordings.load(tmp_path, teacher) is None, said
    (tmp_path / stored_recordings.FILE).write_bytes(content[:1000])
    assert stored_recordings.load(tmp_path, teacher) is None
    assert stored_recordings.load(tmp_path / "nowhere", teacher) is None


def test_a_fresh_clone_evaluates_and_says_on_what(fresh_clone, capsys, tmp_path):
    report = evaluate("fsdd")
    assert (
        report.origin.shipped and report.clips == 100 and report.origin.folds == ("theo",) and not report.origin.trained
    )
    assert report.accuracy > 0.85 and report.interval[0] < report.accuracy < report.interval[1]
    status, out, _ = run(capsys, "evaluate", "fsdd")
    assert status == 0 and "of 100 shipped recordings (Free Spoken Digit Dataset, held-out speaker theo)" in out
    assert "interval" in out and "--data" in out
    for more in (["--split", "george"], ["--data", tmp_path], ["--dataset", "esc10"]):
        assert run(capsys, "evaluate", "fsdd", *more)[0] == 2, "what is named is not replaced"
    assert run(capsys, "evaluate", "urbansound8k")[0] == 2


def test_a_data_set_at_hand_comes_first(tmp_path, make_tree, monkeypatch):
    monkeypatch.setenv("FRAMI_DATA", str(make_tree("fsdd", tmp_path, speakers=("george", "theo"))))
    clips, origin = choose(checkpoints.read_card(checkpoints.BUNDLED / "fsdd"), else_shipped=True)
    assert len(clips) == 10 and not origin.shipped
    assert measured_on(clips, "fsdd") == "10 recordings (Free Spoken Digit Dataset, held-out speaker theo)"


def test_a_student_is_measured_on_them(fresh_clone, tmp_path):
    teacher = checkpoints.load("digits")
    clips = held_out(teacher, None)
    assert shipped.are(clips.clips) and measured_on(clips, "digits").startswith("100 shipped recordings (Spoken digits")
    assert all(shipped.recording(clip).credit for clip in clips.clips)
    assert held_out(checkpoints.load("urbansound8k"), None) is None
    with pytest.raises(DataError):
        choose(teacher.card, split="train", else_shipped=True)


def test_who_learnt_from_them_gets_none(fresh_clone):
    card = checkpoints.read_card(checkpoints.BUNDLED / "fsdd")
    assert ship(replace(card, split={"train": ["theo"], "test": ["george"]})) is None
    assert ship(replace(card, split={"train": ["theo"], "test": ["theo"]})) is None
    assert len(ship(card)[0]) == 100
