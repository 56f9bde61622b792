"""A gallery is replaced once the new one is whole, and an interrupted making goes on."""

from dataclasses import replace

import pytest
import torch

from frami import banks, checkpoints
from frami.errors import FramiError
from frami.features import gallery
from frami.inversion import InversionSettings

QUICK = {"each": 1, "steps": 2, "recipe": "frami-fast"}


@pytest.fixture(scope="module")
def teacher(tiny_teacher):
    return checkpoints.load(tiny_teacher)


def stopping(batch: int):
    """A report that is interrupted in this batch of two steps."""

    def report(done, total):
        if done > 2 * (batch - 1):
            raise KeyboardInterrupt

    return report


def test_an_interrupted_gallery_leaves_the_old_one(teacher, tmp_path):
    folder = tmp_path / "tiny"
    value = gallery.make(teacher, folder, **QUICK)
    assert value["clips"] == 4 and len(list(folder.glob("*.flac"))) == 4
    old = banks.load(folder)
    three = QUICK | {"each": 3, "seed": 5}
    with pytest.raises(KeyboardInterrupt):
        gallery.make(teacher, folder, **three, report=stopping(2))
    there = banks.load(folder)
    assert torch.equal(there.frames, old.frames) and there.manifest == old.manifest
    assert all(there.sound(i).is_file() for i in range(4)) and len(banks.load(folder / ".next")) == 8

    begun = []
    gallery.make(teacher, folder, **three, report=lambda done, total: begun.append(total))
    assert set(begun) == {2}, "the first batch was there already"
    new = banks.load(folder)
    assert len(new) == 12 and new.manifest["complete"] and new.manifest["settings"]["seed"] == 5
    assert all(new.sound(i).is_file() for i in range(12)) and len(list(folder.glob("*.flac"))) == 12
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {"shards"}, "nothing is left over"
    assert len(new.trajectory(11)[1]) > 1, "clips of both sittings have their way"


def test_a_half_made_gallery_of_other_settings_is_made_anew(teacher, tmp_path):
    three = QUICK | {"each": 3}
    with pytest.raises(KeyboardInterrupt):
        gallery.make(teacher, tmp_path / "tiny", **three, report=stopping(2))
    assert not (tmp_path / "tiny" / "manifest.json").exists()
    gallery.make(teacher, tmp_path / "tiny", **three, seed=1)
    bank = banks.load(tmp_path / "tiny")
    assert len(bank) == 12 and bank.manifest["settings"]["seed"] == 1


def test_a_crash_between_the_old_and_the_new_one(teacher, tmp_path):
    """The new bank waits to take its place: whoever reads next finishes that."""
    folder = tmp_path / "tiny"
    gallery.make(teacher, folder, **QUICK)
    gallery.make(teacher, folder / ".next", **QUICK, seed=1)
    (folder / ".next").rename(folder / ".new")
    assert banks.load(folder).manifest["settings"]["seed"] == 1


def test_a_bank_of_the_map_stays_until_the_new_one_is_whole(teacher, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "_BATCH", 4)
    monkeypatch.setattr(gallery.maps, "save", lambda *a: None)
    choices = {"recipes": ("frami-fast",), "samples": 8, "steps": 2, "data_folder": tmp_path / "nowhere"}
    gallery.explore(teacher, tmp_path, **choices)
    old = banks.load(tmp_path / "frami-fast")

    def stop(what, done, total):
        if what == "frami-fast" and done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gallery.explore(teacher, tmp_path, **choices, seed=1, report=stop)
    assert torch.equal(banks.load(tmp_path / "frami-fast").frames, old.frames)
    assert len(banks.load(tmp_path / "frami-fast" / ".next")) == 4
    gallery.explore(teacher, tmp_path, **choices, seed=1)
    bank = banks.load(tmp_path / "frami-fast")
    assert bank.manifest["settings"]["seed"] == 1 and len(bank) == 8


def test_settings_that_teach_nothing_write_nothing(teacher, tmp_path):
    """Only the term that needs a student has a weight."""
    settings = InversionSettings.of(teacher, "frami", samples=4, steps=2)
    lone = replace(settings, recipe=replace(settings.recipe, weights={"adversarial": 1.0}))
    with pytest.raises(FramiError, match="nothing would be learnt"):
        banks.create_for(teacher, lone, tmp_path / "bank")
    assert not (tmp_path / "bank").exists()
