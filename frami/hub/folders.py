"""What a folder of a repository holds: a checkpoint of frami's, or weights and the JSON that describes them."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from frami import files
from frami.hub.problems import HubError, shown

#: Bytes at most: of a JSON file, of all weights.
JSON_MOST, WEIGHTS_MOST = 2**24, 2**33
#: Files of weights at most.
FILES_MOST = 64
#: JSON files of Transformers' models, beside those of the same name as weights.
_SETTINGS = ("config.json", "preprocessor_config.json", "model.safetensors.index.json")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,150}\.(?:safetensors|json)")
#: Endings of weights that are not read: most can run code.
_OTHER = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".onnx", ".tflite", ".gguf", ".pt2")


def wanted(names: Iterable[str]) -> list[str]:
    """Those of a repository's files that are read: weights as safetensors, and their JSON."""
    usual = [name for name in names if isinstance(name, str) and _NAME.fullmatch(name)]
    weights = {name.removesuffix(".safetensors") for name in usual if name.endswith(".safetensors")}
    return sorted(
        name
        for name in usual
        if name.endswith(".safetensors") or name in _SETTINGS or name.removesuffix(".json") in weights
    )


def bounded(sizes: dict[str, int | None], label: str) -> None:
    """HubError where there are no weights, or too many or too large files. sizes : bytes by name."""
    weights = {name: size for name, size in sizes.items() if name.endswith(".safetensors")}
    if len(weights) > FILES_MOST:
        raise HubError(f"{label} holds {len(weights)} files of weights, more than {FILES_MOST}")
    if (total := sum(size or 0 for size in weights.values())) > WEIGHTS_MOST:
        raise HubError(f"{label} holds {total / 1e9:.1f} GB of weights, more than the {WEIGHTS_MOST / 1e9:.1f} taken")
    for name, size in sizes.items():
        if name not in weights and (size or 0) > JSON_MOST:
            raise HubError(f"{label}: {name} has {size / 1e6:.0f} MB, more than any settings")


def no_weights(names: Iterable[str], label: str) -> HubError:
    """What to say of a repository without safetensors."""
    others = sorted(shown(name, 40) for name in map(str, names) if name.lower().endswith(_OTHER))
    if not others:
        return HubError(
            f"{label} holds no weights (.safetensors); a model's repository or folder has them beside its config.json"
        )
    return HubError(
        f"{label} holds weights as {', '.join(others[:3])} only, and only .safetensors are read from strangers; look "
        "for a revision that has them (OWNER/NAME@refs/pr/1 is often one), or load it with Transformers where you "
        "trust it and write model.save_pretrained('FOLDER'): --hub FOLDER"
    )


def local(folder: Path) -> None:
    """HubError where a folder is none that can be read, or holds no weights."""
    try:
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder) if entry.is_file()}
    except OSError as error:
        raise HubError(f"{folder}: not a folder that can be read ({error.strerror})") from error
    chosen = wanted(sizes)
    if not any(name.endswith(".safetensors") for name in chosen):
        raise no_weights(sizes, str(folder))
    bounded({name: sizes[name] for name in chosen}, str(folder))


def own(folder: Path) -> Path | None:
    """Path, without ending, of frami's checkpoint in a folder: ``model.safetensors`` with ``model.json``, else the only
    such pair; None where there is none. HubError where there are several."""
    pairs = [
        path.with_suffix("")
        for path in sorted(folder.glob("*.safetensors"))
        if path.with_suffix(".json").is_file() and path.with_suffix(".json").name not in _SETTINGS
    ]
    named = [path for path in pairs if path.name == "model"] or pairs
    if len(named) > 1:
        names = ", ".join(path.name for path in named[:5])
        raise HubError(f"{folder} holds several checkpoints ({names}); give a folder that holds one")
    return named[0] if named else None


def weights(folder: Path) -> list[Path]:
    """Files of a model's weights: ``model.safetensors``, its numbered parts, or the only file there is. HubError where
    it is not clear which."""
    there = sorted(path for path in folder.glob("*.safetensors") if _NAME.fullmatch(path.name))
    whole = [path for path in there if path.name == "model.safetensors"]
    parts = [path for path in there if re.fullmatch(r"model-\d{5}-of-\d{5}\.safetensors", path.name)]
    if parts and not whole and len(parts) != (count := int(parts[0].stem[-5:])):
        raise HubError(f"{folder} holds {len(parts)} of {count} parts of the weights; fetch the others")
    found = whole or parts or there
    if len(found) != 1 and not parts:
        raise HubError(f"{folder} holds {len(there)} files of weights, and none is called model.safetensors")
    return found


def read_json(path: Path) -> dict:
    """An object of a JSON file. HubError where it is missing, large, damaged or something else."""
    try:
        value = files.as_value(files.read_text(path, JSON_MOST, "utf-8-sig"))
    except FileNotFoundError:
        raise HubError(f"{path}: no such file") from None
    except OSError as error:
        raise HubError(f"{path}: not readable ({error.strerror})") from error
    except ValueError as error:
        raise HubError(f"{path}: not JSON ({shown(error)})") from error
    if not isinstance(value, dict):
        raise HubError(f"{path}: holds a {type(value).__name__}, expected a JSON object")
    return value
