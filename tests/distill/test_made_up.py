"""Sounds that are learnt from beside made clips: those nearest to the teacher's training data, and as few as there is
time for."""

import pytest
import torch
from torch import nn

from frami import checkpoints
from frami.device import threads
from frami.distill import RunSettings, Settings, distill, loop
from frami.distill.made_up import BATCH, OF, made_up
from frami.distill.settings import MOST
from frami.errors import FramiError
from frami.inversion import Clips, durations, recipe
from frami.inversion.augment import centred
from frami.inversion.bn_statistics import clip_means, recorded
from tests.helpers.clock import ticking
from tests.helpers.distillation import QUICK

FRAMES = (24, 40)


@pytest.fixture(scope="module")
def digits():
    return checkpoints.load("fsdd")


def far(teacher, mels, lengths):
    with torch.no_grad(), recorded(teacher.model, clips=len(mels)) as inputs:
        teacher.model(centred(mels, teacher.spec, lengths), lengths)
    return clip_means(inputs).square().mean(1)


def all_of(model, spec, seed=3):
    return [torch.cat(parts) for parts in zip(*made_up(model, spec, FRAMES, seed), strict=True)]


def test_the_nearest_to_the_training_data_are_taken(digits):
    mels, lengths = all_of(digits.model, digits.spec)
    assert mels.shape == (MOST, 1, digits.spec.n_mels, FRAMES[1]) and lengths.shape == (MOST,)
    assert lengths.min() >= FRAMES[0] and lengths.max() <= FRAMES[1] and lengths.min() < lengths.max()
    beyond = torch.arange(FRAMES[1]) >= lengths[:, None]
    assert (mels[:, 0].transpose(1, 2)[beyond] == digits.spec.floor).all() and mels.isfinite().all()
    others = all_of(nn.Linear(1, 1), digits.spec)
    assert len(others[0]) == MOST and far(digits, mels, lengths).quantile(0.9) < far(digits, *others).median()
    again = all_of(digits.model, digits.spec)
    assert torch.equal(again[0], mels) and torch.equal(again[1], lengths)
    assert not torch.equal(next(made_up(digits.model, digits.spec, FRAMES, 4))[0], mels[: BATCH // OF])


def test_a_network_of_a_fixed_number_of_clips_hears_as_many(digits):
    class Three(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = digits.model

        def forward(self, x, lengths):
            assert len(x) == 3
            return self.inner(x, lengths)

    assert len(next(made_up(Three(), digits.spec, FRAMES, 3, 3))[0]) == 1


def test_a_norm_that_nothing_goes_through_tells_nothing(digits):
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(4)

        def forward(self, x, lengths):
            return x

    assert len(next(made_up(Idle(), digits.spec, FRAMES, 3))[0]) == BATCH // OF


@pytest.fixture
def courses(monkeypatch):
    """The courses of the distillations that are begun."""
    begun = []

    class Noted(loop._Course):
        def __init__(self, *given):
            super().__init__(*given)
            begun.append(self)

    monkeypatch.setattr(loop, "_Course", Noted)
    return begun


@pytest.mark.parametrize(("clips", "expected"), [(8, 8), (32, 16)])
def test_half_as_many_as_clips_and_they_are_not_counted(tiny, courses, clips, expected):
    *_, state = distill(tiny, Settings(**(QUICK | {"clips": clips, "made_up": 16})))
    (course,) = courses
    assert state.clips == 2 * clips and len(course.beside.rows) == expected == len(set(course.beside.rows))
    assert len(course.buffer) == expected + state.clips - len(course.unseen.own)
    found = course.buffer.take(torch.tensor(course.beside.rows), torch.zeros(expected))
    frames = tuple(map(tiny.spec.frames, durations(tiny, recipe("frami"), None)))
    sounds = zip(*made_up(course.learner.fast_teacher, tiny.spec, frames, 3), strict=True)
    mels, lengths = (torch.cat(parts)[:expected] for parts in sounds)
    assert torch.equal(found[1], lengths)
    torch.testing.assert_close(found[0], mels, atol=0.01, rtol=0.01)


@pytest.mark.slow
def test_no_more_are_chosen_than_there_is_time_for(tiny, courses, monkeypatch):
    for share in (0.0, 0.5):
        monkeypatch.setattr("frami.distill.made_up.CHOSEN", share)
        with threads(1):
            list(distill(tiny, Settings(student="nano", budget=0.6, clips=8, batch=8, share=0.5), now=ticking(0.005)))
    none, some = courses
    assert none.clips and not none.beside.rows and some.beside.rows and some.pace.beside > none.pace.beside


@pytest.mark.slow
def test_what_is_made_costs_what_it_did(tiny, courses, monkeypatch):
    """The seconds of choosing are no price of a clip."""
    later = []

    def slow(*given):
        for sounds in made_up(*given):
            later.append(1.0)
            yield sounds

    monkeypatch.setattr("frami.distill.made_up.made_up", slow)
    with threads(1):
        now = ticking(0.01)
        list(distill(tiny, Settings(student="nano", budget=3.0, clips=8, batch=8), now=lambda: now() + sum(later)))
    (course,) = courses
    assert course.pace.beside > 1 and course.pace.each < 0.1


def test_there_need_be_none(tiny, courses):
    list(distill(tiny, Settings(**(QUICK | {"made_up": 0}))))
    assert courses[0].clips and not courses[0].beside.rows
    before = RunSettings("fsdd", Settings()).to_dict()
    assert RunSettings.from_dict(before).settings.made_up == before.pop("made_up") == MOST
    assert RunSettings.from_dict(before).settings.made_up == 0, "there were none when this was not stored"
    assert "made_up" not in RunSettings("fsdd", Settings(source="real")).to_dict()
    with pytest.raises(FramiError, match="made_up is at least 0"):
        Settings(made_up=-1)


@pytest.mark.parametrize("source", ["real", "noise"])
def test_real_clips_and_noise_stay_among_themselves(tiny, make_mels, courses, source):
    settings = Settings(**(QUICK | {"source": source, "objective": "logits"}))
    *_, last = distill(tiny, settings, make_mels() if source == "real" else None)
    assert not courses[0].beside.rows and len(courses[0].buffer) == last.clips


@pytest.mark.slow
def test_a_run_that_goes_on_has_as_many_whatever_time_there_is(tiny, courses, monkeypatch):
    """Clips are replayed by priority: each has its own."""
    settings = Settings(student="nano", budget=2.0, clips=8, batch=8, replay="priority")
    monkeypatch.setattr("frami.distill.made_up.CHOSEN", 0.5)
    made = []
    for state in distill(tiny, settings, every=0.0, now=ticking(0.005)):
        made += [state.made.clips] if state.made is not None else []
        if state.steps == 5:
            break
    memory = state.memory()
    monkeypatch.setattr("frami.distill.made_up.CHOSEN", 0.0)
    *_, state = distill(tiny, settings, memory=memory, earlier=Clips.join(made), every=0.0, now=ticking(0.01))
    first, later = courses
    assert first.beside.rows and later.beside.rows == first.beside.rows == memory["sounds"]
    assert later.pace.beside > first.pace.beside, "what it takes is noted"
    assert state.finished and state.seconds >= 2


@pytest.mark.parametrize("turns", [1, 2])
def test_a_run_that_goes_on_has_them_in_the_same_order(tiny, courses, turns):
    settings = Settings(**(QUICK | {"rounds": 4, "turns": turns}))
    made, memory = [], None
    for state in distill(tiny, settings, every=0.0):
        made += [state.made.clips] if state.made is not None else []
        if state.steps == settings.rounds * settings.steps // 2:
            memory = state.memory()
            break
    whole = distill(tiny, settings, memory=memory, earlier=Clips.join(made), every=0.0)
    next(whole)
    first, later = courses
    assert first.beside.rows and later.beside.rows[: len(first.beside.rows)] == first.beside.rows
    rows = torch.tensor(range(len(first.buffer)))
    for one, other in zip(*(x.buffer.take(rows, torch.zeros(len(rows))) for x in (first, later)), strict=True):
        assert torch.equal(one[..., :20], other[..., :20])
