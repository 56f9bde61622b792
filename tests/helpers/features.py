"""Features made up for tests."""

import torch


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(dims, seed=0):
    return torch.linalg.qr(normal(dims, dims, seed=seed)).Q


def clips(count, seed, spread=1.0, dims=12, classes=4):
    """Features of classes around centres that are the same for every seed, and the classes in turn."""
    target = torch.arange(count) % classes
    centres = 2 * normal(classes, dims, seed=99)
    return centres[target] + spread * normal(count, dims, seed=seed), target
