"""Sounds of a bank made anew: the spectrograms stay, the files and the vocoder's name change."""

import json
import shutil

import pytest
import soundfile
import torch

from frami import banks, cli
from frami.banks import BankError
from frami.paths import ASSETS
from frami.vocoder import GriffinLim, VocoderError


@pytest.fixture
def gallery(tmp_path):
    shutil.copytree(ASSETS / "gallery" / "fsdd", tmp_path / "fsdd")
    return tmp_path


def test_sounds_are_made_again_and_nothing_else(gallery):
    before = banks.load(gallery / "fsdd")
    old = {path.name: path.read_bytes() for path in (gallery / "fsdd").glob("*.flac")}
    seen = []
    count = banks.renew_sounds(
        gallery / "fsdd", GriffinLim(before.spec, iterations=1), lambda done, total: seen.append((done, total))
    )
    after = banks.load(gallery / "fsdd")
    assert count == len(before) == len(old) and seen[-1] == (count, count)
    assert after.manifest == before.manifest | {"vocoder": "griffin-lim"}
    assert torch.equal(after.frames, before.frames)
    new = {path.name: path.read_bytes() for path in (gallery / "fsdd").glob("*.flac")}
    assert set(new) == set(old) and all(new[name] != old[name] for name in old)
    for i in (0, count - 1):
        sound, rate = soundfile.read(after.sound(i))
        assert len(sound) / rate == pytest.approx(after.manifest["clips"][i]["seconds"], abs=1e-3)
    assert not list((gallery / "fsdd").glob(".*"))


def test_what_is_refused(gallery):
    bank = banks.load(gallery / "fsdd")
    other = GriffinLim(bank.spec.__class__(8_000, 256, 64, 40, 0.0, 4_000.0))
    with pytest.raises(VocoderError, match="takes spectrograms of"):
        banks.renew_sounds(gallery / "fsdd", other)
    shard = sorted((gallery / "fsdd" / "shards").iterdir())[0]
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(BankError, match="shard-00000"):
        banks.renew_sounds(gallery / "fsdd", GriffinLim(bank.spec))
    with pytest.raises(BankError, match="without sounds"):
        banks.renew_sounds(ASSETS / "explore" / "fsdd" / "frami", GriffinLim(bank.spec))


def test_the_command(gallery, capsys):
    arguments = ["gallery", "--sounds", "--out", str(gallery), "--teachers", "fsdd", "--json"]
    cli.main([*arguments, "--vocoder", "griffin-lim"])
    assert json.loads(capsys.readouterr().out)["teachers"][0]["vocoder"] == "griffin-lim"
    cli.main(arguments)
    value = json.loads(capsys.readouterr().out)
    folder = str(gallery / "fsdd")
    assert value["teachers"] == [{"teacher": "fsdd", "vocoder": "frami", "clips": 30, "folder": folder}]
    assert banks.load(gallery / "fsdd").manifest["vocoder"] == "frami"
    assert cli.main([*arguments, "--vocoder", "kazoo"]) == 2
    assert "kazoo" in capsys.readouterr().err
