"""Networks that are not ours, written from their papers, small enough to learn in two minutes of a core.

Each takes log-Mels in the form that is usual in its family, and knows nothing of this package.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami.errors import FramiError


class ConvBlock(nn.Module):
    """Convolution of 5 × 5, batch norm, ReLU, mean of 2 × 2."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 5, padding=2, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.relu_(self.bn1(self.conv1(x))), 2)


class Cnn6(nn.Module):
    """Cnn6 of PANNs (Kong et al., TASLP 2020) with the published names of its parts, by default a quarter as wide.
    Tensor[B, 1, T, F] in dB → logits Tensor[B, K]."""

    def __init__(self, classes: int, bands: int = 64, width: int = 16):
        super().__init__()
        self.bn0 = nn.BatchNorm2d(bands)
        self.conv_block1 = ConvBlock(1, width)
        self.conv_block2 = ConvBlock(width, 2 * width)
        self.conv_block3 = ConvBlock(2 * width, 4 * width)
        self.conv_block4 = ConvBlock(4 * width, 8 * width)
        self.fc1 = nn.Linear(8 * width, 8 * width)
        self.fc_audioset = nn.Linear(8 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        for block in (self.conv_block1, self.conv_block2, self.conv_block3, self.conv_block4):
            x = F.dropout(block(x), 0.2, self.training)
        x = x.mean(3)
        x = F.relu_(self.fc1(F.dropout(x.amax(2) + x.mean(2), 0.5, self.training)))
        return self.fc_audioset(F.dropout(x, 0.5, self.training))


def picture(name: str, classes: int) -> nn.Module:
    """A network of torchvision for pictures of one channel: ``resnet18`` (He et al., CVPR 2016), ``mobilenet_v2``
    (Sandler et al., CVPR 2018). FramiError without torchvision."""
    try:
        from torchvision.models import get_model
    except ImportError as error:
        raise FramiError("torchvision is not installed: pip install -r requirements-dev.txt") from error
    network = get_model(name, num_classes=classes)
    if name == "resnet18":
        network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    else:
        network.features[0][0] = nn.Conv2d(1, 32, 3, 2, 1, bias=False)
    return network


class Excitation(nn.Module):
    """Squeeze and excitation over time."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.squeeze, self.excite = nn.Conv1d(width, inner, 1), nn.Conv1d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean(2, keepdim=True)))))


class Tdnn(nn.Sequential):
    """Dilated convolution over time, ReLU, batch norm."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, dilation: int = 1):
        conv = nn.Conv1d(inputs, outputs, size, padding=dilation * (size // 2), dilation=dilation)
        super().__init__(conv, nn.ReLU(inplace=True), nn.BatchNorm1d(outputs))


class SeRes2Block(nn.Module):
    """Res2 convolutions, each group of channels hearing the one before it, and squeeze and excitation."""

    def __init__(self, width: int, dilation: int, groups: int = 4):
        super().__init__()
        self.first, self.last, self.se = Tdnn(width, width), Tdnn(width, width), Excitation(width, width // 2)
        part = width // groups
        self.middle = nn.ModuleList(Tdnn(part, part, 3, dilation) for _ in range(groups - 1))

    def forward(self, x: Tensor) -> Tensor:
        kept, *rest = self.first(x).chunk(len(self.middle) + 1, 1)
        done, before = [kept], None
        for layer, part in zip(self.middle, rest, strict=True):
            before = layer(part if before is None else part + before)
            done.append(before)
        return x + self.se(self.last(torch.cat(done, 1)))


class AttentiveStatistics(nn.Module):
    """Weighted mean and deviation over time, each channel with weights of its own that see the whole clip."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.score = nn.Sequential(Tdnn(3 * width, inner), nn.Tanh(), nn.Conv1d(inner, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(2, keepdim=True)
        deviation = (x - mean).square().mean(2, keepdim=True).clamp(min=1e-6).sqrt()
        weights = self.score(torch.cat([x, mean.expand_as(x), deviation.expand_as(x)], 1)).softmax(2)
        mean = (x * weights).sum(2)
        deviation = ((x.square() * weights).sum(2) - mean.square()).clamp(min=1e-6).sqrt()
        return torch.cat([mean, deviation], 1)


class Ecapa(nn.Module):
    """ECAPA-TDNN (Desplanques et al., Interspeech 2020), an eighth as wide. Tensor[B, F, T] → cosines to the classes,
    times ``SCALE``, Tensor[B, K]."""

    SCALE = 30.0

    def __init__(self, classes: int, bands: int = 80, width: int = 64, embedding: int = 48):
        super().__init__()
        self.first = Tdnn(bands, width, 5)
        self.blocks = nn.ModuleList(SeRes2Block(width, dilation) for dilation in (2, 3, 4))
        self.join = nn.Conv1d(3 * width, 96, 1)
        self.pooling, self.norm = AttentiveStatistics(96, 32), nn.BatchNorm1d(192)
        self.embed, self.embed_norm = nn.Linear(192, embedding), nn.BatchNorm1d(embedding)
        self.classes = nn.Parameter(torch.randn(classes, embedding))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        outputs = []
        for block in self.blocks:
            outputs.append(block(x if not outputs else x + sum(outputs)))
        x = F.relu(self.join(torch.cat(outputs, 1)))
        x = self.embed_norm(self.embed(self.norm(self.pooling(x))))
        return self.SCALE * F.linear(F.normalize(x), F.normalize(self.classes))


def angular_margin(logits: Tensor, labels: Tensor, margin: float = 0.2) -> Tensor:
    """Cross-entropy with an additive angular margin (Deng et al., CVPR 2019) of scaled cosines Tensor[B, K]."""
    cosines = (logits / Ecapa.SCALE).clamp(-1 + 1e-6, 1 - 1e-6)
    hard = torch.cos(torch.acos(cosines) + margin)
    own = F.one_hot(labels, cosines.shape[1]).bool()
    return F.cross_entropy(Ecapa.SCALE * torch.where(own, hard, cosines), labels)


class Ast(nn.Module):
    """Audio Spectrogram Transformer (Gong et al., Interspeech 2021), small: overlapping patches of 16 × 16, a class
    token, layer norms. Tensor[B, T, F] → logits Tensor[B, K]; shorter clips are padded, longer ones cut."""

    def __init__(self, classes: int, bands: int = 128, frames: int = 64, width: int = 96, layers: int = 4):
        super().__init__()
        self.frames = frames
        self.patches = nn.Conv2d(1, width, 16, 10)
        count = ((bands - 16) // 10 + 1) * ((frames - 16) // 10 + 1)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, count + 1, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x.transpose(1, 2), (0, max(0, self.frames - x.shape[1])))[..., : self.frames]
        x = self.patches(x[:, None]).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.blocks(x)[:, 0])


class Crnn(nn.Module):
    """Convolutional recurrent network of sound event detection (Çakır et al., TASLP 2017): batch norms, a GRU in both
    directions, a classifier on each frame, the mean of its answers. Tensor[B, 1, F, T] → logits Tensor[B, K]."""

    def __init__(self, classes: int, bands: int = 64, width: int = 24, hidden: int = 32):
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((1, width, 2), (width, 2 * width, 2), (2 * width, 2 * width, (2, 1))):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.conv = nn.Sequential(*layers)
        self.gru = nn.GRU(2 * width * (bands // 8), hidden, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(2 * hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(1, 2).transpose(1, 2)
        return self.classifier(self.gru(x)[0]).mean(1)


class Tagger(nn.Module):
    """Depthwise separable convolutions (DS-CNN, Zhang et al. 2017, arXiv 1711.07128) with an answer for each class
    alone. Tensor[B, 1, F, T] → probabilities Tensor[B, K], in training the logits."""

    def __init__(self, classes: int, width: int = 64, blocks: int = 4):
        super().__init__()
        layers = [nn.Conv2d(1, width, (10, 4), 2, (5, 2), bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        for block in range(blocks):
            each = nn.Conv2d(width, width, 3, 1 if block else 2, 1, groups=width, bias=False)
            layers += [each, nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.conv, self.classifier = nn.Sequential(*layers), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.classifier(F.dropout(self.conv(x).mean((2, 3)), 0.2, self.training))
        return y if self.training else torch.sigmoid(y)
