"""Banks of format 2, from the inside: the bundled ones, and one whose run was interrupted."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from frami import banks, checkpoints
from frami.inversion import InversionSettings, invert
from frami.paths import ASSETS

EARLIER = Path(__file__).parents[1] / "earlier"


def names(shard: Path) -> set[str]:
    with safe_open(shard, "pt") as file:
        return set(file.keys())


@pytest.mark.parametrize("kind", ["gallery/fsdd", "explore/fsdd/frami"])
def test_a_bundled_bank_is_read(tmp_path, kind):
    folder = shutil.copytree(ASSETS / kind, tmp_path / "bank")
    text = (folder / banks.MANIFEST).read_text()
    assert json.loads(text)["format"] == 2 and '"heard_name"' in text
    assert {"asked", "heard"} <= names(folder / "shards" / "shard-00000.safetensors")
    bank, teacher = banks.load(folder), checkpoints.load("fsdd")
    assert bank.manifest["complete"] and not bank.damaged and bank.made_from(teacher.card)
    assert [entry["target"] for entry in bank.manifest["clips"]] == bank.target.tolist()
    assert [entry["predicted"] for entry in bank.manifest["clips"]] == bank.predicted.tolist()
    assert bank.target_accuracy == pytest.approx(bank.manifest["target_accuracy"], abs=1e-4)
    assert (bank.trajectory(len(bank) - 1) is None) == (kind != "gallery/fsdd")
    assert (folder / banks.MANIFEST).read_text() == text, "reading changes nothing"


def test_a_bundled_bank_goes_on(tmp_path):
    """Complete, it is left as it is; without its last batch, that alone is made. Its settings list no classes."""
    folder, teacher = shutil.copytree(ASSETS / "explore/fsdd/frami", tmp_path / "bank"), checkpoints.load("fsdd")
    settings = InversionSettings.from_dict(banks.load(folder).manifest["settings"])
    assert settings == InversionSettings.of(teacher, samples=100, seconds=None, batch=50)
    assert banks.create_for(teacher, settings, folder).complete
    before = (folder / "shards" / "shard-00000.safetensors").read_bytes()
    (folder / "shards" / "shard-00001.safetensors").unlink()
    manifest = json.loads((folder / banks.MANIFEST).read_text())
    (folder / banks.MANIFEST).write_text(json.dumps(manifest | {"complete": False, "clips": manifest["clips"][:50]}))
    writer = banks.create_for(teacher, settings, folder)
    assert (writer.made, writer.batches, writer.state) == (50, 1, None)
    assert (folder / "shards" / "shard-00000.safetensors").read_bytes() == before


def test_what_an_interrupted_run_carries_over_is_read(tmp_path):
    """The generator, the past statistics and the feature bank of the next clips are those of the last batch."""
    folder, teacher = tmp_path / "bank", checkpoints.load(EARLIER / "teacher")
    shutil.copytree(EARLIER / "half-frami-fast", folder)
    before = (folder / "shards" / "shard-00000.safetensors").read_bytes()
    settings = InversionSettings.from_dict(banks.load(folder).manifest["settings"])
    writer = banks.create_for(teacher, settings, folder)
    assert writer.batches == 1 and set(writer.state) == {"batches", "bank", "generator", "past", "past_share"}
    (anew,) = invert(teacher, settings, every=10, first=1)
    states = list(invert(teacher, settings, every=10, first=1, memory=writer.state))
    assert not torch.equal(states[0].clips.mels, anew.clips.mels)
    assert banks.fill(writer, states) and banks.load(folder).manifest["complete"]
    assert json.loads((folder / banks.MANIFEST).read_text())["format"] == 3
    assert (folder / "shards" / "shard-00000.safetensors").read_bytes() == before
    assert {"target", "predicted"} <= names(folder / "shards" / "shard-00001.safetensors")
