"""What the bench measures, and its command on a small folder of sounds made here."""

import json
import math

import pytest
import torch

from frami import audio, cli
from frami.audio import MelSpec
from frami.bench import vocoder
from frami.data import DataError
from frami.vocoder import VocoderError

SPEC = MelSpec()


def tone(hertz=300.0, seconds=0.4):
    t = torch.arange(round(seconds * SPEC.sample_rate) // SPEC.hop_length * SPEC.hop_length) / SPEC.sample_rate
    return 0.3 * torch.sin(2 * math.pi * hertz * t) + 0.05 * torch.sin(2 * math.pi * 5.1 * hertz * t)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Five "digits" of a held-out speaker and of one of the training, in the published layout."""
    folder = tmp_path_factory.mktemp("data") / "fsdd" / "recordings"
    folder.mkdir(parents=True)
    for digit in range(5):
        for speaker in ("theo", "george"):
            audio.save(folder / f"{digit}_{speaker}_0.wav", tone(200.0 + 60 * digit), SPEC.sample_rate)
    return folder.parent.parent


def test_distance_is_none_to_itself_and_grows():
    sound = tone()
    noise = torch.randn(len(sound), generator=torch.Generator().manual_seed(0))
    near, far = (vocoder.stft_distance(sound + level * noise, sound) for level in (0.001, 0.1))
    assert vocoder.stft_distance(sound, sound) == 0 < near < far


def test_distance_does_not_see_what_no_spectrogram_shows():
    sound = tone()
    noise = 1e-7 * torch.randn(len(sound), generator=torch.Generator().manual_seed(0))
    assert vocoder.stft_distance(sound + noise, sound) < 1e-3


@pytest.mark.parametrize("name", ["frami:2", "matching:2", "griffin-lim:4", "librosa:4", "torchaudio:4", "griffin-lim"])
def test_every_vocoder_puts_the_frames_where_they_were(name):
    sound = torch.cat([torch.zeros(20 * SPEC.hop_length), tone()[: 10 * SPEC.hop_length], torch.zeros(5_120)])
    torch.manual_seed(3)
    state = torch.get_rng_state()
    made = vocoder.named(name)(SPEC(sound))
    assert torch.equal(torch.get_rng_state(), state)
    assert made.shape == sound.shape and made.dtype == torch.float32 and made.abs().max() <= 1
    place = torch.arange(len(sound)).float()
    centre, expected = (float((x.square() * place).sum() / x.square().sum()) for x in (made, sound))
    assert abs(centre - expected) < SPEC.hop_length / 4


@pytest.mark.parametrize("name", ["kazoo", "kazoo:3", "frami:many", "frami:-1"])
def test_an_unknown_vocoder_is_refused(name):
    with pytest.raises(VocoderError, match="no vocoder"):
        vocoder.named(name)


def test_the_choice_of_clips_is_fixed_and_keeps_to_its_folds(recordings):
    first, again = (vocoder.read("fsdd", "test", 3, 0.2, recordings) for _ in range(2))
    assert first.folds == ("theo",) and len(first.sounds) == 3
    assert all(torch.equal(a, b) for a, b in zip(first.sounds, again.sounds, strict=True))
    assert all(len(x) == int(0.2 * SPEC.sample_rate) // 256 * 256 and abs(x.mean()) < 1e-6 for x in first.sounds)
    assert vocoder.read("fsdd", "train", 3, 2.5, recordings).folds == ("george",)
    with pytest.raises(DataError, match="no split"):
        vocoder.read("fsdd", "moon", 3, 2.5, recordings)


def test_the_measures(recordings):
    real = vocoder.read("fsdd", "test", 2, 2.5, recordings)
    sounds = iter(real.sounds)
    perfect = vocoder.copy_synthesis(lambda log_mel: next(sounds), real)
    assert perfect["mr_stft"] == perfect["log_mel"] == 0 and perfect["agreement"] == 1 and perfect["rtf"] >= 0
    silent = vocoder.copy_synthesis(lambda log_mel: torch.zeros(log_mel.shape[1] * 256), real)
    assert silent["mr_stft"] > 1 and silent["log_mel"] > 1


def test_the_command(recordings, tmp_path, capsys):
    out = tmp_path / "page" / "vocoder.md"
    arguments = ["--dataset", "fsdd", "--clips", "2", "--made", "2", "--vocoders", "frami:2,griffin-lim:4"]
    cli.main(["bench", "vocoder", *arguments, "--data", str(recordings), "--out", str(out), "--json"])
    value = json.loads(capsys.readouterr().out)
    assert [row["vocoder"] for row in value["rows"]] == ["frami:2", "griffin-lim:4"]
    assert {"dataset", "vocoder", "mr_stft", "log_mel", "agreement", "rtf"} <= set(value["rows"][0])
    assert all(0 <= row["target_accuracy"] <= 1 and row["clips"] == 2 for row in value["made"])
    page = out.read_text()
    assert " ".join(["frami bench vocoder", *arguments[:4]]) in page and "| `frami:2` |" in page
    assert json.loads(out.with_suffix(".json").read_text()) == value


def test_the_command_refuses_in_one_line(recordings, tmp_path, capsys):
    (tmp_path / "notes.md").write_text("my own")
    out = ["--out", str(tmp_path / "notes.md")]
    for arguments in (["--vocoders", "kazoo"], ["--split", "moon"], ["--dataset", "birds"], out):
        status = cli.main(["bench", "vocoder", *arguments, "--data", str(recordings)])
        assert status == 2 and capsys.readouterr().err.count("\n") == 1
