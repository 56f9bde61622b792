"""Losses of a vocoder's training, on STFTs, log-Mels and the discriminators' outputs: pure functions, and transforms.

Sounds are compared at several resolutions (Yamamoto et al., ICASSP 2020). The gradients of the terms with respect to
the sound are normalised before they are added (Défossez et al., TMLR 2023), so that a weight is the share that a term
has in a step, whatever its unit.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami.audio import MelSpec

WINDOWS = (1024, 256, 512, 2048)  # the first is the vocoder's own
QUIET = 2e-4  # STFT magnitude of a window of 1024 below which every Mel band is at its floor


class Analysis(nn.Module):
    """STFTs and log-Mels of a sound at several resolutions, the first as the vocoder's ``MelSpec`` has it.

    The others keep its bands' width in bins: half as many bands for half the window.
    """

    def __init__(self, spec: MelSpec, windows: Sequence[int] = WINDOWS):
        super().__init__()
        self.clamp, self.hops = spec.clamp, [n * spec.hop_length // spec.n_fft for n in windows]
        for i, n in enumerate(windows):
            own = MelSpec(
                spec.sample_rate, n, self.hops[i], spec.n_mels * n // spec.n_fft, spec.f_min, spec.f_max, spec.clamp
            )
            self.register_buffer(f"window{i}", torch.hann_window(n), persistent=False)
            self.register_buffer(f"bank{i}", own.filterbank().T.contiguous(), persistent=False)
        self.windows = list(windows)

    def forward(self, sound: Tensor) -> list[Tensor]:
        """sound : Tensor[B, N]. Returns for each resolution complex Tensor[B, K, T]."""
        stfts = []
        for i, (n, hop) in enumerate(zip(self.windows, self.hops, strict=True)):
            before = (n - hop) // 2
            x = F.pad(sound[:, None], (before, n - hop - before), mode="reflect")[:, 0]
            window = getattr(self, f"window{i}")
            stfts.append(torch.stft(x, n, hop, window=window, center=False, return_complex=True))
        return stfts

    def log_mel(self, magnitude: Tensor, i: int = 0) -> Tensor:
        """Log-Mel-spectrogram of the magnitudes of resolution ``i``: Tensor[B, K, T] to Tensor[B, F, T]."""
        return (getattr(self, f"bank{i}") @ magnitude).clamp(min=self.clamp).log()


def magnitudes(stfts: Sequence[Tensor]) -> list[Tensor]:
    """Magnitudes with a finite gradient at 0, Tensor[B, K, T] of each."""
    return [(x.real.square() + x.imag.square() + 1e-14).sqrt() for x in stfts]


def stft_loss(made: Sequence[Tensor], real: Sequence[Tensor], scale: Tensor) -> Tensor:
    """Spectral convergence and difference of the logarithms, over several resolutions.

    made, real : for each resolution magnitudes, Tensor[B, K, T], of the sounds over ``scale``, Tensor[B].
    """
    total = made[0].new_zeros(())
    for a, b in zip(made, real, strict=True):
        norm = b.square().sum((1, 2)).sqrt().clamp(min=1.0)
        total = total + ((b - a).square().sum((1, 2)) + 1e-8).sqrt().div(norm).mean()
        least = QUIET * (b.shape[1] / 513) ** 0.5 / scale[:, None, None]
        total = total + (a.clamp(min=least).log() - b.clamp(min=least).log()).abs().mean()
    return total / len(made)


def mel_loss(made: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of log-Mels, over several resolutions."""
    return sum((a - b).abs().mean() for a, b in zip(made, real, strict=True)) / len(made)


def discriminator_loss(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Hinge loss: real sounds should score above 1, synthesized ones below -1."""
    pairs = zip(real, made, strict=True)
    return sum((F.relu(1 - r.float()).mean() + F.relu(1 + m.float()).mean()) for r, m in pairs) / len(real)


def adversarial_loss(made: Sequence[Tensor]) -> Tensor:
    """Hinge loss of the vocoder: the negative mean score of its sounds."""
    return -sum(m.float().mean() for m in made) / len(made)


def feature_loss(real: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Feature matching (Larsen et al., ICML 2016): relative difference of the discriminators' features."""
    total = made[0].new_zeros((), dtype=torch.float32)
    for r, m in zip(real, made, strict=True):
        r = r.detach().float()
        total = total + (r - m.float()).abs().mean() / r.abs().mean().clamp(min=1e-6)
    return total / len(made)


class Balance:
    """Adds gradients of loss terms with respect to a sound, each divided by the running mean of its norm.

    ``sizes`` : by term, Tensor[2] on the device: decaying sum of the norms, and of ones.
    """

    def __init__(self, names: Sequence[str], device: torch.device, decay: float = 0.99):
        self.decay = decay
        self.sizes = {name: torch.zeros(2, device=device) for name in names}

    def gradient(self, terms: dict[str, Tensor], weights: dict[str, Tensor | float], at: Tensor) -> Tensor:
        """Weighted sum of the terms' gradients with respect to ``at``, Tensor[B, N]; NaN and infinity count as 0."""
        total = torch.zeros_like(at)
        for name, term in terms.items():
            (gradient,) = torch.autograd.grad(term, at, retain_graph=True)
            gradient = gradient.nan_to_num(0.0, 0.0, 0.0)
            sizes = self.sizes[name]
            mean = gradient.square().sum(1).sqrt().mean()
            sizes.mul_(self.decay).add_(torch.stack([mean, torch.ones_like(mean)]))
            total += weights[name] * gradient * (sizes[1] / sizes[0].clamp(min=1e-12))
        return total
