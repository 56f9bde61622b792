"""What the page plays is equally loud; what is saved is as it was made."""

import io
import math
from pathlib import Path

import pytest
import soundfile
import torch

from frami import loudness
from frami.studio.services.clips import to_hear, to_save

ROOT = Path(__file__).parents[1]
MOST = 10 ** (loudness.PEAK / 20)


def tone(level: float, seconds: float, rate: int = 22_050, pitch: float = 997):
    """A sine of this peak in dB of full scale."""
    return 10 ** (level / 20) * torch.sin(2 * math.pi * pitch * torch.arange(int(seconds * rate)) / rate)


@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
@pytest.mark.parametrize("seconds", [0.05, 0.3, 5])
@pytest.mark.parametrize("level", [0, -50])
def test_loudness_is_that_of_the_standard(rate, seconds, level):
    """BS.1770: 997 Hz at full scale in one channel has -3.01 LKFS; 5.7 dB more or less pass through neither filter."""
    assert loudness.measured(tone(level, seconds, rate), rate) == pytest.approx(level - 3.01, abs=0.15)


@pytest.mark.parametrize("level", [-60, -30, -3])
def test_tones_clicks_and_silence(level):
    for seconds in (0.05, 0.4, 3):
        padded = torch.cat([torch.zeros(22_050), tone(level, seconds), torch.zeros(22_050)])
        assert loudness.measured(loudness.levelled(tone(level, seconds), 22_050), 22_050) == pytest.approx(-20, abs=0.3)
        assert float(loudness.levelled(padded, 22_050).abs().max()) <= MOST * (1 + 1e-4)
    click = torch.zeros(2000)
    click[700] = 10 ** (level / 20)
    heard = loudness.levelled(click, 22_050)
    assert float(heard.abs().max()) == pytest.approx(MOST, rel=1e-3), "as loud as it may be"
    for silence in (torch.zeros(500), torch.zeros(1)):
        assert torch.equal(loudness.levelled(silence, 22_050), silence)


def test_the_limiter_leaves_all_else_alone():
    quiet = tone(-20, 1)
    assert torch.equal(loudness.limited(quiet, 22_050), quiet)
    quiet[11_000] = 3.0
    out = loudness.limited(quiet, 22_050)
    assert float(out.abs().max()) <= MOST * (1 + 1e-4)
    far = torch.ones(len(out), dtype=torch.bool)
    far[11_000 - 250 : 11_000 + 250] = False
    assert torch.allclose(out[far], quiet[far], atol=1e-6), "what is 11 ms from a peak is as it was"


@pytest.mark.slow
def test_all_clips_of_the_galleries_are_equally_loud():
    """Within 2 LU, but for a few single impulses that the peak keeps softer; no sample is above the peak."""
    found, peaks = {}, {}
    for path in sorted((ROOT / "assets" / "gallery").glob("*/*.flac")):
        samples, rate = soundfile.read(io.BytesIO(to_hear(path.read_bytes())), dtype="float32")
        heard = torch.from_numpy(samples)
        peaks[path], found[path] = float(heard.abs().max()), loudness.measured(heard, rate)
    assert len(found) >= 150 and max(peaks.values()) <= MOST + 1e-4
    softer = {path for path, level in found.items() if level < loudness.LEVEL - 1.9}
    assert len(softer) <= 3 and all(peaks[path] > MOST - 1e-3 for path in softer), softer
    others = [level for path, level in found.items() if path not in softer]
    assert max(others) - min(others) <= 2
    assert sum(others) / len(others) == pytest.approx(loudness.LEVEL, abs=0.2)


def test_what_is_saved_is_as_it_was_made():
    path = next((ROOT / "assets" / "gallery" / "fsdd").glob("*.flac"))
    made, _ = soundfile.read(path, dtype="int16")
    saved, rate = soundfile.read(io.BytesIO(to_save(path.read_bytes())), dtype="int16")
    assert rate == 22_050 and abs(made.astype(int) - saved).max() <= 1
