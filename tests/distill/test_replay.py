"""Replay by priority: what is drawn how often, and what a training step notes."""

from dataclasses import replace

import pytest
import torch

from frami.device import threads
from frami.distill import Settings, distill
from frami.distill.augment import AugmentConfig, ReplayBuffer
from frami.distill.learner import learn, learner_state, load_learner, new_learner
from frami.distill.objectives import objective
from frami.distill.replay import EXPONENT, LEAST, Priorities, divergence, draw
from frami.distill.settings import RunSettings
from frami.distill.student import new_student
from frami.errors import FramiError
from tests.helpers.distillation import QUICK, classified


@pytest.fixture
def one_thread():
    with threads(1):
        yield


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_rows_are_drawn_as_often_as_their_weights_say():
    weights = torch.tensor([1.0, 0.0, 3.0, 4.0])
    shares = draw(4, 80_000, rng(), weights).bincount(minlength=4) / 80_000
    torch.testing.assert_close(shares, weights / 8, rtol=0, atol=0.01)
    plain = draw(4, 80_000, rng()).bincount(minlength=4) / 80_000
    torch.testing.assert_close(plain, torch.full((4,), 0.25), rtol=0, atol=0.01)
    assert torch.equal(draw(4, 9, rng(1), weights), draw(4, 9, rng(1), weights))


def test_an_unseen_clip_counts_as_the_furthest():
    priorities = Priorities()
    assert priorities.weights(2).tolist() == pytest.approx([(1 + LEAST) ** EXPONENT] * 2)
    priorities.update(torch.tensor([0, 1]), torch.tensor([0.0, 5.0]))
    weights = priorities.weights(4).tolist()
    assert weights == pytest.approx([LEAST**EXPONENT] + [(5 + LEAST) ** EXPONENT] * 3)


def test_the_error_is_the_divergence_of_the_answers():
    shares, others = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    expected = [0.5 * torch.log(torch.tensor(0.5 / 0.25)) + 0.5 * torch.log(torch.tensor(0.5 / 0.75)), 0.0]
    torch.testing.assert_close(divergence(shares.log() + 3, others.log()), torch.tensor(expected), rtol=1e-4, atol=1e-6)


def learner_of(teacher, **choices):
    settings = Settings(**(QUICK | {"replay": "priority"} | choices))
    student = new_student(teacher, "nano", objective(settings.objective))
    learner = new_learner(teacher, student, settings, 40, AugmentConfig())
    buffer = ReplayBuffer(teacher.spec, 40)
    x, lengths, _ = classified(teacher, clips=20)
    buffer.add(x, lengths, torch.zeros(20, dtype=torch.long))
    return learner, buffer


@pytest.mark.parametrize("cores", [1, 2])
def test_a_step_notes_how_far_off_the_student_was(teacher, cores):
    """Of the clips that it drew, the others keep what they had; also where the next batch is prepared beside it."""
    with threads(cores):
        learner, buffer = learner_of(teacher)
        before = learner.priorities.weights(20).clone()
        learn(learner, buffer)
        after = learner.priorities.weights(20)
        changed = before != after
        assert 1 <= int(changed.sum()) <= 8
        values = learner.priorities.values[changed]
        assert torch.isin(values, learner.errors).all() and (values >= 0).all()


def test_what_the_student_knows_is_drawn_less(teacher):
    learner, buffer = learner_of(teacher, lr=1e-6)
    learner.priorities.weights(20)
    learner.priorities.values[:] = 0
    learner.priorities.values[3] = 1e6
    learn(learner, buffer)
    assert (learner.rows == 3).float().mean() > 0.9
    assert float(learner.priorities.values[3]) < 1e3, "now it is known how far off it was"


@pytest.mark.usefixtures("one_thread")
def test_priorities_are_part_of_what_a_run_goes_on_with(teacher):
    """On one thread to the bit; on several the batch that is prepared beside a step has its priorities of before."""
    learner, buffer = learner_of(teacher)
    learn(learner, buffer)
    state = learner_state(learner)
    learn(learner, buffer)
    again, _ = learner_of(teacher)
    load_learner(again, state)
    learn(again, buffer)
    assert torch.equal(again.priorities.values, learner.priorities.values)
    for mine, own in zip(again.student.parameters(), learner.student.parameters(), strict=True):
        assert torch.equal(mine, own)
    plain, _ = learner_of(teacher, replay="uniform")
    assert learner_state(plain)["priorities"] is None and plain.priorities is None


def test_a_distillation_by_priority_runs_and_is_stored_as_such(tiny):
    settings = Settings(**(QUICK | {"replay": "priority", "rounds": 1}))
    *_, last = distill(tiny, settings)
    assert last.finished and last.steps == 3
    stored = RunSettings("tiny", settings).to_dict()
    assert stored["replay"] == "priority" and RunSettings.from_dict(stored).settings == settings
    assert "replay" not in replace(settings, replay="uniform").to_dict()
    with pytest.raises(FramiError, match=r"no replay 'random'.*uniform, priority"):
        replace(settings, replay="random")
