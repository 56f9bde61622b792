"""Discriminators of a vocoder's training: small networks that learn to distinguish recordings from synthesized sounds.

One kind reads complex STFTs at several resolutions (Jang et al., Interspeech 2021; Défossez et al., TMLR 2023), the
other the sound folded at several periods (Kong et al., HiFi-GAN, NeurIPS 2020). Both are far smaller than theirs.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

Output = tuple[list[Tensor], list[Tensor]]  # scores of each discriminator, features of all their layers

#: Kernel and stride (frequency, time) of the layers that read an STFT.
_SPECTRAL = (((7, 3), (2, 1)), ((7, 3), (2, 1)), ((5, 3), (2, 1)), ((5, 3), (2, 1)), ((3, 3), (1, 1)))


class SpectralDiscriminator(nn.Module):
    """Reads a complex STFT, Tensor[B, K, T], its magnitudes compressed."""

    def __init__(self, channels: int = 32):
        super().__init__()
        sizes = [2] + [channels] * len(_SPECTRAL)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(sizes[i], sizes[i + 1], kernel, stride, padding=(kernel[0] // 2, kernel[1] // 2)))
            for i, (kernel, stride) in enumerate(_SPECTRAL)
        )
        self.last = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, stft: Tensor) -> Output:
        power = stft.real.square() + stft.imag.square()
        x = torch.stack([stft.real, stft.imag], dim=1) * (power + 1e-5).pow(-0.35)[:, None]
        x = x.contiguous(memory_format=torch.channels_last if x.is_cuda else torch.contiguous_format)
        return _convolve(self, x)


class PeriodDiscriminator(nn.Module):
    """Reads a sound, Tensor[B, N], as an image with one period per row."""

    def __init__(self, period: int, channels: Sequence[int] = (16, 32, 64, 128)):
        super().__init__()
        self.period = period
        sizes = [1, *channels]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), padding=(2, 0))) for a, b in pairwise(sizes)
        )
        self.last = weight_norm(nn.Conv2d(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, sound: Tensor) -> Output:
        x = F.pad(sound[:, None], (0, -sound.shape[-1] % self.period), mode="reflect")
        return _convolve(self, x.unflatten(-1, (-1, self.period)))


class Discriminators(nn.Module):
    """All discriminators: STFTs of several resolutions, and a sound, to scores and features."""

    def __init__(self, resolutions: int = 3, periods: Sequence[int] = (2, 3, 5, 7, 11)):
        super().__init__()
        self.spectral = nn.ModuleList(SpectralDiscriminator() for _ in range(resolutions))
        self.periodic = nn.ModuleList(PeriodDiscriminator(period) for period in periods)

    def forward(self, stfts: Sequence[Tensor], sound: Tensor) -> Output:
        """stfts : for each resolution complex Tensor[B, K, T]; sound : Tensor[B, N]; both of about full scale."""
        outputs = [network(x) for network, x in zip(self.spectral, stfts, strict=True)]
        outputs += [network(sound) for network in self.periodic]
        return [s for scores, _ in outputs for s in scores], [f for _, features in outputs for f in features]


def _convolve(network: SpectralDiscriminator | PeriodDiscriminator, x: Tensor) -> Output:
    features = []
    for layer in network.layers:
        x = F.leaky_relu(layer(x), 0.1)
        features.append(x)
    return [network.last(x)], features
