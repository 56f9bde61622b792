"""A student's first weights: those of its teacher that fit into it, each layer fitted to what its teacher computes.

The channels that were left out are missing wherever a later layer read them. The weights that make up for them best
are those of a linear regression, layer by layer: of the teacher's signals, before the ReLU, on what the student has.
This is the reconstruction of channel pruning (He et al., ICCV 2017), on made clips and what stands beside them. It
needs no gradient and takes the time of a few dozen training steps.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami.device import autocast
from frami.distill.augment import AugmentConfig, ReplayBuffer, augment
from frami.models import Classifier, Kept, MaskedBatchNorm2d

#: Views of clips to which a student is fitted.
VIEWS = 384
#: Positions in time and frequency, of all clips together, to which a layer is fitted.
POSITIONS = 30_000
#: Size of the fitted weights, in units of that before. A batch norm follows, so that it changes no output, but learning
#: rates are relative to it: what is fitted already is changed by as much less.
GAIN = 4.0
#: How much the regression holds on to the weights that a layer has, in units of its inputs' mean variance: what serves
#: clips best to which it was not fitted; and where there is only one batch.
RIDGES, RIDGE = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0), 0.1


def views(
    buffer: ReplayBuffer, augmentation: AugmentConfig, noise: Tensor, batch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of random views of the clips, ``VIEWS`` in all, of like length in each, in turn of one half of the clips
    and of the other: log-Mels Tensor[B, 1, F, T] and lengths Tensor[B]. noise : as of ``augment``."""
    rng = torch.Generator().manual_seed(seed)
    parts = []
    for half in (0, 1):
        clips = torch.arange(min(half, len(buffer) - 1), len(buffer), 2)
        times, count = math.ceil(VIEWS / 2 / len(clips)), VIEWS // 2
        rows = torch.cat([clips[torch.randperm(len(clips), generator=rng)] for _ in range(times)])[:count]
        numbers, places = (torch.rand(count, wide, generator=rng) for wide in (augmentation.numbers, 1))
        frames = augmentation.lengths(buffer.lengths(rows), buffer.spec, numbers)
        some = frames.argsort(stable=True).split(batch)
        order = torch.randperm(len(some), generator=rng)
        parts.append([(rows[some[k]], places[some[k], 0], numbers[some[k]], int(frames[some[k]].max())) for k in order])
    for rows, places, numbers, longest in (one for pair in zip(*parts, strict=True) for one in pair):
        mels, lengths, labels = buffer.take(rows, places)
        numbers = numbers.to(mels.device)
        x, lengths, *_ = augment(mels, lengths, labels, buffer.spec, augmentation, numbers, noise, longest)
        yield x, lengths


@torch.no_grad()
def fit(student: Classifier, teacher: Classifier, kept: Kept, batches: Iterable[tuple[Tensor, Tensor]]) -> list[float]:
    """Fit a student, in place, that has the weights of its teacher that fit into it.

    teacher : itself, or its ``fast_copy``; kept : what ``slice_weights`` returned; batches : log-Mels Tensor[B, 1, F,
    T] and lengths Tensor[B], on the device of both, every second one of other clips. Returns of each fitted layer, in
    order, the share of its signals' variance that is missed on clips to which it was not fitted.
    """
    student.eval()
    rng = torch.Generator().manual_seed(0)
    inputs, masks, inner, outputs, last, lengths, logits = [], [], [], [], [], [], []
    for x, frames in batches:
        mine, own = _Signals(student), _Signals(teacher)
        with mine:
            student.backbone(x, frames)
        with own, autocast(x.device):
            said = teacher(x, frames)
        inputs.append(mine.inputs[0])
        masks.append(mine.masks)
        inner.append([own.inner[place][:, rows] for place, rows in zip(kept.begins, kept.inner, strict=True)])
        outputs.append([own.outputs[place][:, rows] for place, rows in zip(kept.ends, kept.outputs, strict=True)])
        last.append(own.outputs[-1])
        lengths.append(said.lengths)
        logits.append(said.logits.float())
    missed = []
    for number, block in enumerate(student.backbone.blocks):
        here, first, target = ([part[number] for part in parts] for parts in (masks, inner, outputs))
        missed.append(_fit([(block.conv1, block.norm1, inputs)], first, here, rng))
        hidden = [block.norm1(block.conv1(x), mask, relu=True) for x, mask in zip(inputs, here, strict=True)]
        read = [(block.conv2, block.norm2, hidden)]
        if block.shortcut is None:
            target = [whole - x for whole, x in zip(target, inputs, strict=True)]
        else:
            read.append((block.shortcut, block.shortcut_norm, inputs))
        missed.append(_fit(read, target, here, rng))
        inputs = [block(x, mask) for x, mask in zip(inputs, here, strict=True)]
    here = [mask[-1] for mask in masks]
    if student.projector is not None:
        *before, (conv, norm) = zip(student.projector.convs, student.projector.norms, strict=True)
        for passing, its_norm in before:
            inputs = _through(passing, its_norm, inputs, here)
        missed.append(_fit([(conv, norm, inputs)], last, here, rng))
    else:
        pooled = [student.pooling(x, frames) for x, frames in zip(inputs, lengths, strict=True)]
        both = [torch.cat(pair, 1) for pair in zip(pooled, logits, strict=True)]
        found = _regression(both, student.classifier.weight.T)
        _put(student.classifier.weight, found.weights.T)
        _put(student.classifier.bias, found.constant)
        missed.append(found.missed)
    return missed


class _Signals:
    """What goes through the residual blocks of a network while this is entered.

    ``inputs``, ``masks`` : of each block, Tensor[B, C, F, T] and the mask of its output; ``inner``, ``outputs`` :
    behind its first norm and at its end, Tensor[B, C', F', T'], both before the ReLU.
    """

    def __init__(self, model: Classifier):
        self.inputs, self.masks, self.inner, self.outputs = [], [], [], []
        self._blocks, self._hooks = model.backbone.blocks, []

    def __enter__(self) -> "_Signals":
        for block in self._blocks:
            self._hooks.append(block.register_forward_pre_hook(self._enters))
            for norm, found in ((block.norm1, self.inner), (block.norm2, self.outputs)):
                self._hooks.append(norm.register_forward_pre_hook(_before_relu(found), with_kwargs=True))
        return self

    def __exit__(self, *_) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enters(self, _, given: tuple) -> None:
        self.inputs.append(given[0])
        self.masks.append(given[1])


def _before_relu(found: list[Tensor]) -> Callable[..., None]:
    """A hook that notes what a norm gives before its ReLU."""

    def note(norm: MaskedBatchNorm2d, given: tuple, chosen: dict) -> None:
        y, add = nn.BatchNorm2d.forward(norm, given[0]), chosen.get("add")
        found.append((y if add is None else y + add).float())

    return note


def _fit(
    read: Sequence[tuple[nn.Conv2d, MaskedBatchNorm2d, Sequence[Tensor]]],
    targets: Sequence[Tensor],
    masks: Sequence[Tensor],
    rng: torch.Generator,
) -> float:
    """Fit convolutions, whose norms' outputs are added up, to targets Tensor[B, C', F', T'] at the valid positions
    (masks : Tensor[B, 1, 1, T']), some of them. read : of each its norm and its inputs, Tensor[B, C, F, T]. Returns the
    share of the variance that is missed."""
    rows = []
    for number, (target, mask) in enumerate(zip(targets, masks, strict=True)):
        valid = mask.expand(-1, 1, target.shape[2], -1)[:, 0].nonzero()
        some = torch.randperm(len(valid), generator=rng)[: POSITIONS // len(targets)]
        at = valid[some.to(valid.device)]
        columns = [_patches(conv, inputs[number], at) for conv, _, inputs in read]
        rows.append(torch.cat([*columns, target[at[:, 0], :, at[:, 1], at[:, 2]]], 1))
    sizes = [conv.weight[0].numel() for conv, _, _ in read]
    present = [conv.weight.flatten(1) * _scale(norm)[:, None] for conv, norm, _ in read]
    found = _regression(rows, torch.cat(present, 1).T)
    begin = 0
    for (conv, norm, _), size in zip(read, sizes, strict=True):
        part = slice(begin, begin + size)
        mine = found.weights[part]
        at_rest, spread = found.mean[part] @ mine, ((found.covariance[part, part] @ mine) * mine).sum(0)
        scale = GAIN * conv.weight.norm().double().cpu() / mine.norm().clamp(min=1e-12)
        _put(conv.weight, (scale * mine).T.reshape(conv.weight.shape))
        _put(norm.running_mean, scale * at_rest)
        _put(norm.running_var, scale.square() * spread)
        _put(norm.weight, (scale.square() * spread + norm.eps).sqrt() / scale)
        _put(norm.bias, at_rest if begin else at_rest + found.constant)
        begin += size
    return found.missed


def _put(parameter: Tensor, values: Tensor) -> None:
    """Copy float64 values of the CPU, on any device: not all have float64."""
    parameter.copy_(values.float())


def _scale(norm: MaskedBatchNorm2d) -> Tensor:
    """What a norm multiplies each channel by, Tensor[C]."""
    return norm.weight * (norm.running_var + norm.eps).rsqrt()


def _patches(conv: nn.Conv2d, x: Tensor, at: Tensor) -> Tensor:
    """What a convolution reads of x, Tensor[B, C, F, T], for its outputs at these places (clip, row, frame), Tensor[N,
    3]: Tensor[N, C · kernel]."""
    (high, wide), (rows, frames) = conv.padding, conv.stride
    x = F.pad(x, (wide, wide, high, high))
    views = x.unfold(2, conv.kernel_size[0], rows).unfold(3, conv.kernel_size[1], frames)
    return views[at[:, 0], :, at[:, 1], at[:, 2]].flatten(1)


@dataclass
class _Regression:
    """``weights`` : Tensor[D, C]; ``constant`` : Tensor[C]; ``mean``, ``covariance`` : of the inputs, Tensor[D] and
    Tensor[D, D]; all in float64 on the CPU. ``missed`` : share of the variance that is missed where it was not fitted;
    of one batch, where it was."""

    weights: Tensor
    constant: Tensor
    mean: Tensor
    covariance: Tensor
    missed: float


def _regression(batches: Sequence[Tensor], present: Tensor) -> _Regression:
    """A linear regression of the last columns of rows, Tensor[N, D + C] of each batch, on the others, which holds on to
    the present weights, Tensor[D, C], as much as serves one half of the batches best that is fitted to the other."""
    inputs, present = len(present), present.cpu().double()
    mean = sum(rows.sum(0) for rows in batches) / sum(map(len, batches))
    halves = [torch.cat(list(batches[half::2])) - mean for half in (0, 1) if len(batches) > half]
    joints = [(half.T @ half).cpu().double() / len(half) for half in halves]
    counts = [len(half) for half in halves]
    whole = sum(n * joint for n, joint in zip(counts, joints, strict=True)) / sum(counts)
    unit, spread = (
        part.clamp(min=1e-9) for part in (whole.diagonal()[:inputs].mean(), whole.diagonal()[inputs:].sum())
    )

    def solved(joint: Tensor, ridge: float) -> Tensor:
        eye = torch.eye(inputs, dtype=joint.dtype)
        return torch.linalg.solve(
            joint[:inputs, :inputs] + ridge * unit * eye, joint[:inputs, inputs:] + ridge * unit * present
        )

    def missed(joint: Tensor, weights: Tensor) -> float:
        own, shared = joint[:inputs, :inputs], joint[:inputs, inputs:]
        explained = (2 * weights * shared - weights * (own @ weights)).sum()
        return float((joint.diagonal()[inputs:].sum() - explained) / spread)

    ridge, off = RIDGE, None
    if len(joints) == 2:
        tried = {
            one: sum(missed(other, solved(joint, one)) for joint, other in (joints, joints[::-1])) / 2 for one in RIDGES
        }
        ridge = min(tried, key=tried.get)
        off, ridge = tried[ridge], ridge / 2  # there are twice as many rows now
    weights = solved(whole, ridge)
    mean = mean.cpu().double()
    constant = mean[inputs:] - mean[:inputs] @ weights
    off = missed(whole, weights) if off is None else off
    return _Regression(weights, constant, mean[:inputs], whole[:inputs, :inputs], off)


def _through(conv: nn.Conv2d, norm: MaskedBatchNorm2d, inputs: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
    """Outputs of a convolution whose norm is made to change nothing: it carries channels on."""
    given = [conv(x) for x in inputs]
    valid = [mask.expand(-1, 1, y.shape[2], -1)[:, 0] > 0 for y, mask in zip(given, masks, strict=True)]
    flat = torch.cat([y.transpose(0, 1)[:, rows] for y, rows in zip(given, valid, strict=True)], 1)
    norm.running_mean.copy_(flat.mean(1))
    norm.running_var.copy_(flat.var(1))
    norm.bias.copy_(norm.running_mean)
    norm.weight.copy_((norm.running_var + norm.eps).sqrt())
    return [norm(y, mask, relu=True) for y, mask in zip(given, masks, strict=True)]
