"""Small networks as other people write them, with random weights and statistics that look trained."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = ("rain", "wind", "sea", "fire")
BANDS = 40


class Bands(nn.Module):
    """Like PANNs: (B, 1, T, F), a norm for each band, maximum plus mean over time, a dict of sigmoids and logits."""

    def __init__(self):
        super().__init__()
        self.bn0 = nn.BatchNorm2d(BANDS)
        self.conv1, self.bn1 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.fc1, self.fc_audioset = nn.Linear(16, 24), nn.Linear(24, len(CLASSES))

    def forward(self, x: Tensor) -> dict:
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        x = F.dropout(F.avg_pool2d(F.relu_(self.bn1(self.conv1(x))), 2), 0.2, self.training)
        x = F.avg_pool2d(F.relu_(self.bn2(self.conv2(x))), 2).mean(3)
        x = F.relu_(self.fc1(x.max(2).values + x.mean(2)))
        y = self.fc_audioset(F.dropout(x, 0.5, self.training))
        return {"clipwise_output": torch.sigmoid(y), "embedding": x}


class Attentive(nn.Module):
    """Like ECAPA-TDNN: (B, F, T), attention that sees all frames, norms of rows behind it, cosines of classes."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv1d(BANDS, 16, 5, padding=2), nn.BatchNorm1d(16)
        self.attention = nn.Sequential(
            nn.Conv1d(32, 8, 1), nn.ReLU(), nn.BatchNorm1d(8), nn.Tanh(), nn.Conv1d(8, 16, 1)
        )
        self.rows, self.fc = nn.BatchNorm1d(32), nn.Linear(32, 12)
        self.weight = nn.Parameter(torch.randn(len(CLASSES), 12))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.relu(self.conv(x - x.mean(2, keepdim=True)), inplace=True))
        w = self.attention(torch.cat([x, x.mean(2, keepdim=True).expand_as(x)], 1)).softmax(2)
        mean = (x * w).sum(2)
        std = ((x.square() * w).sum(2) - mean.square()).clamp(min=1e-6).sqrt()
        e = self.fc(self.rows(torch.cat([mean, std], 1)))
        return 20 * F.linear(F.normalize(e), F.normalize(self.weight))


class Recurrent(nn.Module):
    """Convolution, GRU, a classifier on each frame and the mean of its answers: no embedding of the clip."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.gru = nn.GRU(8 * BANDS // 2, 12, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(24, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.gru(self.conv(x).flatten(1, 2).transpose(1, 2))[0]).mean(1)


class Patches(nn.Module):
    """Like AST: (B, T, F), patches, a class token, layer norms only; shorter clips are padded, longer ones cut."""

    def __init__(self, frames: int = 64, pads: bool = True):
        super().__init__()
        self.frames, self.pads = frames, pads
        self.patches = nn.Conv2d(1, 16, 8, 8)
        count = (BANDS // 8) * (frames // 8)
        self.token, self.places = nn.Parameter(torch.zeros(1, 1, 16)), nn.Parameter(torch.randn(1, count + 1, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, len(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2) / 4
        if self.pads:
            x = F.pad(x, (0, max(0, self.frames - x.shape[-1])))[..., : self.frames]
        x = self.patches(x[:, None]).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


class Flat(nn.Sequential):
    """A network of one length: its last layer reads all frames."""

    def __init__(self, frames: int = 64):
        conv = nn.Conv2d(1, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6(inplace=True), nn.AvgPool2d((BANDS // 2, 2))
        super().__init__(*conv, nn.Flatten(), nn.Linear(8 * frames // 4, len(CLASSES)))


#: Kinds of networks: the module, whether it takes a channel axis, and whether time stands before the bands.
KINDS = {
    "bands": (Bands, True, True),
    "attentive": (Attentive, False, False),
    "recurrent": (Recurrent, True, False),
    "patches": (Patches, False, True),
    "flat": (Flat, True, False),
}


def network(kind: str, **settings) -> nn.Module:
    """A network of a kind in evaluation mode, its stored statistics those of noise; always the same."""
    torch.manual_seed(0)
    made = KINDS[kind][0](**settings)
    for norm in (m for m in made.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)):
        norm.momentum = None
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    made.train()
    with torch.no_grad():
        for _ in range(3):
            made(clip(kind, 8))
    return made.eval().requires_grad_(False)


def clip(kind: str, clips: int, frames: int = 64, seed: int = 0) -> Tensor:
    """Noise like log-Mels in the form that a kind takes."""
    _, channel, time_first = KINDS[kind]
    x = torch.randn(clips, 1, BANDS, frames, generator=torch.Generator().manual_seed(seed)) * 2 - 5
    x = x.transpose(2, 3) if time_first else x
    return x if channel else x[:, 0]
