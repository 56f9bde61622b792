"""Griffin-Lim: the vocoder that needs no weights."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from frami.audio import MelSpec
from frami.vocoder.base import Vocoder
from frami.vocoder.network import Synthesis

UNMEL_STEPS = 20  # the Mel residual is below 0.1 % by then, and the sound stops improving


class GriffinLim(Vocoder):
    """Phase by fast Griffin-Lim (Perraudin, Balazs & Søndergaard, WASPAA 2013); takes any MelSpec.

    torchaudio's and librosa's assume frames centred on ``t hop_length``. This one has the frames of ``MelSpec``, so
    that each iteration compares those that a re-analysis has.

    The random initial phase comes from a generator of its own: the same spectrogram gives the same sound on one kind
    of device, and the global random state is untouched.

    iterations : 32 is where the log-Mel distance levels off. momentum : 0.99 as in the source; 0 is plain Griffin-Lim.
    """

    name, title = "griffin-lim", "Griffin-Lim"

    def __init__(self, mel_spec: MelSpec, iterations: int = 32, momentum: float = 0.99, seed: int = 0):
        if iterations < 0 or momentum < 0:
            raise ValueError(f"iterations and momentum cannot be negative ({iterations}, {momentum})")
        self.mel_spec, self.iterations, self.momentum, self.seed = mel_spec, iterations, momentum, seed

    def synthesize(self, log_mel: Tensor) -> Tensor:
        spec, frames = self.mel_spec, log_mel.shape[-1]
        silent = log_mel <= spec.floor + 1e-3
        top = log_mel.amax(dim=(1, 2), keepdim=True).clamp(min=spec.floor)
        mel = (log_mel - top).exp().masked_fill(silent, 0)
        # MelSpec pads a signal shorter than a window with silence, so frames of silence follow a short spectrogram.
        shortest = -(-spec.shortest // spec.hop_length)
        sound = self._phase(unmel(F.pad(mel, (0, max(0, shortest - frames))), spec.filterbank().to(mel)))
        sound = sound[:, : frames * spec.hop_length]
        again = spec(sound)[..., :frames].exp()
        loss = (mel.square().sum((1, 2)) / again.square().sum((1, 2))).sqrt()  # inconsistent frames partly cancel
        return sound * (loss[:, None] * top[..., 0].exp())

    def _phase(self, magnitude: Tensor) -> Tensor:
        """Sound whose STFT has nearly these magnitudes: Tensor[B, K, T] to Tensor[B, N]."""
        magnitude = magnitude.transpose(1, 2).contiguous()
        synthesis = Synthesis(self.mel_spec.n_fft, self.mel_spec.hop_length).to(magnitude.device)
        generator = torch.Generator().manual_seed(self.seed)
        angle = torch.rand(magnitude.shape[1:], generator=generator).to(magnitude) * (2 * math.pi)
        stft = torch.polar(magnitude, angle.expand_as(magnitude).contiguous())
        previous = None
        for _ in range(self.iterations):
            rebuilt = synthesis.analysis(synthesis(stft))
            ahead = rebuilt if previous is None else rebuilt + self.momentum * (rebuilt - previous)
            stft, previous = magnitude * ahead.sgn(), rebuilt
        return synthesis(stft)


def unmel(mel: Tensor, filterbank: Tensor, steps: int = UNMEL_STEPS) -> Tensor:
    """Non-negative STFT magnitudes that have these Mel magnitudes.

    Multiplicative updates for the Kullback-Leibler divergence (Lee & Seung, NIPS 2000), from a smooth start. They
    weigh a band's error by its size, as a log-Mel does, and keep the smoothness that picks one of many solutions. That
    is nearer to the true magnitudes than least squares (librosa's L-BFGS, torchaudio's clipped solution), and fast.

    mel : Tensor[B, F, T], linear, >= 0, of the order of 1 at most. filterbank : Tensor[K, F].
    Returns Tensor[B, K, T]; bins that no band covers are 0.
    """
    tiny = 1e-12
    to_mel, band, column = filterbank.T, filterbank.sum(0)[:, None], filterbank.sum(1)[:, None].clamp(min=tiny)
    spread = filterbank / column
    magnitude = spread @ (mel / band.clamp(min=tiny))
    for _ in range(steps):
        magnitude = magnitude * (spread @ (mel / (to_mel @ magnitude).clamp(min=tiny)))
    return magnitude
