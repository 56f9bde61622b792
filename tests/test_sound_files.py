"""Files as recorders, editors and phones write them are read whole, or refused with what to do."""

import io
import struct
import time

import numpy as np
import pytest
import soundfile

from frami import audio, sound_files
from frami.audio import AudioError

RATE = 22_050
TONE = (0.4 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
PCM = (TONE * 32_767).astype("<i2").tobytes()


def wav(data: bytes = PCM, rate: int = RATE, tag: int = 1, bits: int = 16, before: bytes = b"", size=None) -> bytes:
    """A WAV file with these chunks ``before`` its data, and with ``size`` in place of the data's own."""
    layout = struct.pack("<HHIIHH", tag, 1, rate, min(rate * bits // 8, 2**32 - 1), bits // 8, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + before
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def floats(samples: np.ndarray) -> bytes:
    return wav(samples.astype("<f4").tobytes(), tag=3, bits=32)


def chunk(name: bytes, content: bytes, padded: bool = True) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (padded and len(content) % 2)


def encoded(samples: np.ndarray = TONE, rate: int = RATE, **choices) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, **choices)
    return out.getvalue()


def load(folder, content: bytes, name: str = "x.wav"):
    path = folder / name
    path.write_bytes(content)
    return audio.load(path, RATE)


# --- WAV -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "subtype", "error"),
    [
        ("WAVEX", "PCM_16", 1e-4),
        ("WAVEX", "PCM_24", 1e-6),
        ("WAVEX", "FLOAT", 0),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "DOUBLE", 0),
        ("WAV", "ALAW", 0.01),
        ("WAV", "ULAW", 0.01),
        ("WAV", "MS_ADPCM", 0.01),
        ("WAV", "IMA_ADPCM", 0.05),
        ("RF64", "PCM_16", 1e-4),
        ("W64", "PCM_16", 1e-4),
    ],
)
def test_kinds_of_wav(kind, subtype, error, tmp_path):
    sound = load(tmp_path, encoded(format=kind, subtype=subtype)).numpy()
    assert len(TONE) <= len(sound) < len(TONE) + 600, "ADPCM comes in blocks"
    middle = slice(2_000, 20_000)  # ADPCM adapts to the level first
    assert np.abs(sound[middle] - TONE[middle]).max() <= error


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 2 * len(PCM)])
def test_a_size_that_was_never_filled_in(size, tmp_path):
    np.testing.assert_allclose(load(tmp_path, wav(size=size)), TONE, atol=1e-4)


def test_no_size_and_no_samples_is_empty(tmp_path):
    for content in (wav(b""), wav(chunk(b"LIST", b"INFO"), size=0)):
        with pytest.raises(AudioError, match=r"x\.wav is empty"):
            load(tmp_path, content)


@pytest.mark.parametrize("size", [0, 2**64 - 1])
def test_an_rf64_stream(size, tmp_path):
    content = bytearray(encoded(format="RF64", subtype="PCM_16"))
    content[28:36] = struct.pack("<Q", size)  # of the data, in the chunk ds64
    np.testing.assert_allclose(load(tmp_path, bytes(content)), TONE, atol=1e-4)


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("length", [3, 4, 17])
@pytest.mark.parametrize("name", [b"bext", b"zzzz", b"\x00\x01zz"])
def test_odd_chunks_before_the_data(name, length, padded, tmp_path):
    """A padding byte follows a chunk of odd length; some writers leave it out."""
    content = wav(before=chunk(name, b"x" * length, padded))
    np.testing.assert_allclose(load(tmp_path, content), TONE, atol=1e-4)


def test_chunks_without_end_are_given_up(monkeypatch):
    """Of a file of nothing but pieces of chunks few are looked at: each is sought to the end of the file."""
    looks = []
    monkeypatch.setattr(
        sound_files, "_next_chunk", lambda data, at, look=sound_files._next_chunk: looks.append(at) or look(data, at)
    )
    piece = chunk(b"fmt ", b"\1\2\3\4") + b"\0\1\2\3"
    assert sound_files.mended_wav(b"RIFF\xff\xff\xff\x7fWAVE" + piece * 1_000) is None
    assert len(looks) <= 100


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_data_that_begins_behind_the_end_is_none(size):
    assert sound_files.mended_wav(wav(b"", size=size)[:-2]) is None


def test_floats_beyond_full_scale_stay_as_they_are(tmp_path):
    assert float(load(tmp_path, floats(3 * TONE)).abs().max()) == pytest.approx(1.2, abs=1e-3)


def test_floats_at_the_scale_of_integers_are_refused(tmp_path):
    with pytest.raises(AudioError, match=r"x\.wav has samples up to 8,000, where full scale is 1.*32,768"):
        load(tmp_path, floats(20_000 * TONE))
    samples = 3 * TONE
    samples[7] = np.nan
    with pytest.raises(AudioError, match="not numbers"):
        load(tmp_path, floats(samples))


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2_000_000_000])
def test_an_absurd_sample_rate_is_refused_before_it_takes_memory(rate, tmp_path):
    with pytest.raises(AudioError, match=f"sample rate of {rate:,} Hz"):
        load(tmp_path, wav(rate=rate))


def test_a_sound_of_hours_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sound_files, "LONGEST", 0.5)
    with pytest.raises(AudioError, match=r"lasts longer than .* cut it"):
        load(tmp_path, wav())
    assert len(sound_files.read(tmp_path / "x.wav", seconds=0.25).samples) == RATE // 4


def test_a_small_file_that_unpacks_to_hours_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sound_files, "LARGEST", 100_000)
    content = encoded(np.zeros(1_000_000), 8_000, format="FLAC")
    assert len(content) < 20_000
    with pytest.raises(AudioError, match="lasts longer"):
        load(tmp_path, content, "x.flac")


def decoded(monkeypatch) -> list[int]:
    """Sizes of the blocks that libsndfile is asked for from now on."""
    asked, read = [], soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda file, n, **k: asked.append(n) or read(file, n, **k))
    return asked


def test_hours_are_refused_by_their_header_before_any_is_decoded(tmp_path, monkeypatch):
    with soundfile.SoundFile(tmp_path / "x.flac", "w", 8_000, 1) as file:
        for _ in range(10):
            file.write(np.zeros(8_000 * 400, np.int16))
    assert (tmp_path / "x.flac").stat().st_size < 200_000
    asked = decoded(monkeypatch)
    with pytest.raises(AudioError, match=r"x\.flac lasts longer than 60 minutes; .*FRAMI_SOUND_SECONDS"):
        audio.load(tmp_path / "x.flac", 8_000)
    assert not asked
    monkeypatch.setenv("FRAMI_SOUND_SECONDS", "5000")
    assert len(audio.load(tmp_path / "x.flac", 1_000)) == 4_000_000


@pytest.mark.parametrize("value", ["x", "0", "-1", "nan", "inf", "1e999"])
def test_what_lifts_the_bound_is_a_number(value, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMI_SOUND_SECONDS", value)
    with pytest.raises(AudioError, match="FRAMI_SOUND_SECONDS is a number of seconds above 0"):
        load(tmp_path, wav())


@pytest.mark.parametrize(("rate", "target"), [(1, 22_050), (1_000, 10**9), (1_000, 700_000), (8_000, 1)])
def test_what_would_be_resampled_to_gigabytes_is_refused(rate, target, monkeypatch):
    monkeypatch.setattr(audio.soxr, "resample", lambda *_, **__: pytest.fail("resampled"))
    with pytest.raises(AudioError, match=r"sample rate|lasts longer"):
        audio.mono(np.zeros(3_000_000, np.int16), rate, target)


def test_an_mp3_of_nothing_but_beginnings_of_frames_is_given_up():
    """In seconds: each of them would be looked at."""
    frames = encoded(np.tile(TONE, 2), format="MP3", bitrate_mode="CONSTANT")
    for junk in (b"\xff" * 5_000_000, b"\xff\xfb\x90\x04" * 2_000_000):
        begin = time.perf_counter()
        assert sound_files.mp3_frames(frames + junk) is None or junk[1:2] == b"\xff"
        assert time.perf_counter() - begin < 2


@pytest.mark.parametrize("total", [b"\x00" * 4, b"\xff" * 4])
def test_a_flac_stream_says_no_length(total, tmp_path):
    content = bytearray(encoded(format="FLAC"))
    content[21] = content[21] & 0xF0 | (total[0] & 0x0F)
    content[22:26] = total
    np.testing.assert_allclose(load(tmp_path, bytes(content), "x.flac"), TONE, atol=1e-4)


# --- MP3 -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[(22_050, 1), (44_100, 2)], ids=["MPEG 2 mono", "MPEG 1 stereo"])
def variable(request) -> tuple[bytes, int]:
    """Ten seconds at a variable rate, first noise, then a quiet tone; and its sample rate."""
    rate, channels = request.param
    at = np.arange(10 * rate) / rate
    noise = 0.3 * np.random.default_rng(0).standard_normal(len(at))
    samples = np.where(at < 5, noise, 0.01 * np.sin(2 * np.pi * 300 * at))
    samples = np.stack([samples] * channels, 1)
    return encoded(samples, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.3), rate


def without_table(content: bytes) -> bytes:
    """The MP3 without its first frame, which says how many follow."""
    first = sound_files._frame_at(content, 0)
    assert b"Xing" in content[: first.size]
    return content[first.size :]


ID3 = b"ID3\x04\0\0" + bytes([0, 0, 20, 0]) + b"\xff\xfb\x90\x00cover" * 284 + b"\0" * 4  # 20 * 128 bytes


def test_an_mp3_of_variable_rate_without_a_table_is_read_whole(variable, tmp_path):
    content, rate = variable
    bare = without_table(content)
    (tmp_path / "bare.mp3").write_bytes(bare)
    assert soundfile.info(tmp_path / "bare.mp3").duration < 5, "libsndfile guesses"
    for number, some in enumerate((content, bare, ID3 + bare, bare + b"TAG" + b"\0" * 125)):
        path = tmp_path / f"{number}.mp3"
        path.write_bytes(some)
        sound = sound_files.read(path)
        assert len(sound.samples) / rate == pytest.approx(10, abs=0.1)
        assert sound.claimed == pytest.approx(10, abs=0.1)
        quiet = sound.samples[int(5.5 * rate) : int(9.5 * rate)]
        assert 0.005 < np.abs(quiet).max() < 0.05, "the tone is where it was"


def test_a_table_that_counts_too_few_frames_is_not_believed(variable, tmp_path):
    content, rate = variable
    at = content.index(b"Xing") + 8
    content = content[:at] + struct.pack(">I", 40) + content[at + 4 :]
    (tmp_path / "x.mp3").write_bytes(content)
    assert len(sound_files.read(tmp_path / "x.mp3").samples) / rate == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_a_sound_mp3_is_left_as_it_is(mode, tmp_path):
    content = encoded(format="MP3", bitrate_mode=mode)
    assert sound_files.mp3_frames(content).mended(content, RATE) is None
    sound = load(tmp_path, ID3 + content, "x.MP3")
    assert len(sound) == RATE and float((sound - TONE).abs().max()) < 0.05


def test_an_mp3_that_was_cut_gives_what_is_there(tmp_path):
    content = encoded(np.tile(TONE, 10), format="MP3", bitrate_mode="CONSTANT")
    (tmp_path / "x.mp3").write_bytes(content[: len(content) // 2])
    sound = sound_files.read(tmp_path / "x.mp3")
    assert 4 < len(sound.samples) / RATE < 6 and sound.claimed == pytest.approx(10, abs=0.1)


def test_a_short_sound_takes_little_memory(tmp_path, monkeypatch):
    """A folder of ten thousand is read in seconds, not minutes."""
    asked = decoded(monkeypatch)
    (tmp_path / "x.wav").write_bytes(wav())
    assert len(sound_files.read(tmp_path / "x.wav").samples) == RATE
    assert max(asked) <= RATE + 1 and len(asked) == 2


# --- what is not read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.m4a", b"\0\0\0\x20ftypM4A \0\0\2\0" + b"\0" * 400, r"M4A.*ffmpeg -i x\.m4a x\.wav"),
        ("my call.wav", b"\0\0\0\x20ftypmp42" + b"\0" * 400, r"ffmpeg -i 'my call\.wav' 'my call-pcm\.wav'"),
        ("x.webm", b"\x1aE\xdf\xa3" + b"\0" * 400, r"WebM.*ffmpeg -i x\.webm x\.wav"),
        ("x.aac", (b"\xff\xf1\x50\x80\x20\x1f\xfc" + b"!" * 250) * 9, r"AAC.*ffmpeg -i x\.aac x\.wav"),
        ("x.wma", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11" + b"\0" * 400, "Windows Media"),
        ("x.wav", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("x.mp3", b"", "empty: a file of 0 bytes; copy it again"),
        ("x.wav", b"\n<!DOCTYPE html><html>404</html>", "web page"),
        ("x.wav", b"", "is empty: a file of 0 bytes"),
        ("x.mp3", b"ID3\3\0\0\0\0\0\x0f" + b"\0" * 15, "there is no sound in it"),
        ("x.wav", wav()[:30], r"ffmpeg -i x\.wav x-pcm\.wav"),
    ],
)
def test_another_format_is_named_with_what_to_do(name, content, words, tmp_path):
    with pytest.raises(AudioError, match=words) as caught:
        load(tmp_path, content, name)
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


def test_links_and_names_of_any_script(tmp_path):
    for name in ("хлопок ².WAV", "笑い声.wav", "صوت.wav", "🔔 'a'.wav"):
        assert len(load(tmp_path, wav(), name)) == RATE
    (tmp_path / "link.wav").symlink_to(tmp_path / "笑い声.wav")
    assert len(audio.load(tmp_path / "link.wav")) == RATE
    (tmp_path / "lost.wav").symlink_to(tmp_path / "nowhere.wav")
    with pytest.raises(AudioError, match=r"lost\.wav: a link to a file that is not there"):
        audio.load(tmp_path / "lost.wav")
