"""Griffin-Lim: the vocoder that needs no weights."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from frami.audio import MelSpec
from frami.vocoder.base import Vocoder
from frami.vocoder.network import Synthesis

LEAST_EMPHASIS = 0.01  # pre-emphasis leaves less of the lowest frequencies, but they are not raised by more
UNMEL_STEPS = 20  # the Mel residual is below 0.1 % by then, and the sound stops improving


class GriffinLim(Vocoder):
    """Phase by fast Griffin-Lim (Perraudin, Balazs & Søndergaard, WASPAA 2013); takes any MelSpec.

    What a front-end does before its bands is undone on magnitudes: the root of powers is taken, and pre-emphasis is
    divided by. Where a front-end removes the clip's mean, and with it the level and the long-term spectrum, those of
    ``MelSpec.natural`` are heard.

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
        log_mel, plain = spec.natural(log_mel), spec.absolute()
        top = log_mel.amax(dim=(1, 2), keepdim=True).clamp(min=math.log(spec.clamp))
        mel = (log_mel - top).exp()
        if spec.clamping == "add":
            mel = (mel - spec.clamp * (-top).exp()).clamp(min=0)
        mel = mel.masked_fill(silent, 0)
        # MelSpec pads a signal shorter than a window with silence, so frames of silence follow a short spectrogram.
        extra = max(0, -(-(spec.shortest - spec.samples(0, least=-spec.n_fft)) // spec.hop_length) - frames)
        magnitude = unmel(F.pad(mel, (0, extra)), spec.filterbank().to(mel))
        if spec.power == 2:
            magnitude = magnitude.sqrt()
        if spec.preemphasis:
            magnitude = magnitude / spec.emphasis().to(mel).clamp(min=LEAST_EMPHASIS)[:, None]
        sound = self._phase(magnitude)[:, : spec.samples(frames)]
        sound = F.pad(sound, (0, spec.samples(frames) - sound.shape[-1]))
        if spec.full_scale != 1:
            sound = sound / spec.full_scale
        again = plain.natural(plain(sound)[..., :frames]).exp()
        if spec.clamping == "add":
            again = (again - spec.clamp).clamp(min=1e-12)
        # Inconsistent frames partly cancel.
        loss = (mel.pow(2 / spec.power).sum((1, 2)) / again.pow(2 / spec.power).sum((1, 2))).sqrt()
        return sound * (loss[:, None] * (top[..., 0] / spec.power).exp())

    def _phase(self, magnitude: Tensor) -> Tensor:
        """Sound whose STFT has nearly these magnitudes: Tensor[B, K, T] to Tensor[B, N]."""
        magnitude = magnitude.transpose(1, 2).contiguous()
        synthesis = Framed(self.mel_spec).to(magnitude.device)
        generator = torch.Generator().manual_seed(self.seed)
        angle = torch.rand(magnitude.shape[1:], generator=generator).to(magnitude) * (2 * math.pi)
        stft = torch.polar(magnitude, angle.expand_as(magnitude).contiguous())
        previous = None
        for _ in range(self.iterations):
            rebuilt = synthesis.analysis(synthesis(stft))
            ahead = rebuilt if previous is None else rebuilt + self.momentum * (rebuilt - previous)
            stft, previous = magnitude * ahead.sgn(), rebuilt
        return synthesis(stft)


class Framed(Synthesis):
    """The inverse STFT with the frames and the window of any ``MelSpec``; pre-emphasis is not undone here."""

    def __init__(self, spec: MelSpec):
        super().__init__(spec.n_fft, spec.hop_length)
        self.spec, self.before = spec, spec.margins[0]
        self.register_buffer("window", spec.placed_window(), persistent=False)

    def samples(self, frames: int) -> int:
        return self.spec.samples(frames)

    def padded(self, sound: Tensor) -> Tensor:
        return self.spec.padded(sound)


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
