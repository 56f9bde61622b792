"""A run of synthesis in another process: what is saved when it is told to stop."""

from dataclasses import replace

import pytest

from frami import banks, checkpoints
from frami.inversion import RECIPES, InversionSettings
from frami.workers import synthesis


@pytest.mark.parametrize("leave", [False, True])
def test_a_stop_in_a_warm_up_keeps_a_whole_batch(tmp_path, tiny_teacher, monkeypatch, leave):
    """The clips of the warm-up are fewer than the batch has: they are not saved, and what goes on is complete."""
    monkeypatch.setitem(RECIPES, "frami-warm", replace(RECIPES["frami-warm"], warmup_clips=3, warmup_steps=4))
    teacher = checkpoints.load(tiny_teacher, "cpu")
    settings = InversionSettings.of(teacher, "frami-warm", samples=10, batch=5, seconds=0.2, steps=4).to_dict()
    given = {"settings": settings, "folder": str(tmp_path / "run")}
    told = synthesis.states(teacher, lambda: not leave, **given)
    first = next(told)
    assert first["step"] == 2 and len(first["clips"]) == 3 and not first["ends"]
    rest = [] if leave else list(told)
    told.close()
    assert leave or (rest[-1]["ends"] and len(rest[-1]["clips"]) == 5)
    assert len(banks.load(tmp_path / "run")) == 5
    *_, last = synthesis.states(teacher, lambda: False, **given)
    assert last["finished"] and len(banks.load(tmp_path / "run")) == 10
