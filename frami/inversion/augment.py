"""Views of a sound, under which its class stays and features of statistics pooling should stay.

Drawn for a whole batch at once: segment, shift and stretch are one interpolating gather along time.
"""

import math
from dataclasses import astuple, dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from frami.mel import MelSpec
from frami.models import length_mask


@dataclass(frozen=True)
class ViewConfig:
    """Strengths. ``shortest`` : smallest share of the clip in a view; ``stretch`` : largest relative change
    of tempo; ``gain`` : largest change of level (natural log); ``time_mask``, ``band_mask`` : largest masked share."""

    shortest: float = 0.6
    stretch: float = 0.1
    gain: float = 0.7
    time_mask: float = 0.15
    band_mask: float = 0.15

    def scaled(self, unit: float) -> "ViewConfig":
        """The same views of log-Mels that rise by ``unit`` where a sound is e times as loud (``MelSpec.unit``)."""
        return self if unit == 1 else replace(self, gain=self.gain * unit)

    def weaker(self, share: float) -> "ViewConfig":
        """Views that differ from the clip by this share as much."""
        return ViewConfig(1 - (1 - self.shortest) * share, *(share * size for size in astuple(self)[1:]))


def centred(x: Tensor, spec: MelSpec, lengths: Tensor | None = None) -> Tensor:
    """Log-Mels Tensor[B, 1, F, T] with the mean of each band over each clip's frames at 0, as a front-end with
    ``remove_mean`` has them; as they are with any other. lengths : Tensor[B], None for all T."""
    if not spec.remove_mean:
        return x
    if lengths is None:
        return x - x.mean(3, keepdim=True)
    inside = torch.arange(x.shape[3], device=x.device) < lengths[:, None, None, None]
    return x - (x * inside).sum(3, keepdim=True) / lengths[:, None, None, None]


#: Random numbers that one view takes.
NUMBERS = 9


def view_lengths(lengths: Tensor, config: ViewConfig, numbers: Tensor) -> Tensor:
    """Frames of the views that ``draw_view`` draws of clips of these lengths by these numbers, Tensor[B]."""
    return _paced(lengths, config, numbers)[1].long()


def _paced(lengths: Tensor, config: ViewConfig, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Frames of the clip that pass in one of the view, and the view's own: Tensor[B] both."""
    rate = 1 + config.stretch * (2 * numbers[:, 0] - 1)
    segment = (lengths * (config.shortest + (1 - config.shortest) * numbers[:, 1])).floor().clamp(min=1)
    return rate, (segment / rate).floor().clamp(min=1).minimum(lengths.float())


def draw_view(
    mels: Tensor, lengths: Tensor, floor: float, config: ViewConfig, numbers: Tensor, frames: int | None = None
) -> tuple[Tensor, Tensor]:
    """One random view of each clip; differentiable in ``mels``.

    mels : Tensor[B, 1, F, T], lengths : Tensor[B], numbers : Tensor[B, 9] uniform in 0 to 1 (drawn by the caller, so
    that a seed means the same on every device). Returns log-Mels of the same shape (silence behind the end) and the
    views' own lengths; of ``frames`` frames where they are given, which must hold the longest view.
    """
    bands, frames = mels.shape[2], frames or mels.shape[3]
    device = mels.device
    rate, new_lengths = _paced(lengths, config, numbers)
    u = iter(numbers[:, 2:].T)
    begin = (lengths - 1 - (new_lengths - 1) * rate).clamp(min=0) * next(u)
    at = begin[:, None] + rate[:, None] * torch.arange(frames, device=device)
    at = at.minimum((lengths - 1)[:, None].float())
    low = at.floor().long()
    weight = (at - low)[:, None, None]
    index = low[:, None, None].expand(-1, 1, bands, -1)
    after = (low + 1).minimum((lengths - 1)[:, None])[:, None, None].expand(-1, 1, bands, -1)
    view = torch.lerp(mels.gather(3, index), mels.gather(3, after), weight)
    view = (view + (config.gain * (2 * next(u) - 1))[:, None, None, None]).clamp(min=floor)

    inside = length_mask(new_lengths, frames).bool()
    level = (view.detach() * inside).sum((1, 2, 3), keepdim=True) / (new_lengths * bands)[:, None, None, None]
    hidden = _stripe(new_lengths, config.time_mask * next(u), next(u), frames)[:, None, None]
    extent = torch.full_like(new_lengths, bands)
    hidden = hidden | _stripe(extent, config.band_mask * next(u), next(u), bands)[:, None, :, None]
    view = torch.where(hidden, level, view)
    return torch.where(inside, view, floor), new_lengths.long()


def _stripe(extent: Tensor, share: Tensor, place: Tensor, size: int) -> Tensor:
    """A run of ``share`` of ``extent`` positions: Tensor[B] each → bool Tensor[B, size]."""
    width = (extent * share).floor()
    begin = (extent - width) * place
    at = torch.arange(size, device=extent.device)
    return (at >= begin[:, None].floor()) & (at < (begin.floor() + width)[:, None])


@dataclass(frozen=True)
class ImageViewConfig:
    """CMI's views, made for photographs: a crop of ``smallest`` to all of the picture's area, resized back to it, and
    played backwards half of the time. Of a spectrogram they move pitch and tempo."""

    smallest: float = 0.25


def draw_image_view(
    mels: Tensor, lengths: Tensor, floor: float, config: ImageViewConfig, numbers: Tensor
) -> tuple[Tensor, Tensor]:
    """One random resized crop of each clip; arguments and results as of ``draw_view``, lengths unchanged."""
    bands, frames = mels.shape[2:]
    device = mels.device
    u = iter(numbers.T)
    area = config.smallest + (1 - config.smallest) * next(u)
    aspect = torch.exp(math.log(4 / 3) * (2 * next(u) - 1))
    wide, high = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    flip = torch.where(next(u) < 0.5, -1.0, 1.0)
    share = (torch.arange(frames, device=device) + 0.5) / lengths[:, None]
    share = (1 - wide)[:, None] * next(u)[:, None] + wide[:, None] * (0.5 + flip[:, None] * (share.clamp(max=1) - 0.5))
    at = (share * lengths[:, None] - 0.5).minimum((lengths - 1)[:, None].float())
    across = (2 * at + 1) / frames - 1
    rows = (torch.arange(bands, device=device) + 0.5) / bands
    down = 2 * ((1 - high)[:, None] * next(u)[:, None] + high[:, None] * rows) - 1
    grid = torch.stack([across[:, None, :].expand(-1, bands, -1), down[:, :, None].expand(-1, -1, frames)], -1)
    view = F.grid_sample(mels, grid.to(mels.dtype), padding_mode="border", align_corners=False)
    return torch.where(length_mask(lengths, frames).bool(), view, floor), lengths
