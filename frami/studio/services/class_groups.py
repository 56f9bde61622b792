"""The categories of a teacher's classes, as the page offers them where there are many."""

from collections.abc import Sequence

from frami.checkpoints import Card
from frami.data.catalogue import DATASETS

#: A teacher with more classes than this has many: they are searched and grouped (``MANY`` of ``classes.js`` too).
MANY = 10
#: What classes outside all categories are listed under.
_REST = "others"


def of_teacher(card: Card) -> list[dict]:
    """Each category of the data set with the classes of it that the teacher knows: ``{"title", "classes": indices}``.

    All classes are in one of them; empty where the data set has published no categories.
    """
    return of_labels(card.dataset, card.classes)


def of_labels(dataset: str, labels: Sequence[str]) -> list[dict]:
    """The same of a list of class names: ``classes`` are places in it."""
    known = DATASETS[dataset].groups if dataset in DATASETS else {}
    parts = {title: [i for i, name in enumerate(labels) if name in members] for title, members in known.items()}
    listed = {i for part in parts.values() for i in part}
    if not listed:
        return []
    parts[_REST] = [i for i in range(len(labels)) if i not in listed]
    return [{"title": title, "classes": part} for title, part in parts.items() if part]
