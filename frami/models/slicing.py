"""Weights of a smaller network out of a larger one of the same architecture: fewer channels, fewer blocks a stage."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frami.errors import FramiError
from frami.models.slots import AttentivePooling, Classifier, Projector, ResidualBlock, StatisticsPooling


@dataclass(frozen=True)
class Kept:
    """Which parts of a teacher's residual blocks a student has, for each of its own blocks: ``begins``, ``ends`` :
    number of the teacher's block that it has the weights of, and of the one that the teacher has come to where the
    student goes on; ``inner``, ``outputs`` : channels between its convolutions and at its end, Tensor[C] both."""

    begins: list[int]
    ends: list[int]
    inner: list[Tensor]
    outputs: list[Tensor]


@torch.no_grad()
def slice_weights(student: Classifier, teacher: nn.Module) -> Kept:
    """Give a student, in place, the weights of its teacher that fit into it.

    Of each stage it takes the first blocks, of each layer the channels that add most to what the next layers compute,
    the same ones wherever a shortcut joins layers: power of a channel's signal times the squared norm of the weights
    that read it (pruning of channels by their weights, Li et al., ICLR 2017). The power is that of a rectified normal
    distribution of the mean and spread that the batch norms give (Nagel et al., ICCV 2019): no clip is needed. Batch
    norms come with their channels, that of the Mel bands whole. A projector starts as the map that puts the kept
    channels in their places, so far as its width allows; without one, pooling and classifier are sliced as well.
    Returns what was kept.

    FramiError where the architectures do not agree, or the student is larger somewhere.
    """
    _check(student, teacher)
    mine, own = student.backbone, teacher.backbone
    many, few = teacher.config.depth, student.config.depth
    begins = [place for place in range(len(own.blocks)) if place % many < few]
    ends = [place + many - few if place % many == few - 1 else place for place in begins]
    blocks, inners = [own.blocks[place] for place in begins], []
    signals = _signals(own, blocks)
    kept = _kept(student, teacher, blocks, signals)

    mine.bands.load_state_dict(own.bands.state_dict())
    _copy(mine.stem, mine.stem_norm, own.stem, own.stem_norm, kept[0])
    for number, (small, large) in enumerate(zip(mine.blocks, blocks, strict=True)):
        inputs, outputs = kept[number], kept[number + 1]
        power = signals[number].inner.power * _reading(large.conv2, large.norm2)
        inner = _largest(power, small.conv1.out_channels)
        inners.append(inner)
        _copy(small.conv1, small.norm1, large.conv1, large.norm1, inner, inputs)
        _copy(small.conv2, small.norm2, large.conv2, large.norm2, outputs, inner)
        if small.shortcut is not None:
            _copy(small.shortcut, small.shortcut_norm, large.shortcut, large.shortcut_norm, outputs, inputs)
    if student.projector is not None:
        _place(student.projector, kept[-1], signals[-1].output)
    else:
        _copy_head(student, teacher, kept[-1])
    return Kept(begins, ends, inners, kept[1:])


def _check(student: Classifier, teacher: nn.Module) -> None:
    """FramiError where the teacher's weights do not fit."""
    small, large = student.config, getattr(teacher, "config", None)
    if not isinstance(teacher, Classifier) or teacher.projector is not None:
        problem = "its teacher is none of the classifiers that frami train-teacher makes"
    elif small.architecture != large.architecture:
        problem = f"its architecture is '{small.architecture}', its teacher's '{large.architecture}'"
    elif not all(_of_stages(model) for model in (student, teacher)):
        problem = "its blocks or its teacher's are not residual ones, in stages"
    elif small.width > large.width or small.depth > large.depth:
        problem = "it has more channels or blocks than its teacher"
    elif type(student.pooling) is not type(teacher.pooling):
        problem = f"it pools by '{small.pooling}', its teacher by '{large.pooling}'"
    elif not isinstance(teacher.pooling, StatisticsPooling):
        problem = "its teacher's embedding is not a mean and a deviation of each channel"
    else:
        return
    raise FramiError(f"a student cannot start from these weights: {problem}; choose another student, or start it new")


def _of_stages(model: Classifier) -> bool:
    """Whether it is made of stages of ``depth`` residual blocks, of channels that ``width`` scales."""
    sized = hasattr(model.config, "width") and hasattr(model.config, "depth")
    return sized and all(isinstance(block, ResidualBlock) for block in model.backbone.blocks)


@dataclass
class _Signal:
    """Mean and variance of each channel behind a ReLU, Tensor[C] both."""

    mean: Tensor
    var: Tensor

    @property
    def power(self) -> Tensor:
        return self.mean.square() + self.var


@dataclass
class _BlockSignals:
    """What enters a residual block, what lies between its two convolutions, and what leaves it."""

    enters: _Signal
    inner: _Signal
    output: _Signal


def _signals(backbone: nn.Module, blocks: list[ResidualBlock]) -> list[_BlockSignals]:
    """The signals of each block, from the batch norms' weights alone: what they give is taken as normal and, where it
    is added to something else, as independent of it."""
    found, now = [], _rectified(*_given(backbone.stem_norm))
    for block in blocks:
        mean, var = _given(block.norm2)
        more_mean, more_var = (now.mean, now.var) if block.shortcut is None else _given(block.shortcut_norm)
        found.append(_BlockSignals(now, _rectified(*_given(block.norm1)), _rectified(mean + more_mean, var + more_var)))
        now = found[-1].output
    return found


def _given(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and variance of a batch norm's output."""
    return norm.bias, norm.weight.square()


def _rectified(mean: Tensor, var: Tensor) -> _Signal:
    """A normal distribution behind a ReLU."""
    std = var.clamp(min=1e-12).sqrt()
    at = mean / std
    above = 0.5 * (1 + torch.erf(at / math.sqrt(2)))
    density = torch.exp(-at.square() / 2) / math.sqrt(2 * math.pi)
    first = mean * above + std * density
    second = (mean.square() + var) * above + mean * std * density
    return _Signal(first, (second - first.square()).clamp(min=0))


def _reading(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Squared norm of the weights that read each input channel, with the batch norm's factors in them: Tensor[C]."""
    scale = norm.weight.square() / (norm.running_var + norm.eps)
    return (conv.weight.square().sum((2, 3)) * scale[:, None]).sum(0)


def _kept(
    student: Classifier, teacher: Classifier, blocks: list[ResidualBlock], signals: list[_BlockSignals]
) -> list[Tensor]:
    """Channels of the teacher that the student keeps behind its stem and behind each block, in order. Blocks that a
    shortcut without weights joins keep the same ones."""
    values = [signals[0].enters.power * 0]
    for block, signal in zip(blocks, signals, strict=True):
        read = _reading(block.conv1, block.norm1)
        if block.shortcut is not None:
            read = read + _reading(block.shortcut, block.shortcut_norm)
        values[-1] = values[-1] + signal.enters.power * read
        values.append(values.pop() if block.shortcut is None else signal.output.power * 0)
    last = signals[-1].output
    # The classifier reads means and deviations, which vary from clip to clip less than the signal itself.
    values[-1] = values[-1] + last.power * teacher.classifier.weight.square().sum(0).unflatten(0, (2, -1)).sum(0)
    sizes = [student.backbone.stem.out_channels]
    groups = iter(values)
    kept = [_largest(next(groups), sizes[0])]
    for mine, block in zip(student.backbone.blocks, blocks, strict=True):
        kept.append(kept[-1] if block.shortcut is None else _largest(next(groups), mine.conv2.out_channels))
    return kept


def _largest(values: Tensor, count: int) -> Tensor:
    """Places of the largest values, in their order."""
    return values.topk(count).indices.sort().values


def _copy(
    small: nn.Conv2d, small_norm: nn.BatchNorm2d, large: nn.Conv2d, large_norm: nn.BatchNorm2d,
    outputs: Tensor, inputs: Tensor | None = None,
) -> None:  # fmt: skip
    """A convolution and the batch norm behind it, of these channels."""
    weight = large.weight[outputs]
    small.weight.copy_(weight if inputs is None else weight[:, inputs])
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(small_norm, name).copy_(getattr(large_norm, name)[outputs])


def _place(projector: Projector, kept: Tensor, signal: _Signal) -> None:
    """The projector as the map that puts the kept channels in their places; its batch norms give each one the mean and
    the spread that it has in the teacher. A channel that was dropped has its mean, and weights that are new."""
    mean, var = signal.mean, signal.var
    narrow = min(len(kept), *(conv.out_channels for conv in projector.convs))
    carried = _largest(var[kept], narrow)  # of the kept ones, as many as get through a bottleneck
    places = carried
    for conv, norm in zip(projector.convs[:-1], projector.norms[:-1], strict=True):
        steps = torch.arange(narrow, device=kept.device)
        _through(conv, norm, places, steps, mean[kept[carried]], var[kept[carried]])
        places = steps
    conv, norm = projector.convs[-1], projector.norms[-1]
    norm.bias.copy_(mean)
    norm.weight.copy_(0.1 * var.sqrt())
    _through(conv, norm, places, kept[carried], mean[kept[carried]], var[kept[carried]])


def _through(conv: nn.Conv2d, norm: nn.BatchNorm2d, inputs: Tensor, outputs: Tensor, mean: Tensor, var: Tensor) -> None:
    """Let a convolution and its batch norm carry input channels to output channels as they are."""
    middle = conv.kernel_size[0] // 2
    conv.weight[outputs] = 0
    conv.weight[outputs, inputs, middle, middle] = 1
    norm.running_mean[outputs], norm.running_var[outputs] = mean, var
    norm.bias[outputs], norm.weight[outputs] = mean, (var + norm.eps).sqrt()


def _copy_head(student: Classifier, teacher: Classifier, kept: Tensor) -> None:
    """Pooling and classifier of the kept channels; both put all means before all deviations."""
    both = torch.cat([kept, kept + teacher.backbone.channels])
    student.classifier.weight.copy_(teacher.classifier.weight[:, both])
    student.classifier.bias.copy_(teacher.classifier.bias)
    if isinstance(student.pooling, AttentivePooling):
        (hidden, _, out), (large, _, large_out) = student.pooling.attention, teacher.pooling.attention
        hidden.weight.copy_(large.weight[:, kept])
        hidden.bias.copy_(large.bias)
        out.weight.copy_(large_out.weight[kept])
        out.bias.copy_(large_out.bias[kept])
