"""Real recordings for a network: those of the data set that it was trained on, or of another whose classes match."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from frami import data
from frami.audio import MelSpec
from frami.checkpoints import Card
from frami.data import Clip, DataError, LogMels, Skip, shipped, trained_on
from frami.data.catalogue import DATASETS, in_words
from frami.data.matching import matching, shortened
from frami.errors import FramiError


class NothingToHear(FramiError):
    """No clip of a data set counts for a network."""


@dataclass(frozen=True)
class Origin:
    """Where real clips come from, and what was left out of them.

    dataset, title : of the data set; folds : those of the clips; other : whether the network was trained on another
    data set; matched : its classes that this one has, of ``classes`` of this one; left_out : clips of the others, by
    class; heard : clips left out because they, or others of the same speaker or source recording, were among the
    network's training clips; trained : whether training clips are among the clips, as they are in the network's own
    training folds; sources : number of speakers or source recordings of the clips; shipped : whether they are those
    that ship with the project.
    """

    dataset: str
    title: str
    folds: tuple[str, ...]
    other: bool
    matched: tuple[str, ...]
    classes: int
    left_out: dict[str, int]
    heard: int
    trained: bool
    sources: int
    shipped: bool = False


def choose(
    card: Card,
    dataset: str | None = None,
    split: str = "test",
    data_folder: str | Path | None = None,
    spec: MelSpec | None = None,
    progress: Callable[[int, int], None] | None = None,
    skip: Skip = None,
    else_shipped: bool = False,
) -> tuple[LogMels, Origin]:
    """Real clips for the network of this card, with its classes and labels.

    dataset : by default the one that it was trained on; then the splits ``test`` and ``train`` mean the folds of the
    card. Of another one, whose folds they name then, those clips count whose class the network knows by another
    spelling at most (``data.matching``), and that it was not trained on. spec : default the card's. ``progress(done,
    total)`` counts clips. skip : as of ``data.load``; a network that was trained with it needs none on the same
    recordings. else_shipped : where the network's own data set is not here and no folder is named, its held-out
    recordings that ship take its place. Raises NothingToHear where fewer than two classes match or no clip is left,
    DataError for a data set that is not here, and for one's own recordings whose split is not that of the training any
    more.
    """
    dataset = dataset or card.dataset
    known = data.info(dataset)
    other = not trained_on_these(card, dataset)
    classes = _matched(card, known.title, known.classes)
    if else_shipped and data_folder is None and split == "test" and not other and not at_hand(dataset):
        found = ship(card, spec)
        if found is not None:
            return found
    named: str | Sequence[str] = split
    if split in card.split and not other:
        named = card.split[split]
        if known.parts:  # of a set of several, those that are here
            here = {clip.fold for clip in data.index(dataset, data_folder)}
            named = [fold for fold in named if fold in here] or named
        trained_on.check_split(known, card.training)
    if not other and skip is None and trained_on.skipped(card.training):
        skip = lambda line: None  # noqa: E731
    loaded = data.load(
        dataset, named, data_folder, spec or MelSpec.from_dict(card.mel_spec), progress=progress, skip=skip
    )
    heard = heard_by(card, loaded.clips, dataset, data_folder) if other else set()
    rows = [i for i, clip in enumerate(loaded.clips) if clip.label in classes and i not in heard]
    if not rows:
        why = f"it was trained on all {len(heard)} of them" if heard else "it knows none of their classes"
        raise NothingToHear(
            f"no clip of {known.title}, {split}, is left for '{card.name}': {why}; choose another --split"
        )
    return _labelled(card, dataset, loaded, rows, classes, other, heard)


def at_hand(dataset: str, data_folder: str | Path | None = None) -> bool:
    """Whether a data set, of the catalogue or one's own, is here."""
    try:
        data.locate(dataset, data_folder)
    except FramiError:
        return False
    return True


def ship(card: Card, spec: MelSpec | None = None) -> tuple[LogMels, Origin] | None:
    """The recordings that ship of what a network's card holds out, with its classes and labels; None where none do."""
    if card.dataset not in DATASETS:
        return None
    try:
        known = data.info(card.dataset)
        classes = _matched(card, known.title, known.classes)
        loaded = shipped.load(card.dataset, held_out(card), spec or MelSpec.from_dict(card.mel_spec))
    except FramiError:
        return None
    rows = [i for i, clip in enumerate(loaded.clips) if clip.label in classes]
    return _labelled(card, card.dataset, loaded, rows, classes, False, set()) if rows else None


def _labelled(
    card: Card, dataset: str, loaded: LogMels, rows: Sequence[int], classes: dict[int, int], other: bool,
    heard: set[int],
) -> tuple[LogMels, Origin]:  # fmt: skip
    """These rows of what was loaded, with the network's classes and labels; ``classes``, ``other`` and ``heard`` as
    ``choose`` found them."""
    known = data.info(dataset)
    clips = [replace(loaded.clips[i], label=classes[loaded.clips[i].label]) for i in rows]
    folds = tuple(dict.fromkeys(clip.fold for clip in clips))
    origin = Origin(
        dataset=dataset, title=known.title, folds=folds, other=other,
        matched=tuple(card.classes[i] for i in sorted(classes.values())), classes=len(known.classes),
        left_out=dict(Counter(known.classes[clip.label] for clip in loaded.clips if clip.label not in classes)),
        heard=sum(loaded.clips[i].label in classes for i in heard),
        trained=not other and not training_folds(card).isdisjoint(folds), sources=len({clip.source for clip in clips}),
        shipped=shipped.are(clips),
    )  # fmt: skip
    return LogMels.of(clips, [loaded.frames[i] for i in rows], card.classes, loaded.spec), origin


def measured_on(clips: LogMels, dataset: str) -> str:
    """What was measured on, in words: how many recordings of what; whether they are those that ship."""
    folds = tuple(dict.fromkeys(clip.fold for clip in clips.clips))
    ship = "shipped recordings" if shipped.are(clips.clips) else "recordings"
    return f"{len(clips)} {ship} ({data.info(dataset).title}, held-out {in_words(dataset, folds)})"


def same(dataset: str, other: str) -> bool:
    """Whether two names are of one data set; a folder or a table of one's own may be named by several paths."""
    return dataset == other or (all(map(os.path.exists, (dataset, other))) and os.path.samefile(dataset, other))


def trained_on_these(card: Card, dataset: str) -> bool:
    """Whether this is the data set that a network was trained on; one's own may lie in another place now, with the same
    files, classes and folds. Raises DataError."""
    known = data.info(dataset)
    moved = known.fingerprint and known.fingerprint == trained_on.facts_of(card.training).get("fingerprint")
    return same(dataset, card.dataset) or bool(moved)


def training_folds(card: Card) -> set[str]:
    """Folds that a network was trained on, or that chose one of its epochs."""
    return {fold for part, folds in card.split.items() if part != "test" for fold in folds}


def held_out(card: Card) -> set[str]:
    """Folds that a network's card holds out, and that it did not learn from."""
    return set(card.split.get("test", ())) - training_folds(card)


def _matched(card: Card, title: str, classes: Sequence[str]) -> dict[int, int]:
    """The network's class for each class of a data set that it knows. NothingToHear for fewer than two."""
    found = matching(card.classes, classes)
    if len(found) < 2:
        raise NothingToHear(
            f"'{card.name}' knows other classes than {title}, and at least two have to match by name; "
            f"it knows: {shortened(card.classes)}; {title} has: {shortened(classes)}"
        )
    return found


def heard_by(card: Card, clips: Sequence[Clip], dataset: str, data_folder: str | Path | None) -> set[int]:
    """Numbers of the clips of a data set whose source has a clip among a network's training clips; none where those are
    not here."""
    folds = training_folds(card)
    try:
        learnt = data.index(card.dataset, data_folder) if folds and card.dataset else []
    except DataError:
        return set()
    trained = set(_files([clip for clip in learnt if clip.fold in folds]))
    listed = data.index(dataset, data_folder)
    sources = {clip.source for clip, file in zip(listed, _files(listed), strict=True) if file in trained}
    return {i for i, clip in enumerate(clips) if clip.source in sources}


def _files(clips: Sequence[Clip]) -> list[tuple[str, str]]:
    """What tells the clips' files, wherever they are found: the true path of the folder, and the name."""
    folders = {folder: os.path.realpath(folder) for folder in {clip.stem.parent for clip in clips}}
    return [(folders[clip.stem.parent], clip.stem.name) for clip in clips]
