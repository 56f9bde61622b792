"""A student's first weights: those of its teacher that fit into it, each layer fitted to what its teacher computes.

The channels that were left out are missing wherever a later layer read them. The weights that make up for them best
are those of a linear regression, layer by layer: of the teacher's signals, before the ReLU, on what the student has.
This is the reconstruction of channel pruning (He et al., ICCV 2017), on made clips. It needs no gradient and takes the
time of a few dozen training steps.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami.device import autocast
from frami.distill.augment import AugmentConfig, ReplayBuffer, augment
from frami.models import Classifier, Kept, MaskedBatchNorm2d

#: Views of clips to which a student is fitted.
VIEWS = 384

#: Positions in time and frequency, of all clips together, to which a layer is fitted.
POSITIONS = 60_000
#: Size of the fitted weights, in units of that before. A batch norm follows, so that it changes no output, but learning
#: rates are relative to it: what is fitted already is changed by as much less.
GAIN = 4.0
#: Added to each input's variance, as a share of their mean one.
RIDGE = 1e-3


def views(
    buffer: ReplayBuffer, augmentation: AugmentConfig, noise: Tensor, batch: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of random views of the clips, ``VIEWS`` in all, of like length in each: log-Mels Tensor[B, 1, F, T] and
    lengths Tensor[B]. noise : as of ``augment``."""
    rng = torch.Generator().manual_seed(seed)
    rows = torch.cat([torch.randperm(len(buffer), generator=rng) for _ in range(-(-VIEWS // len(buffer)))])[:VIEWS]
    numbers, places = torch.rand(VIEWS, augmentation.numbers, generator=rng), torch.rand(VIEWS, generator=rng)
    frames = augmentation.lengths(buffer.lengths(rows), buffer.spec, numbers)
    parts = frames.argsort(stable=True).split(batch)
    for part in (parts[k] for k in torch.randperm(len(parts), generator=rng)):
        mels, lengths, labels = buffer.take(rows[part], places[part])
        drawn, longest = numbers[part].to(mels.device), int(frames[part].max())
        x, lengths, *_ = augment(mels, lengths, labels, buffer.spec, augmentation, drawn, noise, longest)
        yield x, lengths


@torch.no_grad()
def fit(student: Classifier, teacher: Classifier, kept: Kept, batches: Iterable[tuple[Tensor, Tensor]]) -> list[float]:
    """Fit a student, in place, that has the weights of its teacher that fit into it.

    teacher : itself, or its ``fast_copy``; kept : what ``slice_weights`` returned; batches : log-Mels Tensor[B, 1, F,
    T] and lengths Tensor[B], on the device of both. Returns of each fitted layer, in order, the share of its signals'
    variance that it misses.
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
        pooled = torch.cat([student.pooling(x, frames) for x, frames in zip(inputs, lengths, strict=True)])
        missed.append(_fit_linear(student.classifier, pooled, torch.cat(logits)))
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
    weights, constant, mean, covariance, missed = _regression(torch.cat(rows), sum(sizes))
    begin = 0
    for (conv, norm, _), size in zip(read, sizes, strict=True):
        part = slice(begin, begin + size)
        mine = weights[part]
        at_rest, spread = mean[part] @ mine, ((covariance[part, part] @ mine) * mine).sum(0)
        scale = GAIN * conv.weight.norm().double().cpu() / mine.norm().clamp(min=1e-12)
        conv.weight.copy_((scale * mine).T.reshape(conv.weight.shape))
        norm.running_mean.copy_(scale * at_rest)
        norm.running_var.copy_(scale.square() * spread)
        norm.weight.copy_((scale.square() * spread + norm.eps).sqrt() / scale)
        norm.bias.copy_(at_rest if begin else at_rest + constant)
        begin += size
    return missed


def _patches(conv: nn.Conv2d, x: Tensor, at: Tensor) -> Tensor:
    """What a convolution reads of x, Tensor[B, C, F, T], for its outputs at these places (clip, row, frame), Tensor[N,
    3]: Tensor[N, C · kernel]."""
    (high, wide), (rows, frames) = conv.padding, conv.stride
    x = F.pad(x, (wide, wide, high, high))
    views = x.unfold(2, conv.kernel_size[0], rows).unfold(3, conv.kernel_size[1], frames)
    return views[at[:, 0], :, at[:, 1], at[:, 2]].flatten(1)


def _regression(rows: Tensor, inputs: int) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Of rows, Tensor[N, D + C], whose last columns are what the first ``inputs`` are to give: weights Tensor[D, C],
    constant Tensor[C], mean Tensor[D] and covariance Tensor[D, D] of the inputs, all in float64 on the CPU, and the
    share of the variance that is missed."""
    mean = rows.mean(0)
    centred = rows - mean
    joint = (centred.T @ centred).cpu().double() / len(rows)
    mean = mean.cpu().double()
    own, shared, spread = joint[:inputs, :inputs], joint[:inputs, inputs:], joint.diagonal()[inputs:].sum()
    ridge = RIDGE * own.diagonal().mean() * torch.eye(inputs, dtype=own.dtype)
    weights = torch.linalg.solve(own + ridge, shared)
    explained = (2 * weights * shared - weights * (own @ weights)).sum()
    constant = mean[inputs:] - mean[:inputs] @ weights
    return weights, constant, mean[:inputs], own, float(1 - explained / spread.clamp(min=1e-12))


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


def _fit_linear(layer: nn.Linear, x: Tensor, target: Tensor) -> float:
    """Fit a linear layer to targets Tensor[N, C] for x, Tensor[N, D]; returns the share of the variance missed."""
    weights, constant, *_, missed = _regression(torch.cat([x, target], 1), x.shape[1])
    layer.weight.copy_(weights.T)
    layer.bias.copy_(constant)
    return missed
