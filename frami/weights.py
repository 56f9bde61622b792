"""Weights and the card that describes them: ``NAME.safetensors`` beside ``NAME.json``. Reading executes no code."""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from frami import files, schema
from frami.errors import FramiError

FORMAT = 1  # of cards
LARGEST = 2**33  # bytes of a file of weights that is read
Card = TypeVar("Card")


def stem(path: str | Path) -> Path:
    """A path without the ending of weights or card."""
    path = Path(path)
    return path.with_suffix("") if path.suffix in (".safetensors", ".json") else path


def paths(path: str | Path) -> tuple[Path, Path]:
    """Paths of the weights and of the card, from a path with or without ending."""
    return Path(f"{stem(path)}.safetensors"), Path(f"{stem(path)}.json")


def save(path: str | Path, tensors: dict[str, Tensor], card: dict, metadata: dict[str, str] | None = None) -> Path:
    """Write weights, and a card to which their ``sha256`` is added; both are written before either takes its place.

    ``metadata`` : texts that the weights' file holds as well. Returns the weights' path. OSError when the disk refuses.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = safetensors.torch.save(plain, metadata or None)
    text = files.as_json(card | {"sha256": hashlib.sha256(content).hexdigest()}, indent=2)
    weights, beside = paths(path)
    with files.replacing(beside) as note, files.replacing(weights) as temporary:
        temporary.write_bytes(content)
        note.write_text(text, encoding="utf-8")
    return weights


def save_state(path: str | Path, value) -> None:
    """Write what ``torch.load(weights_only=True)`` reads again, whole or not at all. OSError when the disk refuses (of
    a full one PyTorch itself says something else)."""
    content = io.BytesIO()
    torch.save(value, content)
    files.write(path, content.getbuffer())


def read_card(path: str | Path, card: type[Card], what: str, error: type[FramiError]) -> Card:
    """The card beside weights, a dataclass of the types of ``schema``; ``error`` when it is missing, damaged or of a
    newer format. what : ``checkpoint``, …"""
    beside = paths(path)[1]
    try:
        values = files.read_json(beside)
        if values.get("format", 0) > FORMAT:
            raise error(f"{beside}: written by a newer frami (format {values['format']}); update frami to load it")
        return schema.checked(card, values)
    except FileNotFoundError:
        raise error(f"{beside}: no such card; a {what} is a .safetensors and a .json file") from None
    except (OSError, ValueError, TypeError, AttributeError) as problem:
        raise error(f"{beside}: not a {what}'s card ({schema.shown(problem, 300)})") from problem


@dataclass(frozen=True)
class Stored:
    """What a file of weights says of itself. ``shapes`` : of its tensors by name; ``texts`` : that it holds as well."""

    shapes: dict[str, tuple[int, ...]]
    texts: dict[str, str]


def stored(path: str | Path, what: str, error: type[FramiError]) -> Stored:
    """The header of a file of weights, of which no tensor is read; ``error`` when it is not readable, or says another
    size than the file has."""
    file = paths(path)[0]
    try:
        if (size := file.stat().st_size) > LARGEST:
            raise error(f"{file}: {size / 1e9:,.1f} GB, more than the {LARGEST / 1e9:.1f} that are read")
        with safe_open(file, "pt") as opened:
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
            return Stored(shapes, opened.metadata() or {})
    except (OSError, SafetensorError) as problem:
        raise error(f"{file}: not readable ({problem}); copy the {what} again") from problem


def compare(build: Callable[[], nn.Module], there: Stored, given: tuple[str, ...] = ()) -> None:
    """ValueError where a network has other tensors than a file, before any memory is taken for it.

    given : beginnings of names of the file's that the network need not have.
    """
    with torch.device("meta"):
        own = {name: tuple(tensor.shape) for name, tensor in build().state_dict().items()}
    theirs = {name: shape for name, shape in there.shapes.items() if not name.startswith(given or "\0")}
    for name in sorted(own.keys() | theirs.keys()):
        if own.get(name) != theirs.get(name):
            sizes = ("nothing" if one is None else list(one) for one in (theirs.get(name), own.get(name)))
            raise ValueError("'{}': the file has {}, the network {}".format(schema.shown(name), *sizes))


def load(path: str | Path, sha256: str, what: str, error: type[FramiError]) -> dict[str, Tensor]:
    """The weights; ``error`` when they are not readable, or not those of this ``sha256`` (empty: not checked)."""
    weights = paths(path)[0]
    try:
        content = weights.read_bytes()
        tensors = safetensors.torch.load(content)
    except (OSError, SafetensorError) as problem:
        raise error(f"{weights}: not readable ({problem}); copy the {what} again") from problem
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise error(f"{weights}: not the weights that their card was written for; copy both files again")
    return tensors


@contextmanager
def fitting(path: str | Path, error: type[FramiError]) -> Iterator[None]:
    """What goes wrong where a network is built from a card and takes its weights becomes an ``error``."""
    try:
        yield
    except (
        FramiError, RuntimeError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, MemoryError
    ) as problem:  # fmt: skip
        last = (str(problem).strip().splitlines() or [type(problem).__name__])[-1].strip()
        raise error(f"{paths(path)[0]}: the weights do not fit their card ({last})") from problem
