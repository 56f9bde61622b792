"""What networks are worth on people, or places, that they have never heard: on every data set whose classes they know,
without what they were trained on."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from frami import checkpoints, data, evaluation
from frami.bench.pages import heading, intro, table
from frami.bench.results import Context
from frami.checkpoints import Card, Checkpoint
from frami.data import DataError
from frami.data.catalogue import DATASETS
from frami.data.matching import matching
from frami.features.embeddings import embed
from frami.features.recordings import NothingToHear, Origin, choose, trained_on_these, training_folds
from frami.intervals import over_groups, wilson
from frami.paths import data_folder

#: Networks of the table unless others are named: the bundled ones that know these classes.
KNOWN = DATASETS["fsdd"].classes


@dataclass(frozen=True)
class Cell:
    """A cell of the table: plain numbers, and by the clip's key its source and whether it was recognised."""

    values: dict
    clips: dict[str, tuple[str, bool]]


def networks() -> list[str]:
    """Names of the bundled teachers that know the digits, each followed by its students."""
    cards = checkpoints.bundled("teacher"), checkpoints.bundled("student")
    teachers, students = ([c for c in some if len(matching(c.classes, KNOWN)) == len(KNOWN)] for some in cards)
    return [c.name for teacher in teachers for c in (teacher, *(s for s in students if s.teacher == teacher.name))]


def datasets(cards: Sequence[Card], here: Context) -> list[str]:
    """Data sets of the catalogue that are here and have two classes or more that one of these networks knows; none
    whose clips others have already."""
    found: dict[str, set[str]] = {}
    for name, known in DATASETS.items():
        classes = set().union(*(matching(card.classes, known.classes) for card in cards))
        try:
            clips = data.index(name, here.data_folder) if len(classes) > 1 else []
        except DataError:
            continue
        found[name] = {clip.key for clip in clips if clip.label in classes}
    kept: dict[str, set[str]] = {}
    for name in sorted(filter(found.get, found), key=lambda name: len(found[name])):
        if not found[name] <= set().union(*kept.values()):
            kept[name] = found[name]
    return [name for name in found if name in kept]


def compare(names: Sequence[str] | None, wanted: Sequence[str] | None, here: Context) -> dict:
    """Measure networks (default: those of ``networks``) on data sets (default: those of ``datasets``).

    Of its own data set a network's held-out folds count, of every other all clips but those of speakers or source
    recordings that it was trained on. ``common`` : on the clips of a data set that count for every network. Returns
    plain numbers ``{"networks", "datasets", "cells", "common"}``. Raises FramiError subclasses.
    """
    loaded = [checkpoints.load(name, here.device) for name in names or networks()]
    listed = list(wanted or datasets([one.card for one in loaded], here))
    if not listed:
        raise DataError(
            f"{data_folder(here.data_folder)} holds no data set of which {', '.join(one.card.name for one in loaded)} "
            "knows two classes; give another folder with --data or FRAMI_DATA (which are here: frami data list)"
        )
    cells = {dataset: [cell for one in loaded if (cell := measure(one, dataset, here))] for dataset in listed}
    titles = [{"name": name, "title": data.info(name).title, "subject": data.info(name).subject} for name in listed]
    return {
        "networks": [_network(one.card) for one in loaded],
        "datasets": titles,
        "cells": [cell.values for some in cells.values() for cell in some],
        "common": [row for some in cells.values() for row in _common(some)],
    }


def _network(card: Card) -> dict:
    fields = ("name", "kind", "teacher", "parameters", "dataset", "title")
    return {name: getattr(card, name) for name in fields} | {"trained_on": sorted(training_folds(card))}


def measure(network: Checkpoint, dataset: str, here: Context) -> Cell | None:
    """One cell of the table; None where no clip counts."""
    card = network.card
    split = "test" if trained_on_these(card, dataset) else "all"
    with here.progress("clip", f"{card.name} on {dataset}") as report:
        try:
            clips, origin = choose(card, dataset, split, here.data_folder, network.spec)
        except NothingToHear:
            return None
        found = embed(network, clips, progress=report)
    right = (found.predicted == found.labels).tolist()
    hits = {clip.key: (clip.source, hit) for clip, hit in zip(clips.clips, right, strict=True)}
    scores = evaluation.scores(found.logits, found.labels)
    values = {
        "checkpoint": card.name, "dataset": dataset, "which": _which(origin), "folds": list(origin.folds),
        "clips": len(clips), "speakers": origin.sources, "left_out": origin.left_out, "heard": origin.heard,
        **{name: scores[name] for name in ("accuracy", "balanced_accuracy", "interval")},
        "interval_over_speakers": _over_sources(hits.values()),
        "agreement": evaluation.agreement(network, found.logits.argmax(1), clips, dataset, split, here.data_folder),
    }  # fmt: skip
    return Cell(values, hits)


def _which(origin: Origin) -> str:
    """Which clips of a data set count."""
    if not origin.other:
        return f"held out: {', '.join(origin.folds)}"
    return f"without the {origin.heard} of its training" if origin.heard else "all, never heard"


def _over_sources(hits: Iterable[tuple[str, bool]]) -> tuple[float, float] | None:
    count, right = Counter(), Counter()
    for source, hit in hits:
        count[source] += 1
        right[source] += hit
    return over_groups([right[source] for source in count], list(count.values()))


def _common(cells: Sequence[Cell]) -> list[dict]:
    """Accuracies on the clips that count for every network; nothing where those are all, or where the networks know
    different classes."""
    if len({frozenset(cell.values["left_out"]) for cell in cells}) != 1:
        return []
    shared = set.intersection(*(set(cell.clips) for cell in cells))
    if not shared or all(len(cell.clips) == len(shared) for cell in cells):
        return []
    rows = []
    for cell in cells:
        hits = [cell.clips[key] for key in shared]
        right = sum(hit for _, hit in hits)
        rows.append(
            {name: cell.values[name] for name in ("checkpoint", "dataset")}
            | {"clips": len(hits), "speakers": len({source for source, _ in hits})}
            | {"accuracy": right / len(hits), "interval": wilson(right, len(hits))}
            | {"interval_over_speakers": _over_sources(hits)}
        )
    return rows


def page(value: dict, command: str) -> list[str]:
    """Lines of the page of what ``compare`` returned, made by ``command``."""
    cells = {(cell["checkpoint"], cell["dataset"]): cell for cell in value["cells"]}
    common = {(cell["checkpoint"], cell["dataset"]): cell for cell in value["common"]}
    names, listed = [one["name"] for one in value["networks"]], value["datasets"]
    speakers = "speakers" if all(one["subject"].startswith("spoken") for one in listed) else "sources"
    lines = intro("strangers", command=command, speakers=speakers)
    rows = [
        [f"`{one['name']}`", _trained(one), *(_cell(cells.get((one["name"], row["name"]))) for row in listed)]
        for one in value["networks"]
    ]
    lines += table(["network", "trained on", *(one["title"] for one in listed)], rows)
    if common:
        shown = [one for one in listed if any(row["dataset"] == one["name"] for row in value["common"])]
        rows = [[f"`{name}`", *(_cell(common.get((name, one["name"]))) for one in shown)] for name in names]
        lines += heading("On the same clips", f"Clips of {speakers} that no network of the table was trained on.")
        lines += table(["network", *(one["title"] for one in shown)], rows)
    heads = ["network", "clips", "number", speakers, "accuracy", "balanced", "95%", f"95% over {speakers}", "teacher"]
    for one in listed:
        lines += heading(one["title"])
        found = [cells[name, one["name"]] for name in names if (name, one["name"]) in cells]
        lines += table(heads, [_details(cell) for cell in found])
    return lines


def _trained(network: dict) -> str:
    return f"{network['title']}: {', '.join(network['trained_on'])}"


def _cell(cell: dict | None) -> str:
    return f"{cell['accuracy']:.1%} of {cell['clips']}, {cell['speakers']}" if cell else "–"


def _details(cell: dict) -> list[str]:
    agrees = "–" if cell["agreement"] is None else f"{cell['agreement']:.1%}"
    return [
        f"`{cell['checkpoint']}`", cell["which"], str(cell["clips"]), str(cell["speakers"]), f"{cell['accuracy']:.1%}",
        f"{cell['balanced_accuracy']:.1%}", _interval(cell["interval"]), _interval(cell["interval_over_speakers"]),
        agrees,
    ]  # fmt: skip


def _interval(ends: Sequence[float] | None) -> str:
    return f"{ends[0]:.1%} to {ends[1]:.1%}" if ends else "–"
