"""Teachers of one data set, each of which has never heard another of its folds: leave one speaker, or place, out."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from frami import checkpoints, train
from frami.bench.fold_teachers import FoldTeacher, ready
from frami.bench.folds import plain
from frami.bench.results import Context
from frami.checkpoints import Card, Checkpoint
from frami.cluster import Engine
from frami.data.catalogue import DATASETS
from frami.errors import FramiError
from frami.models import DEFAULT
from frami.paths import home


def teachers(
    names: Sequence[str],
    folds: Sequence[str] | None,
    here: Context,
    epochs: int | None = None,
    engine: Engine | None = None,
) -> Iterator[Checkpoint]:
    """Teachers by name or path, or for each of ``folds`` the one that it was held out from.

    One that is not there yet is trained as the named teacher was, on all the folds that its card names but the one
    held out, and kept in ``FRAMI_HOME/folds``; ``epochs`` : another length; ``engine`` : whose workers train them
    (None: this process). Raises FramiError for any bad name before the first.
    """
    paths = [checkpoints.resolve(name) for name in names]
    cards = [checkpoints.read_card(path) for path in paths]
    for card in cards if folds else ():
        _check(card, folds)
    found: list[Path | FoldTeacher] = [
        path if fold is None or card.split.get("test") == [fold] else _teacher(card, fold, epochs)
        for path, card in zip(paths, cards, strict=True)
        for fold in folds or [None]
    ]
    if engine and engine.remote:  # its workers train them side by side
        ready([one for one in found if isinstance(one, FoldTeacher)], here, engine)
    for one in found:
        if isinstance(one, FoldTeacher):
            ready([one], here)
        yield checkpoints.load(one.path if isinstance(one, FoldTeacher) else one, here.device)


def _check(card: Card, folds: Sequence[str]) -> None:
    """FramiError where these folds cannot be held out in turn."""
    known = [fold for part in card.split.values() for fold in part]
    unknown = [fold for fold in folds if fold not in known]
    if card.dataset not in DATASETS:
        raise FramiError(f"--folds: '{card.name}' was trained on no data set of the catalogue; choose other --teachers")
    if unknown:
        raise FramiError(
            f"--folds: '{card.name}' knows no {DATASETS[card.dataset].fold_kind} '{', '.join(unknown)}'; choose out "
            f"of: {', '.join(sorted(known))}"
        )


def _teacher(card: Card, fold: str, epochs: int | None) -> FoldTeacher:
    """The teacher that never heard this fold."""
    config = train.config_of(card.training)
    config = replace(config, epochs=epochs) if epochs else config
    validation = [other for other in card.split.get("validation", ()) if other != fold]
    training = [other for part in ("train", "test") for other in card.split.get(part, ()) if other != fold]
    settings = asdict(config) | {
        "architecture": card.model.get("architecture", DEFAULT),
        "size": card.training.get("size", "base"),
        "train_folds": training,
        "validation_folds": validation or None,
    }
    key = hashlib.sha256(json.dumps([card.dataset, settings], sort_keys=True).encode()).hexdigest()[:6]
    path = home() / "folds" / f"{card.name}-{plain(fold)}-{key}"
    return FoldTeacher(f"{card.name}, {fold} held out", path, card.dataset, settings | {"test_folds": [fold]})
