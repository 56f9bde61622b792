"""Folds that nobody named: stratified, the same each time, no group torn."""

import random
from collections import Counter

import pytest

from frami.data import splits


def test_by_class_each_fold_has_its_share():
    labels = [i % 3 for i in range(90)]
    names = [f"{i}.wav" for i in range(90)]
    folds = splits.by_class(labels, names)
    assert Counter(zip(labels, folds, strict=True)) == {(c, f): 6 for c in range(3) for f in range(5)}
    order = random.Random(1).sample(range(90), 90)
    again = splits.by_class([labels[i] for i in order], [names[i] for i in order])
    assert again == [folds[i] for i in order], "the order of the list does not matter"
    assert splits.by_class(labels, names, seed=1) != folds


@pytest.mark.parametrize(("counts", "folds"), [((1, 100), 5), ((3, 3, 4), 3), ((1, 1), 2), ((2, 1, 1), 2)])
def test_rare_classes(counts, folds):
    """Of a class with one recording is learnt, of the second is measured."""
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    found = splits.by_class(labels, [str(i) for i in range(len(labels))])
    assert set(found) <= set(range(folds)) and max(found) <= folds - 1
    for label, count in enumerate(counts):
        own = [fold for fold, other in zip(found, labels, strict=True) if other == label]
        assert any(own), "some of each class trains"
        assert count == 1 or 0 in own, "some of each class with more is held out"


def test_by_group_no_group_is_torn():
    rng = random.Random(0)
    groups = [f"speaker {rng.randrange(17)}" for _ in range(400)]
    labels = [rng.randrange(4) for _ in groups]
    folds = splits.by_group(labels, groups)
    assert all(len({f for f, g in zip(folds, groups, strict=True) if g == group}) == 1 for group in groups)
    sizes = Counter(folds)
    assert set(sizes) == set(range(5)) and max(sizes.values()) < 2 * min(sizes.values())
    assert set(Counter(zip(labels, folds, strict=True))) == {(c, f) for c in range(4) for f in range(5)}


def test_a_group_alone_with_a_class_trains():
    groups = ["a"] * 9 + ["b", "c"]
    labels = [0] * 3 + [1] * 3 + [2] * 3 + [0, 1]
    folds = splits.by_group(labels, groups)
    assert folds[0] != 0 and set(folds) == {0, 1, 2}
    assert splits.by_group([0, 1, 0], ["only"] * 3) == [0, 0, 0], "one group cannot be split"
