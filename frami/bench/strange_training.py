"""Trains networks that are not ours as their owners would, and leaves their files where these would leave them.

Plain PyTorch: cross-entropy (or what the family learns by), Adam, pieces of one length, SpecAugment (Park et al.,
Interspeech 2019). Nothing here is used when ``frami`` trains, makes clips or distils.
"""

import hashlib
import json
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami import data, files
from frami.audio import MelSpec
from frami.bench import strange_networks as networks
from frami.bench.results import Context, Report
from frami.data import LogMels
from frami.paths import home
from frami.weights import save_state

#: Version of the training; what was trained under another is trained again.
VERSION = 1


@dataclass(frozen=True)
class Stranger:
    """A network that is not ours, and how its owner trains and shares it.

    ``build(classes)`` : the module; ``architecture`` : name under which its weights are imported, none: it is exported
    as a program; ``frontend`` : a preset, or what a JSON file holds; ``wrap`` : what is saved of its state dict;
    ``seconds`` : of a training piece; ``short`` : whether shorter clips begin ``again`` or end in ``silence``;
    ``channel``, ``time_first`` : form of its input, Tensor[B, 1, F, T] by default; ``loss(answer, labels)`` : of labels
    Tensor[B], or with ``several`` of Tensor[B, K]: it hears two clips at once and learns both.
    """

    name: str
    title: str
    about: str
    build: Callable[[int], nn.Module]
    dataset: str
    frontend: str | dict
    steps: int
    seconds: float
    architecture: str = ""
    wrap: Callable[[dict], dict] = dict
    batch: int = 32
    rate: float = 1e-3
    short: str = "again"
    channel: bool = True
    time_first: bool = False
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    several: bool = False

    @property
    def spec(self) -> MelSpec:
        if isinstance(self.frontend, str):
            return MelSpec.preset(self.frontend)
        values = {name: value for name, value in self.frontend.items() if name != "preset"}
        return replace(MelSpec.preset(self.frontend["preset"]) if "preset" in self.frontend else MelSpec(), **values)

    @property
    def fingerprint(self) -> str:
        """Of all that a training depends on but its clips."""
        values = {name: value for name, value in asdict(self).items() if not callable(value)}
        shapes = [VERSION, self.loss.__name__, values]
        return hashlib.sha256(json.dumps(shapes, sort_keys=True).encode()).hexdigest()[:8]

    def given(self, mels: Tensor) -> Tensor:
        """Log-Mels Tensor[B, F, T] in the form that the network takes."""
        x = mels.transpose(1, 2) if self.time_first else mels
        return x[:, None] if self.channel else x

    def cut(self, mel: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """A piece of a clip Tensor[F, T], at a place that ``rng`` draws; without it the whole, if it is long enough."""
        frames, length = self.spec.frames(self.seconds), mel.shape[1]
        if length < frames:
            if self.short == "again":
                return mel.repeat(1, math.ceil(frames / length))[:, :frames]
            return F.pad(mel, (0, frames - length), value=float(mel.min()))
        start = int(torch.randint(length - frames + 1, (1,), generator=rng)) if rng else 0
        return mel[:, start : start + frames] if rng else mel


#: PANNs' front-end at the digits' own sample rate, as of PANNs' networks for 8 kHz.
_PANNS_8K = {"preset": "panns", "sample_rate": 8_000, "n_fft": 256, "hop_length": 80, "f_max": 4_000.0}
#: librosa's defaults: melspectrogram and power_to_db, with 64 bands.
_LIBROSA = {
    "n_fft": 2048, "hop_length": 512, "n_mels": 64, "padding": "zeros", "power": 2, "clamp": 1e-10,
    "compression": "db", "top_db": 80.0,
}  # fmt: skip
#: torchaudio's defaults: MelSpectrogram and AmplitudeToDB, at 8 and 16 kHz.
_TORCHAUDIO_8K = {
    "sample_rate": 8_000, "n_fft": 400, "hop_length": 80, "n_mels": 64, "f_max": 4_000.0, "padding": "reflect",
    "power": 2, "mel_scale": "htk", "mel_norm": "none", "clamp": 1e-10, "compression": "db",
}  # fmt: skip
_TORCHAUDIO_16K = _TORCHAUDIO_8K | {"sample_rate": 16_000, "n_fft": 1024, "hop_length": 320, "f_max": 8_000.0}

STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "cnn6", "Cnn6 of PANNs", "Kong et al. 2020; a quarter as wide", networks.Cnn6, "fsdd", _PANNS_8K, 600, 0.64,
        "panns:Cnn6", lambda state: {"iteration": 600, "model": state}, time_first=True, short="silence", rate=4e-3,
    ),
    Stranger(
        "resnet18", "ResNet-18 of torchvision", "He et al. 2016", lambda k: networks.picture("resnet18", k), "esc10",
        _LIBROSA, 380, 2.0, "torchvision:resnet18", batch=16,
    ),
    Stranger(
        "mobilenet", "MobileNetV2 of torchvision", "Sandler et al. 2018",
        lambda k: networks.picture("mobilenet_v2", k), "fsdd", _TORCHAUDIO_8K, 380, 0.64, "torchvision:mobilenet_v2",
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    ),
    Stranger(
        "ecapa", "ECAPA-TDNN", "Desplanques et al. 2020; an eighth as wide", networks.Ecapa, "fsdd", "speechbrain",
        1500, 0.6, channel=False, loss=networks.angular_margin,
    ),
    Stranger(
        "ast", "Audio Spectrogram Transformer", "Gong et al. 2021; small", networks.Ast, "fsdd", "ast", 1100, 0.64,
        channel=False, time_first=True, short="silence",
    ),
    Stranger(
        "crnn", "convolutional recurrent network", "Çakır et al. 2017", networks.Crnn, "esc10", _TORCHAUDIO_16K, 1500,
        2.0,
    ),
    Stranger(
        "tagger", "DS-CNN, an answer for each class alone", "Zhang et al. 2017", networks.Tagger, "fsdd",
        _TORCHAUDIO_8K, 1200, 0.64, rate=4e-3, loss=F.binary_cross_entropy_with_logits, several=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Brought:
    """What a stranger brings: the arguments of ``frami import``, and what its owner knows ``about`` it: ``accuracy`` on
    the held-out clips, each at its length, in plain PyTorch; ``norms`` by their kind; processor ``seconds`` of its
    training."""

    arguments: tuple[str, ...]
    folder: Path
    about: dict


def brought(row: Stranger, here: Context) -> Brought:
    """The files of a network, in ``FRAMI_HOME/strangers``; it is trained first where they are not there. Raises
    FramiError subclasses."""
    with here.progress("clip", f"{row.name}: training clips") as report:
        clips = data.load(row.dataset, "train", here.data_folder, row.spec, progress=report)
    with here.progress("clip", f"{row.name}: held-out clips") as report:
        held = data.load(row.dataset, "test", here.data_folder, row.spec, progress=report)
    listed = json.dumps([Path(clip.key).name for clip in clips.clips])
    key = hashlib.sha256(f"{row.fingerprint} {listed}".encode()).hexdigest()[:8]
    folder = home() / "strangers" / f"{row.name}-{key}"
    if not (folder / "about.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        begin = time.process_time()
        with here.progress("step", f"{row.name}: training") as report:
            network = trained(row, clips, report)
        seconds = round(time.process_time() - begin, 1)
        _share(row, network, clips, folder)
        kinds = [type(module).__name__ for module in network.modules()]
        norms = Counter(kind for kind in kinds if re.search(r"Norm(\dd)?$", kind))
        about = {"accuracy": accuracy(row, network, held), "norms": dict(norms), "training_seconds": seconds}
        files.write_json(folder / "about.json", about)
    return Brought(_arguments(row, clips, folder), folder, files.read_json(folder / "about.json"))


def trained(row: Stranger, clips: LogMels, report: Report) -> nn.Module:
    """The network, trained on these clips, in evaluation mode; the same for the same clips."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    network = row.build(len(clips.classes)).train()
    optimiser = torch.optim.Adam(network.parameters(), row.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, row.rate, total_steps=row.steps)
    for step, (mels, labels) in zip(range(row.steps), _batches(row, clips, rng), strict=False):
        if row.several:
            mels, labels = both(mels, labels, len(clips.classes), rng)
        loss = row.loss(network(row.given(_masked(mels, rng))), labels)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        report(step + 1, row.steps)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(row: Stranger, network: nn.Module, clips: LogMels) -> float:
    """Share of the clips that the network recognises, one after another."""
    hits = [
        int(network(row.given(row.cut(clips.clip(i))[None])).argmax(1)) == int(clips.labels[i])
        for i in range(len(clips))
    ]
    return sum(hits) / len(hits)


def _batches(row: Stranger, clips: LogMels, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Pieces Tensor[B, F, T] and labels Tensor[B], each clip once an epoch, without end."""
    size = min(row.batch, len(clips))
    while True:
        order = torch.randperm(len(clips), generator=rng)
        for rows in order[: len(order) // size * size].split(size):
            yield torch.stack([row.cut(clips.clip(i), rng) for i in rows.tolist()]), clips.labels[rows]


def _masked(mels: Tensor, rng: torch.Generator) -> Tensor:
    """SpecAugment: in each batch one stripe of bands and one of frames, of an eighth at most, at the mean."""
    mels = mels.clone()
    for axis in (1, 2):
        size = mels.shape[axis]
        width = int(torch.randint(size // 8 + 1, (1,), generator=rng))
        start = int(torch.randint(size - width + 1, (1,), generator=rng))
        mels.narrow(axis, start, width).copy_(mels.mean((1, 2), keepdim=True))
    return mels


def both(mels: Tensor, labels: Tensor, classes: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Half of the pieces, in dB of power, with another one sounding at the same time; labels Tensor[B, K]."""
    other = torch.randperm(len(mels), generator=rng)
    both = (torch.arange(len(mels)) % 2 == 0)[:, None, None]
    mixed = 10 * torch.log10(10 ** (mels / 10) + 10 ** (mels[other] / 10))
    one, two = F.one_hot(labels, classes).float(), F.one_hot(labels[other], classes).float()
    return torch.where(both, mixed, mels), torch.where(both[:, 0], torch.maximum(one, two), one)


def _share(row: Stranger, network: nn.Module, clips: LogMels, folder: Path) -> None:
    """Write what an owner passes on: weights or a program, the front-end, the classes."""
    if row.architecture:
        save_state(folder / f"{row.name}.pth", row.wrap(network.state_dict()))
    else:
        x = row.given(torch.stack([row.cut(clips.clip(i), torch.Generator().manual_seed(i)) for i in range(2)]))
        free, time = torch.export.Dim.AUTO, x.ndim - (2 if row.time_first else 1)
        program = torch.export.export(network, (x,), dynamic_shapes=({0: free, time: free},))
        torch.export.save(program, folder / f"{row.name}.pt2")
    if not isinstance(row.frontend, str):
        files.write_json(folder / "frontend.json", row.frontend)
    files.write(folder / "classes.txt", "\n".join(clips.classes) + "\n")


def _arguments(row: Stranger, clips: LogMels, folder: Path) -> tuple[str, ...]:
    """Arguments of ``frami import``."""
    usual = float(torch.tensor([float(len(frames)) for frames in clips.frames]).median())
    what = ("--architecture", row.architecture, "--weights", str(folder / f"{row.name}.pth"))
    if not row.architecture:
        what = ("--program", str(folder / f"{row.name}.pt2"))
    frontend = row.frontend if isinstance(row.frontend, str) else str(folder / "frontend.json")
    return (
        *what, "--frontend", frontend, "--classes", str(folder / "classes.txt"),
        "--seconds", f"{row.spec.seconds(round(usual)):.3g}", "--out", str(folder / "imported"), "--overwrite",
        "--name", row.name, "--least", str(row.seconds), *(["--silence"] if row.short == "silence" else []),
    )  # fmt: skip
