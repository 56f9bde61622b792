"""Folds for recordings whose owner names none: by group, so that no group is in two of them, or by class."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import median

#: Folds at most, and the seed of the draw; the first fold is held out.
FOLDS, SEED = 5, 0


def by_class(labels: Sequence[int], names: Sequence[str], seed: int = SEED) -> list[int]:
    """Fold (from 0) of each recording, stratified: five, or fewer where the median class has fewer recordings.

    A class goes around the folds, first to one that trains, then to fold 0, so that of its only recording is learnt and
    of its second is measured. The same ``names`` get the same folds in whatever order they come.
    """
    folds = max(2, min(FOLDS, int(median(Counter(labels).values()))))
    members = defaultdict(list)
    for i in sorted(range(len(names)), key=lambda i: names[i]):
        members[labels[i]].append(i)
    draw, fold_of = random.Random(seed), [0] * len(names)
    for label in sorted(members):
        rest = list(range(1, folds))
        draw.shuffle(rest)
        turn = [rest[0], 0, *rest[1:]]
        draw.shuffle(members[label])
        for place, i in enumerate(members[label]):
            fold_of[i] = turn[place % folds]
    return fold_of


def by_group(labels: Sequence[int], groups: Sequence[str], seed: int = SEED) -> list[int]:
    """Fold (from 0) of each recording, all of a group in the same: five, or as many as there are groups.

    The largest group first, each goes where its classes are rarest, then where least is. A group that alone has a class
    is kept out of fold 0, where there is another fold.
    """
    members, groups_of = defaultdict(list), defaultdict(set)
    for i, (label, group) in enumerate(zip(labels, groups, strict=True)):
        members[group].append(i)
        groups_of[label].add(group)
    folds, total = min(FOLDS, len(members)), Counter(labels)
    order = sorted(members)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -len(members[group]))
    here, size, fold_of = [Counter() for _ in range(folds)], [0] * folds, [0] * len(labels)
    for group in order:
        own = Counter(labels[i] for i in members[group])
        alone = folds > 1 and any(len(groups_of[label]) == 1 for label in own)

        def load(fold: int, own: Counter = own) -> tuple[float, int]:
            return sum(count * here[fold][label] / total[label] for label, count in own.items()), size[fold]

        best = min(range(int(alone), folds), key=load)
        here[best] += own
        size[best] += len(members[group])
        for i in members[group]:
            fold_of[i] = best
    return fold_of
