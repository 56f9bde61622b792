"""Sounds that are learnt from beside made clips: made up without the teacher, then chosen by it.

Made clips are few where time is short, and a student follows its teacher no further than what it has heard. Made-up
sounds (``inversion.sounds``) cost next to nothing, and begin, last and fade as recordings do. Of many those are taken
whose signals within the teacher are nearest to what its batch norms store of its training data: of a teacher of digits
those that are most like speech.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from frami.audio import MelSpec
from frami.checkpoints import Checkpoint
from frami.device import autocast
from frami.distill.settings import MOST, Settings
from frami.inversion import durations
from frami.inversion import recipe as row
from frami.inversion.augment import centred
from frami.inversion.bn_statistics import clip_means, norms, recorded
from frami.inversion.sounds import log_mels
from frami.inversion.teacher import fixed_batch

#: Sounds that are made up at once, and of how many one is taken.
BATCH, OF = 32, 4
#: Share of a budget in which some may be begun. Beside clips that are ready they take nothing of it, as these do.
CHOSEN = 0.015


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
    if not norms(model):  # it is not asked
        return torch.zeros(len(mels))
    device = next(model.parameters()).device
    x, frames = mels.to(device), lengths.to(device)
    with recorded(model, clips=len(x)) as inputs, autocast(device):
        model(centred(x, spec, frames), frames)
    if not inputs:
        return torch.zeros(len(mels))
    return clip_means(inputs).square().mean(1).float().cpu()


class Beside:
    """The sounds of a run, among its clips: half as many as these, as long as there are more and there is time.

    sounds : as of ``made_up``; seconds : of the clock ``now`` in which some may be begun; before : rows at which those
    of a run that goes on stood: until that is None, they stand there again, whatever time it takes. ``rows`` : where
    they stand.
    """

    def __init__(
        self,
        sounds: Iterator[tuple[Tensor, Tensor]],
        seconds: float,
        now: Callable[[], float],
        before: Iterable[int] | None = None,
    ):
        self.rows: list[int] = []
        self.before = None if before is None else set(before)
        self._sounds, self._left, self._now = sounds, seconds, now

    def next(self, rows: int) -> tuple[Tensor, Tensor, float] | None:
        """Sounds to stand behind so many rows of clips and sounds, and the seconds that they took; None where it is the
        turn of clips."""
        again, clips = self.before is not None, rows - len(self.rows)
        if not (rows in self.before if again else len(self.rows) < clips // 2 and self._left > 0):
            return None
        begin = self._now()
        found = next(self._sounds, None)
        took = 0.0 if again else self._now() - begin
        self._left = self._left - took if found else 0.0
        if found is None:
            return None
        self.rows += range(rows, rows + len(found[0]))
        return *found, took


def beside(
    teacher: Checkpoint,
    model: nn.Module,
    settings: Settings,
    frames: int,
    now: Callable[[], float],
    before: Iterable[int] | None,
) -> Beside:
    """The sounds of a distillation, as long as made clips are: none beside real clips and noise.

    model : the teacher's, or its ``fast_copy``; frames : of the longest; now, before : as of ``Beside``.
    """
    found = iter(())
    if settings.source in ("made", "bank"):
        recipe = row(settings.recipe if settings.source == "made" else "frami")
        low, high = (min(teacher.spec.frames(seconds), frames) for seconds in durations(teacher, recipe, None))
        seed, batch = settings.seed * 7919 + 3, fixed_batch(teacher.model)
        found = made_up(model, teacher.spec, (low, high), seed, batch, settings.made_up)
    return Beside(found, CHOSEN * (settings.budget or math.inf), now, before)
