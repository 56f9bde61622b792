"""Real recordings for a vocoder's training: all in memory as 16-bit samples, crops by one gather, degraded log-Mels.

Only folds that no bundled teacher is tested on are read, so that a vocoder can be measured on the others.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frami import audio, data
from frami.data import DataError, catalogue

DATASETS = tuple(name for name, known in catalogue.DATASETS.items() if known.for_vocoder)
GAP = 0.1  # seconds of silence between recordings
FASTEST = 1.18  # largest factor (and inverse of the least) by which a crop is played faster

Report = Callable[[int, int], None]


@dataclass
class Recordings:
    """Recordings, concatenated.

    samples : int16 Tensor[N]; begins, spans : Tensor[D], first sample and length of each data set; shares : Tensor[D],
    cumulative probabilities of the data sets; notes : of each data set what a card states.
    """

    samples: Tensor
    begins: Tensor
    spans: Tensor
    shares: Tensor
    notes: list[dict]

    def to(self, device: torch.device) -> "Recordings":
        tensors = (t.to(device) for t in (self.samples, self.begins, self.spans, self.shares))
        return Recordings(*tensors, self.notes)

    def crops(self, clips: int, length: int) -> Tensor:
        """Random crops at random speed and level, some mixed: Tensor[clips, length], within full scale.

        Each data set is drawn equally often. No value leaves the device.
        """
        device = self.samples.device

        def draw(*more: int) -> Tensor:
            return torch.rand(clips, *more, device=device)

        chosen = torch.searchsorted(self.shares, draw()).clamp(max=len(self.spans) - 1)
        span = (self.spans[chosen] - int(length * FASTEST) - 4).clamp(min=1)
        start = self.begins[chosen] + 1 + (draw() * span).long()
        rate = FASTEST ** ((2 * draw(1) - 1) * (draw(1) < 0.5))
        at = torch.arange(length, device=device) * rate
        low = at.floor()
        taps = torch.arange(-1, 3, device=device)
        near = self.samples[start[:, None, None] + low.long()[..., None] + taps].float() / 32_768
        sound = (near * _cubic((at - low)[..., None])).sum(-1)
        sound = sound + sound.roll(1, 0) * draw(1) * (draw(1) < 0.2)
        gain = 10 ** ((33 * draw(1) - 24) / 20)
        return sound * torch.minimum(gain, 0.99 / sound.abs().amax(1, keepdim=True).clamp(min=1e-4))


def _cubic(t: Tensor) -> Tensor:
    """Weights of the four nearest samples (Catmull-Rom), t in 0 to 1: Tensor[..., 1] to Tensor[..., 4]."""
    a = t * (t * (1 - t / 2) - 0.5)
    b = 1 + t.square() * (1.5 * t - 2.5)
    c = t * (t * (2 - 1.5 * t) + 0.5)
    return torch.cat([a, b, c, 1 - a - b - c], dim=-1)


def degrade(log_mel: Tensor, floor: float) -> Tensor:
    """Log-Mels as an inversion makes them: some smoothed along time and frequency, some noisy: Tensor[B, F, T]."""
    clips = len(log_mel)

    def draw() -> Tensor:
        return torch.rand(clips, 1, 1, device=log_mel.device)

    smooth = F.avg_pool2d(F.pad(log_mel[:, None], (1, 1, 1, 1), mode="replicate"), 3, stride=1)[:, 0]
    log_mel = torch.lerp(log_mel, smooth, draw() * (draw() < 0.4))
    noise = 0.3 * draw().square() * (draw() < 0.5)
    return (log_mel + noise * torch.randn_like(log_mel)).clamp(min=floor)


def read(
    names: Sequence[str], folder: str | Path | None = None, sample_rate: int = 22_050, report: Report | None = None
) -> Recordings:
    """All recordings of these data sets' training folds, without their constant part.

    A data set that is not here is skipped; DataError if none is. ``report(done, total)`` counts clips.
    """
    found: dict[str, list[data.Clip]] = {}
    missing: list[DataError] = []
    for name in names:
        try:
            clips = data.index(name, folder)
        except DataError as error:
            missing.append(error)
            continue
        found[name] = data.select(clips, folds(name, clips), name)
    if not found:
        raise missing[0]
    total, before = sum(map(len, found.values())), 0
    sounds, begins, notes = [torch.zeros(4, dtype=torch.int16)], [], []
    gap = torch.zeros(round(GAP * sample_rate), dtype=torch.int16)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for name, clips in found.items():
            begins.append(sum(map(len, sounds)))
            seconds = 0.0
            for done, samples in enumerate(pool.map(lambda path: _samples(path, sample_rate), data.find(clips)), 1):
                sounds += [samples, gap]
                seconds += len(samples) / sample_rate
                if report and (done % 16 == 0 or done == len(clips)):
                    report(before + done, total)
            before += len(clips)
            notes.append(_note(name, clips, seconds))
    ends = [*begins[1:], sum(map(len, sounds))]
    spans = torch.tensor([b - a for a, b in zip(begins, ends, strict=True)])
    sounds.append(torch.zeros(4 * sample_rate, dtype=torch.int16))
    shares = torch.arange(1, len(found) + 1) / len(found)
    return Recordings(torch.cat(sounds), torch.tensor(begins), spans, shares, notes)


def folds(name: str, clips: Sequence[data.Clip]) -> tuple[str, ...]:
    """Folds that may be trained on: those that are here, without the one that teachers are tested on."""
    known = data.info(name)
    return tuple(f for f in known.folds if f != known.test_fold and f in {clip.fold for clip in clips})


def _samples(path: Path, sample_rate: int) -> Tensor:
    sound = audio.load(path, sample_rate)
    return torch.from_numpy(np.asarray(audio.to_int16(sound - sound.mean())))


def _note(name: str, clips: Sequence[data.Clip], seconds: float) -> dict:
    known = data.info(name)
    return {
        "dataset": name, "title": known.title, "licence": known.licence, "trained_on": list(folds(name, clips)),
        "held_out": [known.test_fold], "clips": len(clips), "hours": round(seconds / 3600, 3),
    }  # fmt: skip
