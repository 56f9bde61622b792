"""Sounds of a visitor's own: prepared, reported on, refused in words; and the example sounds."""

import numpy as np
import pytest
import soundfile
import torch

from frami import audio_input, example_sounds
from frami.audio import MelSpec
from tests.helpers.recordings import tone_file

SPEC = MelSpec()


def test_what_is_done_to_a_sound_is_reported(tmp_path):
    plain = audio_input.read(tone_file(tmp_path / "a.wav", 0.5), SPEC)
    assert plain.notes == () and abs(plain.seconds - 0.5) < 0.01
    other = audio_input.read(tone_file(tmp_path / "b.flac", 0.5, rate=16_000, channels=2), SPEC)
    assert other.notes == ("both channels were averaged", "resampled from 16,000 to 22,050 Hz")
    assert abs(other.seconds - 0.5) < 0.02 and other.samples.ndim == 1
    quiet = audio_input.read(tone_file(tmp_path / "c.wav", 0.5, level=0.01), SPEC)
    assert "louder" in quiet.notes[0] and abs(float(quiet.samples.abs().max()) - audio_input.LOUD) < 1e-3
    late = audio_input.read(tone_file(tmp_path / "d.wav", 0.5, lead=1.0), SPEC)
    assert "0.9 s of quiet" in late.notes[0] and 0.5 < late.seconds < 0.65
    long = audio_input.read(tone_file(tmp_path / "e.wav", 40), SPEC)
    assert "first 30 s of 40 s" in long.notes[0] and abs(long.seconds - 30) < 0.1


def test_noise_is_not_taken_for_quiet():
    x = torch.randn(22_050, generator=torch.Generator().manual_seed(0)) * 0.1
    assert audio_input.without_quiet_ends(x, 22_050)[1] == 0
    word = torch.cat([0.003 * x, x, 0.003 * x])
    rest, cut = audio_input.without_quiet_ends(word, 22_050)
    assert abs(cut - 1.9) < 0.05 and abs(len(rest) / 22_050 - 1.1) < 0.05


def test_what_cannot_be_classified_is_refused_in_words(tmp_path):
    (tmp_path / "text.wav").write_text("this is no sound")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 22_050)
    soundfile.write(tmp_path / "still.wav", np.zeros(22_050), 22_050)
    click = np.zeros(22_050)
    click[9_000] = 0.5
    soundfile.write(tmp_path / "click.wav", click, 22_050)
    soundfile.write(tmp_path / "bad.wav", np.full(22_050, np.nan), 22_050, subtype="FLOAT")
    tone_file(tmp_path / "short.wav", 0.03)
    cases = {
        "text": "cannot be read", "none": "empty", "still": "silence", "click": "click", "short": "0.03 s",
        "missing": "cannot be read", "bad": "not numbers",
    }  # fmt: skip
    for name, words in cases.items():
        with pytest.raises(audio_input.SoundError, match=words):
            audio_input.read(tmp_path / f"{name}.wav", SPEC)


def test_bundled_sounds_are_small_and_mostly_recognised(teacher):
    found = example_sounds.listed("fsdd")
    assert {one.label for one in found} == set(teacher.classes) and len(found) == 20
    assert sum(path.stat().st_size for path in example_sounds.FOLDER.rglob("*.*")) < 300_000
    right = 0
    for one in found:
        ready = audio_input.read(one.path, teacher.spec)
        probabilities = audio_input.predict(teacher, teacher.spec(ready.samples)).probabilities
        right += teacher.classes[int(probabilities.argmax())] == one.label
        assert not ready.notes and abs(float(probabilities.sum()) - 1) < 1e-4
    assert right >= 16
    assert example_sounds.listed("nobody") == []
