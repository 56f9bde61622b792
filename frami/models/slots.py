"""The slots of a sound classifier: backbone, projector (where there is one), pooling, linear classifier.

Any duration goes in. Every layer masks what lies behind a clip's end, so that padding a batch never changes the
output of a clip, and batch norm (in training too) counts valid frames only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from frami.models.convolution import Conv2d
from frami.models.norms import MaskedBatchNorm2d, length_mask


@dataclass
class Features:
    """What a classifier computes.

    frames : Tensor[B, C, F', T'], frame-level features, before the pooling (zero behind a clip's end)
    pooled : Tensor[B, D], embedding, after the pooling
    logits : Tensor[B, K]
    lengths : Tensor[B], valid frames of ``frames`` (int64)
    """

    frames: Tensor
    pooled: Tensor
    logits: Tensor
    lengths: Tensor


@runtime_checkable
class Teacher(Protocol):
    """A network whose ``pooling`` (frames, lengths → embedding) and ``classifier`` (embedding → logits), two modules, a
    student can reuse. Any other that returns ``Features`` teaches the objectives that reuse nothing."""

    def head(self, frames: Tensor, lengths: Tensor) -> Features:
        """What both give for frames Tensor[B, C, F', T'] with Tensor[B] valid ones, zero behind each clip's end."""


class ResidualBlock(nn.Module):
    """Two convolutions with batch norm around a shortcut (He et al. 2016); padding stays zero."""

    def __init__(self, inputs: int, outputs: int, stride: int, kernel: tuple[int, int] = (3, 3)):
        super().__init__()
        self.stride = stride
        pad = (kernel[0] // 2, kernel[1] // 2)
        self.conv1 = Conv2d(inputs, outputs, kernel, stride, pad, bias=False)
        self.norm1 = MaskedBatchNorm2d(outputs)
        self.conv2 = Conv2d(outputs, outputs, kernel, 1, pad, bias=False)
        self.norm2 = MaskedBatchNorm2d(outputs)
        self.shortcut = self.shortcut_norm = None
        if stride != 1 or inputs != outputs:
            self.shortcut = Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut_norm = MaskedBatchNorm2d(outputs)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x : Tensor[B, C, F, T], zero where masked; mask : the *output's* mask. Returns Tensor[B, C', F', T']."""
        y = self.norm1(self.conv1(x), mask, relu=True)
        if self.shortcut is not None:
            x = self.shortcut_norm(self.shortcut(x), mask)
        return self.norm2(self.conv2(y), mask, add=x, relu=True)


class SeparableBlock(nn.Module):
    """Depthwise 3×3 and pointwise 1×1 convolution, each with batch norm and ReLU (MobileNet, Howard et al. 2017), with
    a shortcut where the shape stays; padding stays zero."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False)
        self.norm1 = MaskedBatchNorm2d(inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm2 = MaskedBatchNorm2d(outputs)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x : Tensor[B, C, F, T], zero where masked; mask : the *output's* mask. Returns Tensor[B, C', F', T']."""
        y = self.norm1(self.depthwise(x), mask, relu=True)
        same = self.stride == 1 and x.shape[1] == self.pointwise.out_channels
        return self.norm2(self.pointwise(y), mask, add=x if same else None, relu=True)


class Projector(nn.Module):
    """Frame-level features of one network → those of another: Tensor[B, C, F', T'] → Tensor[B, outputs, F', T'].

    One 1 × 1 convolution with batch norm and ReLU; with ``bottleneck`` 1 × 1, 3 × 3 and 1 × 1, each with both (SimKD,
    Chen et al., CVPR 2022).
    """

    def __init__(self, inputs: int, outputs: int, bottleneck: int = 0):
        super().__init__()
        sizes = [(inputs, outputs, 1)]
        if bottleneck:
            sizes = [(inputs, bottleneck, 1), (bottleneck, bottleneck, 3), (bottleneck, outputs, 1)]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, k, padding=k // 2, bias=False) for i, o, k in sizes)
        self.norms = nn.ModuleList(MaskedBatchNorm2d(o) for _, o, _ in sizes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x : Tensor[B, C, F', T'], zero behind each end; lengths : Tensor[B]."""
        mask = length_mask(lengths, x.shape[-1], x.dtype)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x), mask, relu=True)
        return x


class Backbone(nn.Module):
    """Log-Mel → frame-level features: a batch norm for each Mel band, one convolution, then blocks.

    The norm stands first as in PANNs (Kong et al. 2020): its stored statistics are the mean spectrum of the training
    data, which a model inversion can match.

    stem : the convolution, from one channel, or from the Mel bands as channels of height one (``temporal``)
    blocks : modules ``block(x, mask)`` with a ``stride``; ``channels`` : of the last one's output
    """

    def __init__(self, n_mels: int, stem: nn.Conv2d, blocks: Sequence[nn.Module], channels: int):
        super().__init__()
        self.channels, self.temporal = channels, stem.in_channels == n_mels
        self.bands = MaskedBatchNorm2d(n_mels)
        self.stem = stem
        self.stem_norm = MaskedBatchNorm2d(stem.out_channels)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """x : Tensor[B, 1, F, T], lengths : Tensor[B] or None (all T). Returns Tensor[B, C, F', T'], Tensor[B]."""
        ragged = lengths is not None

        def mask(frames: int) -> Tensor | None:
            return length_mask(lengths, frames, x.dtype) if ragged else None

        x = self.bands(x.transpose(1, 2), mask(x.shape[-1]))
        x = self.stem(x if self.temporal else x.transpose(1, 2))
        if ragged:
            lengths = _strided(lengths, self.stem.stride[1])
        here = mask(x.shape[-1])
        x = self.stem_norm(x, here, relu=True)
        for block in self.blocks:
            if ragged and block.stride > 1:
                lengths = _strided(lengths, block.stride)
                here = mask(_strided(x.shape[-1], block.stride))
            x = block(x, here)
        return x, lengths if ragged else torch.full((x.shape[0],), x.shape[-1], device=x.device)


def _strided(frames, stride: int):
    """Frames behind a padded convolution."""
    return (frames + stride - 1) // stride


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over time of the frequency average, within each clip's true length.

    Tensor[B, C, F', T'], Tensor[B] → Tensor[B, 2C] (Snyder et al. 2017, x-vectors).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.size = 2 * channels

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        x = frames.float().mean(2)
        mask = length_mask(lengths, x.shape[-1])[:, 0]
        count = lengths[:, None].float()
        mean = (x * mask).sum(-1) / count
        variance = ((x - mean[..., None]) * mask).square().sum(-1) / count
        return torch.cat([mean, (variance + 1e-5).sqrt()], 1)


class AttentivePooling(StatisticsPooling):
    """Mean and standard deviation under weights over time that each channel's attention gives (Okabe et al. 2018)."""

    def __init__(self, channels: int, hidden: int = 64):
        super().__init__(channels)
        self.attention = nn.Sequential(nn.Conv1d(channels, hidden, 1), nn.Tanh(), nn.Conv1d(hidden, channels, 1))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        x = frames.float().mean(2)
        behind = length_mask(lengths, x.shape[-1])[:, 0] == 0
        weights = self.attention(x).float().masked_fill(behind, -torch.inf).softmax(-1)
        mean = (weights * x).sum(-1)
        variance = (weights * (x - mean[..., None]).square()).sum(-1)
        return torch.cat([mean, (variance + 1e-5).sqrt()], 1)


class Classifier(nn.Module):
    """Backbone, projector (or None), pooling and linear classifier.

    ``backbone(x, lengths)`` gives frame-level features and their lengths, and has ``channels``; ``projector(frames,
    lengths)`` other frame-level features; ``pooling(frames, lengths)`` embeddings Tensor[B, D], and has ``size`` D;
    ``classifier(pooled)`` logits. ``config`` : what it was built from.
    """

    def __init__(
        self, backbone: nn.Module, pooling: nn.Module, classifier: nn.Module, projector: nn.Module | None, config
    ):
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.projector = projector
        self.pooling = pooling
        self.classifier = classifier

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Classify log-Mel-spectrograms.

        x : Tensor[B, 1, F, T]; lengths : Tensor[B] of valid frames (at least 1), or None when all T are valid.
        """
        frames, lengths = self.backbone(x, lengths)
        if self.projector is not None:
            frames = self.projector(frames, lengths)
        return self.head(frames, lengths)

    def head(self, frames: Tensor, lengths: Tensor) -> Features:
        """Pool and classify frame-level features, this network's own or a student's: see ``Teacher``."""
        pooled = self.pooling(frames, lengths)
        return Features(frames, pooled, self.classifier(pooled), lengths)
