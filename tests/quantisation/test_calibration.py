"""Which clips an eight-bit network is calibrated on, and which judge it."""

import pytest
import torch

from frami import banks, checkpoints
from frami.errors import FramiError
from frami.quantisation import calibration, gather


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Clips of one recipe, of those that ship."""
    monkeypatch.setattr(calibration, "_RECIPES", ("frami",))


@pytest.fixture(scope="module")
def student():
    return checkpoints.load("fsdd-tiny")


def test_clips_that_ship_are_divided(student):
    found = gather(student, each=4)
    assert (found.calibration.kind, len(found.calibration.clips), found.calibration.each) == ("made", 40, 4)
    assert "fsdd" in found.calibration.source
    shipped = sum(map(len, calibration.shipped(student.card, student.spec)))
    assert len(found.unseen) == shipped - 40 > 50
    seen = {clip.sum().item() for clip in found.calibration.clips}
    assert len(seen) == 40 and not seen & {clip.sum().item() for clip in found.unseen}
    assert all(clip.shape[0] == student.spec.n_mels for clip in found.unseen)


def test_the_same_clips_at_every_call(student):
    one, other = (gather(student, each=2).calibration.clips for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_half_of_a_class_at_most_is_calibrated_on():
    pools = [[torch.full((2, 3), float(10 * k + i)) for i in range(n)] for k, n in enumerate((5, 1, 0, 8))]
    taken, unseen = calibration.divide(pools, 3)
    assert [int(clip[0, 0]) for clip in taken] == [0, 1, 2, 10, 30, 31, 32]
    assert [int(clip[0, 0]) for clip in unseen] == [3, 4, 33, 34, 35, 36, 37]


def test_clips_of_another_teacher_or_of_earlier_weights_are_none(student):
    from dataclasses import replace

    assert list(calibration.shipped(replace(student.card, teacher="nobody"), student.spec)) == []
    other = replace(student.spec, n_mels=64)
    assert list(calibration.shipped(student.card, other)) == []


def test_noise_judged_on_all_made_clips(student):
    found = gather(student, "noise", each=3)
    assert (found.calibration.kind, len(found.calibration.clips)) == ("noise", 30)
    shipped = sum(map(len, calibration.shipped(student.card, student.spec)))
    assert len(found.unseen) == shipped
    loudness = [clip.mean().item() for clip in found.calibration.clips]
    assert loudness == sorted(loudness) and loudness[-1] - loudness[0] > 4


def test_a_bank_that_is_named(student):
    folder = next(calibration.shipped(student.card, student.spec)).folder
    found = gather(student, each=2, bank=folder)
    assert len(found.calibration.clips) == 20 and folder.name in found.calibration.source
    with pytest.raises(FramiError, match="no bank"):
        gather(student, bank=folder.parent)


def test_a_bank_of_another_front_end(student):
    esc = checkpoints.load("esc10")
    folder = next(calibration.shipped(esc.card, esc.spec)).folder
    with pytest.raises(FramiError, match="no two clips of classes"):
        gather(student, bank=folder)


@pytest.mark.slow
def test_clips_are_made_where_there_are_none(student, monkeypatch):
    counts = []
    monkeypatch.setattr(calibration, "shipped", lambda card, spec: [])
    monkeypatch.setattr(calibration, "RECIPE", calibration.InversionSettings.of(student, "frami-fast", steps=3).recipe)
    found = gather(student, each=2, report=lambda done, total: counts.append((done, total)))
    assert len(found.calibration.clips) == 20 and len(found.unseen) == 20
    assert found.calibration.source == "clips made from fsdd" and counts[-1][0] == counts[-1][1] > 0


def test_recordings_of_the_training_folds(make_tree, tmp_path, student):
    root = make_tree("fsdd", tmp_path, speakers=("theo", "george", "jackson", "nicolas", "yweweler"))
    found = gather(student, "recordings", each=1, data_folder=root)
    assert found.calibration.kind == "recordings" and 1 < len(found.calibration.clips) <= 10
    assert found.recordings is not None and found.recordings.clips
    with pytest.raises(FramiError):
        gather(student, "recordings", data_folder=tmp_path / "nothing")


def test_recordings_that_ship_judge(student, monkeypatch):
    monkeypatch.delenv("FRAMI_DATA", raising=False)
    found = calibration.judging(student)
    assert len(found.clips) == len(found.labels) >= 20 and "shipped" in found.which


def test_no_such_calibration(student):
    with pytest.raises(FramiError, match="made, recordings, noise"):
        gather(student, "songs")


def test_damaged_banks_are_passed_over(student, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "ASSETS", tmp_path)
    folder = tmp_path / "explore" / "fsdd" / "frami"
    folder.mkdir(parents=True)
    (folder / banks.MANIFEST).write_text("{")
    assert list(calibration.shipped(student.card, student.spec)) == []
