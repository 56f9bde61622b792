"""Sound classifiers: residual backbone, statistics pooling, linear classifier.

Any duration goes in. Every layer masks what lies behind a clip's end, so that padding a batch never changes the
output of a clip, and batch norm (in training too) counts valid frames only.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Features:
    """What a classifier computes on the way to its answer.

    frames : Tensor[B, C, F', T'], hidden state before the pooling (zero behind a clip's end)
    pooled : Tensor[B, D], hidden state after the pooling
    logits : Tensor[B, K]
    lengths : Tensor[B], valid frames of ``frames`` (int64)
    """

    frames: Tensor
    pooled: Tensor
    logits: Tensor
    lengths: Tensor


@dataclass(frozen=True)
class ModelConfig:
    """A member of the family: ``width`` channels in the first of four stages, ``depth`` blocks a stage."""

    classes: int
    width: int = 16
    depth: int = 2
    n_mels: int = 80

    def to_dict(self) -> dict:
        return asdict(self)


#: Named members of the family, from edge-device students to the largest teacher (parameters for ten classes).
SIZES: dict[str, tuple[int, int]] = {
    "nano": (4, 1),
    "tiny": (8, 1),
    "mini": (12, 1),
    "small": (16, 1),
    "base": (16, 2),
    "large": (24, 2),
    "huge": (32, 2),
}


def length_mask(lengths: Tensor, frames: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 within each clip and 0 behind its end: Tensor[B] → Tensor[B, 1, 1, frames]."""
    steps = torch.arange(frames, device=lengths.device)
    return (steps < lengths[:, None]).to(dtype)[:, None, None]


class MaskedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose batch statistics count valid positions only, and what follows it: shortcut, ReLU, mask.

    ``forward(x, mask, add, relu)`` with x : Tensor[B, C, F, T]; mask : Tensor[B, 1, 1, T], or None where all is valid;
    ``add`` : Tensor[B, C, F, T] joined before the ReLU. The result is zero behind a clip's end.

    ``tap`` may take over the whole of it for as long as somebody wants to see what comes in.
    """

    tap: Callable[..., Tensor] | None = None

    def forward(self, x: Tensor, mask: Tensor | None = None, add: Tensor | None = None, relu: bool = False) -> Tensor:
        if self.tap is not None:
            return self.tap(self, x, mask, add, relu)
        y = self._normalised(x, mask)
        if add is not None:
            y = y + add
        if relu:
            y = F.relu(y)
        return y if mask is None else y * mask.to(y.dtype)

    def _normalised(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if not self.training or mask is None:
            return super().forward(x)
        mean, var, count = masked_moments(x, mask)
        with torch.no_grad():
            self.num_batches_tracked += 1
            rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), rate)
            self.running_var.lerp_(var.detach() * count / (count - 1).clamp(min=1), rate)
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None].to(x.dtype), x, scale[:, None, None].to(x.dtype))


def masked_moments(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and (biased) variance of each channel over the valid positions, and their count.

    x : Tensor[B, C, F, T], mask : Tensor[B, 1, 1, T]. Returns Tensor[C], Tensor[C], Tensor[].
    """
    count = mask.sum(dtype=torch.float32) * x.shape[2]
    mean = (x * mask).sum((0, 2, 3), dtype=torch.float32) / count
    centred = (x - mean[:, None, None].to(x.dtype)) * mask
    return mean, centred.square().sum((0, 2, 3), dtype=torch.float32) / count, count


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with batch norm around a shortcut (He et al. 2016); keeps padding at zero."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = MaskedBatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = MaskedBatchNorm2d(outputs)
        self.shortcut = self.shortcut_norm = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_norm = MaskedBatchNorm2d(outputs)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x : Tensor[B, C, F, T], zero where masked; mask : the *output's* mask. Returns Tensor[B, C', F', T']."""
        y = self.norm1(self.conv1(x), mask, relu=True)
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x), mask)
        return self.norm2(self.conv2(y), mask, add=x, relu=True)


class Backbone(nn.Module):
    """Log-Mel → frame-level features, at a sixteenth of the resolution and eight times ``width`` channels.

    A batch norm for each Mel band stands first (as in PANNs, Kong et al. 2020): its stored statistics are the mean
    spectrum of the training data, which a model inversion can match.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        widths = [config.width * 2**stage for stage in range(4)]
        self.channels = widths[-1]
        self.bands = MaskedBatchNorm2d(config.n_mels)
        self.stem = nn.Conv2d(1, widths[0], 3, 2, 1, bias=False)
        self.stem_norm = MaskedBatchNorm2d(widths[0])
        blocks = []
        inputs = widths[0]
        for stage, outputs in enumerate(widths):
            for block in range(config.depth):
                blocks.append(ResidualBlock(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """x : Tensor[B, 1, F, T], lengths : Tensor[B] or None (all T). Returns Tensor[B, C, F', T'], Tensor[B]."""
        if lengths is None:
            lengths = torch.full((len(x),), x.shape[-1], device=x.device)
            ragged = False
        else:
            ragged = True

        def mask(frames: int) -> Tensor | None:
            return length_mask(lengths, frames, x.dtype) if ragged else None

        here = mask(x.shape[-1])
        x = self.bands(x.transpose(1, 2), here).transpose(1, 2)
        x = self.stem(x)
        lengths = (lengths + 1) // 2
        here = mask(x.shape[-1])
        x = self.stem_norm(x, here, relu=True)
        for block in self.blocks:
            if block.stride == 2:
                lengths = (lengths + 1) // 2
                here = mask((x.shape[-1] + 1) // 2)
            x = block(x, here)
        return x, lengths


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over time of the frequency average, within each clip's true length.

    Tensor[B, C, F', T'], Tensor[B] → Tensor[B, 2C] (Snyder et al. 2017, x-vectors).
    """

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        x = frames.float().mean(2)
        mask = length_mask(lengths, x.shape[-1])[:, 0]
        count = lengths[:, None].float()
        mean = (x * mask).sum(-1) / count
        variance = ((x - mean[..., None]) * mask).square().sum(-1) / count
        return torch.cat([mean, (variance + 1e-5).sqrt()], 1)


class Classifier(nn.Module):
    """Backbone, pooling, linear classifier: three slots, each replaceable."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.pooling = StatisticsPooling()
        self.classifier = nn.Linear(2 * self.backbone.channels, config.classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Classify log-Mel-spectrograms.

        x : Tensor[B, 1, F, T]; lengths : Tensor[B] of valid frames (at least 1), or None when all T are valid.
        """
        frames, lengths = self.backbone(x, lengths)
        pooled = self.pooling(frames, lengths)
        return Features(frames, pooled, self.classifier(pooled), lengths)


def build(size: str, classes: int, n_mels: int = 80) -> Classifier:
    """A new classifier of one of the named ``SIZES``; ``KeyError`` for another name."""
    width, depth = SIZES[size]
    return Classifier(ModelConfig(classes, width, depth, n_mels))


def parameters(model: nn.Module) -> int:
    """Number of trainable numbers."""
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module, *inputs: Tensor) -> int:
    """Multiply-accumulate operations of one forward pass (convolutions and matrix products)."""
    from torch.utils.flop_counter import FlopCounterMode

    training = model.training
    model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(*inputs)
    model.train(training)
    return counter.get_total_flops() // 2
