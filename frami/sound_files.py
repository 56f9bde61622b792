"""Sound files as they are found: decoded by libsndfile, and mended in memory where it would stop early or give up; what
it does not know, by FFmpeg (``media``).

Mended are MP3 files whose length is not written in them or is wrong (libsndfile guesses it from the first frames and
stops there), and WAV files whose data has no size, as of a recorder that was cut off, or whose chunks are not padded.
"""

import io
import math
import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from frami import media
from frami.errors import FramiError
from frami.media import MediaError, MediaFile

#: Peak of a recording in floats that is still taken as it is: 18 dB above full scale.
LOUDEST = 8.0
#: Sample rates in Hz that are believed; a header with another one is damaged.
RATES = (1_000, 768_000)
#: Seconds that a sound may last, and samples that it may have; the environment variable ``LIFTED`` (seconds) lifts
#: both in proportion.
LONGEST, LARGEST, LIFTED = 3_600, 1 << 28, "FRAMI_SOUND_SECONDS"
_BLOCK = 1 << 20  # values that are decoded at a time
_MENDABLE = 1 << 30  # bytes of a file that is mended in memory
_CHUNKS = 100  # of a WAV file, which are looked at for its data
UNKNOWN = 1 << 35  # frames from which a header's number of them means that it is not known
_ROOM = 1 << 24  # samples that room is made for at first, whatever a header says
_MISSES = 100_000  # of an MP3 file, which are passed over in search of its next frame

_GUESSED = ("MP3", "MPEG")  # formats whose header's length is a guess

_NO_SOUND = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the sound itself; fetch that with: git lfs pull"),
    (b"<!doctype", "a web page, not a sound; download it again"),
    (b"<html", "a web page, not a sound; download it again"),
    (b"pk\x03\x04", "a ZIP archive, not a sound; unpack it"),
)


class AudioError(FramiError):
    """A sound that cannot be read or analysed."""


class UnreadableError(AudioError):
    """A file that is missing, or that is not decoded."""


@dataclass(frozen=True)
class Sound:
    """A decoded file. samples : array (N,) in float32, the mean of ``channels``, at ``rate`` Hz, full scale 1.0.

    ``claimed`` : seconds that the file lasts by its header (mended), None where it does not say.
    """

    samples: np.ndarray
    rate: int
    channels: int
    claimed: float | None


class _Stream(soundfile.SoundFile):
    """Read from beginning to end: seeking fails in streams whose length is not known.

    ``counted`` : samples of a channel by the frames that are there, of a format whose header's length is a guess.
    """

    counted: int | None = None

    def seekable(self) -> bool:
        return False


def read(path: str | Path, seconds: float | None = None, name: str | None = None) -> Sound:
    """Decode a file, or its first ``seconds``.

    Raises AudioError (with ``name``, by default the path) for a file that is missing, of another format, damaged or of
    an absurd sample rate, and without ``seconds`` for one that is longer than ``bound``: by its header before any of it
    is decoded. One that ends before its header says so gives what is there.
    """
    path = Path(path)
    name = name or str(path)
    with opened(path, name) as file:
        samples = _decode(file, seconds, name)
        claimed = file.frames / file.samplerate if file.frames < UNKNOWN else None
        return Sound(samples, file.samplerate, file.channels, claimed)


@contextmanager
def opened(path: Path, name: str, memory: bool = True) -> Iterator[soundfile.SoundFile | MediaFile]:
    """A file to read from beginning to end, ``read(count, dtype="float32", always_2d=True)``, with its ``samplerate``,
    ``channels`` and ``frames``. memory : whether one that has to be mended is, in memory; else it is left to FFmpeg.

    Raises AudioError as ``read`` does, also for what goes wrong in the block.
    """
    if not os.path.isfile(path):  # unlike Path.is_file it takes any name
        why = "a link to a file that is not there" if os.path.islink(path) else "no such sound file"
        raise UnreadableError(f"{path}: {why}")
    head = b""
    try:
        with path.open("rb") as file:
            head = file.read(64)
        if not head:
            raise UnreadableError(f"{name} is empty: a file of 0 bytes; copy it again")
        if kind := no_sound(head):
            raise AudioError(f"{name} is {kind}")
        with _open(path, head) if memory else _open_long(path, head) as file:
            check_rate(file.samplerate, name)
            yield file
    except MediaError as error:
        known = media.kind(head)
        raise AudioError(
            f"{name} is {known[1] if known else 'a sound'} that cannot be read: {error}; "
            f"save it again as WAV, M4A or MP3, for example: {conversion(path)}"
        ) from error
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        reason = (getattr(error, "error_string", None) or str(error)).rstrip(".") or "its end is missing"
        if reason.startswith("File does not exist"):  # what libsndfile says of an MP3 file without a frame
            reason = "there is no sound in it"
        raise UnreadableError(
            f"{path}: not readable as sound ({reason}); is it damaged, or another format? "
            f"ffmpeg reads more: {conversion(path)}"
        ) from error


def no_sound(head: bytes) -> str | None:
    """What a file is that begins so, where it is known to be no sound, and what to do."""
    start = head.lstrip().lower()
    return next((says for magic, says in _NO_SOUND if start.startswith(magic)), None)


def check_rate(rate: float, name: str) -> None:
    """Raise AudioError for a sample rate that no recording has."""
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(
            f"{name} has a sample rate of {rate:,} Hz, as no recording has ({RATES[0]:,} to {RATES[1]:,} Hz are read): "
            "is its header damaged?"
        )


def bound(rate: float) -> int:
    """Samples at ``rate`` that a sound may have: an hour's, ``LARGEST`` at most, or as many more as the environment
    variable ``FRAMI_SOUND_SECONDS`` lifts it to. AudioError where that is no number of seconds."""
    text = os.environ.get(LIFTED, "").strip()
    try:
        seconds = float(text or LONGEST)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise AudioError(f"{LIFTED} is a number of seconds above 0, not '{text[:40]}'")
    return int(min(LARGEST * max(1, seconds / LONGEST), seconds * rate))


def check_length(samples: float, rate: float, name: str) -> None:
    """Raise AudioError for a sound of more samples, at ``rate``, than are read or made."""
    if samples > (most := bound(rate)):
        raise AudioError(
            f"{name} lasts longer than {most / rate / 60:,.3g} minutes; cut it into pieces, or set {LIFTED} to more "
            "seconds"
        )


def conversion(path: Path) -> str:
    """The command that makes a WAV file of a sound file that is not read."""
    target = path.with_suffix(".wav")
    if target.name == path.name:
        target = path.with_name(f"{path.stem}-pcm.wav")
    return f"ffmpeg -i {shlex.quote(path.name)} {shlex.quote(target.name)}"


def _decode(file: _Stream | MediaFile, seconds: float | None, name: str) -> np.ndarray:
    """Mean of the channels, an array (N,); a header's length is not believed, as memory goes with it."""
    most, known = bound(file.samplerate), file.frames
    said = file.counted if file.format in _GUESSED else known
    if seconds is None and said is not None and said < UNKNOWN:
        check_length(said, file.samplerate, name)
    wanted = most + 1 if seconds is None else min(most, int(seconds * file.samplerate))
    # libsndfile fills the rest of a block with zeros: of a short sound one of its length is asked for, and a bit more.
    size, got = max(1, min(_BLOCK // file.channels, max(known + 1, 4_096))), 0
    samples = np.empty(min(wanted, known + 1, _ROOM), np.float32)
    while got < wanted:
        block = file.read(min(size, wanted - got), dtype="float32", always_2d=True)
        if not len(block):
            break
        if got + len(block) > len(samples):
            samples = np.concatenate([samples[:got], np.empty(min(wanted - got, got + len(block)), np.float32)])
        with np.errstate(all="ignore"):  # floats that are no numbers are refused later
            samples[got : got + len(block)] = block.mean(axis=1)
        got += len(block)
    if seconds is None:
        check_length(got, file.samplerate, name)
    return samples[:got]


def _open(path: Path, head: bytes) -> _Stream | MediaFile:
    """The file itself, or a mended copy of it in memory. Raises MediaError too."""
    if known := media.kind(head):
        return MediaFile(path, known[0], UNKNOWN)
    mendable = path.stat().st_size <= _MENDABLE
    try:
        file = _Stream(path if os.name == "nt" else os.fsencode(path))  # bytes, for names that are not UTF-8
    except soundfile.LibsndfileError:
        copy = mended_wav(path.read_bytes()) if mendable else None
        if copy is not None:
            return _Stream(io.BytesIO(copy))
        if known := media.partly(head):
            with suppress(MediaError):  # then it is told what libsndfile says
                return MediaFile(path, known[0], UNKNOWN)
        raise
    copy = counted = None
    if file.frames == 0 and file.format in ("WAV", "WAVEX", "RF64") and mendable:
        copy = mended_wav(path.read_bytes())
    elif file.format in _GUESSED and mendable:
        data = path.read_bytes()
        if found := mp3_frames(data):
            counted = found.count * found.first.samples
            copy = found.mended(data, file.frames)
    if copy is not None:
        file.close()
        file = _Stream(io.BytesIO(copy))
    file.counted = counted
    return file


def _open_long(path: Path, head: bytes) -> _Stream | MediaFile:
    """A file of any length, of which little is held in memory. Raises MediaError too."""
    if known := media.kind(head):
        return MediaFile(path, known[0], UNKNOWN)
    other = (media.partly(head) or (None,))[0] or ("wav" if head[:4] in (b"RIFF", b"RF64") else None)
    file = None
    try:
        file = _Stream(path if os.name == "nt" else os.fsencode(path))
    except soundfile.LibsndfileError:
        if other is None:
            raise
    if file is not None and file.format in _GUESSED:
        other = "mp3"
    elif file is not None and file.frames > 0:
        return file
    try:  # it reads to the end, whatever the header says
        long = MediaFile(path, other, UNKNOWN) if other else None
    except (MediaError, ModuleNotFoundError):
        if file is None:
            raise
        long = None
    if long is not None and file is not None:
        file.close()
    return file if long is None else long


# ------------------------------------------------------------------------------------------------------------------ WAV


def mended_wav(data: bytes) -> bytes | None:
    """A WAV file with its format and samples alone, and their true size; None where there is nothing to mend.

    Chunks may lack their padding byte or have an unknown name; ``data`` whose size is 0, or more than there is, goes to
    the end of the file, unless whole chunks follow it.
    """
    if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        return None
    layout, at = b"", 12
    for _ in range(_CHUNKS):
        start = _next_chunk(data, at)
        if start is None:
            return None
        kind, size = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], "little")
        body = start + 8
        if kind == b"data":
            size = _data_size(data, body, size)
            if not layout or not size:
                return None
            head = b"WAVEfmt " + len(layout).to_bytes(4, "little") + layout + b"data" + size.to_bytes(4, "little")
            total = (len(head) + size).to_bytes(4, "little")
            return b"RIFF" + total + head + data[body : body + size]
        if kind == b"fmt " and 14 <= size <= 1_024:
            layout = data[body : body + size]
        at = body + size
    return None


def _next_chunk(data: bytes, at: int) -> int | None:
    """Offset of the chunk behind ``at``: there, a padding byte further, or the next ``fmt `` or ``data`` at all."""
    known = {b"data", b"fmt ", b"fact", b"LIST", b"bext", b"JUNK", b"junk", b"ds64", b"PEAK", b"id3 ", b"cue ", b"smpl"}
    padded = at + at % 2
    for start in (padded, at):
        if data[start : start + 4] in known:
            return start
    if _is_chunk(data, padded):
        return padded
    found = [start for start in (data.find(b"data", at), data.find(b"fmt ", at)) if start >= 0]
    return min(found, default=None)


def _is_chunk(data: bytes, at: int) -> bool:
    """Whether a chunk with a printable name lies there and ends within the file."""
    name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
    return len(name) == 4 and name.isascii() and name.decode().isprintable() and at + 8 + size <= len(data)


def _data_size(data: bytes, body: int, size: int) -> int:
    rest = max(0, len(data) - body)
    if 0 < size <= rest:
        return size
    at = body
    while size == 0 and _is_chunk(data, at):  # whole chunks to the end of the file: there are no samples
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
        at += at % 2
        if at >= len(data):
            return 0
    return rest


# ------------------------------------------------------------------------------------------------------------------ MP3

_KBPS = {  # of layer III by version: MPEG 1, and MPEG 2 and 2.5
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


@dataclass(frozen=True)
class _Frame:
    """Header of an MPEG frame of layer III. ``size`` : bytes; ``samples`` : of a channel; ``side`` : bytes of header
    and side information, behind which a table of contents stands."""

    header: int
    size: int
    samples: int
    side: int

    def table(self, frames: int) -> bytes:
        """A frame in the manner of this one that says only how many follow (Xing's, with no table of positions)."""
        for index in range(1, 15):
            header = self.header & ~(0xF << 12) & ~(1 << 9) | index << 12 | 1 << 16  # no padding, no checksum
            frame = _frame(header)
            if frame and frame.size >= frame.side + 16:
                text = header.to_bytes(4, "big").ljust(frame.side, b"\0")
                return (text + b"Xing" + (1).to_bytes(4, "big") + frames.to_bytes(4, "big")).ljust(frame.size, b"\0")
        raise AssertionError("some rate has room for sixteen bytes")


def _frame(header: int) -> _Frame | None:
    version, layer, index, rate = header >> 19 & 3, header >> 17 & 3, header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer != 1 or index in (0, 15) or rate == 3:
        return None
    first, mono = version == 3, header >> 6 & 3 == 3
    size = (144 if first else 72) * _KBPS[first][index] * 1_000 // _RATES[version][rate] + (header >> 9 & 1)
    side = 4 + ((17 if mono else 32) if first else (9 if mono else 17))
    return _Frame(header, size, 1_152 if first else 576, side)


#: The first two bytes of a frame of layer III.
_SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")


def _frame_at(data: bytes, at: int) -> _Frame | None:
    return _frame(int.from_bytes(data[at : at + 4], "big"))


@dataclass(frozen=True)
class Frames:
    """The frames of a stream. ``starts`` : of the first two; ``count`` : of those with sound; ``table`` : whether a
    table of contents, which has none, comes before them."""

    first: _Frame
    starts: list[int]
    count: int
    table: bool

    def mended(self, data: bytes, length: int) -> bytes | None:
        """An MP3 file that begins with the true number of its frames; None where ``length`` (samples that libsndfile
        expects) is all that there is, but for an encoder's delay and padding."""
        if self.count * self.first.samples <= length + 4 * self.first.samples:
            return None
        return self.first.table(self.count) + data[self.starts[self.table] :]


def mp3_frames(data: bytes) -> Frames | None:
    """The frames of an MP3 file; None where there is none, or too much between them."""
    at = 0
    while data[at : at + 3] == b"ID3" and at + 10 < len(data):
        at += 10 + sum((byte & 127) << 7 * (3 - i) for i, byte in enumerate(data[at + 6 : at + 10]))
    starts: list[int] = []  # of the first two frames
    count = misses = 0
    first: _Frame | None = None
    while at + 4 <= len(data):
        frame = _frame_at(data, at)
        # Frames of one stream agree in version, layer and rate; a lone one is a coincidence, unless it is the last.
        if frame and first is None and not _frame_at(data, at + frame.size):
            frame = None
        if frame is None or (first and (frame.header ^ first.header) & 0xFFFE0C00):
            found = _SYNC.search(data, at + 1)
            misses += 1
            if found is None:
                break
            if misses > _MISSES:
                return None
            at = found.start()
            continue
        first = first or frame
        starts += [at] * (count < 2)
        count += 1
        at += frame.size
    if first is None:
        return None
    head = data[starts[0] : starts[0] + first.size]
    table = any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))
    return Frames(first, starts, count - table, table) if count > table else None
