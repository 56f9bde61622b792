"""One recipe of each kind, and how tests of inversion compare what comes out."""

from dataclasses import replace

import torch

from frami.inversion import RECIPES, Clips

FRAMI = RECIPES["frami-fine"]

#: One recipe of each kind: what it carries from batch to batch, and how much of it these tests can wait for.
KINDS = {
    "frami": "generator made anew, a head, past statistics",
    "cmi": "best clips, a head",
    "deepinversion": "the clip itself",
    "frami-fast": "generator carried over but for its first layer",
    "dafl": "generator and its moments carried over",
    "fast": "meta-generator",
    "zskt": "companion student",
    "nayer": "layers of random weights as latents",
    "mad": "a generator that is told the class, and its moving average",
    "spaceshipnet": "channels exchanged at the end",
}


def of_kind(name):
    row = RECIPES[name]
    return replace(row, warmup=min(row.warmup, 1), student_steps=min(row.student_steps, 1))


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def finished(states):
    return [state.clips for state in states if state.finished]


def same(a: Clips, b: Clips) -> bool:
    pairs = ((getattr(a, name), getattr(b, name)) for name in vars(a))
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in pairs)
