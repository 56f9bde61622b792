"""What phones and browsers record is decoded, whatever it is called; what is forged is refused in little memory."""

import io
import struct

import numpy as np
import pytest

from frami import audio, audio_input, media, sound_files
from frami.audio import AudioError
from tests.helpers.media import KINDS, encode, make

RATE = 22_050
TONE = (0.4 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("media")
    return {name: make(folder, name, TONE, RATE) for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_what_phones_and_browsers_record_is_read(files, name):
    found = sound_files.read(files[name])
    assert found.rate == KINDS[name][2] and found.channels == 1
    assert found.claimed is None or abs(found.claimed - 1) < 0.07
    sound = audio.load(files[name], RATE).numpy()
    assert abs(len(sound) / RATE - 1) < 0.07
    middle = sound[RATE // 4 : RATE // 4 + 8_192] * np.hanning(8_192)
    assert abs(np.abs(np.fft.rfft(middle)).argmax() * RATE / 8_192 - 440) < 4
    assert np.abs(middle).max() == pytest.approx(0.4, rel=0.1)


def test_the_name_does_not_matter_and_a_part_can_be_read(files, tmp_path):
    (tmp_path / "memo.wav").write_bytes(files["voice-memo.m4a"].read_bytes())
    assert len(audio.load(tmp_path / "memo.wav", RATE)) > 0.9 * RATE
    assert len(sound_files.read(files["recorded.webm"], seconds=0.25).samples) == 12_000
    sound = audio_input.read(files["voice-memo.m4a"], audio.MelSpec())
    assert sound.seconds > 0.9 and "resampled from 44.1 to 22.05 kHz" in sound.notes


def test_a_file_that_was_cut_gives_what_is_there_or_says_so(files, tmp_path):
    whole = files["recorded.webm"].read_bytes()
    (tmp_path / "cut.webm").write_bytes(whole[: len(whole) // 2])
    assert 0.2 * RATE < len(audio.load(tmp_path / "cut.webm", RATE)) < 0.8 * RATE
    (tmp_path / "cut.m4a").write_bytes(files["voice-memo.m4a"].read_bytes()[:2_000])
    with pytest.raises(AudioError, match=r"MP4 \(M4A.*cannot be read.*WAV, M4A or MP3"):
        audio.load(tmp_path / "cut.m4a", RATE)


def test_a_video_without_sound_is_refused_in_words(tmp_path):
    import av

    with av.open(str(tmp_path / "silent.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        container.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(video.encode())
    with pytest.raises(AudioError, match="there is no sound in it"):
        audio.load(tmp_path / "silent.mp4")


def test_no_decoder_of_pictures_and_no_other_file_is_opened(tmp_path):
    """A playlist, which FFmpeg would follow to other files, is no format here."""
    (tmp_path / "list.m4a").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    with pytest.raises(AudioError, match="not readable as sound"):
        audio.load(tmp_path / "list.m4a")
    names = {row[2] for row in (*media.FORMATS, *media.PARTLY)}
    assert not names & {"hls", "concat", "dash", "lavfi", "image2", "sdp", "rtsp", "webm_dash_manifest"}
    assert not {"h264", "hevc", "vp8", "vp9", "av1", "mjpeg", "mpeg4", "png"} & set(media.DECODERS.split(","))


def forged(content: bytes, box: bytes, at: int, value: int) -> bytes:
    """The file with another number in a box."""
    place = content.index(box) + 4 + at
    return content[:place] + struct.pack(">I", value) + content[place + 4 :]


@pytest.mark.parametrize(
    ("box", "at", "value"), [(b"stsz", 8, 2**31 - 1), (b"stsz", 8, 50_000_000), (b"stsz", 4, 2**30)]
)
def test_tables_of_more_pieces_than_bytes_are_refused_before_room_is_made(files, box, at, value):
    content = files["voice-memo.m4a"].read_bytes()
    media.check_tables(io.BytesIO(content))
    with pytest.raises(media.MediaError, match="more than the file holds"):
        media.check_tables(io.BytesIO(forged(content, box, at, value)))


def test_fragments_and_endless_boxes_are_counted(files):
    run = struct.pack(">I4sIIi", 20, b"trun", 0, 2**31 - 1, 0)
    moof = struct.pack(">I4s", 16 + len(run), b"moof") + struct.pack(">I4s", 8 + len(run), b"traf") + run
    with pytest.raises(media.MediaError):
        media.check_tables(io.BytesIO(files["voice-memo.m4a"].read_bytes() + moof))
    with pytest.raises(media.MediaError):
        media.check_tables(io.BytesIO(struct.pack(">I4s", 8, b"free") * 30_000))


def test_an_hour_and_more_is_refused_by_its_header_or_on_the_way(tmp_path, monkeypatch):
    monkeypatch.setenv(sound_files.LIFTED, "")
    monkeypatch.setattr(sound_files, "LONGEST", 2)
    monkeypatch.setattr(sound_files, "LARGEST", 2 * 48_000)
    path = encode(tmp_path / "long.webm", np.tile(TONE, 4), RATE, "libopus", "webm", 48_000)
    with pytest.raises(AudioError, match="lasts longer than"):
        sound_files.read(path)
    assert len(sound_files.read(path, seconds=1).samples) == 48_000


def test_damaged_files_are_refused_or_read(files, tmp_path):
    """Some bytes of each changed, many times: words, or what can be decoded; never anything else."""
    numbers, path = np.random.default_rng(0), tmp_path / "x"
    for file in files.values():
        whole = np.frombuffer(file.read_bytes(), np.uint8)
        for _ in range(6):
            content = whole.copy()
            at = numbers.integers(8, min(len(content), 4_000), 12)
            content[at] = numbers.integers(0, 256, len(at))
            path.write_bytes(content.tobytes())
            try:
                assert len(sound_files.read(path, seconds=5).samples) <= 5 * 768_000
            except AudioError as error:
                assert "\n" not in str(error)
