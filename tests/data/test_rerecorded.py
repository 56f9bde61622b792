"""Sounds as if recorded elsewhere: each change does what it says, and versions are made once."""

import numpy as np
import pytest
import torch

from frami import audio, data
from frami.data import recordings, rerecorded
from frami.data.rerecorded import formants, noise, rerecord, resampled, room, silence_around

RATE = 22_050


def vowel(pitch: float = 120.0, formant: float = 900.0, seconds: float = 0.5) -> np.ndarray:
    """Harmonics of ``pitch`` under one resonance at ``formant`` Hz."""
    time = np.arange(int(seconds * RATE)) / RATE
    harmonics = np.arange(1, int(8000 / pitch)) * pitch
    heights = np.exp(-(((harmonics - formant) / 300) ** 2)) + 0.01
    return (0.1 * (heights[:, None] * np.sin(2 * np.pi * harmonics[:, None] * time)).sum(0)).astype(np.float32)


def centre(x: np.ndarray) -> float:
    """Mean frequency of the power spectrum in Hz."""
    power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
    return float((np.fft.rfftfreq(len(x), 1 / RATE) * power).sum() / power.sum())


def period(x: np.ndarray) -> float:
    """Pitch in Hz, by autocorrelation between 70 and 300 Hz."""
    correlation = np.fft.irfft(np.abs(np.fft.rfft(x, 65_536)) ** 2)
    low, high = RATE // 300, RATE // 70
    return RATE / (low + correlation[low:high].argmax())


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_formants_move_and_pitch_stays(factor):
    x = vowel()
    changed = formants(x, factor)
    assert len(changed) == len(x)
    assert period(changed) == pytest.approx(period(x), rel=0.02)
    assert centre(changed) == pytest.approx(factor * centre(x), rel=0.06)


def test_pitch_and_formants_move_together():
    x = vowel()
    faster = resampled(x, 1.25)
    assert len(faster) == pytest.approx(len(x) / 1.25, abs=2)
    assert period(faster) == pytest.approx(1.25 * period(x), rel=0.02)


def test_a_room_rings_on():
    click = np.zeros(RATE, np.float32)
    click[0] = 0.5
    heard = room(click, RATE, np.random.default_rng(3))
    assert heard[0] == pytest.approx(0.5, rel=0.1)
    energy = [float((heard[int(a * RATE) : int((a + 0.05) * RATE)] ** 2).sum()) for a in (0.02, 0.1)]
    assert energy[0] > energy[1]


@pytest.mark.parametrize("seed", range(3))
def test_noise_lies_under_the_sound(seed):
    x = vowel()
    added = noise(x, RATE, np.random.default_rng(seed)) - x
    loud = np.sqrt(np.quantile(x**2, 0.9))
    assert -46 < 20 * np.log10(added.std() / loud) < -2


def test_silence_is_added_or_little_cut():
    lengths = [len(silence_around(vowel(), RATE, np.random.default_rng(seed))) / RATE for seed in range(40)]
    assert 0.43 < min(lengths) < 0.5 and 1.0 < max(lengths) <= 1.3


@pytest.mark.parametrize("seconds", [0.05, 0.4])
@pytest.mark.parametrize("level", [0.0, 1e-4, 1.0])
def test_any_sound_gives_sound_samples(seconds, level):
    x = level * vowel(seconds=seconds)
    for seed in range(12):
        changed = rerecord(x, RATE, np.random.default_rng(seed))
        assert changed.dtype == np.float32 and np.isfinite(changed).all()
        assert np.abs(changed).max() <= 1 and 0.02 * RATE < len(changed) < 2.5 * RATE


def test_the_seed_decides():
    one, same, other = (rerecord(vowel(), RATE, np.random.default_rng(seed)) for seed in (4, 4, 5))
    np.testing.assert_array_equal(one, same)
    assert len(one) != len(other) or np.abs(one - other).max() > 0.01


def test_versions_are_made_once(make_tree, tmp_path, monkeypatch):
    mels = data.load("fsdd", "all", make_tree("fsdd", tmp_path, speakers=("george",), takes=1))
    counted, looked = [], []
    look = recordings._sound_files
    monkeypatch.setattr(recordings, "_sound_files", lambda folder: looked.append(folder) or look(folder))
    made = rerecorded.rerecorded(mels, 2, seed=1, progress=lambda *at: counted.append(at))
    assert counted[-1] == (20, 20) and len(made) == 2
    assert len(looked) == 1, "the folder is listed once, not for each clip"
    for version in made:
        assert version.clips == mels.clips and torch.equal(version.labels, mels.labels)
        assert all(frames.shape[1] == mels.spec.n_mels for frames in version.frames)
    one, other = ([frames.shape for frames in version.frames] for version in made)
    assert one != other

    def gone(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(audio, "load", gone)
    again = rerecorded.rerecorded(mels, 2, seed=1)
    np.testing.assert_array_equal(again[1].frames[3], made[1].frames[3])
    assert rerecorded.rerecorded(mels, 0) == []
    with pytest.raises(AssertionError, match="decoded again"):
        rerecorded.rerecorded(mels, 1, seed=2)


def test_a_home_that_cannot_be_made_is_named(make_tree, tmp_path, monkeypatch):
    mels = data.load("fsdd", "all", make_tree("fsdd", tmp_path, speakers=("george",)))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FRAMI_HOME", str(tmp_path / "file"))
    with pytest.raises(data.DataError, match="set FRAMI_HOME to another folder"):
        rerecorded.rerecorded(mels, 1)
