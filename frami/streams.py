"""Sound of any length as it comes: files, raw samples from a pipe, a microphone. Block by block, so that memory stays
the same whatever the length."""

import math
import queue
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr

from frami import sound_files
from frami.errors import FramiError
from frami.sound_files import LOUDEST, AudioError

#: Samples of a channel that are decoded at a time, and bytes that are taken from a pipe at once.
BLOCK, PIPE = 1 << 16, 1 << 16
#: Formats of raw samples: NumPy's name of the type.
RAW = {"s16le": "<i2", "s32le": "<i4", "f32le": "<f4"}
#: Seconds of a microphone's sound that wait at most, where the network is slower than the sound.
WAITING = 30.0
#: Seconds without a sample after which a microphone is gone.
SILENT = 5.0
#: Seconds between two looks whether a pipe has something, in which a signal is heard.
_LOOK = 0.5
#: How files begin that are no raw samples.
_HEADERS = (b"RIFF", b"RF64", b"fLaC", b"OggS")
#: What one may try, of a microphone's program library.
_PORTAUDIO = "install PortAudio (Debian and Ubuntu: apt install libportaudio2)"


@dataclass
class Source:
    """Sound that is read once. ``blocks`` : mono float32 arrays (N,) at ``rate`` Hz, full scale 1.0; ``seconds`` : what
    the sound lasts by its header, None where nobody knows; ``live`` : whether it comes no faster than it sounds;
    ``lost`` : samples of a live one that nobody took in time, in whose place there are zeros."""

    rate: int
    blocks: Iterator[np.ndarray]
    seconds: float | None = None
    live: bool = False
    lost: int = 0


@contextmanager
def file(path: str | Path) -> Iterator[Source]:
    """A sound file of any length, its channels averaged. AudioError says what is wrong with it, also on the way."""
    path = Path(path)
    with sound_files.opened(path, str(path), memory=False) as opened:
        size = max(1, BLOCK // opened.channels)

        def read() -> Iterator[np.ndarray]:
            block = opened.read(size, dtype="float32", always_2d=True)
            if not len(block):
                raise AudioError(f"{path} is empty: it has no samples")
            while len(block):
                yield block.mean(axis=1)
                block = opened.read(size, dtype="float32", always_2d=True)

        known = opened.frames / opened.samplerate if 0 < opened.frames < sound_files.UNKNOWN else None
        yield Source(opened.samplerate, checked(read(), opened.samplerate, str(path)), known)


@contextmanager
def raw(stream: BinaryIO, rate: int, format: str = "s16le", channels: int = 1) -> Iterator[Source]:
    """Raw samples of a pipe, interleaved, as soon as they come. format : of ``RAW``. AudioError for a file with a
    header in their place."""
    kind, name = np.dtype(RAW[format]), "standard input"
    scale = 1.0 if kind.kind == "f" else float(np.iinfo(kind).max) + 1
    width = kind.itemsize * channels
    take = _taking(stream)

    def read() -> Iterator[np.ndarray]:
        held = take(PIPE)
        while held and len(held) < 4 and (more := take(PIPE)):
            held += more
        if held[:4] in _HEADERS:
            raise AudioError(
                f"{name} begins like a sound file, not like raw samples; give the file's name, or make raw samples: "
                f"ffmpeg -i FILE -f {format} -ac {channels} -ar {rate} -"
            )
        while held:
            whole = len(held) // width * width
            samples = np.frombuffer(held[:whole], kind).reshape(-1, channels)
            yield (samples.astype(np.float32) / np.float32(scale)).mean(axis=1)
            more = take(PIPE)
            held = held[whole:] + more if more else b""  # half a sample at the end is none

    yield Source(rate, checked(read(), rate, name), live=True)


def _taking(stream: BinaryIO) -> Callable[[int], bytes]:
    """What takes so many bytes at most, as soon as some are there. A read that waits is not ended by a signal that came
    just before it, or at another thread, and Ctrl-C would be heard with the next bytes only: so it waits in turns."""
    read = getattr(stream, "read1", stream.read)
    try:
        number = stream.fileno()
    except (AttributeError, OSError):  # in memory
        return read

    def take(most: int) -> bytes:
        while not select.select([number], [], [], _LOOK)[0]:
            pass
        return read(most)

    return take


@contextmanager
def microphone(device: str | int | None = None) -> Iterator[Source]:
    """A microphone, by its number or a part of its name (None: the system's own choice). FramiError where there is
    none, or no library for it."""
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise FramiError("a microphone needs sounddevice; pip install 'frami[listen]', or name a file") from error
    except OSError as error:  # PortAudio
        raise FramiError(f"a microphone needs a library that is not here; {_PORTAUDIO}, or name a file") from error
    try:
        rate = int(sounddevice.query_devices(device, "input")["default_samplerate"])
        source = Source(rate, iter(()), live=True)
        waiting = _Waiting(source)
        stream = sounddevice.InputStream(
            samplerate=rate, device=device, channels=1, dtype="float32", callback=waiting.put
        )
    except (sounddevice.PortAudioError, ValueError) as error:
        named = f" '{device}'" if device is not None else ""
        why = (str(error).strip().splitlines() or ["no reason is given"])[0]
        raise FramiError(
            f"no microphone{named} can be opened ({why}); those here: {', '.join(_inputs(sounddevice)) or 'none'}; "
            "choose one with --microphone, or name a file"
        ) from error
    with stream:
        source.blocks = checked(waiting.blocks(), rate, "the microphone")
        yield source


class _Waiting:
    """A live source's blocks between the thread that records and the one that listens. What is too much to wait is
    counted in ``source.lost``, and zeros take its place, so that the time stays right."""

    def __init__(self, source: Source):
        self._source, self._queue = source, queue.Queue()
        self._held = self._missing = 0

    def put(self, samples: np.ndarray, frames: int, *_) -> None:
        """samples : array (frames, 1)."""
        if self._held > WAITING * self._source.rate:
            self._source.lost += frames
            self._missing += frames
            return
        self._queue.put((self._missing, samples[:, 0].copy()))
        self._held += frames
        self._missing = 0

    def blocks(self) -> Iterator[np.ndarray]:
        while True:
            try:
                missing, samples = self._queue.get(timeout=SILENT)
            except queue.Empty:
                raise AudioError(f"the microphone gave nothing for {SILENT:g} s; is it still connected?") from None
            self._held -= len(samples)
            for at in range(0, missing, BLOCK):
                yield np.zeros(min(BLOCK, missing - at), np.float32)
            yield samples


def _inputs(sounddevice) -> list[str]:
    """Numbers and names of the devices that record."""
    try:
        devices = list(sounddevice.query_devices())
    except sounddevice.PortAudioError:
        return []
    return [f"{k} ({one['name']})" for k, one in enumerate(devices) if one["max_input_channels"] > 0]


def checked(blocks: Iterator[np.ndarray], rate: int, name: str) -> Iterator[np.ndarray]:
    """The blocks, as long as they are numbers at full scale 1.0; AudioError says where one is not."""
    at = 0
    for block in blocks:
        peak = max(float(block.max()), -float(block.min())) if block.size else 0.0
        if not peak <= LOUDEST:
            what = f"samples up to {peak:,.6g}, where full scale is 1" if math.isfinite(peak) else "no numbers"
            raise AudioError(
                f"{name} has {what} (NaN, or floats at another scale) at {clock(at / rate)}; save it as 16-bit PCM"
            )
        at += len(block)
        yield block


def resampled(blocks: Iterator[np.ndarray], rate: int, wanted: int) -> Iterator[np.ndarray]:
    """Blocks at another rate: the samples that ``audio.mono`` makes of the whole."""
    if rate == wanted:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="VHQ")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block, np.float32))
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def clock(seconds: float) -> str:
    """Seconds as ``hours:minutes:seconds``, with milliseconds."""
    whole = round(1_000 * seconds)
    minutes, rest = divmod(whole, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1_000:02}.{rest % 1_000:03}"
