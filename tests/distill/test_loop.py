"""The loop: made clips are learnt from within a budget or by rounds, the same seed gives the same student."""

import pytest
import torch

from frami import checkpoints
from frami.distill import OBJECTIVES, Settings, distill, loop
from frami.distill.loop import BudgetError, Clock, Pace
from frami.errors import FramiError
from frami.train import evaluate
from tests.helpers.clock import ticking
from tests.helpers.distillation import QUICK


@pytest.mark.slow
def test_a_student_learns_from_made_clips_alone(tiny, make_mels):
    """Far above chance on clips of the classes that neither network was shown."""
    wanted = Settings(student="tiny", budget=None, rounds=4, clips=16, steps=40, batch=16)
    states = list(distill(tiny, wanted, every=0.2))
    last = states[-1]
    assert last.finished and last.steps == 160 and last.clips == 64 and last.share == 1 and last.left == 0
    assert [s.share for s in states] == sorted(s.share for s in states)
    assert sum(s.made is not None for s in states) == 4
    assert evaluate(last.student, make_mels(seed=3)).accuracy > 0.6


def test_the_same_seed_gives_the_same_student(tiny):
    def weights(seed):
        *_, last = distill(tiny, Settings(**(QUICK | {"seed": seed})))
        return torch.cat([p.flatten() for p in last.student.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_the_budget_is_shared_and_not_exceeded(tiny):
    wanted = Settings(student="nano", budget=4.0, clips=8, batch=8, share=0.5)
    *_, last = distill(tiny, wanted, every=0.2, now=ticking(0.05))
    assert 4.0 <= last.seconds < 4.5
    assert last.clips >= 8 and last.steps > 5


def test_clips_that_take_longer_than_the_budget_are_left(tiny):
    """A thousand steps for the first clips: the run ends with its budget, not with them, and says what to do."""
    slow = Settings(student="nano", recipe="deepinversion", budget=0.5, clips=8, batch=8)
    seen = []
    with pytest.raises(BudgetError, match="larger --budget"):
        for state in distill(tiny, slow, every=0.0, now=ticking(0.01)):
            seen.append((state.seconds, state.steps))
    assert seen[-1][0] < 0.6 and seen[-1][1] == 0
    states = []
    with pytest.raises(BudgetError):  # over before the first sign of life: even so there is a state, a student
        for state in distill(tiny, slow, every=60, now=ticking(1.0)):
            states.append(state)
    assert [state.steps for state in states] == [0]


def test_what_happens_between_two_states_is_not_counted():
    clock = Clock(now=ticking(1.0))
    clock.start()
    clock.stop()
    assert [clock.seconds, clock.seconds] == [1.0, 1.0]
    clock.start()
    assert [clock.seconds, clock.seconds] == [2.0, 3.0]


def test_making_ends_when_its_share_is_used_up():
    clock = Clock(10.0)
    pace = Pace(Settings(budget=100, share=0.3), clock)
    assert pace.wants_clips, "without a clip there is nothing to learn from"
    pace.made(9.0)
    assert not pace.wants_clips, "first its time of learning"
    clock._spent = 40.0
    assert pace.wants_clips
    pace.made(20.0)
    assert not pace.wants_clips and not pace.over
    clock._spent = 100.0
    assert pace.over


def test_the_warm_up_of_a_recipe_is_no_price_of_later_batches():
    clock = Clock(30.0)
    pace = Pace(Settings(recipe="dafl", budget=100, share=0.3), clock)
    pace.made(21.0)  # twenty batches to learn from, and the first that is used
    clock._spent = 90.0
    assert pace.wants_clips
    other = Pace(Settings(recipe="frami", budget=100, share=0.3), clock)
    other.made(21.0)
    assert not other.wants_clips


def test_a_budget_that_the_first_clips_take_is_reported(tiny):
    with pytest.raises(FramiError, match="larger --budget"):
        list(distill(tiny, Settings(**(QUICK | {"budget": 0.01}))))


@pytest.mark.slow
def test_a_batch_that_was_cut_off_is_no_part_of_what_was_spent(tiny):
    """A run that is stopped again and again while it makes its first clips still has its whole budget."""
    now = ticking(0.05)
    settings = Settings(**(QUICK | {"recipe": "frami", "budget": 8.0, "rounds": 1}))
    states = distill(tiny, settings, every=0, now=now)
    state = next(state for state in states if state.seconds > 1)
    memory = state.memory()
    states.close()
    assert not state.clips and memory["seconds"] == 0
    states = distill(tiny, settings, every=0, now=now, memory=memory)
    state = next(state for state in states if state.steps > 2)
    assert 0 < state.memory()["seconds"] <= state.seconds, "whole steps count"
    *_, last = states
    assert last.finished and last.seconds >= 8


def test_references_learn_from_real_clips_or_noise(tiny, make_mels):
    data = make_mels()
    for source, objective in (("real", "labels"), ("real", "frami"), ("noise", "logits")):
        wanted = Settings(**(QUICK | {"source": source, "objective": objective, "rounds": 1}))
        *_, last = distill(tiny, wanted, data if source == "real" else None)
        assert last.finished and last.steps == 3 and last.made is None
        assert last.clips == (len(data) if source == "real" else 2048)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "magic"}, "choose one of: frami"),
        ({"objective": "labels"}, "real clips"),
        ({"student": "giant"}, "no size 'giant'"),
        ({"recipe": "magic"}, "no recipe"),
        ({"budget": 0.0}, "above 0"),
        ({"share": 1.0}, "between 0 and 1"),
        ({"clips": 0}, "clips is at least 1"),
        ({"batch": 1}, "batch is at least 2"),
        ({"lr": 0.0}, "learning rate"),
        ({"source": "bank"}, "do not fit"),
        ({"source": "dreams"}, "no source"),
    ],
)
def test_bad_settings_are_refused_at_the_call(tiny, change, message):
    with pytest.raises(FramiError, match=message):
        distill(tiny, Settings(**(QUICK | change)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, where steps are replayed from a graph")
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_gpu_replays_the_steps(tiny_teacher, make_mels, objective):
    wanted = Settings(student="tiny", objective=objective, budget=None, rounds=3, clips=16, steps=60, batch=16)
    *_, last = distill(checkpoints.load(tiny_teacher, "cuda"), wanted)
    assert last.finished and last.steps == 180
    assert evaluate(last.student, make_mels(seed=3)).accuracy > 0.6


def test_clips_are_made_for_the_present_student(tiny, monkeypatch):
    """But for a recipe that brings a companion of its own."""
    looked_at = []
    real = loop.invert

    def watched(*arguments, student, **options):
        looked_at.append(student)
        return real(*arguments, student=student, **options)

    monkeypatch.setattr(loop, "invert", watched)
    *_, last = distill(tiny, Settings(**(QUICK | {"rounds": 1})))
    assert looked_at == [last.student]
    loop._maker(tiny, Settings(recipe="zskt"), last.student, None)
    assert looked_at[1] is None
