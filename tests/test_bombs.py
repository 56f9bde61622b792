"""Small files that claim, or unpack to, hours or gigabytes: refused, or read as far as they go, in little memory."""

import io
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from frami.paths import child_environment
from tests.helpers.media import make
from tests.test_sound_files import chunk, encoded, wav

#: Megabytes that all of them may take together, beside the libraries, and seconds.
MOST_MB, MOST_SECONDS = 150, 20
TONE = (0.4 * np.sin(np.arange(16_000) / 5)).astype(np.float32)

# --- OGG -------------------------------------------------------------------------------------------------------------


def _table() -> list[int]:
    table = []
    for n in range(256):
        crc = n << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 1 << 31 else crc << 1) & 0xFFFFFFFF
        table.append(crc)
    return table


_TABLE = _table()


def _sealed(page: bytes) -> bytes:
    """A page with its checksum."""
    crc, page = 0, page[:22] + bytes(4) + page[26:]
    for byte in page:
        crc = (crc << 8 ^ _TABLE[crc >> 24 ^ byte]) & 0xFFFFFFFF
    return page[:22] + struct.pack("<I", crc) + page[26:]


def _pages(data: bytes) -> list[bytes]:
    pages = []
    while data:
        end = 27 + data[26] + sum(data[27 : 27 + data[26]])
        pages, data = [*pages, data[:end]], data[end:]
    return pages


def _numbered(page: bytes, number: int, granule: int) -> bytes:
    return page[:6] + struct.pack("<q", granule) + page[14:18] + struct.pack("<I", number) + page[22:]


def ogg_of_hours(subtype: str, hours: int) -> bytes:
    """A page of silence again and again."""
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", 8_000, 1, format="OGG", subtype=subtype) as file:
        file.write(np.zeros(8_000 * 40, np.float32))
    *head, last = _pages(out.getvalue())
    middle, before = head[-1], head[-2]
    ends = [struct.unpack("<q", page[6:14])[0] for page in (before, middle)]
    rate = 48_000 if subtype == "OPUS" else 8_000
    more = hours * 3600 * rate // (ends[1] - ends[0])
    again = [_sealed(_numbered(middle, len(head) + k, ends[1] + (k + 1) * (ends[1] - ends[0]))) for k in range(more)]
    end = _sealed(_numbered(last, len(head) + more, ends[1] + more * (ends[1] - ends[0]) + 1))
    return b"".join([*head, *again, end])


def ogg(subtype: str = "VORBIS") -> bytes:
    return encoded(TONE, 16_000, format="OGG", subtype=subtype)


def forged_ogg(subtype: str, page: int, at: int, value: bytes) -> bytes:
    """An OGG file with other bytes in a page, whose checksum is right."""
    pages = _pages(ogg(subtype))
    found = pages[page]
    pages[page] = _sealed(found[:at] + value + found[at + len(value) :])
    return b"".join(pages)


# --- other formats ---------------------------------------------------------------------------------------------------


def pcm(channels: int, rate: int, data: bytes, size: int | None = None) -> bytes:
    layout = struct.pack("<HHIIHH", 1, channels, rate, 0, min(2 * channels, 65_535), 16)
    body = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def rf64() -> bytes:
    sizes = chunk(b"ds64", struct.pack("<QQQI", 2**62, 2**62, 2**62, 0))
    return b"RF64\xff\xff\xff\xffWAVE" + sizes + wav()[12:36] + b"data\xff\xff\xff\xff" + bytes(4_000)


def flac(total: int) -> bytes:
    """With this total, of 36 bits, in its header."""
    content = bytearray(encoded(TONE, 16_000, format="FLAC"))
    content[21] = content[21] & 0xF0 | total >> 32
    content[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    return bytes(content)


def mp3(frames: int) -> bytes:
    """With a table that says so many frames."""
    content = bytearray(encoded(TONE, 16_000, format="MP3", bitrate_mode="VARIABLE"))
    at = next(at for at in (content.find(b"Xing"), content.find(b"Info")) if at > 0)
    content[at + 8 : at + 12] = struct.pack(">I", frames)
    return bytes(content)


def mp3_of_hours(hours: int) -> bytes:
    """A frame of silence of 8 kbit/s again and again."""
    frame = bytes.fromhex("fff314c4") + bytes(20)  # MPEG 2, layer III, 24 kHz, mono
    return frame * (hours * 3600 * 24_000 // 576)


def aiff(frames: int, rate: bytes = b"\x40\x0c\xfa" + bytes(7), channels: int = 1) -> bytes:
    common = chunk(b"COMM", struct.pack(">HIH", channels, frames, 16) + rate)
    common = common[:4] + struct.pack(">I", 18) + common[8:]
    body = b"AIFF" + common + b"SSND" + struct.pack(">III", 0xFFFFFFF0, 0, 0) + bytes(4_000)
    return b"FORM" + struct.pack(">I", len(body)) + body


def au(size: int, rate: int, channels: int) -> bytes:
    return b".snd" + struct.pack(">IIIII", 24, size, 3, rate, channels) + bytes(4_000)


def mp4(*changes: tuple[bytes, int, int]) -> bytes:
    """A voice memo with other numbers in its boxes: each box, a place in it, and the number there."""
    with tempfile.TemporaryDirectory() as folder:
        content = make(Path(folder), "voice-memo.m4a", TONE, 16_000).read_bytes()
    for box, at, value in changes:
        place = content.index(box) + 4 + at
        content = content[:place] + struct.pack(">I", value) + content[place + 4 :]
    return content


def webm(size: bytes) -> bytes:
    """A recording of a browser whose blocks of sound claim this size."""
    with tempfile.TemporaryDirectory() as folder:
        content = make(Path(folder), "recorded.webm", TONE, 16_000).read_bytes()
    place = content.index(b"\x1fC\xb6u") + 4
    return content[:place] + size + content[place + len(size) :]


#: What each is, and its content; all of them below a visitor's upload.
BOMBS = {
    "vorbis-hours": lambda: ogg_of_hours("VORBIS", 4),
    "opus-hours": lambda: ogg_of_hours("OPUS", 2),
    "vorbis-granule": lambda: forged_ogg("VORBIS", -1, 6, struct.pack("<q", 2**62)),
    "opus-granule": lambda: forged_ogg("OPUS", -1, 6, struct.pack("<q", 2**62)),
    "vorbis-granule-negative": lambda: forged_ogg("VORBIS", -1, 6, struct.pack("<q", -(2**62))),
    "opus-granule-negative": lambda: forged_ogg("OPUS", -1, 6, struct.pack("<q", -(2**62))),
    "vorbis-rate": lambda: forged_ogg("VORBIS", 0, 40, struct.pack("<I", 2**31 - 1)),
    "vorbis-rate-0": lambda: forged_ogg("VORBIS", 0, 40, struct.pack("<I", 0)),
    "vorbis-channels": lambda: forged_ogg("VORBIS", 0, 39, b"\xff"),
    "opus-channels": lambda: forged_ogg("OPUS", 0, 37, b"\xff"),
    "ogg-chain": lambda: ogg() + ogg("OPUS") + ogg_of_hours("VORBIS", 2),
    "wav-samples": lambda: wav(bytes(4_000), bits=8, size=0xFFFFFFFF),
    "wav-samples-32": lambda: wav(bytes(4_000), size=0xFFFFFFFE),
    "wav-rf64": rf64,
    "wav-rate-0": lambda: pcm(1, 0, bytes(4_000)),
    "wav-rate": lambda: pcm(1, 4_000_000_000, bytes(4_000)),
    "wav-rate-1": lambda: pcm(1, 1, bytes(200_000)),
    "wav-channels": lambda: pcm(60_000, 22_050, bytes(600_000)),
    "wav-channels-samples": lambda: pcm(1_024, 22_050, bytes(600_000), 0xFFFFFFFF),
    "flac-total": lambda: flac(2**36 - 1),
    "flac-total-34": lambda: flac(2**34),
    "mp3-table": lambda: mp3(2**32 - 1),
    "mp3-hours": lambda: mp3_of_hours(2),
    "aiff-frames": lambda: aiff(2**32 - 1),
    "aiff-rate": lambda: aiff(2_000, b"\x7f\xfe" + b"\xff" * 8),
    "aiff-rate-0": lambda: aiff(2_000, bytes(10)),
    "aiff-channels": lambda: aiff(2_000, channels=60_000),
    "au-size": lambda: au(0xFFFFFFFF, 2**32 - 1, 1),
    "au-channels": lambda: au(4_000, 22_050, 2**31),
    "mp4-pieces": lambda: mp4((b"stsz", 8, 100_000_000)),
    "mp4-large-pieces": lambda: mp4((b"stsz", 12, 2**31 - 1)),
    "mp4-chunks": lambda: mp4((b"stco", 4, 2**28)),
    "mp4-lengths": lambda: mp4((b"stts", 8, 2**31 - 1), (b"stts", 12, 2**31 - 1)),
    "mp4-rate": lambda: mp4((b"mdhd", 12, 2**31 - 1)),
    "webm-size": lambda: webm(b"\x01\x00\x00\xff\xff\xff\xff\xff"),
}

_PROBE = """
import json, resource, sys, time
from frami import audio, audio_input
from frami.errors import FramiError

def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    with open("/proc/self/status") as status:  # ru_maxrss counts what the parent held before this program was loaded
        return next(int(line.split()[1]) / 1e3 for line in status if line.startswith("VmHWM"))

audio.load(sys.argv[1], 22_050)
for path in sys.argv[2:]:
    for way in ("command", "page"):
        begin, before = time.monotonic(), peak()
        try:
            samples = audio.load(path, 22_050) if way == "command" else audio_input.read(path, audio.MelSpec()).samples
            said = None
        except FramiError as error:
            samples, said = (), str(error)
        spent = [len(samples), said, time.monotonic() - begin, peak() - before]
        print(json.dumps([path, way, *spent]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[tuple[str, str], tuple]:
    """Of each file, as a command and as the page reads it: samples, what was said, seconds, megabytes."""
    folder = tmp_path_factory.mktemp("bombs")
    (folder / "sound.wav").write_bytes(wav())
    for name, content in BOMBS.items():
        (folder / name).write_bytes(content())
        assert (folder / name).stat().st_size < 10_000_000
    command = [sys.executable, "-c", _PROBE, *(str(folder / name) for name in ("sound.wav", *BOMBS))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=child_environment())
    assert done.returncode == 0, done.stderr
    rows = map(json.loads, done.stdout.splitlines())
    return {(path.rpartition("/")[2], way): rest for path, way, *rest in rows}


@pytest.mark.parametrize("way", ["command", "page"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_or_read_as_far_as_it_goes(outcomes, name, way):
    samples, said, seconds, megabytes = outcomes[name, way]
    assert seconds < MOST_SECONDS and megabytes < MOST_MB, (said, seconds, megabytes)
    if "hours" in name and way == "command":
        assert "lasts longer than 60 minutes" in said
    assert samples <= 3600 * 22_050 and (samples or said) and "\n" not in (said or "")


def test_all_of_them_take_little_memory_together(outcomes):
    assert sum(megabytes for *_, megabytes in outcomes.values()) < MOST_MB
