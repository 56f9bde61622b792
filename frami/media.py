"""Sound in files that libsndfile does not read: what phones and browsers record, and the sound of videos, decoded by
FFmpeg's libraries (PyAV).

A file is opened by the format that its first bytes name, never by one that FFmpeg guesses (some of those fetch other
files), and only decoders of sound may be opened. What a header says is compared with the bytes that are there before
FFmpeg makes room for it.
"""

import struct
from contextlib import suppress
from io import SEEK_END, SEEK_SET
from pathlib import Path
from typing import BinaryIO

import numpy as np

from frami.errors import FramiError

#: Beginning of a file (at an offset), FFmpeg's name of the format, and a name for people.
FORMATS = (
    (4, b"ftyp", "mov", "MP4 (M4A, MOV, 3GP)"),
    (4, b"moov", "mov", "MP4 (M4A, MOV, 3GP)"),
    (4, b"mdat", "mov", "MP4 (M4A, MOV, 3GP)"),
    (4, b"wide", "mov", "MP4 (M4A, MOV, 3GP)"),
    (0, b"\x1aE\xdf\xa3", "matroska", "WebM or Matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf", "Windows Media"),
    (0, b"#!AMR", "amr", "AMR"),
    (0, b"wvpk", "wv", "WavPack"),
    (0, b"MAC ", "ape", "Monkey's Audio"),
    (8, b"AVI ", "avi", "AVI"),
    (0, b"FLV\x01", "flv", "Flash video"),
)
#: The same of files that libsndfile reads in part, and is asked for first.
PARTLY = ((0, b"caff", "caf", "CAF"), (0, b"OggS", "ogg", "Ogg"))
#: Decoders that may be opened: of sound alone, whatever else is in a file.
DECODERS = (
    "aac,aac_latm,alac,ac3,eac3,amrnb,amrwb,libopencore_amrnb,ape,flac,gsm,gsm_ms,ilbc,mp1float,mp2float,mp3float,mp3,"
    "mp2,opus,libopus,vorbis,speex,libspeex,wavpack,wmalossless,wmapro,wmav1,wmav2,wmavoice,adpcm_ima_qt,"
    "adpcm_ima_wav,adpcm_ms,adpcm_swf,nellymoser,qdm2,mace3,mace6,pcm_alaw,pcm_mulaw,pcm_s8,pcm_u8,pcm_s16le,"
    "pcm_s16be,pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be,dca,truehd"
)
#: Packets in a row that cannot be decoded, after which a file is given up.
_FAULTS = 200
#: Boxes of an MP4 file that are looked at, how deep they lie in each other, and bytes of a table that is looked into.
_BOXES, _DEEPEST, _TABLE = 20_000, 12, 1 << 24
_HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"edts", b"mvex"}


class MediaError(FramiError):
    """What keeps a file from being decoded, as the end of a sentence about it."""


def kind(head: bytes) -> tuple[str, str] | None:
    """FFmpeg's name of the format of a file that begins so, and one for people; None for what libsndfile reads, or
    nobody."""
    return _named(head, FORMATS)


def partly(head: bytes) -> tuple[str, str] | None:
    """The same of a format of which libsndfile reads a part."""
    return _named(head, PARTLY)


def _named(head: bytes, rows) -> tuple[str, str] | None:
    found = next((row for row in rows if head[row[0] :].startswith(row[1])), None)
    if found is None and rows is FORMATS and head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        return "aac", "AAC"  # an MPEG frame of layer 0: ADTS
    return found and found[2:]


class MediaFile:
    """The first stream of sound of a file, read from beginning to end as ``soundfile.SoundFile`` is.

    ``samplerate`` in Hz, ``channels``; ``frames`` : samples of a channel by the header, ``unknown`` where it does not
    say. Raises MediaError.
    """

    counted: int | None = None

    def __init__(self, path: Path, name: str, unknown: int):
        import av  # the libraries of FFmpeg: 0.1 s, for files that need them

        self.format = name.upper()
        self._errors = (av.error.FFmpegError, ValueError, OverflowError, EOFError)
        self._file = path.open("rb")
        self._container = None
        try:
            if name == "mov":
                check_tables(self._file)
            self._begin(av, name)
            self._left = self._next()
            if self._left is None:
                raise MediaError("there is no sound in it")
            self.samplerate, self.channels = self._rate, self._left.shape[1]
            said = self._stream.duration and float(self._stream.duration * self._stream.time_base)
            said = said or (self._container.duration or 0) / av.time_base
            self.frames = min(unknown, max(int(said * self.samplerate), len(self._left))) if said > 0 else unknown
        except self._errors as error:
            self.close()
            raise MediaError(_reason(error)) from error
        except BaseException:
            self.close()
            raise

    def _begin(self, av, name: str) -> None:
        limits = {"codec_whitelist": DECODERS, "format_whitelist": name, "protocol_whitelist": "none"}
        limits |= {"max_streams": "64", "analyzeduration": "5000000"}
        self._container = av.open(self._file, format=name, options=limits, metadata_errors="replace")
        if not self._container.streams.audio:
            raise MediaError("there is no sound in it")
        self._stream = self._container.streams.audio[0]
        if self._stream.codec_context is None:
            raise MediaError("its sound is compressed in a way that is not read here")
        self._stream.codec_context.thread_count = 1
        self._packets, self._decoded, self._faults, self._rate = self._container.demux(self._stream), [], 0, 0

    def _next(self) -> np.ndarray | None:
        """The next samples, an array (N, channels) in float32; None at the end, or where nothing more is decoded."""
        while True:
            while self._decoded:
                frame = self._decoded.pop(0)
                if frame.samples:
                    self._rate = self._rate or frame.sample_rate
                    if frame.sample_rate != self._rate:
                        raise MediaError("its sample rate changes on the way")
                    return _samples(frame)
            try:
                packet = next(self._packets)
                self._decoded = list(packet.decode())
                self._faults = 0
            except StopIteration:
                return None
            except self._errors:
                self._faults += 1
                if self._faults > _FAULTS:
                    return None

    def read(self, count: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """At most ``count`` samples of each channel, an array (N, channels); none at the end."""
        try:
            while self._left is not None and not len(self._left):
                self._left = self._next()
        except self._errors:
            self._left = None
        if self._left is None:
            return np.zeros((0, self.channels), np.float32)
        given, self._left = self._left[:count], self._left[count:]
        return given

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            with suppress(Exception):
                self._container.close()
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _samples(frame) -> np.ndarray:
    """A frame's samples, (N, channels) in float32, full scale 1.0."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    if values.dtype.kind in "iu":
        most = np.iinfo(values.dtype)
        middle = (most.max + 1) // 2 if most.min == 0 else 0
        return ((values.astype(np.float32) - middle) / float(most.max + 1 - middle)).T
    return values.astype(np.float32, copy=False).T


def _reason(error: Exception) -> str:
    """Why FFmpeg did not open a file, in words."""
    text = (getattr(error, "strerror", None) or str(error)).lower()
    if "decoder not found" in text or "not implemented" in text:
        return "its sound is compressed in a way that is not read here"
    return "it is damaged, or its end is missing"


# ------------------------------------------------------------------------------------------------------------------ MP4


def check_tables(file: BinaryIO) -> None:
    """MediaError where an MP4 file's tables tell of more pieces than it has bytes: FFmpeg makes room for each. The file
    is then at its beginning again."""
    size = file.seek(0, SEEK_END)
    file.seek(0)
    left = [_BOXES]
    if _pieces(file, 0, size, left, 0) > size or left[0] <= 0:
        raise MediaError("its header tells of more than the file holds: it is damaged")
    file.seek(0)


def _pieces(file: BinaryIO, begin: int, end: int, left: list[int], depth: int) -> int:
    """Pieces that the tables between two places tell of."""
    total, at = 0, begin
    while at + 8 <= end and left[0] > 0 and depth < _DEEPEST:
        left[0] -= 1
        file.seek(at, SEEK_SET)
        length, name = struct.unpack(">I4s", file.read(8))
        body = at + 8
        if length == 1:
            wide = file.read(8)
            length, body = (int.from_bytes(wide, "big") if len(wide) == 8 else 0), body + 8
        stop = end if length == 0 else min(end, at + length)
        if stop <= at or (length and length < body - at):
            break
        if name in _HOLDERS:
            total += _pieces(file, body, stop, left, depth + 1)
        elif name in (b"stsz", b"stz2", b"trun", b"stts", b"ctts"):
            file.seek(body)
            total += _count(name, file.read(min(stop - body, _TABLE)))
        at = stop
    return total


def _count(name: bytes, table: bytes) -> int:
    """Pieces that one table tells of: of ``stsz`` with one size for all, the bytes that they would take."""
    numbers = [int.from_bytes(table[i : i + 4], "big") for i in range(4, min(len(table), 12), 4)]
    if len(numbers) < 2:
        return 0
    if name == b"trun":
        return numbers[0]
    if name in (b"stts", b"ctts"):
        entries = np.frombuffer(table[8 : 8 + (len(table) - 8) // 8 * 8], ">u4")[::2]
        return 0 if name == b"stts" else int(entries.sum(dtype=np.uint64)) // 4
    return numbers[1] * max(1, numbers[0] if name == b"stsz" else 1)
