"""Published architectures by name, and their weights as people share them."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from frami import models
from frami.adapter.networks import ecapa, panns
from frami.errors import FramiError
from frami.models import ARCHITECTURES

#: Names under which checkpoints keep their weights among other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights")
#: What wrappers for several devices, compilation and SpeechBrain's interfaces put before every name.
_PREFIXES = ("module.", "_orig_mod.", "mods.")


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
    preset that it was trained with; ``bands`` : name of a weight whose axis is as long as a frame has bands, and that
    axis; ``files`` : those of a folder that the weights are shared in, by what the names in each begin with here."""

    about: str
    build: Callable[[int, Mapping[str, Tensor]], nn.Module]
    extra: tuple[str, ...] = ()
    time_first: bool = False
    frontend: str = ""
    bands: tuple[str, int] | None = None
    files: Mapping[str, str] = field(default_factory=dict)


_EXTRA = ("spectrogram_extractor.", "logmel_extractor.", "spec_augmenter.")
_PANNS = {
    "Cnn6": panns.cnn(4, False), "Cnn10": panns.cnn(4, True), "Cnn14": panns.cnn(6, True),
    "MobileNetV1": panns.mobilenet_v1, "MobileNetV2": panns.mobilenet_v2,
}  # fmt: skip
PUBLISHED: dict[str, Published] = {
    f"panns:{name}": Published(f"PANNs' {name} (Kong et al. 2020)", build, _EXTRA, True, "panns", ("bn0.weight", 0))
    for name, build in _PANNS.items()
} | {
    "speechbrain:ecapa": Published(
        "SpeechBrain's ECAPA-TDNN (Desplanques et al. 2020)",
        ecapa.build,
        ("compute_features.", "mean_var_norm."),
        frontend="speechbrain",
        bands=("embedding_model.blocks.0.conv.conv.weight", 1),
        files=ecapa.FILES,
    ),
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
        network = _made(there, library, name, classes)
    except Exception as error:
        raise FramiError(f"{library} makes no network '{name}' ({' '.join(str(error).split())[:200]})") from error
    convs = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d)]
    if not convs:
        raise FramiError(f"'{library}:{name}' has no convolution over time and frequency: it takes no spectrograms")
    first, conv = convs[0]
    stored = tensors.get(f"{first}.weight")
    if stored is not None and stored.dim() != 4:
        raise FramiError(f"'{first}.weight' has {stored.dim()} axes, not the 4 of a convolution of '{library}:{name}'")
    if stored is not None and stored.shape[1] == conv.in_channels:
        return _ThreeChannels(network) if conv.in_channels == 3 else network
    if conv.in_channels == 3 and (stored is None or stored.shape[1] == 1):
        parent = network.get_submodule(first.rpartition(".")[0]) if "." in first else network
        sizes = {key: getattr(conv, key) for key in ("kernel_size", "stride", "padding", "dilation", "groups")}
        setattr(parent, first.rpartition(".")[2], nn.Conv2d(1, conv.out_channels, bias=conv.bias is not None, **sizes))
    return network


def _made(there, library: str, name: str, classes: int) -> nn.Module:
    """A new network of a library, whose weights are not fetched."""
    if library == "timm":
        return there.create_model(name, num_classes=classes)
    try:  # of those that are built around another network
        return there.get_model(name, num_classes=classes, weights=None, weights_backbone=None)
    except TypeError:
        return there.get_model(name, num_classes=classes, weights=None)


@dataclass
class Loaded:
    """A network with its weights; ``unused`` : names in the file that it has no place for."""

    network: nn.Module
    row: Published
    unused: list[str]


def load(name: str, path: str | Path, classes: int, n_mels: int) -> Loaded:
    """A published network with the weights of a file, or of a folder of the row's ``files``. FramiError names what is
    missing, or of another shape."""
    family, _, size = name.partition(":")
    if family in ARCHITECTURES:
        row = Published(ARCHITECTURES[family].about, lambda _, __: models.build(size, classes, n_mels, family))
    else:
        row = known(name)
    tensors = _tensors(row, Path(path))
    if name in PUBLISHED:  # of sizes that the file says: a network is made once it is known to be no larger
        try:
            with torch.device("meta"):
                _fits(row.build(classes, tensors), tensors, name, path, classes)
        except (RuntimeError, ZeroDivisionError, OverflowError, ValueError) as error:
            raise FramiError(f"{path}: no weights of '{name}' ({' '.join(str(error).split())[:150]})") from error
    network = row.build(classes, tensors)
    if row.bands and (bands := tensors[row.bands[0]].shape[row.bands[1]]) != n_mels:
        raise FramiError(f"{path}: '{row.bands[0]}' is of {bands} bands (expected {n_mels}, as of the front-end)")
    inner, unused = _fits(network, tensors, name, path, classes)
    own = inner.state_dict()
    inner.load_state_dict({key: tensor for key, tensor in tensors.items() if key in own}, strict=False)
    return Loaded(network.eval(), row, unused)


def _fits(
    network: nn.Module, tensors: Mapping[str, Tensor], name: str, path: str | Path, classes: int
) -> tuple[nn.Module, list[str]]:
    """The network that has these weights, and names of those that it has no place for. FramiError names what is
    missing, or of another shape."""
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
            + (f"; missing: {listed(missing)}" if missing else "")
            + (f"; of another shape: {listed(other)}" if other else "")
            + (f"; unexpected: {listed(unused)}" if unused else "")
        )
    return inner, unused


def _tensors(row: Published, path: Path) -> dict[str, Tensor]:
    """Weights of a file, or of the files of a folder, without those of a front-end."""
    if row.files and path.is_dir():
        parts = {prefix: read(path / file) for prefix, file in row.files.items()}
        tensors = {prefix + own: tensor for prefix, part in parts.items() for own, tensor in part.items()}
    elif path.is_dir():
        raise FramiError(f"{path}: a folder; the weights of this architecture are one file")
    else:
        tensors = read(path)
    lacking = [prefix for prefix in row.files if not any(own.startswith(prefix) for own in tensors)]
    if lacking:
        raise FramiError(
            f"{path}: no name begins with '{lacking[0]}' (expected a folder that holds "
            f"{' and '.join(row.files.values())}, or one file in which names begin with {' and '.join(row.files)})"
        )
    return {own: tensor for own, tensor in tensors.items() if not own.startswith(row.extra or ("\0",))}


def read(path: str | Path) -> dict[str, Tensor]:
    """Weights of a ``.safetensors`` file, or of one that torch.save wrote (read without running code), in float32,
    under the names of the network itself. FramiError says what is wrong."""
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            found: Any = safetensors.torch.load_file(path)
        else:
            _unpacked(path)
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


def _unpacked(path: Path) -> None:
    """ValueError for an archive whose content is compressed, as torch never does: it may be any size."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
                raise ValueError("it is compressed")


def _is_state(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(one, Tensor | Mapping) for one in value.values())


def listed(names: list[str]) -> str:
    """The first of some names, and how many others there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
