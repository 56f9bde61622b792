"""What a student learns from: clips on the device, augmented anew each time that they are drawn."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from frami.audio import MelSpec
from frami.inversion.augment import NUMBERS as VIEW_NUMBERS
from frami.inversion.augment import ViewConfig, centred, draw_view, view_lengths
from frami.models import Features, length_mask

_CURVES = 4
#: Share of noises with less in the high bands than in the low ones.
_FALLING = 0.7
#: Strengths that are tried for a network of another make, and the share of clips of which it must say the same. The
#: bundled teachers, which were trained with it, say so of 60 to 65 % at full strength.
STRENGTHS, AGREEING = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.0), 0.55
#: Random numbers that one clip takes: its view, silence around, response, noise, partner and warp.
NUMBERS = VIEW_NUMBERS + 3 + _CURVES + 4 + 2 + 1
#: Where those of the silence stand.
_SILENCE = slice(VIEW_NUMBERS, VIEW_NUMBERS + 3)
#: Two more of a clip where it gets a texture, and the share of clips that stay smooth.
_TEXTURE, _SMOOTH = slice(NUMBERS, NUMBERS + 2), 0.3


@dataclass(frozen=True)
class AugmentConfig:
    """Strengths of the augmentation, the same for every source of clips and every objective.

    Training of teachers (``frami.train``) augments alike, clip by clip on the CPU with a generator of numpy; a function
    for both would change one's results.

    ``view`` : segment, tempo, level, masks (as of the inversion); ``silence`` : chance that the sound stands in
    silence, of up to ``around`` seconds on each side, as recordings of other people leave it there; ``colour`` : size
    of a random smooth frequency response, as another microphone has; ``noise`` : chance of a random noise floor under
    the sound, ``tilt`` : how far its highest band lies at most below the middle one and the lowest above it (natural
    log; less often, and less, the other way); ``mix`` : chance that another clip sounds at the same time (mixup in
    magnitude, as sounds add); ``warp`` : largest relative change of the Mel axis, as other vocal tracts have (vocal
    tract length perturbation, Jaitly and Hinton 2013); ``texture`` : spread at most of a random change of each band
    and frame, in nepers, as the noise in sounds has it and as made clips, which come out smooth, have not (0: none).
    """

    view: ViewConfig = field(default_factory=ViewConfig)
    silence: float = 0.4
    around: float = 0.3
    colour: float = 0.5
    noise: float = 0.25
    tilt: float = 4.0
    mix: float = 0.2
    warp: float = 0.12
    texture: float = 0.0

    @property
    def numbers(self) -> int:
        """Random numbers that one clip takes."""
        return _TEXTURE.stop if self.texture else NUMBERS

    def weaker(self, share: float) -> "AugmentConfig":
        """The same by this share as strong and, silence and noise, as often; mixtures and texture stay."""
        silence, colour, noise, warp = (share * x for x in (self.silence, self.colour, self.noise, self.warp))
        return replace(self, view=self.view.weaker(share), silence=silence, colour=colour, noise=noise, warp=warp)

    def most(self, frames: int, spec: MelSpec) -> int:
        """Frames of the longest view of clips of so many frames."""
        return frames + (2 * int(self._around(spec)) if self.silence else 0)

    def lengths(self, lengths: Tensor, spec: MelSpec, numbers: Tensor) -> Tensor:
        """Frames of the clips that ``augment`` makes of clips of these lengths with these numbers, before any is
        mixed with another; Tensor[B]."""
        before, after = self.margins(spec, numbers)
        return view_lengths(lengths, self.view, numbers) + before + after

    def margins(self, spec: MelSpec, numbers: Tensor) -> Tensor:
        """Frames of silence before and after each clip, Tensor[2, B]."""
        chosen, *sizes = numbers[:, _SILENCE].T
        return ((chosen < self.silence) * torch.stack(sizes) * self._around(spec)).long()

    def _around(self, spec: MelSpec) -> float:
        return self.around * spec.sample_rate / spec.hop_length


class ReplayBuffer:
    """Clips on one device, in half precision; grows as clips are added.

    ``frames`` : longest clip that ``take`` gives; of longer ones it gives a random segment.
    """

    def __init__(self, spec: MelSpec, frames: int, device: torch.device | str = "cpu"):
        self.spec, self.frames, self.device = spec, frames, torch.device(device)
        self._mels = torch.zeros(0, spec.n_mels, frames, dtype=torch.float16, device=self.device)
        self._lengths = self._labels = torch.zeros(0, dtype=torch.long, device=self.device)

    def __len__(self) -> int:
        return len(self._labels)

    def add(self, mels: Tensor, lengths: Tensor, labels: Tensor) -> None:
        """mels : Tensor[B, 1, F, T], lengths : Tensor[B], labels : Tensor[B] of classes, on any device."""
        count, end, longest = len(self), len(self) + len(mels), mels.shape[-1]
        if end > len(self._mels) or longest > self._mels.shape[-1]:
            shape = (max(2 * count, end, 256), self.spec.n_mels, max(longest, self._mels.shape[-1]))
            grown = torch.full(shape, self.spec.floor, dtype=torch.float16, device=self.device)
            grown[:count, :, : self._mels.shape[-1]] = self._mels[:count]
            self._mels = grown
        self._mels[count:end, :, :longest] = mels[:, 0].to(self.device, torch.float16)
        self._lengths = torch.cat([self._lengths, lengths.to(self.device)])
        self._labels = torch.cat([self._labels, labels.to(self.device)])

    def lengths(self, rows: Tensor) -> Tensor:
        """Frames that ``take`` would give of these rows, Tensor[N], on the CPU."""
        return self._lengths[rows.to(self.device)].clamp(max=self.frames).cpu()

    def take(self, rows: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Clips of these rows, Tensor[B], as log-Mels Tensor[B, 1, F, frames], lengths Tensor[B], labels Tensor[B].

        ``places`` : Tensor[B] in 0 to 1, where in a longer clip the segment begins.
        """
        rows = rows.to(self.device)
        mels, lengths = self._mels[rows], self._lengths[rows]
        if mels.shape[-1] > self.frames:
            begin = ((lengths - self.frames).clamp(min=0) * places.to(self.device)).floor().long()
            at = (begin[:, None] + torch.arange(self.frames, device=self.device)).clamp(max=mels.shape[-1] - 1)
            mels = mels.gather(2, at[:, None].expand(-1, mels.shape[1], -1))
            lengths = lengths.clamp(max=self.frames)
            inside = torch.arange(self.frames, device=self.device) < lengths[:, None]
            mels = torch.where(inside[:, None], mels, self.spec.floor)
        return mels[:, None].float(), lengths, self._labels[rows]


def texture(spec: MelSpec, device: torch.device, frames: int = 4096) -> Tensor:
    """White noise of unit spread, Tensor[F, frames], of which ``augment`` takes segments."""
    return torch.randn(spec.n_mels, frames, generator=torch.Generator().manual_seed(0)).to(device)


def augment(
    mels: Tensor,
    lengths: Tensor,
    labels: Tensor,
    spec: MelSpec,
    config: AugmentConfig,
    numbers: Tensor,
    noise: Tensor,
    frames: int | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A random view of each clip, some of them mixed with their neighbour in the batch.

    mels : Tensor[B, 1, F, T]; lengths, labels : Tensor[B]; numbers : Tensor[B, config.numbers] uniform in 0 to 1; noise
    : as of ``texture``; frames : of the result, at least ``config.lengths`` of them (default: as many as any clip of T
    frames may need). Returns log-Mels of the same shape but for these, their lengths, the neighbours' labels, and the
    share of the clip itself in each mixture, Tensor[B] (1 where nothing is mixed). Strengths are those of the natural
    logarithm of magnitudes, whatever the front-end's unit.
    """
    bands, frames = mels.shape[2], frames or config.most(mels.shape[3], spec)
    device, unit = mels.device, spec.unit
    if config.texture:
        mels = textured(mels, spec, config.texture, numbers[:, _TEXTURE], noise)
    if config.warp:
        mels = warped(mels, torch.exp(config.warp * (2 * numbers[:, NUMBERS - 1] - 1)))
    x, lengths = draw_view(mels, lengths, spec.floor, config.view.scaled(unit), numbers[:, :VIEW_NUMBERS], frames)
    if config.silence:
        x, lengths = in_silence(x, lengths, spec.floor, *config.margins(spec, numbers))
    u = iter(numbers[:, _SILENCE.stop :].T)

    order = torch.arange(1, _CURVES + 1, device=device)
    curves = torch.cos(math.pi * order[:, None] * (torch.arange(bands, device=device) + 0.5) / bands)
    drawn = torch.stack([next(u) for _ in range(_CURVES)], 1)
    sizes = config.colour * math.sqrt(12) * (drawn - 0.5) / order
    x = x + unit * (sizes @ curves)[:, None, :, None]

    noisy, level, place = next(u) < config.noise, spec.floor / unit + 2 + 6 * next(u), next(u)
    at = (place * (noise.shape[1] - frames)).long()[:, None] + torch.arange(frames, device=device)
    slope = config.tilt * (next(u) / _FALLING - 1)[:, None] * torch.linspace(-1, 1, bands, device=device)

    def with_noise(rows: Tensor) -> Tensor:
        floor = (level[:, None] + slope)[rows, :, None] + 0.5 * noise[:, at[rows]].transpose(0, 1)
        return unit * torch.logaddexp(x[rows] / unit, floor[:, None])

    x = _replaced(x, noisy, with_noise)
    mixed, share = next(u) < config.mix, next(u)
    share = torch.where(mixed, share, torch.ones_like(share))

    def mixture(rows: Tensor) -> Tensor:
        own, other = (weight[rows, None, None, None] + 1e-9 for weight in (share, 1 - share))
        return unit * torch.logaddexp(x[rows] / unit + own.log(), x[rows - 1] / unit + other.log())

    x = _replaced(x, mixed, mixture).clamp(min=spec.floor)
    lengths = torch.where(mixed, torch.maximum(lengths, lengths.roll(1)), lengths)
    x = torch.where(length_mask(lengths, frames).bool(), centred(x, spec, lengths), spec.floor)
    return x, lengths, labels.roll(1), share


@torch.no_grad()
def tolerated(
    model: Callable[[Tensor, Tensor], Features], mels: Tensor, lengths: Tensor, spec: MelSpec, config: AugmentConfig
) -> float:
    """How strong an augmentation may be for a network that was trained with another: the largest of ``STRENGTHS`` with
    which it says of at least ``AGREEING`` of the clips what it says of them as they are. On views on which it is lost
    itself it teaches nothing.

    mels : Tensor[B, 1, F, T]; lengths : Tensor[B].
    """
    plain = model(mels, lengths).logits.argmax(1)
    numbers = torch.rand(len(mels), NUMBERS, generator=torch.Generator().manual_seed(0)).to(mels.device)
    noise = texture(spec, mels.device)
    for strength in STRENGTHS:
        x, views, _, _ = augment(
            mels, lengths, plain, spec, replace(config.weaker(strength), mix=0, texture=0), numbers, noise
        )
        if (model(x, views).logits.argmax(1) == plain).float().mean() >= AGREEING:
            break
    return strength


def textured(mels: Tensor, spec: MelSpec, size: float, numbers: Tensor, noise: Tensor) -> Tensor:
    """Clips, log-Mels Tensor[B, 1, F, T], with a spread of up to ``size`` nepers around each value; numbers : Tensor[B,
    2] uniform in 0 to 1; noise : as of ``texture``."""
    share, place = ((numbers[:, 0] - _SMOOTH) / (1 - _SMOOTH)).clamp(min=0), numbers[:, 1]
    frames = torch.arange(mels.shape[3], device=mels.device)
    at = (place * (noise.shape[1] - len(frames))).long()[:, None] + frames
    change = spec.unit * size * share[:, None, None] * noise[:, at].transpose(0, 1)
    return (mels + change[:, None]).clamp(min=spec.floor)


def in_silence(x: Tensor, lengths: Tensor, floor: float, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Clips, log-Mels Tensor[B, 1, F, T] with room for what is added, with so many frames of silence before and after
    each; lengths, before, after : Tensor[B]. Returns both anew."""
    at = torch.arange(x.shape[3], device=x.device) - before[:, None]
    sounds = (at >= 0) & (at < lengths[:, None])
    moved = x.gather(3, at.clamp(min=0)[:, None, None].expand(-1, 1, x.shape[2], -1))
    return torch.where(sounds[:, None, None], moved, floor), lengths + before + after


def _replaced(x: Tensor, chosen: Tensor, other: Callable[[Tensor], Tensor]) -> Tensor:
    """x with ``other(rows)`` for the rows that are chosen, bool Tensor[B]. On a CPU nothing else is computed; a GPU's
    recorded step needs fixed shapes."""
    if x.device.type == "cpu":
        rows = chosen.nonzero()[:, 0]
        return x.index_copy(0, rows, other(rows))
    return torch.where(chosen[:, None, None, None], other(torch.arange(len(x), device=x.device)), x)


def warped(mels: Tensor, rate: Tensor) -> Tensor:
    """Each clip with its Mel axis stretched from the lowest band: band i is what was at i · rate, interpolated.

    mels : Tensor[B, 1, F, T], rate : Tensor[B]. The highest band stands in for what would lie above it.
    """
    bands = mels.shape[2]
    at = (torch.arange(bands, device=mels.device) * rate[:, None]).clamp(max=bands - 1)
    low = at.floor().long()

    def rows(index: Tensor) -> Tensor:
        return mels.gather(2, index[:, None, :, None].expand(-1, 1, -1, mels.shape[3]))

    return torch.lerp(rows(low), rows((low + 1).clamp(max=bands - 1)), (at - low)[:, None, :, None])


def noise_clips(spec: MelSpec, clips: int, shortest: int, longest: int, seed: int) -> tuple[Tensor, Tensor]:
    """Spectrograms of uniform noise over the front-end's range, which know nothing of the teacher.

    Returns log-Mels Tensor[clips, 1, F, longest] and lengths Tensor[clips], ``shortest`` to ``longest`` frames.
    """
    rng = torch.Generator().manual_seed(seed)
    mels = torch.empty(clips, 1, spec.n_mels, longest).uniform_(spec.floor, spec.ceiling, generator=rng)
    return mels, torch.randint(shortest, longest + 1, (clips,), generator=rng)


def split(count: int, first: int = 0, every: int = 8) -> tuple[list[int], list[int]]:
    """Rows of ``count`` new clips to learn from, and those set apart to measure agreement on unseen made clips.

    ``first`` : clips before these; the place moves on from block to block, so that every class has its turn.
    """
    unseen = [i for i in range(count) if (first + i + (first + i) // every) % every == every - 1]
    return [i for i in range(count) if i not in unseen], unseen
