"""Sounds of every kind are made ready for the networks, or refused with a reason."""

import numpy as np
import pytest
import soundfile
import torch

from frami import audio_input
from frami.audio import MelSpec
from tests.helpers.recordings import tone_file

SPEC = MelSpec()


def test_what_is_changed_is_noted(tmp_path):
    plain = audio_input.read(tone_file(tmp_path / "a.wav", 0.5), SPEC)
    assert plain.notes == () and abs(plain.seconds - 0.5) < 0.01
    other = audio_input.read(tone_file(tmp_path / "b.flac", 0.5, rate=16_000, channels=2), SPEC)
    assert other.notes == ("both channels were averaged", "resampled from 16 to 22.05 kHz")
    assert abs(other.seconds - 0.5) < 0.02 and other.samples.ndim == 1
    quiet = audio_input.read(tone_file(tmp_path / "c.wav", 0.5, level=0.01), SPEC)
    assert "louder" in quiet.notes[0] and abs(float(quiet.samples.abs().max()) - audio_input.LOUD) < 1e-3
    late = audio_input.read(tone_file(tmp_path / "d.wav", 0.5, lead=1.0), SPEC)
    assert "0.9 s of quiet" in late.notes[0] and 0.5 < late.seconds < 0.65
    long = audio_input.read(tone_file(tmp_path / "e.wav", 40), SPEC)
    assert "first 30 s of 40 s" in long.cautions[0] and abs(long.seconds - 30) < 0.1


def test_a_file_that_breaks_off_gets_a_note(tmp_path):
    path = tone_file(tmp_path / "cut.mp3", 4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sound = audio_input.read(path, SPEC)
    assert "the file breaks off" in sound.cautions[0] and "of its 4.0 s" in sound.cautions[0]


def test_noise_is_not_trimmed():
    x = torch.randn(22_050, generator=torch.Generator().manual_seed(0)) * 0.1
    assert audio_input.trim(x, 22_050)[1] == 0
    word = torch.cat([0.003 * x, x, 0.003 * x])
    kept, cut = audio_input.trim(word, 22_050)
    assert abs(cut - 1.9) < 0.05 and abs(len(kept) / 22_050 - 1.1) < 0.05


def test_what_cannot_be_classified_is_refused_with_a_reason(tmp_path):
    (tmp_path / "text.wav").write_text("this is no sound")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 22_050)
    soundfile.write(tmp_path / "still.wav", np.zeros(22_050), 22_050)
    click = np.zeros(22_050)
    click[9_000] = 0.5
    soundfile.write(tmp_path / "click.wav", click, 22_050)
    soundfile.write(tmp_path / "bad.wav", np.full(22_050, np.nan), 22_050, subtype="FLOAT")
    tone_file(tmp_path / "short.wav", 0.03)
    soundfile.write(tmp_path / "scale.wav", 20_000 * np.sin(np.arange(22_050)), 22_050, subtype="FLOAT")
    soundfile.write(tmp_path / "rate.wav", np.sin(np.arange(22_050)), 1)
    (tmp_path / "phone.wav").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(400))
    cases = {
        "text": "cannot be read", "none": "empty", "still": "silence", "click": "click", "short": "0.03 s",
        "missing": "cannot be read", "bad": "not numbers",
        "scale": "full scale is 1", "rate": "sample rate of 1 Hz", "phone": r"^This sound is MP4 .*WAV, M4A or MP3",
    }  # fmt: skip
    for name, words in cases.items():
        with pytest.raises(audio_input.AudioInputError, match=words):
            audio_input.read(tmp_path / f"{name}.wav", SPEC)


def test_a_sound_far_longer_than_the_training_clips_gets_a_note(tmp_path, teacher):
    short, long = (audio_input.read(tone_file(tmp_path / f"{s}.wav", s), SPEC) for s in (0.5, 6))
    assert audio_input.duration_note(short, teacher) is None
    assert f"training clips ({teacher.card.seconds:.1f} s)" in audio_input.duration_note(long, teacher)
