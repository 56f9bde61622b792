"""Networks of PANNs (Kong et al., TASLP 2020) behind their log-Mels, with the names of qiuqiangkong/
audioset_tagging_cnn."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from frami.adapter.networks.sizes import shape

#: Strides of MobileNetV1's layers, and of MobileNetV2's first layer and inverted residuals.
_V1 = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
_V2 = (2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1)
_CONV = "outputs, inputs, height, width"


class _Tagger(nn.Module):
    """What they share. Tensor[B, 1, T, F] in dB → a batch norm for each band, ``body``: Tensor[B, C, T', F'], mean over
    frequency, maximum plus mean over time, two linear layers → logits Tensor[B, K]."""

    def __init__(self, classes: int, n_mels: int, width: int, hidden: int):
        super().__init__()
        self.bn0 = nn.BatchNorm2d(n_mels)
        self.fc1, self.fc_audioset = nn.Linear(width, hidden), nn.Linear(hidden, classes)

    def body(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.bn0(x.transpose(1, 3)).transpose(1, 3)).mean(3)
        return self.fc_audioset(F.relu(self.fc1(x.amax(2) + x.mean(2))))


class _Block(nn.Module):
    """One (5 × 5) or two (3 × 3) convolutions with batch norm and ReLU, and average pooling."""

    def __init__(self, inputs: int, outputs: int, two: bool, pool: int):
        super().__init__()
        size = 3 if two else 5
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), nn.BatchNorm2d(outputs)
        self.two, self.pool = two, pool
        if two:
            self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        if self.two:
            x = F.relu(self.bn2(self.conv2(x)))
        return F.avg_pool2d(x, self.pool) if self.pool > 1 else x


class Cnn(_Tagger):
    """Cnn6, Cnn10, Cnn14: blocks of one or two convolutions, each twice as wide as the one before it."""

    def __init__(self, classes: int, blocks: int, two: bool, n_mels: int = 64, width: int = 64):
        sizes = [1, *(width * 2**k for k in range(blocks))]
        super().__init__(classes, n_mels, sizes[-1], sizes[-1])
        for k, (inputs, outputs) in enumerate(pairwise(sizes), 1):
            setattr(self, f"conv_block{k}", _Block(inputs, outputs, two, 1 if k == 6 else 2))
        self.blocks = blocks

    def body(self, x: Tensor) -> Tensor:
        for k in range(1, self.blocks + 1):
            x = getattr(self, f"conv_block{k}")(x)
        return x


class MobileNet(_Tagger):
    """MobileNetV1 (Howard et al. 2017, arXiv 1704.04861) and V2 (Sandler et al., CVPR 2018), where PANNs pool the mean
    instead of striding; ``layers`` : theirs, of which the last gives Tensor[B, width, T', F']."""

    def __init__(self, classes: int, layers: list[nn.Module], n_mels: int, width: int, hidden: int):
        super().__init__(classes, n_mels, width, hidden)
        self.features = nn.Sequential(*layers)

    def body(self, x: Tensor) -> Tensor:
        return self.features(x)


class _Residual(nn.Module):
    """An inverted residual: what ``conv`` gives, plus the input where that has the same shape."""

    def __init__(self, conv: nn.Sequential, plus: bool):
        super().__init__()
        self.conv, self.plus = conv, plus

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.plus else self.conv(x)


def _full(inputs: int, outputs: int, stride: int, activation: type[nn.Module]) -> list[nn.Module]:
    """A convolution of 3 × 3."""
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [conv, _mean(stride), nn.BatchNorm2d(outputs), activation()]


def _each(width: int, stride: int, activation: type[nn.Module]) -> list[nn.Module]:
    """A convolution of 3 × 3 of each channel alone."""
    conv = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
    return [conv, _mean(stride), nn.BatchNorm2d(width), activation()]


def _point(inputs: int, outputs: int) -> list[nn.Module]:
    """A convolution of 1 × 1."""
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]


def _mean(stride: int) -> nn.Module:
    return nn.AvgPool2d(stride) if stride > 1 else nn.Identity()


def cnn(blocks: int, two: bool) -> Callable[[int, Mapping[str, Tensor]], nn.Module]:
    """Builder of a ``Cnn`` that weights fit."""

    def build(classes: int, tensors: Mapping[str, Tensor]) -> nn.Module:
        (bands,) = shape(tensors, "PANNs", "bn0.weight", "bands")
        width = shape(tensors, "PANNs", "conv_block1.conv1.weight", _CONV)[0]
        return Cnn(classes, blocks, two, bands, width)

    return build


def mobilenet_v1(classes: int, tensors: Mapping[str, Tensor]) -> nn.Module:
    """MobileNetV1 that weights fit: separable convolutions."""

    def outputs(key: str) -> int:
        return shape(tensors, "PANNs' MobileNetV1", f"features.{key}.weight", _CONV)[0]

    width = outputs("0.0")
    layers = [nn.Sequential(*_full(1, width, _V1[0], nn.ReLU))]
    for k, stride in enumerate(_V1[1:], 1):
        wider = outputs(f"{k}.4")
        layers.append(nn.Sequential(*_each(width, stride, nn.ReLU), *_point(width, wider), nn.ReLU()))
        width = wider
    return _mobilenet(classes, layers, tensors, width, "PANNs' MobileNetV1")


def mobilenet_v2(classes: int, tensors: Mapping[str, Tensor]) -> nn.Module:
    """MobileNetV2 that weights fit: inverted residuals, of which the first does not expand."""

    def outputs(key: str) -> int:
        return shape(tensors, "PANNs' MobileNetV2", f"features.{key}.weight", _CONV)[0]

    width, last = outputs("0.0"), len(_V2)
    layers: list[nn.Module] = [nn.Sequential(*_full(1, width, _V2[0], nn.ReLU6))]
    for k, stride in enumerate(_V2[1:], 1):
        inner, wider = (outputs(f"{k}.conv.0"), outputs(f"{k}.conv.7")) if k > 1 else (width, outputs("1.conv.4"))
        expand = [*_point(width, inner), nn.ReLU6()] if k > 1 else []
        conv = nn.Sequential(*expand, *_each(inner, stride, nn.ReLU6), *_point(inner, wider))
        layers.append(_Residual(conv, stride == 1 and width == wider))
        width = wider
    layers.append(nn.Sequential(*_point(width, outputs(f"{last}.0")), nn.ReLU6()))
    return _mobilenet(classes, layers, tensors, outputs(f"{last}.0"), "PANNs' MobileNetV2")


def _mobilenet(classes: int, layers: list, tensors: Mapping[str, Tensor], width: int, of: str) -> MobileNet:
    (bands,) = shape(tensors, of, "bn0.weight", "bands")
    return MobileNet(classes, layers, bands, width, shape(tensors, of, "fc1.weight", "outputs, inputs")[0])
