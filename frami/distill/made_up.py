"""Sounds that are learnt from beside made clips: made up without the teacher, then chosen by it.

Made clips are few where time is short, and a student follows its teacher no further than what it has heard. Made-up
sounds (``inversion.sounds``) cost next to nothing, and begin, last and fade as recordings do. Of many those are taken
whose signals within the teacher are nearest to what its batch norms store of its training data: of a teacher of digits
those that are most like speech.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from frami.audio import MelSpec
from frami.device import autocast
from frami.inversion.augment import centred
from frami.inversion.bn_statistics import clip_means, norms, recorded
from frami.inversion.sounds import log_mels

#: Sounds at most, those that are made up at once, and of how many one is taken.
MOST, BATCH, OF = 64, 32, 4


def made_up(
    model: nn.Module, spec: MelSpec, frames: tuple[int, int], seed: int, batch: int | None = None, most: int = MOST
) -> Iterator[tuple[Tensor, Tensor]]:
    """Sounds for the teacher ``model``, some at a time, at most ``most``: log-Mels Tensor[N, 1, F, T] and lengths
    Tensor[N], on the CPU; of each batch those nearest to its training data, or any where it stores no statistics.

    frames : of the shortest and of the longest; batch : sounds that the teacher hears at once, None: any number.
    """
    rng, (low, high) = torch.Generator().manual_seed(seed), frames
    batch = batch or BATCH
    some, count = max(1, batch // OF), 0
    while count < most:
        mels = log_mels(spec, batch, high, rng).clamp(min=spec.floor)
        lengths = torch.randint(low, high + 1, (batch,), generator=rng)
        inside = torch.arange(high) < lengths[:, None]
        mels = torch.where(inside[:, None, None], mels, spec.floor)
        nearest = _distances(model, spec, mels, lengths).argsort(stable=True)[: min(some, most - count)]
        count += len(nearest)
        yield mels[nearest], lengths[nearest]


@torch.no_grad()
def _distances(model: nn.Module, spec: MelSpec, mels: Tensor, lengths: Tensor) -> Tensor:
    """How far the channel means of all batch norms' inputs lie from the stored ones, squared, in units of the stored
    variance: Tensor[N] on the CPU."""
    if not norms(model):
        return torch.zeros(len(mels))
    device = next(model.parameters()).device
    x, frames = mels.to(device), lengths.to(device)
    with recorded(model, clips=len(x)) as inputs, autocast(device):
        model(centred(x, spec, frames), frames)
    return clip_means(inputs).square().mean(1).float().cpu()


def timely(
    sounds: Iterator[tuple[Tensor, Tensor]], seconds: float, now: Callable[[], float]
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Sounds until so many seconds of the clock ``now`` went by in making them; with each, what it took."""
    spent = 0.0
    while spent < seconds:
        begin = now()
        if (found := next(sounds, None)) is None:
            return
        took = now() - begin
        spent += took
        yield *found, took
