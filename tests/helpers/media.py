"""Files as phones and browsers record them, made with FFmpeg's own encoders."""

from pathlib import Path

import numpy as np

#: Names, with codec, format and rate; those that begin with "video" have pictures too.
KINDS = {
    "voice-memo.m4a": ("aac", "ipod", 44_100),
    "lossless.m4a": ("alac", "ipod", 44_100),
    "recorded.webm": ("libopus", "webm", 48_000),
    "call.3gp": ("libopencore_amrnb", "3gp", 8_000),
    "call.amr": ("libopencore_amrnb", "amr", 8_000),
    "stream.aac": ("aac", "adts", 44_100),
    "memo.caf": ("alac", "caf", 44_100),
    "packed.wv": ("wavpack", "wv", 44_100),
    "video.mp4": ("aac", "mp4", 48_000),
    "video.mov": ("pcm_s16le", "mov", 44_100),
    "video.avi": ("ac3", "avi", 44_100),
}


def encode(
    path: Path, samples: np.ndarray, rate: int, codec: str, format: str, to: int, pictures: bool = False
) -> Path:
    """Write mono ``samples`` at ``rate`` Hz as ``to`` Hz; with ``pictures`` a black video of ten frames beside it."""
    import av

    with av.open(str(path), "w", format=format) as container:
        if pictures:
            video = container.add_stream("mpeg4", rate=10)
            video.width = video.height = 64
            video.pix_fmt = "yuv420p"
        sound = container.add_stream(codec, rate=to)
        sound.layout = "mono"
        if pictures:
            for number in range(10):
                picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
                picture.pts = number
                container.mux(video.encode(picture))
            container.mux(video.encode())
        size, kind = sound.codec_context.frame_size or 1_024, sound.codec_context.codec.audio_formats[0]
        resampler = av.AudioResampler(format=kind, layout="mono", rate=to, frame_size=size)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None], np.float32), format="flt", layout="mono")
        frame.sample_rate = rate
        for given in (frame, None):
            for piece in resampler.resample(given):
                container.mux(sound.encode(piece))
        container.mux(sound.encode())
    return path


def make(folder: Path, name: str, samples: np.ndarray, rate: int) -> Path:
    """One of ``KINDS``."""
    codec, format, to = KINDS[name]
    return encode(folder / name, samples, rate, codec, format, to, name.startswith("video"))
