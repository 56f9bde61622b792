"""Banks in chains of batches: the same clips whoever makes them, and what is missing is made behind what is there."""

import json
import shutil
import sys

import pytest
import torch

from frami import banks, checkpoints
from frami.banks import divided
from frami.cluster import Local
from frami.cluster.sent import SentTeacher
from frami.device import threads
from frami.errors import FramiError
from frami.inversion import InversionSettings, invert
from tests.helpers.cli import run

#: 14 clips in 5 batches, in chains of 2, 2 and 1.
CHOICES = {"samples": 14, "batch": 3, "steps": 2, "seconds": 0.3}


class Backwards(Local):
    """Takes the last task first."""

    def run(self, tasks, *arguments, **choices):
        return super().run(reversed(list(tasks)), *arguments, **choices)


@pytest.fixture
def settings(tiny_teacher):
    return InversionSettings.of(checkpoints.load(tiny_teacher), "frami", **CHOICES)


@pytest.fixture
def make(tiny_teacher, settings):
    """Make a bank, or what is missing of it."""

    def made(folder, engine=None, chain=2, **choices):
        teacher = checkpoints.load(tiny_teacher)
        writer = divided.create_for(teacher, settings, folder, None, chain, **choices)
        try:
            plan = writer.plan(settings, None, "cpu")
            divided.fill(writer, engine or Local(), SentTeacher.of(tiny_teacher), plan, _quiet, print)
        finally:
            writer.close()
        return banks.load(folder)

    return made


class _quiet:
    def __init__(self, *_):
        pass

    def __enter__(self):
        return lambda done, total: None

    def __exit__(self, *_):
        pass


def same(one, other) -> bool:
    names = ("frames", "lengths", "target", "predicted", "confidence", "logits", "pooled")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


def test_the_order_of_the_chains_changes_no_clip(make, tmp_path):
    one, other = make(tmp_path / "one"), make(tmp_path / "other", Backwards())
    assert same(one, other) and len(one) == 14 and not one.damaged
    assert one.manifest["complete"] and one.manifest["shards"] == 5
    assert one.manifest["clips"] == other.manifest["clips"]
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["manifest.json", "shards"]
    assert InversionSettings.from_dict(one.manifest["settings"]).batch == 3, "the studio reads it as any other"


def test_a_chain_is_one_run_and_another_division_another_bank(make, settings, tiny_teacher, tmp_path):
    whole = make(tmp_path / "whole", chain=5)
    with threads(1):  # as a chain is made
        plain = [state.clips for state in invert(checkpoints.load(tiny_teacher), settings, every=99) if state.finished]
    assert torch.equal(torch.cat([clips.logits for clips in plain]), whole.logits), "one chain of all is a usual run"
    parted = make(tmp_path / "parted")
    assert torch.equal(parted.logits[:6], whole.logits[:6]), "the first chain begins as the whole run does"
    assert not torch.equal(parted.logits[6:9], whole.logits[6:9])
    with pytest.raises(FramiError, match="other settings \\(chain\\)"):
        make(tmp_path / "whole", chain=2)


def test_a_chain_goes_on_behind_its_last_batch(make, settings, tiny_teacher, tmp_path, monkeypatch):
    """Cut off within the second chain, which another process has begun."""
    whole, folder = make(tmp_path / "whole"), tmp_path / "cut"
    begun = []

    def watched(*arguments, **choices):
        begun.append((choices["first"], choices["end"]))
        for state in invert(*arguments, **choices):
            yield state
            if state.finished and state.batch == 3 and len(begun) == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(divided, "invert", watched)
    with pytest.raises(KeyboardInterrupt):
        make(folder)
    assert (folder / "resume-00002.pt").exists() and not json.loads((folder / "manifest.json").read_text())["complete"]
    assert same(make(folder), whole) and begun == [(0, 2), (2, 4), (3, 4), (4, 5)]
    assert not list(folder.glob("resume*"))


@pytest.mark.parametrize("lost", ["resume-00002.pt", "shards/shard-00002.safetensors"])
def test_a_chain_begins_anew_where_it_cannot_go_on(make, tmp_path, lost, monkeypatch):
    whole, folder = make(tmp_path / "whole"), tmp_path / "cut"
    shutil.copytree(tmp_path / "whole", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"complete": False}))
    (folder / "shards/shard-00003.safetensors").unlink()
    if lost.startswith("shards"):
        (folder / lost).write_bytes(b"damaged")
    assert same(make(folder), whole)


def test_another_bank_stays_until_the_new_one_is_whole(make, tmp_path, monkeypatch):
    old = make(tmp_path, chain=5)
    with pytest.raises(FramiError, match="other settings"):
        make(tmp_path)
    add, meanwhile = divided.Divided.add, []
    monkeypatch.setattr(
        divided.Divided, "add", lambda *these: add(*these) or meanwhile.append(banks.load(tmp_path).manifest)
    )
    new = make(tmp_path, overwrite=True)
    assert len(meanwhile) > 2 and all(one == old.manifest for one in meanwhile)
    assert not same(old, new) and new.manifest["settings"]["chain"] == 2 and not (tmp_path / ".new").exists()


def test_what_cannot_be_made_is_told_once_the_others_are_there(make, tmp_path, monkeypatch):
    def refusing(*arguments, **choices):
        if choices["first"] == 2:
            raise FramiError("no")
        return invert(*arguments, **choices)

    monkeypatch.setattr(divided, "invert", refusing)
    with pytest.raises(FramiError, match=r"^1 of the chains could not be made \(batches 3 to 4: no\); all others"):
        make(tmp_path)
    monkeypatch.undo()
    begun = []
    monkeypatch.setattr(divided, "invert", lambda *a, **c: begun.append(c["first"]) or invert(*a, **c))
    assert len(make(tmp_path)) == 14 and begun == [2]


def test_the_command(capsys, tiny_teacher, tmp_path):
    options = ["synthesize", "--teacher", tiny_teacher, "--samples", 5, "--batch", 2, "--steps", 1, "--no-sounds"]
    status, out, err = run(capsys, *options, "--chain", 1, "--out", tmp_path / "bank", "--json")
    assert status == 0 and json.loads(out)["clips"] == 5, err
    status, out, err = run(capsys, *options, "--out", tmp_path / "x", "--on", "slurm")
    assert status == 2 and "choose local" in err and not (tmp_path / "x").exists()
    status, out, err = run(capsys, *options, "--out", tmp_path / "x", "--workers", 4)
    assert status == 2 and "add --on ray" in err


def test_a_whole_bank_is_found_before_ray_is(capsys, tiny_teacher, tmp_path, monkeypatch):
    """And one of other settings, too; where there is something to make, Ray comes before the bank is begun."""
    monkeypatch.setitem(sys.modules, "ray", None)
    options = ["synthesize", "--teacher", tiny_teacher, "--samples", 3, "--batch", 2, "--steps", 1, "--no-sounds"]
    options += ["--chain", 1, "--out", tmp_path / "bank"]
    ray = ["--on", "ray://127.0.0.1:1"]
    status, _, err = run(capsys, *options, *ray)
    assert status == 2 and "this needs Ray" in err and not (tmp_path / "bank").exists()
    assert run(capsys, *options)[0] == 0
    status, out, err = run(capsys, *options, *ray)
    assert status == 0 and out.startswith("already there: 3 clips"), err
    status, _, err = run(capsys, *options, "--seed", 1, *ray)
    assert status == 2 and "made with other settings (seed)" in err
    before = sorted(tmp_path.rglob("*"))
    status, _, err = run(capsys, *options, "--overwrite", *ray)
    assert status == 2 and "this needs Ray" in err and sorted(tmp_path.rglob("*")) == before
