"""Weights and the card that describes them: ``name.safetensors`` beside ``name.json``.

A card holds everything needed to use the weights again: the front-end, classes, architecture, training data and its
licence. Loading never executes code.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from frami import files
from frami.audio import MelSpec
from frami.errors import FramiError
from frami.models import Classifier, from_dict
from frami.paths import BUNDLED, home

FORMAT = 1


class CheckpointError(FramiError):
    """A checkpoint that is missing, damaged or from another version."""


@dataclass(frozen=True)
class Card:
    """What a checkpoint is. ``split`` names the folds: ``{"train": [...], "test": [...]}``; ``accuracy`` is in 0–1,
    on the ``clips`` clips of the ``test`` folds; ``evaluation`` is the command that measures it; ``seconds`` is the
    usual (median) duration of the training clips. Of a student, ``teacher`` is the teacher's name, ``agreement`` the
    share of unseen made clips of which both predict the same class, and ``accuracy`` is None where no real clip was at
    hand."""

    name: str
    kind: str
    dataset: str
    title: str
    classes: tuple[str, ...]
    mel_spec: dict
    model: dict
    parameters: int
    split: dict
    accuracy: float | None
    clips: int
    licence: str
    data_licence: str
    training: dict = field(default_factory=dict)
    evaluation: str = ""
    seconds: float = 1.0
    teacher: str = ""
    agreement: float | None = None
    sha256: str = ""
    format: int = FORMAT


@dataclass
class Checkpoint:
    """A trained classifier ready for use: frozen, in evaluation mode, with its card and front-end."""

    model: Classifier
    card: Card
    spec: MelSpec

    @property
    def classes(self) -> tuple[str, ...]:
        return self.card.classes

    @property
    def seconds(self) -> float:
        """Duration of a made clip by default: that of usual training clips, at most a second."""
        return min(self.card.seconds, 1.0)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def save(path: str | Path, model: Classifier, card: Card) -> Path:
    """Write ``path.safetensors`` and ``path.json`` (each whole or not at all); returns the weights' path."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    return files.write_weights(stem(path), save_tensors(tensors), asdict(card))


def read_card(path: str | Path) -> Card:
    """The card of a checkpoint. ``CheckpointError`` when it is missing, damaged or of a newer format."""
    _, beside = _paths(Path(path))
    try:
        values = json.loads(beside.read_text(encoding="utf-8"))
        version = values.get("format", 0)
        if version > FORMAT:
            raise CheckpointError(f"{beside}: written by a newer frami (format {version}); update frami to load it")
        values["classes"] = tuple(values["classes"])
        return Card(**values)
    except FileNotFoundError:
        raise CheckpointError(f"{beside}: no such card; a checkpoint is a .safetensors and a .json file") from None
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{beside}: not a checkpoint's card ({type(error).__name__}: {error})") from error


def load(name: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Load a bundled checkpoint by name, or any by path. ``CheckpointError`` says what is wrong with it."""
    path = resolve(name)
    card = read_card(path)
    weights, _ = _paths(path)
    try:
        content = weights.read_bytes()
        tensors = load_tensors(content)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{weights}: not readable ({error}); copy the checkpoint again") from error
    if card.sha256 and hashlib.sha256(content).hexdigest() != card.sha256:
        raise CheckpointError(f"{weights}: not the weights that their card was written for; copy both files again")
    try:
        spec = MelSpec.from_dict(card.mel_spec)
        model = from_dict(card.model)
        if (model.config.classes, model.config.n_mels) != (len(card.classes), spec.n_mels):
            raise ValueError("its classes or Mel bands are not those of its model")
        model.load_state_dict(tensors)
    except (FramiError, RuntimeError, TypeError, ValueError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(f"{weights}: the weights do not fit their card ({first})") from error
    model.eval().requires_grad_(False).to(device)
    return Checkpoint(model, card, spec)


def bundled(kind: str = "teacher") -> list[Card]:
    """Cards of the checkpoints that come with the repository or lie in ``FRAMI_HOME/checkpoints``, by name.

    A file of the user's that is no card is passed over; a damaged one of the repository's own raises.
    """
    cards = {}
    for folder in (BUNDLED, home() / "checkpoints"):
        for path in sorted(folder.glob("*.json")):
            try:
                card = read_card(path)
            except CheckpointError:
                if folder == BUNDLED:
                    raise
                continue
            if card.kind == kind:
                cards.setdefault(path.stem, card)
    return list(cards.values())


def resolve(name: str | Path) -> Path:
    """Path (without ending) of a checkpoint given by name or by path."""
    for candidate in (Path(name), BUNDLED / name, home() / "checkpoints" / name):
        if os.path.isfile(_paths(candidate)[0]):
            return candidate
    names = ", ".join(sorted(p.stem for p in BUNDLED.glob("*.safetensors"))) or "none"
    raise CheckpointError(f"no checkpoint '{name}'; bundled: {names}. Or give the path of a .safetensors file")


def exists(path: str | Path) -> bool:
    """Whether weights lie at this path (with or without ending)."""
    return _paths(Path(path))[0].is_file()


def stem(path: str | Path) -> Path:
    """A checkpoint's path without the ending of its weights or card."""
    path = Path(path)
    return path.with_suffix("") if path.suffix in (".safetensors", ".json") else path


def _paths(path: Path) -> tuple[Path, Path]:
    return Path(f"{stem(path)}.safetensors"), Path(f"{stem(path)}.json")
