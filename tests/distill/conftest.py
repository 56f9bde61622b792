"""What tests of distillation share."""

from dataclasses import replace

import pytest

from frami import checkpoints
from frami.inversion import RECIPES


@pytest.fixture
def tiny(tiny_teacher):
    return checkpoints.load(tiny_teacher)


@pytest.fixture
def temporal(temporal_teacher):
    return checkpoints.load(temporal_teacher)


@pytest.fixture
def short_warmup(monkeypatch):
    """DAFL discards two batches at its start instead of twenty."""
    monkeypatch.setitem(RECIPES, "dafl", replace(RECIPES["dafl"], warmup=2))
