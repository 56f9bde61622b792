"""Sound in blocks is the sound as a whole: decoding, resampling, raw samples, a microphone."""

import io
import os
import signal
import sys
import threading
import time
import types

import numpy as np
import pytest
import soundfile
import soxr

from frami import audio, sound_files, streams
from frami.errors import FramiError
from frami.sound_files import AudioError
from tests.helpers.media import make


def noise(count: int, seed: int = 0) -> np.ndarray:
    return (0.2 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


def whole(source: streams.Source, rate: int) -> np.ndarray:
    return np.concatenate(list(streams.resampled(source.blocks, source.rate, rate)))


@pytest.mark.parametrize(
    "rates", [(44_100, 22_050), (8_000, 22_050), (16_000, 16_000), (48_000, 22_050), (11_025, 8_000)]
)
@pytest.mark.parametrize("size", [1, 777, 65_536])
def test_resampled_in_blocks_is_resampled_as_a_whole(rates, size):
    """Bit for bit, whatever the blocks."""
    given, wanted = rates
    x = noise(3_001 if size == 1 else 90_001)
    blocks = iter([x[k : k + size] for k in range(0, len(x), size)])
    found = np.concatenate(list(streams.resampled(blocks, given, wanted)))
    expected = x if given == wanted else soxr.resample(x, given, wanted, quality="VHQ")
    assert found.dtype == np.float32 and np.array_equal(found, expected)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_a_file_in_blocks_is_the_file(tmp_path, ending, monkeypatch):
    monkeypatch.setattr(streams, "BLOCK", 4_096)
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, np.stack([noise(70_000), noise(70_000, 1)], 1), 44_100)
    with streams.file(path) as source:
        found = whole(source, 22_050)
    expected = audio.load(path, 22_050).numpy()
    assert abs(source.seconds - 70_000 / 44_100) < 0.1
    if ending == "mp3":  # FFmpeg's decoder, and its padding
        count = min(len(found), len(expected))
        assert abs(len(found) - len(expected)) < 2_000
        assert np.abs(found[1_000 : count - 3_000] - expected[1_000 : count - 3_000]).max() < 0.02
    else:
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["voice-memo.m4a", "recorded.webm"])
def test_what_phones_and_browsers_record(tmp_path, name):
    path = make(tmp_path, name, noise(48_000), 48_000)
    with streams.file(path) as source:
        found = whole(source, 16_000)
    np.testing.assert_allclose(found, audio.load(path, 16_000).numpy(), atol=1e-6)


def test_a_recorder_that_was_cut_off(tmp_path):
    """A WAV file without a size is read to its end, though not into memory."""
    path = tmp_path / "x.wav"
    soundfile.write(path, noise(30_000), 8_000, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    data[40:44] = bytes(4)
    path.write_bytes(data)
    with streams.file(path) as source:
        assert len(whole(source, 8_000)) == len(sound_files.read(path).samples) == 30_000


def test_bad_files_are_told(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound" * 50)
    soundfile.write(tmp_path / "none.wav", noise(0), 8_000)
    broken = noise(150_000)
    broken[140_000] = np.nan
    soundfile.write(tmp_path / "nan.wav", broken, 8_000, subtype="FLOAT")
    soundfile.write(tmp_path / "loud.wav", 1_000 * broken[:100], 8_000, subtype="FLOAT")
    for name, word in {
        "gone.wav": "no such sound file", "empty.wav": "0 bytes", "text.wav": "not readable", "none.wav": "empty",
        "nan.wav": "00:00:16", "loud.wav": "full scale",
    }.items():  # fmt: skip
        with pytest.raises(AudioError, match=word), streams.file(tmp_path / name) as source:
            list(source.blocks)


@pytest.mark.parametrize("format", streams.RAW)
@pytest.mark.parametrize("size", [1, 3, 1 << 16])
def test_raw_samples_in_whatever_pieces(format, size, monkeypatch):
    monkeypatch.setattr(streams, "PIPE", size)
    x = noise(600).reshape(-1, 2)
    scale = 1 if format == "f32le" else np.iinfo(streams.RAW[format]).max
    data = (x * np.float32(scale)).astype(streams.RAW[format]).tobytes() + b"\0"  # and a piece of a sample
    with streams.raw(io.BytesIO(data), 8_000, format, 2) as source:
        found = np.concatenate(list(source.blocks))
    assert source.live and len(found) == 300
    np.testing.assert_allclose(found, x.mean(1), atol=1e-4)


def test_a_file_is_no_raw_sound():
    for head in (b"RIFF0000WAVE", b"fLaC", b"OggS"):
        with pytest.raises(AudioError, match="ffmpeg -i FILE -f s16le"), streams.raw(io.BytesIO(head), 8_000) as source:
            list(source.blocks)
    with streams.raw(io.BytesIO(b""), 8_000) as source:
        assert list(source.blocks) == []


# --- a microphone ----------------------------------------------------------------------------------------------------


class Refused(Exception):
    """What PortAudio says."""


@pytest.mark.parametrize("at", ["this thread", "another"])
def test_a_pipe_that_waits_hears_ctrl_c(at):
    """Also where the signal does not end the read: at another thread it is as one that came just before it."""
    read, write = os.pipe()
    main = threading.get_ident()

    def stop():
        signal.pthread_kill(threading.get_ident() if at == "another" else main, signal.SIGINT)

    timers = threading.Timer(0.3, stop), threading.Timer(20, os.write, (write, bytes(4)))
    with open(read, "rb") as stream, streams.raw(stream, 8_000) as source:
        os.write(write, bytes(8))
        assert len(next(source.blocks)) == 4
        for one in timers:
            one.start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            next(source.blocks)
            time.sleep(1)
        assert time.monotonic() - begun < 15, "before anything else came"
        timers[1].cancel()
    os.close(write)


def fake_sounddevice(blocks, rate: int = 16_000, error: str | None = None) -> types.ModuleType:
    """A library whose device records these blocks as soon as it is opened."""
    module = types.ModuleType("sounddevice")
    module.PortAudioError = Refused

    def query_devices(device=None, kind=None):
        if error and kind:
            raise Refused(error)
        one = {"name": "Toy microphone", "default_samplerate": float(rate), "max_input_channels": 1}
        return one if kind else [one, {"name": "Speaker", "max_input_channels": 0}]

    class InputStream:
        def __init__(self, callback, **given):
            assert given == {"samplerate": rate, "device": None, "channels": 1, "dtype": "float32"}
            self.callback = callback

        def __enter__(self):
            for block in blocks:
                self.callback(block[:, None], len(block), None, None)

        def __exit__(self, *_):
            pass

    module.query_devices, module.InputStream = query_devices, InputStream
    return module


def test_a_microphone(monkeypatch):
    blocks = [noise(160, k) for k in range(5)]
    monkeypatch.setitem(sys.modules, "sounddevice", fake_sounddevice(blocks))
    monkeypatch.setattr(streams, "SILENT", 0.05)
    found = []
    with pytest.raises(AudioError, match="still connected"), streams.microphone() as source:
        found.extend(source.blocks)
    assert source.rate == 16_000 and source.live and source.lost == 0
    assert np.array_equal(np.concatenate(found), np.concatenate(blocks))


def test_what_a_slow_network_misses_is_counted_and_the_time_stays_right(monkeypatch):
    """Of ten blocks three are too many; when there is room again, zeros take their place."""
    source = streams.Source(1_000, iter(()), live=True)
    waiting = streams._Waiting(source)
    monkeypatch.setattr(streams, "WAITING", 0.6)
    for _ in range(10):
        waiting.put(np.ones((100, 1), np.float32), 100)
    blocks = waiting.blocks()
    held = [next(blocks) for _ in range(7)]
    waiting.put(np.ones((100, 1), np.float32), 100)
    held += [next(blocks), next(blocks)]
    assert source.lost == 300 and sum(map(len, held)) == 1_100 and sum(x.sum() for x in held) == 800


@pytest.mark.parametrize(("library", "word"), [("none", "frami.listen"), ("no device", "Toy microphone")])
def test_no_microphone_is_told(monkeypatch, library, word):
    module = None if library == "none" else fake_sounddevice([], error="Error querying device -1")
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    with pytest.raises(FramiError, match=word), streams.microphone():
        pass


def test_without_portaudio(monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FramiError, match="libportaudio2"), streams.microphone():
        pass


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "00:00:00.000"), (59.9996, "00:01:00.000"), (43_199.5, "11:59:59.500")]
)
def test_times_as_people_read_them(seconds, text):
    assert streams.clock(seconds) == text
