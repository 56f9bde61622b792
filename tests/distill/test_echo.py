"""Batches are learnt from twice where a teacher is costly beside its student, and only there."""

import time

import pytest
import torch

from frami.device import threads
from frami.distill import Settings, distill, learner, loop, new_student
from frami.distill.augment import AugmentConfig, noise_clips
from frami.distill.learner import WAITING, Echo
from frami.distill.objectives import objective
from frami.distill.pace import Clock
from tests.helpers.clock import ticking
from tests.helpers.distillation import QUICK


def used(echo: Echo, steps: int) -> list[int]:
    """The batches of so many steps, by number."""
    fresh, found = iter(range(steps)), []
    for _ in range(steps):
        batch = echo.again()
        found.append(echo.keep(next(fresh)) if batch is None else batch)
    return found


def test_each_batch_comes_back_once_and_some_steps_later():
    echo = Echo()
    echo.on = True
    found = used(echo, 200)
    places = {batch: [i for i, one in enumerate(found) if one == batch] for batch in found}
    assert max(len(where) for where in places.values()) == 2
    twice = [where for where in places.values() if len(where) == 2]
    assert len(twice) > 90 and all(later - first >= WAITING for first, later in twice)


def test_off_every_batch_is_new():
    assert used(Echo(), 50) == list(range(50))


def test_what_waits_is_forgotten():
    echo = Echo()
    echo.on = True
    used(echo, 40)
    echo.forget()
    assert echo.again() is None


@pytest.fixture
def course(tiny):
    """A distillation within a budget that has its clips and has not begun to learn."""
    settings = Settings(**(QUICK | {"budget": 1e9}))
    student = new_student(tiny, "nano", objective("frami"))
    found = loop._Course(tiny, settings, student, AugmentConfig(), None, Clock(now=ticking(0.01)), 40, None)
    mels, lengths = noise_clips(tiny.spec, 8, 30, 40, seed=0)
    found.add(mels, lengths, torch.zeros(8, dtype=torch.long))
    found.clock.start()
    yield found
    learner.close(found.learner)


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize(("slow", "twice"), [("_prepared", True), ("_improve", False)])
def test_it_is_on_where_preparing_takes_longer_than_learning(course, monkeypatch, slow, twice, cores):
    real = getattr(learner, slow)

    def slower(*given):
        time.sleep(0.4)
        return real(*given)

    monkeypatch.setattr(learner, slow, slower)
    with threads(cores):
        course._probe()
        measured = course.pace.of_step
        assert course.learner.echo.on is twice
        drawn = []
        monkeypatch.setattr(learner, slow, real)
        monkeypatch.setattr(
            learner, "_prepared", lambda one, prepared=learner._prepared: drawn.append(1) or prepared(one)
        )
        for _ in range(40):
            course.learn()
    assert course.pace.of_step == measured, "decided once"
    assert (len(drawn) < 30) is twice
    assert course._memory()["echo"] is twice


def test_runs_of_counted_steps_never_do(tiny, monkeypatch):
    """They give the same student on any machine."""
    monkeypatch.setattr(learner.Echo, "again", lambda echo: pytest.fail("used twice") if echo.on else None)
    *_, last = distill(tiny, Settings(**(QUICK | {"steps": 12})))
    assert last.finished


def test_a_run_that_goes_on_keeps_to_it(tiny, course):
    course.learner.echo.on = True
    course.learn()
    memory = course._memory()
    memory["inversion"] = None
    student = new_student(tiny, "nano", objective("frami"))
    later = loop._Course(tiny, course.settings, student, AugmentConfig(), memory, Clock(now=ticking(0.01)), 40, None)
    assert later.learner.echo.on
    del memory["echo"]  # as an earlier version stored it
    later = loop._Course(tiny, course.settings, student, AugmentConfig(), memory, Clock(now=ticking(0.01)), 40, None)
    assert not later.learner.echo.on and torch.is_tensor(memory["learner"]["rng"])
