"""ECAPA-TDNN (Desplanques et al., Interspeech 2020) with SpeechBrain's names, and its cosines of classes."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami.adapter.networks.sizes import shape
from frami.errors import FramiError

#: What SpeechBrain multiplies the cosines by in training (its additive angular margin), so that a softmax is sharp.
SCALE = 30.0
#: Beginnings of names of the embedding model and of the classifier, and the files that they have alone.
FILES = {"embedding_model.": "embedding_model.ckpt", "classifier.": "classifier.ckpt"}
_CONV = "outputs, inputs, size"


@dataclass(frozen=True)
class Sizes:
    """Those of a squeeze-excitation Res2 block: channels, ``size`` of kernels, ``groups`` of channels, channels of the
    ``squeeze``."""

    width: int
    size: int
    groups: int
    squeeze: int


def _conv(inputs: int, outputs: int, size: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution over time; the clip is reflected at its ends."""
    pad = dilation * (size - 1) // 2
    mode = "reflect" if pad else "zeros"
    conv = nn.Conv1d(inputs, outputs, size, padding=pad, dilation=dilation, padding_mode=mode)
    return nn.Sequential(OrderedDict(conv=conv))


def _norm(width: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm1d(width)))


class _Tdnn(nn.Sequential):
    """Convolution, ReLU, batch norm."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, dilation: int = 1):
        conv = _conv(inputs, outputs, size, dilation)
        super().__init__(OrderedDict(conv=conv, activation=nn.ReLU(), norm=_norm(outputs)))


class _Res2(nn.Module):
    """Groups of channels: the first as it is, each other one convolved after what the one before it gave is added."""

    def __init__(self, sizes: Sizes, dilation: int):
        super().__init__()
        part, self.groups = sizes.width // sizes.groups, sizes.groups
        self.blocks = nn.ModuleList(_Tdnn(part, part, sizes.size, dilation) for _ in range(sizes.groups - 1))

    def forward(self, x: Tensor) -> Tensor:
        kept, *rest = x.chunk(self.groups, 1)
        done: list[Tensor] = []
        for block, part in zip(self.blocks, rest, strict=True):
            done.append(block(part + done[-1] if done else part))
        return torch.cat([kept, *done], 1)


class _Excitation(nn.Module):
    """Each channel times a weight that follows from the means of all."""

    def __init__(self, width: int, squeeze: int):
        super().__init__()
        self.conv1, self.conv2 = _conv(width, squeeze), _conv(squeeze, width)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv2(F.relu(self.conv1(x.mean(2, keepdim=True)))))


class _Block(nn.Module):
    """Res2 convolutions between two of size 1, squeeze and excitation, and the input, where need be convolved."""

    def __init__(self, inputs: int, sizes: Sizes, dilation: int):
        super().__init__()
        self.tdnn1, self.tdnn2 = _Tdnn(inputs, sizes.width), _Tdnn(sizes.width, sizes.width)
        self.res2net_block = _Res2(sizes, dilation)
        self.se_block = _Excitation(sizes.width, sizes.squeeze)
        self.shortcut = _conv(inputs, sizes.width) if inputs != sizes.width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))


class _Pooling(nn.Module):
    """Attentive statistics: weighted mean and deviation over time, of weights that see those of the whole clip.
    Tensor[B, C, T] → Tensor[B, 2 C, 1]."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.tdnn, self.conv = _Tdnn(3 * width, inner), _conv(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(2, keepdim=True)
        deviation = _root((x - mean).square().mean(2, keepdim=True))
        seen = torch.cat([x, mean.expand_as(x), deviation.expand_as(x)], 1)
        weights = self.conv(torch.tanh(self.tdnn(seen))).softmax(2)
        mean = (weights * x).sum(2, keepdim=True)
        return torch.cat([mean, _root((weights * (x - mean).square()).sum(2, keepdim=True))], 1)


def _root(x: Tensor) -> Tensor:
    return x.clamp(min=1e-12).sqrt()


class _Embedding(nn.Module):
    """Tensor[B, F, T] → Tensor[B, embedding, 1]. ``first`` : channels and size of the first layer; ``joined`` : of the
    layer that joins the blocks, whose dilations are 2, 3, 4 and so on: weights do not say them."""

    def __init__(
        self, bands: int, first: tuple[int, int], blocks: list[Sizes], joined: tuple[int, int], attention: int,
        embedding: int,
    ):  # fmt: skip
        super().__init__()
        layers: list[nn.Module] = [_Tdnn(bands, *first)]
        inputs = first[0]
        for dilation, sizes in enumerate(blocks, 2):
            layers.append(_Block(inputs, sizes, dilation))
            inputs = sizes.width
        self.blocks = nn.ModuleList(layers)
        self.mfa = _Tdnn(sum(sizes.width for sizes in blocks), *joined)
        self.asp, self.asp_bn = _Pooling(joined[0], attention), _norm(2 * joined[0])
        self.fc = _conv(2 * joined[0], embedding)

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return self.fc(self.asp_bn(self.asp(self.mfa(torch.cat(outputs[1:], 1)))))


class _Cosines(nn.Module):
    """Cosines of an embedding, Tensor[B, embedding], with one of each class, times ``SCALE``: Tensor[B, K]."""

    def __init__(self, classes: int, embedding: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(classes, embedding))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(x), SCALE * F.normalize(self.weight))


class Ecapa(nn.Module):
    """Embedding model and classifier. Tensor[B, 1, F, T] → logits Tensor[B, K]."""

    def __init__(self, embedding_model: _Embedding, classifier: _Cosines):
        super().__init__()
        self.embedding_model, self.classifier = embedding_model, classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.embedding_model(x.squeeze(1)).squeeze(2))


def build(classes: int, tensors: Mapping[str, Tensor]) -> Ecapa:
    """The network that weights fit, in which the names of both parts begin with those of ``FILES``."""

    def sizes(key: str) -> tuple[int, ...]:
        return shape(tensors, "SpeechBrain's ECAPA-TDNN", f"embedding_model.{key}.weight", _CONV)

    deep = next((key for key in tensors if key.startswith("classifier.blocks.")), None)
    if deep:
        raise FramiError(f"'{deep}': layers before the cosines are not taken (expected 'classifier.weight' alone)")
    width, bands, size = sizes("blocks.0.conv.conv")
    blocks = []
    number = max(1, sum(key.endswith(".tdnn1.conv.conv.weight") for key in tensors))
    for k in range(1, number + 1):
        inner = f"blocks.{k}.res2net_block.blocks"
        wide, middle = sizes(f"blocks.{k}.tdnn1.conv.conv")[0], sizes(f"{inner}.0.conv.conv")[2]
        groups = len({key.split(".")[5] for key in tensors if key.startswith(f"embedding_model.{inner}.")}) + 1
        blocks.append(Sizes(wide, middle, groups, sizes(f"blocks.{k}.se_block.conv1.conv")[0]))
    joined, _, joined_size = sizes("mfa.conv.conv")
    attention, embedding = sizes("asp.tdnn.conv.conv")[0], sizes("fc.conv")[0]
    model = _Embedding(bands, (width, size), blocks, (joined, joined_size), attention, embedding)
    return Ecapa(model, _Cosines(classes, embedding))
