"""Weights and the card that describes them: ``name.safetensors`` beside ``name.json``.

A card holds everything needed to use the weights again: the front-end, classes, architecture, training data and its
licence. Loading never executes code.
"""

import os
import re
import shlex
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import torch
from torch import nn

from frami import cost, hub, schema, weights
from frami.audio import MelSpec
from frami.device import processor
from frami.errors import FramiError
from frami.models import from_dict
from frami.paths import BUNDLED, home
from frami.program import storing


class CheckpointError(FramiError):
    """A checkpoint that is missing, damaged or from another version."""


@dataclass(frozen=True)
class Card:
    """What a checkpoint is. ``split`` names the folds: ``{"train": [...], "test": [...]}``; ``accuracy`` is in 0–1,
    on the ``clips`` clips of the ``test`` folds; ``evaluation`` is the command that measures it; ``seconds`` is the
    usual (median) duration of the training clips. Of a student, ``teacher`` is the teacher's name, ``agreement`` the
    share of unseen made clips of which both predict the same class, and ``accuracy`` is None where no real clip was at
    hand. Of a teacher, ``measured`` holds the accuracy's 95 % ``interval``, ``balanced_accuracy`` and ``per_class``.
    ``multilabel`` : whether several classes may sound at once, each with a probability of its own (``answers``)."""

    name: schema.Line
    kind: schema.Line
    dataset: schema.Path
    title: schema.Line
    classes: schema.Names
    mel_spec: schema.FrontEnd
    model: schema.Network
    parameters: Annotated[int, schema.whole()]
    split: schema.Split
    accuracy: schema.MaybeShare
    clips: Annotated[int, schema.whole()]
    licence: schema.Line
    data_licence: schema.Line
    training: schema.Facts = field(default_factory=dict)
    evaluation: schema.Path = ""
    seconds: Annotated[float, schema.number(0.01, 3600)] = 1.0
    teacher: schema.Line = ""
    agreement: schema.MaybeShare = None
    measured: schema.Measured = field(default_factory=dict)
    multilabel: schema.Flag = False
    sha256: schema.Line = ""
    format: Annotated[int, schema.whole()] = weights.FORMAT

    def __post_init__(self):
        object.__setattr__(self, "classes", tuple(self.classes))
        if not isinstance(self.multilabel, bool):
            raise ValueError(f"multilabel is true or false, not {self.multilabel!r}")


@dataclass
class Checkpoint:
    """A trained classifier ready for use: frozen, in evaluation mode, with its card and front-end.

    ``model`` : a ``Classifier``, or another network that returns ``Features`` (``frami.adapter``).
    """

    model: nn.Module
    card: Card
    spec: MelSpec

    @property
    def classes(self) -> tuple[str, ...]:
        return self.card.classes

    @property
    def multilabel(self) -> bool:
        return self.card.multilabel

    @property
    def seconds(self) -> float:
        """Duration of a made clip by default: that of usual training clips, at most a second."""
        return min(self.card.seconds, 1.0)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def save(path: str | Path, model: nn.Module, card: Card) -> Path:
    """Write ``path.safetensors`` and ``path.json`` (each whole or not at all); returns the weights' path."""
    tensors, metadata = storing.state(model)
    return weights.save(path, tensors, asdict(card), metadata)


def read_card(path: str | Path) -> Card:
    """The card of a checkpoint. ``CheckpointError`` when it is missing, damaged or of a newer format."""
    return weights.read_card(path, Card, "checkpoint", CheckpointError)


def load(name: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """Load a bundled checkpoint by name, or any by path. ``CheckpointError`` says what is wrong with it."""
    path = resolve(name)
    card = read_card(path)
    program = card.model.get("architecture") == "program"
    there = weights.stored(path, "checkpoint", CheckpointError)
    with weights.fitting(path, CheckpointError):
        spec = MelSpec.from_dict(card.mel_spec)
        if not program:
            stand_ins = storing.stand_ins(there.texts)
            weights.compare(lambda: from_dict(card.model, **stand_ins), there, tuple(f"{name}." for name in stand_ins))
    tensors = weights.load(path, card.sha256, "checkpoint", CheckpointError)
    with weights.fitting(path, CheckpointError):
        if program:
            model = storing.network(card.model, tensors, there.texts)
        else:
            model = from_dict(card.model, **storing.head(tensors, there.texts))
        if (model.config.classes, model.config.n_mels) != (len(card.classes), spec.n_mels):
            raise ValueError("its classes or Mel bands are not those of its model")
        if not isinstance(model, storing.ProgramNetwork):  # which is made of them
            model.load_state_dict(tensors)
    model.eval().requires_grad_(False).to(device)
    return Checkpoint(model, card, spec)


def from_pretrained(name: str | Path, device: str | torch.device = "cpu") -> Checkpoint:
    """A checkpoint from a repository of the Hugging Face Hub, ``OWNER/NAME`` or ``OWNER/NAME@REVISION``, or from a
    folder like it: ``model.safetensors`` with its card ``model.json``. What is fetched once stays in the Hub's cache.

    What it holds is checked before it is used, and no code of it is run. FramiError says what is wrong.
    """
    return load(pretrained(hub.find(str(name))), device)


def pretrained(source: hub.Source) -> Path:
    """Path, without ending, of the checkpoint in a repository or folder, whose card is checked. FramiError where there
    is none."""
    path = hub.own(source.folder)
    if path is None:
        raise CheckpointError(
            f"{source.label} holds no checkpoint of frami's ({hub.MODEL}.safetensors with {hub.MODEL}.json); a model "
            "of Transformers becomes a teacher with: frami import --hub"
        )
    hub.checked(weights.paths(path)[1], Card)
    return path


def push_to_hub(checkpoint: Checkpoint, repository: str, private: bool = False) -> str:
    """Write a teacher or a student, with a page made of its card, to the repository ``OWNER/NAME`` of the Hugging Face
    Hub, which is made where it is missing. Paths of folders on this machine are left out. Returns the address of the
    commit. FramiError where it is not allowed, or not reached, or where the network is none that can be loaded."""
    name = hub.repository(repository)
    with tempfile.TemporaryDirectory() as made:
        path, card = Path(made) / hub.MODEL, public(checkpoint.card)
        save(path, checkpoint.model, card)
        load(path)
        (Path(made) / "README.md").write_text(hub.page(asdict(card), name, facts(checkpoint)), encoding="utf-8")
        return hub.push(Path(made), name, private)


def facts(checkpoint: Checkpoint) -> dict:
    """What a card's page says beside the card (``facts.answers``): the teacher's licence, where the teacher that it
    learnt from is here, and the latency on this machine, measured now."""
    card, found = checkpoint.card, {"precision": "float32"}
    if card.teacher:
        try:
            teacher = read_card(resolve(card.teacher))
            if card.training.get("teacher_sha256") in (None, "", teacher.sha256):
                found["teacher_licence"] = teacher.licence
        except CheckpointError:
            pass
    measured = cost.measure(checkpoint.model, checkpoint.spec, card.seconds)
    found["latency"] = {"milliseconds": round(measured.latency_ms, 3), "seconds": card.seconds, "machine": processor()}
    return found


def public(card: Card) -> Card:
    """The card as it may leave this machine: no path of a folder here is in it."""
    try:
        words = shlex.split(card.evaluation)
    except ValueError:  # a quote that does not end
        words = card.evaluation.split()
    training, evaluation = _without_paths(card.training), shlex.join(map(_last, words))
    return replace(
        card, dataset=re.split(r"[\\/]", card.dataset.rstrip("\\/"))[-1], training=training, evaluation=evaluation
    )


def _without_paths(value):
    """A value of JSON with the last parts of its paths alone."""
    if isinstance(value, dict):
        return {key: _without_paths(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_paths(one) for one in value]
    return _last(value) if isinstance(value, str) else value


def _last(text: str) -> str:
    """The last part of a path of this machine; any other text as it is."""
    return Path(text).name if os.path.isabs(text) else text


def bundled(kind: str = "teacher") -> list[Card]:
    """Cards of the checkpoints that come with the repository or lie in ``FRAMI_HOME/checkpoints`` or
    ``FRAMI_HOME/teachers``, by name.

    A file of the user's that is no card is passed over; a damaged one of the repository's own raises.
    """
    cards = {}
    for folder in folders():
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


def folders() -> tuple[Path, ...]:
    """Where a checkpoint is found by its name: the repository's own, then a person's, whose trained teachers lie in
    ``FRAMI_HOME/teachers``."""
    return BUNDLED, home() / "checkpoints", home() / "teachers"


def resolve(name: str | Path) -> Path:
    """Path (without ending) of a checkpoint given by name or by path."""
    for candidate in (Path(name), *(folder / name for folder in folders())):
        if os.path.isfile(weights.paths(candidate)[0]):
            return candidate
    bundled, *own = (", ".join(sorted(p.stem for p in f.glob("*.safetensors"))) for f in folders())
    yours = f"; yours: {', '.join(filter(None, own))}" if any(own) else ""
    raise CheckpointError(
        f"no checkpoint '{name}'; bundled: {bundled or 'none'}{yours}. Or give the path of a .safetensors file"
    )


def exists(path: str | Path) -> bool:
    """Whether weights lie at this path (with or without ending)."""
    return weights.paths(path)[0].is_file()
