"""Where clips of a network of any make begin: the level and the spread of its training data, as its batch norms know
them. Such a network need not have a norm of the Mel bands, and from the middle of the range alone an inversion ends in
clips far quieter, louder or flatter than what it learnt from, which it recognises nevertheless."""

import math
import threading
import weakref

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami.audio import MelSpec
from frami.inversion.augment import centred
from frami.inversion.bn_statistics import recorded
from frami.inversion.losses import batch_norm_loss

#: Clips of noise and steps of the search, and its highest rate.
CLIPS, STEPS, RATE = 16, 40, 0.1
#: Bands and frames of a grain of the noise.
_GRAIN = 4

_FOUND: "weakref.WeakKeyDictionary[nn.Module, dict[int, tuple[float, float]]]" = weakref.WeakKeyDictionary()
_LOCK = threading.Lock()


def level(
    of: nn.Module, model: nn.Module, spec: MelSpec, frames: int, batch: int | None = None
) -> tuple[Tensor, Tensor]:
    """Level and spread at which clips of ``frames`` frames begin, the same for each band, Tensor[F] both.

    model : frozen, with batch norms; of : the module that it is a copy of, which is searched once; batch : clips that
    it takes at once, None for any number.
    """
    with _LOCK:
        known = _FOUND.setdefault(of, {})
    if frames not in known:  # two that search at once find the same
        known[frames] = _search(model, spec, frames, batch or CLIPS)
    mean, std = known[frames]
    return torch.full((spec.n_mels,), mean), torch.full((spec.n_mels,), std)


def _search(model: nn.Module, spec: MelSpec, frames: int, clips: int) -> tuple[float, float]:
    """Mean and deviation of coarse noise with which the statistics of the batch norms' inputs are nearest to the stored
    ones, layer by layer in units of these. Two numbers only: with a curve over the bands the noise would make up for
    not being sound."""
    device, span = next(model.parameters()).device, spec.ceiling - spec.floor
    noise = _noise(clips, spec.n_mels, frames, levels=not spec.remove_mean).to(device)
    numbers = torch.zeros(2, device=device, requires_grad=True)
    optimiser = torch.optim.Adam([numbers], RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)

    def chosen() -> tuple[Tensor, Tensor]:
        return spec.floor + span * numbers[0].sigmoid(), span / 6 * numbers[1].exp()

    for _ in range(STEPS):
        with torch.enable_grad(), recorded(model, clips=clips) as inputs:
            mean, std = chosen()
            model(centred((mean + std * noise).clamp(spec.floor, spec.ceiling), spec))
            loss = batch_norm_loss(inputs, relative=True)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
        optimiser.step()
        schedule.step()
    mean, std = (float(value.detach()) for value in chosen())
    if not math.isfinite(mean + std):
        return (spec.floor + spec.ceiling) / 2, span / 6
    return mean, std


def _noise(clips: int, bands: int, frames: int, levels: bool) -> Tensor:
    """Noise of unit spread, Tensor[B, 1, F, T]; with ``levels`` half of its power is each clip's own level: real
    sounds differ from each other more than within."""
    rng = torch.Generator().manual_seed(0)
    sizes = (-(-size // _GRAIN) + 1 for size in (bands, frames))
    coarse = torch.randn(clips, 1, *sizes, generator=rng)
    fine = F.interpolate(coarse, size=(bands, frames), mode="bicubic", align_corners=False)
    own = torch.randn(clips, 1, 1, 1, generator=rng)
    return (fine / fine.std() + own) / 2**0.5 if levels else fine / fine.std()
