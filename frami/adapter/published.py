"""Published architectures by name, and their weights as people share them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from frami import models
from frami.errors import FramiError
from frami.models import ARCHITECTURES

#: Names under which checkpoints keep their weights among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
#: What wrappers for several devices and compilation put before every name.
_PREFIXES = ("module.", "_orig_mod.")


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


class Panns(nn.Module):
    """Convolutional networks of PANNs (Kong et al., TASLP 2020) behind their log-Mels, Tensor[B, 1, T, 64]: a batch
    norm for each band, blocks, mean over frequency, maximum plus mean over time, two linear layers. Returns logits."""

    def __init__(self, classes: int, blocks: int, two: bool, n_mels: int = 64, width: int = 64):
        super().__init__()
        self.bn0 = nn.BatchNorm2d(n_mels)
        sizes = [1, *(width * 2**k for k in range(blocks))]
        for k, (inputs, outputs) in enumerate(pairwise(sizes), 1):
            setattr(self, f"conv_block{k}", _Block(inputs, outputs, two, 1 if k == 6 else 2))
        self.blocks = blocks
        self.fc1, self.fc_audioset = nn.Linear(sizes[-1], sizes[-1]), nn.Linear(sizes[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn0(x.transpose(1, 3)).transpose(1, 3)
        for k in range(1, self.blocks + 1):
            x = getattr(self, f"conv_block{k}")(x)
        x = x.mean(3)
        return self.fc_audioset(F.relu(self.fc1(x.amax(2) + x.mean(2))))


class _ThreeChannels(nn.Module):
    """A network of pictures, given a spectrogram as each of its three colours."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.expand(-1, 3, -1, -1))


@dataclass(frozen=True)
class Published:
    """An architecture. ``build(classes, tensors)`` : a new network that these weights fit; ``extra`` : beginnings of
    names that belong to a front-end of theirs; ``time_first`` : whether time stands before the bands; ``frontend`` :
    preset that it was trained with."""

    about: str
    build: Callable[[int, Mapping[str, Tensor]], nn.Module]
    extra: tuple[str, ...] = ()
    time_first: bool = False
    frontend: str = ""


def _panns(blocks: int, two: bool) -> Callable[[int, Mapping[str, Tensor]], nn.Module]:
    def build(classes: int, tensors: Mapping[str, Tensor]) -> nn.Module:
        bands, first = tensors.get("bn0.weight"), tensors.get("conv_block1.conv1.weight")
        if bands is None or first is None:
            raise FramiError("these are no weights of PANNs: they have no 'bn0.weight' and 'conv_block1.conv1.weight'")
        return Panns(classes, blocks, two, len(bands), len(first))

    return build


_EXTRA = ("spectrogram_extractor.", "logmel_extractor.", "spec_augmenter.")
PUBLISHED: dict[str, Published] = {
    name: Published(f"PANNs' {name[6:]} (Kong et al. 2020)", _panns(blocks, two), _EXTRA, True, "panns")
    for name, blocks, two in (("panns:Cnn6", 4, False), ("panns:Cnn10", 4, True), ("panns:Cnn14", 6, True))
}
#: Libraries of pictures' networks, whose names follow a colon.
LIBRARIES = ("timm", "torchvision")


def known(name: str) -> Published:
    """An architecture by its name. FramiError with those that there are."""
    if name in PUBLISHED:
        return PUBLISHED[name]
    library, _, model = name.partition(":")
    if library in LIBRARIES and model:
        return Published(f"{model} of {library}", partial(_of_library, library, model))
    raise FramiError(
        f"no architecture '{name}'; choose one of: {', '.join(PUBLISHED)}, timm:NAME, torchvision:NAME, or "
        f"{', '.join(f'{row}:SIZE' for row in ARCHITECTURES)}. For any other network, export it as a program: --program"
    )


def _of_library(library: str, name: str, classes: int, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A network of timm or torchvision of as many input channels as its weights have, one or three."""
    try:
        there = import_module(library if library == "timm" else "torchvision.models")
    except ImportError as error:
        raise FramiError(f"'{library}:{name}' needs {library}: pip install {library}") from error
    try:
        make = there.create_model if library == "timm" else there.get_model
        network = make(name, num_classes=classes)
    except Exception as error:
        raise FramiError(f"{library} makes no network '{name}' ({' '.join(str(error).split())[:200]})") from error
    first, conv = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    stored = tensors.get(f"{first}.weight")
    if stored is not None and stored.shape[1] == conv.in_channels:
        return _ThreeChannels(network) if conv.in_channels == 3 else network
    if conv.in_channels == 3 and (stored is None or stored.shape[1] == 1):
        parent = network.get_submodule(first.rpartition(".")[0]) if "." in first else network
        sizes = {key: getattr(conv, key) for key in ("kernel_size", "stride", "padding", "dilation", "groups")}
        setattr(parent, first.rpartition(".")[2], nn.Conv2d(1, conv.out_channels, bias=conv.bias is not None, **sizes))
    return network


@dataclass
class Loaded:
    """A network with its weights; ``unused`` : names in the file that it has no place for."""

    network: nn.Module
    row: Published
    unused: list[str]


def load(name: str, path: str | Path, classes: int, n_mels: int) -> Loaded:
    """A published network with the weights of a file. FramiError names what is missing, or of another shape."""
    tensors = read(path)
    family, _, size = name.partition(":")
    if family in ARCHITECTURES:
        row = Published(ARCHITECTURES[family].about, lambda _, __: models.build(size, classes, n_mels, family))
    else:
        row = known(name)
    tensors = {own: tensor for own, tensor in tensors.items() if not own.startswith(row.extra or ("\0",))}
    network = row.build(classes, tensors)
    inner = network.network if isinstance(network, _ThreeChannels) else network
    own = inner.state_dict()
    missing = [key for key in own if key not in tensors and not key.endswith("num_batches_tracked")]
    other = [
        f"{key} {list(tensors[key].shape)} (expected {list(own[key].shape)})"
        for key in own
        if key in tensors and tensors[key].shape != own[key].shape
    ]
    unused = [key for key in tensors if key not in own]
    if missing or other:
        raise FramiError(
            f"{path}: not the weights of '{name}' with {classes} classes"
            + (f"; missing: {_some(missing)}" if missing else "")
            + (f"; of another shape: {_some(other)}" if other else "")
            + (f"; unexpected: {_some(unused)}" if unused else "")
        )
    inner.load_state_dict({key: tensor for key, tensor in tensors.items() if key in own}, strict=False)
    return Loaded(network.eval(), row, unused)


def read(path: str | Path) -> dict[str, Tensor]:
    """Weights of a ``.safetensors`` file, or of one that torch.save wrote (read without running code), in float32,
    under the names of the network itself. FramiError says what is wrong."""
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            found: Any = safetensors.torch.load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise FramiError(f"{path}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise FramiError(f"{path}: not readable ({error})") from error
    except Exception as error:  # of many kinds: a pickle that is none, or one that needs code
        raise FramiError(
            f"{path}: not a file of weights alone ({' '.join(str(error).split())[:150]}); save the state dict: "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    for _ in range(3):
        there = [key for key in _WRAPPERS if isinstance(found, Mapping) and _is_state(found.get(key))]
        inner = found[there[0]] if there else None
        if inner is None:
            break
        found = inner
    if not _is_state(found):
        raise FramiError(f"{path}: holds no weights by name, but a {type(found).__name__}; save the state dict")
    if any(
        isinstance(t, Tensor) and t.numel() * t.element_size() > t.untyped_storage().nbytes() for t in found.values()
    ):
        raise FramiError(f"{path}: holds weights of fewer numbers than their shapes say; save them whole")
    tensors = {str(name): tensor for name, tensor in found.items() if isinstance(tensor, Tensor)}
    for prefix in (*_PREFIXES, *_PREFIXES):
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(one, Tensor | Mapping) for one in value.values())


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
