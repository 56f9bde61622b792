"""The neural vocoder's network: log-Mel frames to an STFT, and that to sound.

The architecture is that of Vocos (Siuzdak, ICLR 2024): ConvNeXt blocks at the frame rate, a head that predicts
magnitude and phase, an inverse STFT. It differs in two ways: the head predicts magnitudes *relative* to those that the
Mel bands spread to, so that an untrained network is at the right level already, and frames are those of ``MelSpec``.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami import schema
from frami.audio import MelSpec

LARGEST = 700.0  # largest STFT magnitude of the head; a full-scale square wave has less
SMALLEST = 1e-5  # least magnitude that a silent band spreads to, so that its logarithm is finite
MOMENTUM = 0.9  # of the rounds that match a sound to its spectrogram


@dataclass(frozen=True)
class NetworkConfig:
    """Channels, ConvNeXt blocks, channels within a block."""

    dim: Annotated[int, schema.whole(1, schema.WIDE)] = 256
    layers: Annotated[int, schema.whole(1, schema.DEEP)] = 8
    hidden: Annotated[int, schema.whole(1, schema.WIDE)] = 768

    def to_dict(self) -> dict:
        return asdict(self)


class Block(nn.Module):
    """ConvNeXt block (Liu et al., CVPR 2022) in one dimension: Tensor[B, C, T] to the same."""

    def __init__(self, dim: int, hidden: int, scale: float):
        super().__init__()
        self.depthwise = nn.Conv1d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, hidden)
        self.contract = nn.Linear(hidden, dim)
        self.scale = nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x).transpose(1, 2)
        y = self.contract(F.gelu(self.expand(self.norm(y))))
        return x + (self.scale * y).transpose(1, 2)


class Backbone(nn.Module):
    """Log-Mels above silence, Tensor[B, F, T], to features, Tensor[B, T, C]."""

    def __init__(self, bands: int, config: NetworkConfig):
        super().__init__()
        self.embed = nn.Conv1d(bands, config.dim, 7, padding=3)
        self.first_norm = nn.LayerNorm(config.dim)
        self.blocks = nn.ModuleList(Block(config.dim, config.hidden, 1 / config.layers) for _ in range(config.layers))
        self.last_norm = nn.LayerNorm(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first_norm(self.embed(x).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.last_norm(x.transpose(1, 2))


class Synthesis(nn.Module):
    """Inverse STFT by overlap-add, framed as ``MelSpec`` frames: frame t is centred on sample (t + 1/2) hop_length.

    It inverts ``analysis`` exactly, the ends included.
    """

    def __init__(self, n_fft: int, hop_length: int):
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.before = (n_fft - hop_length) // 2
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, stft: Tensor) -> Tensor:
        """Complex Tensor[B, T, n_fft // 2 + 1] to Tensor[B, T * hop_length]."""
        frames = stft.shape[1]
        sound = self._overlap_add(torch.fft.irfft(stft, self.n_fft, dim=-1) * self.window)
        weight = self._overlap_add(self.window.square().expand(1, frames, -1)).clamp(min=0.01)
        return (sound / weight)[:, self.before : self.before + self.samples(frames)]

    def samples(self, frames: int) -> int:
        """Samples of a sound of this many frames."""
        return frames * self.hop_length

    def padded(self, sound: Tensor) -> Tensor:
        """Tensor[B, N] such that frame t is n_fft samples of it from ``t hop_length`` on."""
        overlap = self.n_fft - self.hop_length
        return F.pad(sound[:, None], (overlap // 2, overlap - overlap // 2), mode="reflect")[:, 0]

    def analysis(self, sound: Tensor) -> Tensor:
        """STFT as ``MelSpec`` takes it: Tensor[B, N], more than half a window, to complex Tensor[B, N // hop, K]."""
        stft = torch.stft(
            self.padded(sound), self.n_fft, self.hop_length, window=self.window, center=False, return_complex=True
        )
        return stft.transpose(1, 2)

    def _overlap_add(self, columns: Tensor) -> Tensor:
        if extra := -self.n_fft % self.hop_length:
            columns = F.pad(columns, (0, extra))
        hops = columns.unflatten(-1, (-1, self.hop_length)).unbind(2)
        return sum(F.pad(hop, (0, 0, i, len(hops) - 1 - i)) for i, hop in enumerate(hops)).flatten(1)


class Network(nn.Module):
    """Log-Mel-spectrogram to sound: backbone, head, inverse STFT."""

    def __init__(self, spec: MelSpec, config: NetworkConfig):
        super().__init__()
        self.config, self.floor, self.clamp = config, spec.floor, spec.clamp
        self.backbone = Backbone(spec.n_mels, config)
        self.head = nn.Linear(config.dim, 2 * (spec.n_fft // 2 + 1))
        self.synthesis = Synthesis(spec.n_fft, spec.hop_length)
        bank = spec.filterbank()
        self.register_buffer("bank", bank, persistent=False)  # [K, F]
        self.register_buffer("spread", bank / bank.sum(1, keepdim=True).clamp(min=1e-12), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv1d):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def spectrum(self, log_mel: Tensor) -> Tensor:
        """log_mel : Tensor[B, F, T], finite. Returns the STFT, complex Tensor[B, T, K], without a constant part."""
        features = self.backbone((log_mel - self.floor) / 4)
        with torch.autocast(log_mel.device.type, enabled=False):  # phases need more than bfloat16's eight bits
            change, phase = self.head(features.float()).chunk(2, dim=-1)
            band = log_mel.float().exp().transpose(1, 2) / self.bank.sum(0).clamp(min=1e-12)
            level = (band @ self.spread.T).clamp(min=SMALLEST)
            magnitude = (level * change.clamp(max=10).exp()).clamp(max=LARGEST)
            return torch.polar(F.pad(magnitude[..., 1:], (1, 0)), phase)

    def forward(self, log_mel: Tensor) -> Tensor:
        """log_mel : Tensor[B, F, T], natural logarithm. Returns sound, float32 Tensor[B, T * hop_length]."""
        stft = self.spectrum(log_mel)
        with torch.autocast(log_mel.device.type, enabled=False):
            return self.synthesis(stft)

    def match(self, sound: Tensor, log_mel: Tensor, rounds: int) -> Tensor:
        """Bring a sound nearer to a log-Mel-spectrogram, in float32.

        Each round multiplies the sound's STFT by the factors that its Mel bands lack and synthesizes the result,
        with momentum as in fast Griffin-Lim (Perraudin, Balazs & Søndergaard, WASPAA 2013).

        sound : Tensor[B, T * hop_length], more than half a window. log_mel : Tensor[B, F, T].
        """
        mel, previous = log_mel.float().exp().transpose(1, 2), None
        for _ in range(rounds):
            rebuilt = self.synthesis.analysis(sound)
            ahead = rebuilt if previous is None else rebuilt + MOMENTUM * (rebuilt - previous)
            lack = mel / (ahead.abs() @ self.bank).clamp(min=self.clamp)
            sound = self.synthesis(ahead * (lack.clamp(max=10) @ self.spread.T))
            previous = rebuilt
        return sound
