"""What an inversion carries from batch to batch, gives out on the way and takes in: memory, states, bank, student."""

import gc
import io
import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from frami import checkpoints
from frami.errors import FramiError
from frami.inversion import RECIPES, invert, losses, make_clips
from frami.inversion.feature_bank import FeatureBank
from frami.inversion.state import NEGATIVES, new_work
from frami.inversion.step import stepper
from frami.inversion.teacher import TeacherCopy
from frami.models import build
from tests.helpers.kinds import FRAMI, KINDS, finished, of_kind, rng, same

# --- stop and go on --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(teacher, name):
    """After the first and after the second of three batches, the last a smaller one; through a file, as tensors."""
    row = of_kind(name)
    settings = {"samples": 5, "batch": 2, "seconds": (0.2, 0.3), "steps": 2, "seed": 3}
    whole, memories = [], []
    for state in invert(teacher, row, **settings):
        if state.finished:
            whole.append(state.clips)
            memories.append(state.memory())
    assert [len(clips) for clips in whole] == [2, 2, 1]
    for done in (1, 2):
        file = io.BytesIO()
        torch.save(memories[done - 1], file)
        file.seek(0)
        memory = torch.load(file, weights_only=True)
        assert memory["batches"] == done
        states = list(invert(teacher, row, first=done, memory=memory, every=1, **settings))
        assert [state.batch for state in states] == [n for n in range(done + 1, 4) for _ in range(2)]
        assert states[-1].done == states[-1].total == 2 * (3 - done), "nothing is warmed up again"
        rest = finished(states)
        assert len(rest) == 3 - done and all(same(a, b) for a, b in zip(whole[done:], rest, strict=True))


def test_a_memory_is_not_changed_by_what_follows(teacher):
    run = invert(teacher, RECIPES["frami-fast"], samples=6, batch=2, seconds=0.2, steps=2, every=100)
    memory = next(run).memory()

    def flat(value):
        if isinstance(value, torch.Tensor):
            return [value]
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [tensor for part in parts for tensor in flat(part)]

    before = [tensor.clone() for tensor in flat(memory)]
    assert before and not any(tensor.requires_grad for tensor in flat(memory))
    list(run)
    list(invert(teacher, RECIPES["frami-fast"], samples=6, batch=2, seconds=0.2, steps=2, first=1, memory=memory))
    assert all(torch.equal(a, b) for a, b in zip(before, flat(memory), strict=True))


def test_nothing_is_left_to_make(teacher):
    assert list(invert(teacher, samples=4, batch=2, seconds=0.2, steps=1, first=2)) == []


# --- the way there ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["frami-fine", "cmi"])
@pytest.mark.parametrize(("steps", "snapshots", "shown"), [(8, 4, [1, 2, 4, 8]), (2, 6, [1, 2]), (3, 1, [3])])
def test_snapshots_end_in_the_finished_clips(teacher, name, steps, snapshots, shown):
    settings = {"samples": 2, "batch": 1, "seconds": 0.2, "steps": steps}
    states = list(invert(teacher, of_kind(name), snapshots=snapshots, every=1, **settings))
    for state in states:
        if not state.finished:
            assert state.trajectory is None and state.memory is None
            continue
        clips, trajectory = state.clips, state.trajectory
        assert trajectory.steps == shown and trajectory.mels.dtype == torch.float16
        assert trajectory.mels.shape == (len(shown), len(clips), *clips.mels.shape[2:])
        assert torch.equal(trajectory.mels[-1], clips.mels[:, 0].half())
        way = [s for s in states if s.batch == state.batch and not s.finished][-steps + 1 :]
        for step, mels in zip(shown[:-1], trajectory.mels[:-1], strict=True):
            assert torch.equal(way[step - 1].clips.mels[:, 0].half(), mels)
    (without,) = {s.trajectory for s in invert(teacher, of_kind(name), **settings)}
    assert without is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, where steps are replayed from a graph")
def test_replayed_steps_show_the_present_batch():
    """What a step computed is read out of the graph's own memory, batch after batch."""
    teacher = checkpoints.load("fsdd", "cuda")
    states = list(invert(teacher, samples=8, batch=4, seconds=0.3, steps=8, every=1, snapshots=3))
    for batch in (1, 2):
        own = [s for s in states if s.batch == batch]
        assert all(not torch.equal(a.clips.mels, b.clips.mels) for a, b in itertools.pairwise(own))
        assert own[-1].losses["class"] < own[0].losses["class"]
        assert not torch.equal(own[-1].trajectory.mels[0], own[-1].trajectory.mels[1])


# --- the bank --------------------------------------------------------------------------------------------------------


def test_what_the_bank_holds_already_costs_more(teacher):
    """Clips as they begin, contrasted with themselves of an earlier run, with others, and with nothing."""
    still = replace(FRAMI, lr=1e-9, lr_latent=1e-9, head="plain")
    settings = {"samples": 6, "batch": 6, "seconds": 0.3, "steps": 1}

    def contrast(bank):
        *_, last = invert(teacher, still, feature_bank=bank, **settings)
        return last.losses["contrast"]

    own, others = FeatureBank(), FeatureBank()
    alone = contrast(own)
    make_clips(teacher, still, feature_bank=others, **settings, seed=1)
    assert len(own) == len(others) == 6 and own.labels().tolist() == [*range(6)]
    assert alone < contrast(others) < contrast(own) - 0.1


def working(teacher, recipe=FRAMI, clips=3):
    """A batch that has begun, and an empty bank."""
    work = new_work(TeacherCopy(teacher, (0.2, 0.2)), recipe, clips)
    work.begin(torch.arange(clips), 0, rng())
    return work, FeatureBank()


def test_negatives_are_seen_by_the_present_head(teacher, monkeypatch):
    work, bank = working(teacher)
    size = work.head.network[0].in_features
    bank.push(torch.randn(5, size, generator=rng()), torch.arange(5))
    given = []
    monkeypatch.setattr(losses, "contrastive_loss", lambda *args: given.append(args) or args[0].sum() * 0)
    for _ in range(2):
        expected = F.normalize(work.head.network(bank.rows()), dim=1)
        work.draw(bank, rng())
        stepper(work)()
        anchors, positives, negatives, temperature, allowed = given[-1]
        torch.testing.assert_close(negatives, expected)
        assert anchors.requires_grad and not positives.requires_grad and not negatives.requires_grad
        assert temperature == FRAMI.temperature and allowed.shape == (3, 8) and allowed.all()
        for rows in (anchors, positives, negatives):
            torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
        with torch.no_grad():
            work.head.network[0].weight.mul_(-1)


def test_negatives_of_the_same_class_only(teacher, monkeypatch):
    work, bank = working(teacher, replace(FRAMI, negatives="same"))
    bank.push(torch.zeros(4, work.head.network[0].in_features), torch.tensor([2, 2, 0, 9]))
    given = []
    monkeypatch.setattr(losses, "contrastive_loss", lambda *args: given.append(args[-1]) or args[0].sum() * 0)
    work.draw(bank, rng())
    stepper(work)()
    assert given[0].int().tolist() == [[1, 0, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0]]


def test_a_large_bank_is_drawn_from_and_left_as_it_is(teacher):
    """When it holds exactly as many rows as a step draws, and when it holds more: never none, never others."""
    work, bank = working(teacher)
    size = work.head.network[0].in_features
    for held in (1, NEGATIVES - 1, NEGATIVES, NEGATIVES + 5, NEGATIVES + 200):
        more = held - len(bank)
        numbers = torch.arange(len(bank), held)
        bank.push((numbers / 1e3)[:, None] + torch.zeros(more, size), numbers % 10)
        before = bank.rows().clone(), bank.labels().clone()
        for seed in range(3):
            work.draw(bank, rng(seed))
            count = int(work.negatives.count)
            assert count == min(held, NEGATIVES)
            drawn = (work.negatives.rows[:count, 0] * 1e3).round().long()
            assert len(drawn.unique()) == count and drawn.min() >= 0 and drawn.max() < held
            assert torch.equal(work.negatives.labels[:count], drawn % 10)
        assert torch.equal(bank.rows(), before[0]) and torch.equal(bank.labels(), before[1])


# --- a student -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_a_student_is_evaluated_and_left_as_it_is(teacher, training):
    """It gathers no gradients, and its batch norms learn nothing from clips in the making."""
    torch.manual_seed(0)
    student = build("nano", 10).train(training)
    student.backbone.bands.eval()
    modes = [module.training for module in student.modules()]
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    for name in ("frami-fine", "deepinversion", "dfq"):
        *_, last = invert(teacher, of_kind(name), samples=2, seconds=(0.2, 0.3), steps=2, student=student)
        assert "adversarial" in last.losses
    assert all(p.grad is None and p.requires_grad for p in student.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())
    assert modes == [module.training for module in student.modules()]


def test_a_student_changes_the_clips(teacher):
    torch.manual_seed(0)
    settings = {"samples": 4, "seconds": 0.2, "steps": 4, "weights": {"adversarial": 50.0}}
    row = replace(FRAMI, divergence="kl")
    with_one = make_clips(teacher, row, student=build("nano", 10).eval(), **settings)
    assert not torch.equal(with_one.mels, make_clips(teacher, row, **settings).mels)


@pytest.mark.parametrize("name", ["cmi", "zskt"])
def test_memory_does_not_grow_with_the_batches(teacher, name):
    """Tensors that are alive after the second batch and after the fifth, when states are let go."""
    alive = []
    for state in invert(teacher, of_kind(name), samples=5, batch=1, seconds=(0.2, 0.3), steps=1, snapshots=2):
        if state.finished:
            state.memory()
            del state
            gc.collect()
            tensors = [o for o in gc.get_objects() if type(o) in (torch.Tensor, torch.nn.Parameter)]
            memory = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
            alive.append((len(tensors), sum(memory.values())))
            del tensors
    assert len(alive) == 5
    assert alive[4][0] <= alive[1][0] and alive[4][1] <= alive[1][1], alive


def test_a_bank_of_other_features_is_refused(teacher):
    bank = FeatureBank()
    bank.push(torch.randn(4, 7), torch.zeros(4, dtype=torch.long))
    with pytest.raises(FramiError, match="another teacher"):
        next(invert(teacher, samples=2, batch=2, seconds=0.2, steps=2, feature_bank=bank))
