"""Where log-Mel-spectrograms come from: a generator that makes any duration, or the spectrogram itself."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami.audio import MelSpec

_REDUCTION = 8


class Range(nn.Module):
    """Where optimisation starts, and the range that no value leaves: floor and ceiling of the front-end.

    ``mean`` and ``std`` : Tensor[F] or None, level and spread of each band at the start; the middle of the range
    without them.
    """

    def __init__(self, spec: MelSpec, mean: Tensor | None = None, std: Tensor | None = None):
        super().__init__()
        self.low, self.high = spec.floor, spec.ceiling
        if mean is None or std is None:
            mean = torch.full((spec.n_mels,), (self.low + self.high) / 2)
            std = torch.full((spec.n_mels,), (self.high - self.low) / 6)
        self.register_buffer("mean", mean.detach().float().cpu()[:, None])
        self.register_buffer("std", std.detach().float().cpu()[:, None])
        share = ((self.mean - self.low) / (self.high - self.low)).clamp(0.02, 0.98)
        slope = (self.high - self.low) * share * (1 - share)
        self.register_buffer("offset", share.logit())
        self.register_buffer("gain", (self.std / slope).clamp(0.1, 6.0))
        self.register_buffer("around", None, persistent=False)

    @torch.no_grad()
    def begin_at(self, mels: Tensor) -> None:
        """Start at these log-Mels, Tensor[B, 1, F, T], instead of at a level of each band; in the same memory from the
        second time on."""
        share = ((mels.to(self.offset.device) - self.low) / (self.high - self.low)).clamp(0.02, 0.98)
        if self.around is None:
            self.around = share.logit()
        else:
            self.around.copy_(share.logit())

    def squashed(self, x: Tensor) -> Tensor:
        """x : Tensor[B, 1, F, T], about unit spread → log-Mels, through a sigmoid."""
        offset = self.offset if self.around is None else self.around
        return self.low + (self.high - self.low) * torch.sigmoid(offset + self.gain * x)


class Generator(nn.Module):
    """Latent noise → log-Mel-spectrograms of any duration, cheaper than the classifiers that it feeds.

    Fully convolutional: it starts at an eighth of the resolution, works its way up to one half, and unfolds each
    position there into 2 × 2. A binomial blur follows, whose zero lies at the highest frequency: a classifier with a
    strided first convolution hardly sees a checkerboard, so none may be drawn (Odena et al. 2016). Channels are
    multiples of 16, for which convolutions run fast.

    ``mean`` and ``std`` (Tensor[F], the stored statistics of a classifier's per-band input norm, where it has one) set
    each band's start level and scale, so that optimisation begins from the mean spectrum of the training data.
    ``levels`` : spread of the clips' own levels at the start, in units of ``std``; a clip's is the mean of its first
    latent.
    """

    def __init__(
        self,
        spec: MelSpec,
        latent: int = 64,
        channels: tuple[int, int, int] = (48, 32, 16),
        mean: Tensor | None = None,
        std: Tensor | None = None,
        levels: float = 0.0,
    ):
        super().__init__()
        self.spec, self.latent, self.levels = spec, latent, levels
        self.rows = -(-spec.n_mels // _REDUCTION)
        first, second, third = channels
        self.project = nn.Conv1d(latent, first * self.rows, 1)
        self.norm0 = nn.BatchNorm2d(first)
        self.conv1 = nn.Conv2d(first, second, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(second)
        self.conv2 = nn.Conv2d(second, third, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(third)
        self.conv3 = nn.Conv2d(third, third, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(third)
        self.conv4 = nn.Conv2d(third, third, 3, padding=1)
        self.out = nn.Linear(third, 4)
        self.range = Range(spec, mean, std)

    def noise(self, clips: int, frames: int, rng: torch.Generator) -> Tensor:
        """Latents Tensor[clips, latent, ceil(frames / 8)]; those of a clip share a part, as a sound has one source."""
        steps = -(-frames // _REDUCTION)
        common = torch.randn(clips, self.latent, 1, generator=rng)
        return (common + torch.randn(clips, self.latent, steps, generator=rng)) / 2**0.5

    def forward(self, z: Tensor, frames: int) -> Tensor:
        """z : Tensor[B, latent, ceil(frames / 8)]. Returns log-Mels Tensor[B, 1, F, frames]."""
        x = self.project(z).unflatten(1, (-1, self.rows)).contiguous(memory_format=torch.channels_last)
        x = F.leaky_relu(self.norm0(x), 0.2)
        x = F.leaky_relu(self.norm1(self.conv1(F.interpolate(x, scale_factor=2))), 0.2)
        x = F.leaky_relu(self.norm2(self.conv2(F.interpolate(x, scale_factor=2))), 0.2)
        x = F.leaky_relu(self.norm3(self.conv3(x)), 0.2)
        x = F.leaky_relu(self.conv4(x), 0.2)
        x = F.pixel_shuffle(self.out(x.permute(0, 2, 3, 1)).float().permute(0, 3, 1, 2), 2)
        x = blurred(x)[:, :, : self.spec.n_mels, :frames]
        if self.levels:  # half of a latent's power is the same in all of a clip
            own = z[:, 0].mean(1) / (0.5 + 0.5 / z.shape[2]) ** 0.5
            x = x + self.levels * own[:, None, None, None]
        return self.range.squashed(x)


def blurred(x: Tensor) -> Tensor:
    """Binomial blur (1 2 1) along both axes of Tensor[B, 1, F, T], its edges repeated outwards."""
    return _Blur.apply(x)


class _Blur(torch.autograd.Function):
    """A symmetric matrix: its gradient is the blur of the gradient."""

    @staticmethod
    def forward(ctx, x):
        for axis in (2, 3):
            size = x.shape[axis]
            y = 2 * x
            y.narrow(axis, 1, size - 1).add_(x.narrow(axis, 0, size - 1))
            y.narrow(axis, 0, size - 1).add_(x.narrow(axis, 1, size - 1))
            y.narrow(axis, 0, 1).add_(x.narrow(axis, 0, 1))
            y.narrow(axis, size - 1, 1).add_(x.narrow(axis, size - 1, 1))
            x = y
        return x.mul_(1 / 16)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return _Blur.forward(ctx, grad)


class Free(nn.Module):
    """The spectrogram itself as what is optimised (DeepInversion), in units of its spread; nothing else to learn."""

    def __init__(self, spec: MelSpec, mean: Tensor | None = None, std: Tensor | None = None):
        super().__init__()
        self.spec = spec
        self.range = Range(spec, mean, std)

    def noise(self, clips: int, frames: int, rng: torch.Generator) -> Tensor:
        """White noise, Tensor[clips, 1, F, frames]."""
        return torch.randn(clips, 1, self.spec.n_mels, frames, generator=rng)

    def forward(self, z: Tensor, frames: int) -> Tensor:
        """z : Tensor[B, 1, F, frames]. Returns log-Mels of the same shape."""
        return (self.range.mean + self.range.std * z).clamp(self.range.low, self.range.high)
