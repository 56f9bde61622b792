"""Training of the vocoder, in small: what it reads, its losses, a few steps, and going on."""

import json
from types import SimpleNamespace

import pytest
import torch

from frami.audio import MelSpec
from frami.cli import main
from frami.data import DataError
from frami.vocoder import Neural, losses, training
from frami.vocoder.discriminators import Discriminators
from frami.vocoder.neural import FOLDER, read_card
from frami.vocoder.recordings import FASTEST, degrade, read
from frami.vocoder.training import VocoderConfig, VocoderTrainingError, train
from tests.helpers.clock import ticking
from tests.helpers.recordings import make_esc50, make_fsdd, make_urbansound8k

SPEC = MelSpec()
TINY = {"batch": 4, "frames": 16, "dim": 16, "layers": 2, "hidden": 24, "lr": 5e-3, "warm_up": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    make_fsdd(root)
    make_esc50(root)
    return make_urbansound8k(root)


# --- recordings ------------------------------------------------------------------------------------------------------


def test_held_out_folds_are_never_read(folder, monkeypatch):
    from frami import audio

    seen = []
    load = audio.load
    monkeypatch.setattr(audio, "load", lambda path, rate: seen.append(str(path)) or load(path, rate))
    recordings = read(("fsdd", "esc10", "urbansound8k"), folder)
    assert len(seen) == 10 + 2 + 6 and not any("theo" in p or "/1-1" in p or "fold10" in p for p in seen)
    notes = {note["dataset"]: note for note in recordings.notes}
    assert [notes[n]["held_out"] for n in ("fsdd", "esc10", "urbansound8k")] == [["theo"], ["1"], ["10"]]
    assert notes["fsdd"]["trained_on"] == ["george"] and notes["urbansound8k"]["trained_on"] == ["1", "2"]
    assert all(note["licence"] and note["clips"] and note["hours"] >= 0 for note in notes.values())
    assert recordings.samples.dtype == torch.int16


def test_what_is_not_here_is_passed_over_unless_all(folder, tmp_path):
    make_fsdd(tmp_path)
    assert [n["dataset"] for n in read(("esc10", "fsdd"), tmp_path).notes] == ["fsdd"]
    with pytest.raises(DataError, match="ESC-10"):
        read(("esc10",), tmp_path)


def test_crops_are_within_full_scale_and_not_alike(folder):
    torch.manual_seed(0)
    recordings = read(("fsdd", "urbansound8k"), folder)
    crops = recordings.crops(32, 4_000)
    assert crops.shape == (32, 4_000) and crops.isfinite().all() and crops.abs().max() <= 0.99 + 1e-5
    peaks = crops.abs().amax(1)
    assert len(peaks.unique()) > 20 and peaks.max() > 5 * peaks[peaks > 0].min()
    assert recordings.crops(2, 60_000).shape == (2, 60_000), "longer than all that is there: silence follows"


def test_speed_changes_pitch_only_a_little(folder):
    """A tone stays a tone: interpolation adds little."""
    torch.manual_seed(0)
    t = torch.arange(100_000) / SPEC.sample_rate
    recordings = read(("fsdd",), folder)
    recordings.samples = (8_000 * torch.sin(2 * torch.pi * 1_000 * t)).short()
    recordings.begins, recordings.spans = torch.tensor([0]), torch.tensor([90_000])
    recordings.shares = torch.ones(1)
    spectra = torch.fft.rfft(recordings.crops(16, 8_192) * torch.hann_window(8_192)).abs()
    peaks = spectra.argmax(1) * SPEC.sample_rate / 8_192
    assert peaks.min() >= 990 / FASTEST and peaks.max() <= 1_010 * FASTEST and len(peaks.unique()) > 4
    near = [
        row[int(peak * 0.95) : int(peak * 1.05) + 2].square().sum()
        for row, peak in zip(spectra, spectra.argmax(1), strict=True)
    ]
    assert (torch.stack(near) / spectra.square().sum(1)).median() > 0.99


def test_degraded_log_mels_differ_and_stay_above_the_floor():
    torch.manual_seed(0)
    mel = SPEC(0.1 * torch.randn(32, 5_120))
    other = degrade(mel, SPEC.floor)
    changed = (other != mel).flatten(1).any(1)
    assert other.shape == mel.shape and other.min() >= SPEC.floor
    assert 10 < changed.sum() < 32 and (other - mel).abs().mean() < 0.2


# --- losses ----------------------------------------------------------------------------------------------------------


def test_the_first_log_mel_is_the_front_ends():
    analysis = losses.Analysis(SPEC)
    sound = 0.1 * torch.randn(2, 8_192)
    mel = analysis.log_mel(losses.magnitudes(analysis(sound))[0])
    torch.testing.assert_close(mel, SPEC(sound), atol=1e-4, rtol=0)


def test_reconstruction_terms_lead_to_the_sound():
    torch.manual_seed(0)
    analysis = losses.Analysis(SPEC)
    target, scale = 0.3 * torch.randn(2, 4_096), torch.ones(2)
    real = losses.magnitudes(analysis(target))
    real_mels = [analysis.log_mel(m, i) for i, m in enumerate(real)]

    def terms(sound):
        made = losses.magnitudes(analysis(sound))
        mels = [analysis.log_mel(m, i) for i, m in enumerate(made)]
        return {"mel": losses.mel_loss(mels, real_mels), "stft": losses.stft_loss(made, real, scale)}

    assert all(value < 1e-3 for value in terms(target).values())
    for name in ("mel", "stft"):
        sound = (0.05 * torch.randn(2, 4_096)).requires_grad_()
        optimiser = torch.optim.Adam([sound], 0.02)
        first = float(terms(sound)[name].detach())
        for _ in range(10):
            optimiser.zero_grad()
            terms(sound)[name].backward()
            optimiser.step()
        assert float(terms(sound)[name].detach()) < 0.9 * first


def test_silence_has_finite_gradients():
    analysis = losses.Analysis(SPEC)
    sound = torch.zeros(2, 4_096, requires_grad=True)
    made = losses.magnitudes(analysis(sound))
    real = losses.magnitudes(analysis(torch.zeros(2, 4_096)))
    losses.stft_loss(made, real, torch.full((2,), 1e-3)).backward()
    assert sound.grad.isfinite().all()


def test_discriminators_learn_and_their_terms_follow():
    torch.manual_seed(0)
    analysis, discriminators = losses.Analysis(SPEC), Discriminators(3, (2, 3))
    real, made = torch.sin(torch.arange(8_192) * 0.1)[None], 0.3 * torch.randn(1, 8_192)
    optimiser = torch.optim.Adam(discriminators.parameters(), 1e-3)
    values = []
    for _ in range(6):
        (a, features), (b, others) = (discriminators(analysis(x)[1:], x) for x in (real, made))
        loss = losses.discriminator_loss(a, b)
        values.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert values[-1] < values[0] == pytest.approx(2, abs=0.2)
    assert losses.adversarial_loss(b) > losses.adversarial_loss(a), "synthesized sounds lose more"
    assert losses.feature_loss(features, features) == 0 < losses.feature_loss(features, others)


def test_balance_makes_weights_shares_whatever_the_unit():
    at = torch.zeros(2, 50, requires_grad=True)
    balance = losses.Balance(("a", "b"), torch.device("cpu"))
    direction = torch.randn(2, 50)
    for size in (1e-6, 1e6):
        terms = {"a": (at * direction).sum(), "b": size * (at * direction.roll(1)).sum()}
        slope = losses.Balance(("a", "b"), torch.device("cpu")).gradient(terms, {"a": 1.0, "b": 0.0}, at)
        other = losses.Balance(("a", "b"), torch.device("cpu")).gradient(terms, {"a": 0.0, "b": 1.0}, at)
        assert slope.norm() == pytest.approx(float(other.norm()), rel=0.1)
    broken = {"a": (at * float("nan")).sum()}
    assert balance.gradient(broken, {"a": 1.0}, at).isfinite().all()


# --- training --------------------------------------------------------------------------------------------------------


def test_a_few_steps_lower_the_loss_and_write_a_vocoder(folder, tmp_path):
    config = VocoderConfig(steps=40, discriminators_from=1.1, **TINY)
    reports = list(train(tmp_path / "own", config, data_folder=folder, every=10))
    assert [r.step for r in reports] == [10, 20, 30, 40] and reports[-1].share == 1
    assert reports[-1].losses["mel"] < 0.9 * reports[0].losses["mel"]
    vocoder = Neural(tmp_path / "own")
    assert not (tmp_path / "own.training").exists()
    assert {note["dataset"] for note in vocoder.card.data} == {"fsdd", "esc10", "urbansound8k"}
    assert vocoder.card.training["steps_done"] == 40 and vocoder.card.training["last_losses"]["mel"] > 0
    assert vocoder(torch.zeros(1, 1, 80, 20))[0].shape == (20 * 256,)
    with pytest.raises(VocoderTrainingError, match="already"):
        next(train(tmp_path / "own", config, data_folder=folder))


def test_a_stopped_training_goes_on(folder, tmp_path, monkeypatch):
    config = VocoderConfig(steps=6, discriminators_from=0.3, **TINY)
    step = training._step

    def stop(state, adversarial):
        if state.step == 4:
            raise KeyboardInterrupt
        step(state, adversarial)

    monkeypatch.setattr(training, "_step", stop)
    with pytest.raises(KeyboardInterrupt):
        list(train(tmp_path / "own", config, data_folder=folder, datasets=("fsdd",), every=1))
    monkeypatch.setattr(training, "_step", step)
    with pytest.raises(VocoderTrainingError, match="other settings"):
        next(train(tmp_path / "own", VocoderConfig(steps=7, **TINY), data_folder=folder, datasets=("fsdd",)))
    reports = list(train(tmp_path / "own", config, data_folder=folder, datasets=("fsdd",), every=1))
    assert [r.step for r in reports] == [5, 6] and {"adversarial", "feature", "discriminators"} <= set(
        reports[0].losses
    )
    history = Neural(tmp_path / "own").card.training["history"]
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]


def test_a_training_of_an_earlier_version_continues(folder, tmp_path, monkeypatch):
    """It said judges for discriminators."""
    config = VocoderConfig(steps=3, discriminators_from=0.0, **TINY)
    reports = train(tmp_path / "own", config, data_folder=folder, datasets=("fsdd",), every=1)
    next(reports)
    reports.close()
    path = tmp_path / "own.training"
    now = torch.load(path, weights_only=True)
    former = {name.replace("discriminators", "judges"): value for name, value in now.items()}
    former["settings"] = {name.replace("discriminators", "judges"): value for name, value in now["settings"].items()}
    assert {"judges", "judges_optimiser"} < set(former) and "judges_lr" in former["settings"]
    torch.save(former, path)
    later = list(train(tmp_path / "own", config, data_folder=folder, datasets=("fsdd",), every=1))
    assert [report.step for report in later] == [2, 3]


def test_the_bundled_cards_former_words_are_read():
    training = read_card(FOLDER / "frami").training
    assert training["discriminators_from"] == 0.5 and training["last_losses"]["discriminators"] > 0


def test_a_damaged_state_is_named(folder, tmp_path):
    (tmp_path / "own.training").write_bytes(b"nothing")
    with pytest.raises(VocoderTrainingError, match="damaged"):
        next(train(tmp_path / "own", VocoderConfig(steps=2, **TINY), data_folder=folder))


def test_time_is_a_budget_too(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=ticking(0.25)))
    config = VocoderConfig(minutes=0.05, **TINY)
    reports = list(train(tmp_path / "own", config, data_folder=folder, datasets=("fsdd",), every=1))
    assert 3 <= reports[-1].seconds < 4 and (tmp_path / "own.safetensors").exists()
    for neither in ({}, {"steps": 1, "minutes": 1.0}):
        with pytest.raises(VocoderTrainingError, match="either"):
            next(train(tmp_path / "other", VocoderConfig(**neither), data_folder=folder))


def test_the_command(folder, tmp_path, capsys):
    arguments = ["train-vocoder", "--out", str(tmp_path / "own"), "--data", str(folder), "--datasets", "fsdd"]
    arguments += ["--steps", "2", "--batch", "2", "--frames", "16", "--device", "cpu", "--json"]
    assert main(arguments) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["steps"] == 2 and value["losses"]["mel"] > 0 and value["out"].endswith("own.safetensors")
    assert main(arguments) == 2
    assert "already" in capsys.readouterr().err
