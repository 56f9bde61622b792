"""Audio classification models of Transformers whose input is a spectrogram, from their files alone.

Their network is built by the ``transformers`` package from a checked configuration; their weights are safetensors, and
no code of a repository is run. The spectrogram is a ``MelSpec`` that equals their feature extractor's.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami import hub, schema
from frami.adapter import published
from frami.adapter.published import listed
from frami.errors import FramiError
from frami.mel import MelSpec

#: The kind of model that is taken, and its feature extractor.
AST, _EXTRACTOR = "audio-spectrogram-transformer", "ASTFeatureExtractor"
#: Kinds that take the sound itself, and others that take no log-Mels of a ``MelSpec``, with why.
_RAW = frozenset(
    "data2vec-audio hubert mctct sew sew-d unispeech unispeech-sat wav2vec2 wav2vec2-conformer wavlm".split()  # noqa: SIM905
)
_OTHERS = {
    "whisper": "hears 30 seconds at once, whatever the clip's length",
    "wav2vec2-bert": "scales each band by the clip's own mean and deviation",
}
#: Whole numbers of a configuration: usual value, least and most.
_SIZES = {
    "hidden_size": (768, 1, 4096), "num_hidden_layers": (12, 1, 64), "num_attention_heads": (12, 1, 128),
    "intermediate_size": (3072, 1, 16_384), "patch_size": (16, 1, 256), "frequency_stride": (10, 1, 256),
    "time_stride": (10, 1, 256), "max_length": (1024, 2, 16_384), "num_mel_bins": (128, 2, 512),
}  # fmt: skip
_ACTIVATIONS = ("gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "swish", "tanh")
#: Pieces of a spectrogram at most that attention compares with each other.
_PATCHES = 8192


@dataclass
class Loaded:
    """A network of Transformers behind its front-end ``spec``, Tensor[B, T, F] to logits Tensor[B, K].

    ``kind`` : Transformers' model_type; ``seconds`` : that it hears; ``multilabel`` : whether its configuration says
    that several classes can be right at once; ``unused`` : names in its weights that it has no place for.
    """

    network: nn.Module
    spec: MelSpec
    classes: list[str]
    seconds: float
    kind: str
    multilabel: bool
    unused: list[str]


class Padded(nn.Module):
    """A network of ``frames`` frames, given any number, Tensor[B, T, F]: behind a clip's end stands ``value``, as its
    feature extractor pads; what is longer is cut there."""

    def __init__(self, network: nn.Module, frames: int, value: float):
        super().__init__()
        self.network, self.frames, self.value = network, frames, value

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, self.frames), value=self.value)[:, : self.frames]  # of one size, whatever it is given
        return self.network(x).logits


def load(source: hub.Source, classes: Sequence[str] | None = None, spec: MelSpec | None = None) -> Loaded:
    """The network of a repository or folder. classes, spec : in place of those that its files state. FramiError names
    what is missing, of another kind, or not taken."""
    config = hub.read_json(source.folder / "config.json")
    kind = config.get("model_type")
    _check_kind(kind, source.label)
    sizes = _sizes(config, source.label)
    if spec is None:
        spec = frontend(source.folder / "preprocessor_config.json", sizes)
    if spec.n_mels != sizes["num_mel_bins"]:
        raise FramiError(f"{source.label} takes {sizes['num_mel_bins']} bands, the front-end has {spec.n_mels}")
    tensors = _tensors(source.folder)
    labels = list(classes) if classes is not None else labelled(config, source.label)
    network, unused = _network(sizes, tensors, labels, source.label)
    frames = sizes["max_length"]
    return Loaded(
        Padded(network, frames, spec.shift / spec.scale).eval(), spec, labels, spec.samples(frames) / spec.sample_rate,
        kind, config.get("problem_type") == "multi_label_classification", unused,
    )  # fmt: skip


def frontend(path: Path, sizes: Mapping[str, Any]) -> MelSpec:
    """The front-end of a ``preprocessor_config.json`` of ASTFeatureExtractor. sizes : of the network behind it.
    FramiError where there is none, or of another kind."""
    if not path.is_file():
        raise FramiError(
            f"{path.parent} holds no {path.name}, which says how the network hears; give its front-end with "
            "--frontend, which is 'ast' as published"
        )
    values = hub.read_json(path)
    kind = values.get("feature_extractor_type", _EXTRACTOR)
    if kind != _EXTRACTOR:
        raise FramiError(f"{path}: the feature extractor {hub.shown(kind)} is not known; give it with --frontend")
    usual = MelSpec.preset("ast")
    rate = _whole(values, "sampling_rate", (usual.sample_rate, 2_000, 192_000), path)
    bands = _whole(values, "num_mel_bins", (usual.n_mels, 2, 512), path)
    length = _whole(values, "max_length", (1024, 2, 16_384), path)
    for name, value in (("num_mel_bins", bands), ("max_length", length)):
        if value != sizes[name]:
            raise FramiError(f"{path}: {name} is {value}, and that of its network {sizes[name]}")
    shift, scale = 0.0, 1.0
    if _is(values, "do_normalize", True, path):
        shift = -_number(values, "mean", (-usual.shift, -1e6, 1e6), path)
        scale = 2 * _number(values, "std", (usual.scale / 2, 1e-6, 1e6), path)
    window = int(rate * 0.025)  # as Kaldi: 25 ms, 10 ms, a power of two
    return replace(
        usual, sample_rate=rate, n_mels=bands, win_length=window, hop_length=int(rate * 0.010),
        n_fft=2 ** math.ceil(math.log2(window)), f_max=rate / 2, shift=shift, scale=scale,
    )  # fmt: skip


def labelled(config: Mapping[str, Any], label: str) -> list[str]:
    """Names of the classes in the order of the answers, of ``id2label``. FramiError where there are gaps."""
    found, give = config.get("id2label"), "; give the names with --classes"
    if not isinstance(found, dict) or not found:
        raise FramiError(f"{label}: its config.json names no classes (id2label){give}")
    if len(found) > 100_000 or not all(isinstance(key, str) and key.isascii() and key.isdigit() for key in found):
        raise FramiError(f"{label}: id2label of its config.json has keys that are no numbers{give}")
    names = {int(key): name for key, name in found.items() if len(key) <= 9}
    if sorted(names) != list(range(len(found))):
        gap = next((k for k in range(len(found)) if k not in names), 0)
        raise FramiError(f"{label}: id2label of its config.json names no class {gap} of {len(found)}{give}")
    ordered = [names[k] for k in range(len(names))]
    for name in ordered:
        if not schema.is_name(name, 500) or not name.strip():
            raise FramiError(
                f"{label}: id2label of its config.json holds {hub.shown(repr(name))}, which is no name{give}"
            )
    ordered = [name.strip() for name in ordered]
    twice = sorted(name for name, count in Counter(ordered).items() if count > 1)
    if twice or len(ordered) < 2:
        why = f"names twice: {hub.shown(', '.join(twice[:5]))}" if twice else "names one class, two are needed"
        raise FramiError(f"{label}: id2label of its config.json {why}{give}")
    return ordered


def _check_kind(kind: Any, label: str) -> None:
    if kind == AST:
        return
    name = kind if isinstance(kind, str) else ""
    if name in _RAW:
        why = f"takes the sound itself, and clips are made as log-Mels: it cannot be a teacher here; {AST} can"
    elif name in _OTHERS:
        why = f"{_OTHERS[name]}, which no front-end here does; {AST} can be a teacher"
    else:
        why = f"is not taken, {AST} is; any other network of log-Mels comes as a program: --program"
    raise FramiError(f"{label}: Transformers' model '{hub.shown(kind)}' {why}")


def _sizes(config: Mapping[str, Any], label: str) -> dict[str, Any]:
    """What a network is built from, of a stranger's configuration."""
    found: dict[str, Any] = {name: _whole(config, name, limits, label) for name, limits in _SIZES.items()}
    found["layer_norm_eps"] = _number(config, "layer_norm_eps", (1e-12, 0, 1), label)
    found["qkv_bias"] = _is(config, "qkv_bias", True, label)
    found["hidden_act"] = config.get("hidden_act", "gelu")
    if found["hidden_act"] not in _ACTIVATIONS:
        raise FramiError(
            f"{label}: hidden_act is one of {', '.join(_ACTIVATIONS)}, not {hub.shown(found['hidden_act'])}"
        )
    if found["hidden_size"] % found["num_attention_heads"]:
        raise FramiError(f"{label}: hidden_size is no multiple of num_attention_heads")
    patch, bands, length = (found[name] for name in ("patch_size", "num_mel_bins", "max_length"))
    if patch > min(bands, length):
        raise FramiError(f"{label}: its patches are larger than its spectrogram of {bands} x {length}")
    pieces = ((bands - patch) // found["frequency_stride"] + 1) * ((length - patch) // found["time_stride"] + 1)
    if pieces > _PATCHES:
        raise FramiError(f"{label}: it cuts a spectrogram into {pieces} pieces, more than {_PATCHES}")
    return found


def _tensors(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in hub.weights(folder):
        tensors |= published.read(path)
    return tensors


def _network(
    sizes: Mapping[str, Any], tensors: dict[str, Tensor], classes: Sequence[str], label: str
) -> tuple[nn.Module, list[str]]:
    """The network with its weights, and the names of those that it has no place for."""
    last = tensors.get("classifier.dense.weight")
    if last is None or last.dim() != 2:
        raise FramiError(
            f"{label}: its weights have no classifier (classifier.dense.weight); it is no trained classifier"
        )
    if len(last) != len(classes):
        raise FramiError(f"{label}: its classifier has {len(last)} classes, and {len(classes)} are named")
    try:
        from transformers import ASTConfig, ASTForAudioClassification
    except ImportError as error:
        raise FramiError(f"a model of Transformers needs transformers: pip install transformers ({error})") from error
    with _quietly():
        try:
            config = ASTConfig(id2label={k: f"LABEL_{k}" for k in range(len(classes))}, **sizes)
            with torch.device("meta"):  # which takes no memory
                size = sum(p.numel() for p in ASTForAudioClassification(config).parameters())
            if size > sum(t.numel() for t in tensors.values()):
                raise FramiError(f"{label}: its configuration has {size:,} weights, more than its files")
            network, report = ASTForAudioClassification.from_pretrained(
                None, config=config, state_dict=tensors, dtype=torch.float32, output_loading_info=True,
                ignore_mismatched_sizes=True, attn_implementation="sdpa",
            )  # fmt: skip
        except FramiError:
            raise
        except Exception as error:  # of many kinds: what a stranger's configuration leads to
            raise FramiError(f"{label}: Transformers does not build it ({hub.shown(error, 200)})") from error
    missing, other = sorted(report["missing_keys"]), sorted(str(row[0]) for row in report["mismatched_keys"])
    if missing or other:
        lacks = f"missing: {listed(missing)}" if missing else f"of another shape: {listed(other)}"
        raise FramiError(f"{label}: its weights are not those of its configuration; {lacks}")
    return network.eval().requires_grad_(False), sorted(map(str, report["unexpected_keys"]))


@contextmanager
def _quietly():
    """Without the bars and reports of Transformers."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _whole(values: Mapping[str, Any], name: str, limits: tuple[int, int, int], where: object) -> int:
    usual, least, most = limits
    value = values.get(name, usual)
    if not schema.is_whole(value, least, most):
        raise FramiError(f"{where}: {name} is a whole number from {least} to {most}, not {hub.shown(value, 40)}")
    return value


def _number(values: Mapping[str, Any], name: str, limits: tuple[float, float, float], where: object) -> float:
    usual, least, most = limits
    value = values.get(name, usual)
    if not schema.is_number(value, least, most):
        raise FramiError(f"{where}: {name} is a number from {least:g} to {most:g}, not {hub.shown(value, 40)}")
    return float(value)


def _is(values: Mapping[str, Any], name: str, usual: bool, where: object) -> bool:
    value = values.get(name, usual)
    if not isinstance(value, bool):
        raise FramiError(f"{where}: {name} is true or false, not {hub.shown(value, 40)}")
    return value
