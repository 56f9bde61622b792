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
    """A member of the family: ``width`` channels in the first of four stages, ``depth`` blocks a stage.

    ``block`` : ``residual``, or ``separable`` for devices with little memory; ``projected`` : channels to which a
    projector takes the frame-level features, so that another network's pooling and classifier fit behind it (0: no
    projector); ``bottleneck`` : hidden channels of that projector (0: one 1 × 1 convolution).
    """

    classes: int
    width: int = 16
    depth: int = 2
    n_mels: int = 80
    block: str = "residual"
    projected: int = 0
    bottleneck: int = 0

    def to_dict(self) -> dict:
        """Its fields; those that only students have, where they are used."""
        usual = ModelConfig(self.classes)
        more = ("block", "projected", "bottleneck")
        return {k: v for k, v in asdict(self).items() if k not in more or v != getattr(usual, k)}


@dataclass(frozen=True)
class Size:
    """A named member of the family. ``student`` : whether it is offered as a student; ``about`` : in a few words."""

    width: int
    depth: int
    block: str = "residual"
    student: bool = False
    about: str = ""


#: From edge-device students to the largest teacher. The students of ten classes, with a projector to 128 channels, have
#: 15, 27, 57, 88, 188 and 327 thousand parameters.
SIZES: dict[str, Size] = {
    "micro": Size(8, 1, "separable", student=True, about="for small devices"),
    "nano": Size(4, 1, student=True),
    "edge": Size(16, 2, "separable", student=True, about="for small devices"),
    "tiny": Size(8, 1, student=True),
    "mini": Size(12, 1, student=True),
    "small": Size(16, 1, student=True),
    "base": Size(16, 2),
    "large": Size(24, 2),
    "huge": Size(32, 2),
}

#: Names of those that are offered as students, the smallest first.
STUDENTS = tuple(name for name, size in SIZES.items() if size.student)


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
        if self.training and mask is not None:
            y, mean, var, count = _MaskedNorm.apply(x, mask.to(x.dtype), add, self.weight, self.bias, self.eps, relu)
            self._remember(mean, var, count)
            return y
        y = super().forward(x)
        if add is not None:
            y = y + add
        if relu:
            y = F.relu(y)
        return y if mask is None else y * mask.to(y.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, var: Tensor, count: Tensor) -> None:
        self.num_batches_tracked += 1
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, rate)
        self.running_var.lerp_(var * count / (count - 1).clamp(min=1), rate)


class _MaskedNorm(torch.autograd.Function):
    """Batch norm in training over the valid positions, with what follows it, in few passes over memory: on a CPU the
    same operations under autograd take about twice as long.

    x, add : Tensor[B, C, F, T]; mask : Tensor[B, 1, 1, T] of 0 and 1. Returns the output, and mean Tensor[C], (biased)
    variance Tensor[C] and count Tensor[] in float32, through which no gradient flows.
    """

    @staticmethod
    def forward(ctx, x, mask, add, weight, bias, eps, relu):
        mean, var, count = masked_moments(x, mask)
        y = F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)
        if add is not None:
            y.add_(add)
        if relu:
            y.relu_()
        y.mul_(mask)
        ctx.save_for_backward(x, mask, weight, mean, (var + eps).rsqrt(), count, y if relu else None)
        ctx.added = add is not None
        ctx.mark_non_differentiable(mean, var, count)
        return y, mean, var, count

    @staticmethod
    def backward(ctx, grad, *_):
        x, mask, weight, mean, scale, count, y = ctx.saved_tensors
        grad = grad * mask if y is None else torch.ops.aten.threshold_backward(grad, y, 0)
        total = grad.sum((0, 2, 3), dtype=mean.dtype)
        along = ((grad * x).sum((0, 2, 3), dtype=mean.dtype) - mean * total) * scale
        # dx = w s (g - mean(g) - x̂ mean(g x̂)), with x̂ = (x - mean) s, as one scaled sum of g, x and a constant.
        of_x = -weight * scale.square() * along / count
        constant = -weight * scale * total / count - of_x * mean
        dx = torch.addcmul(constant.to(x.dtype)[:, None, None], x, of_x.to(x.dtype)[:, None, None])
        dx = dx.mul_(mask).addcmul_(grad, (weight * scale).to(x.dtype)[:, None, None])
        return dx, None, grad if ctx.added else None, along, total, None, None


def masked_moments(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and (biased) variance of each channel over the valid positions, and their count.

    x : Tensor[B, C, F, T], mask : Tensor[B, 1, 1, T]. Returns Tensor[C], Tensor[C], Tensor[].
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    count = mask.sum(dtype=wide) * x.shape[2]
    mean = (x * mask).sum((0, 2, 3), dtype=wide) / count
    centred = (x - mean[:, None, None].to(x.dtype)).mul_(mask)
    return mean, centred.square_().sum((0, 2, 3), dtype=wide) / count, count


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


class SeparableBlock(nn.Module):
    """Depthwise 3×3 and pointwise 1×1 convolution, each with batch norm and ReLU (MobileNet, Howard et al. 2017), with
    a shortcut where the shape stays; keeps padding at zero."""

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


BLOCKS: dict[str, type[nn.Module]] = {"residual": ResidualBlock, "separable": SeparableBlock}


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
                blocks.append(BLOCKS[config.block](inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """x : Tensor[B, 1, F, T], lengths : Tensor[B] or None (all T). Returns Tensor[B, C, F', T'], Tensor[B]."""
        if lengths is None:
            lengths = torch.full((x.shape[0],), x.shape[-1], device=x.device)
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
    """Backbone, projector (where there is one), pooling, linear classifier: slots, each replaceable."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        channels = config.projected or self.backbone.channels
        self.projector = Projector(self.backbone.channels, channels, config.bottleneck) if config.projected else None
        self.pooling = StatisticsPooling()
        self.classifier = nn.Linear(2 * channels, config.classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Features:
        """Classify log-Mel-spectrograms.

        x : Tensor[B, 1, F, T]; lengths : Tensor[B] of valid frames (at least 1), or None when all T are valid.
        """
        frames, lengths = self.backbone(x, lengths)
        if self.projector is not None:
            frames = self.projector(frames, lengths)
        pooled = self.pooling(frames, lengths)
        return Features(frames, pooled, self.classifier(pooled), lengths)


def build(size: str, classes: int, n_mels: int = 80, **fields) -> Classifier:
    """A new classifier of one of the named ``SIZES`` (``KeyError`` for another); ``fields`` : of ``ModelConfig``."""
    row = SIZES[size]
    return Classifier(ModelConfig(classes, row.width, row.depth, n_mels, row.block, **fields))


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
