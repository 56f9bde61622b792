"""The one loop: faithful and reproducible, of mixed durations, can be stopped and goes on, leaves all else alone."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from frami import checkpoints
from frami.device import fast_bf16
from frami.errors import FramiError
from frami.inversion import RECIPES, Clips, invert, make_clips
from frami.inversion.loop import assigned
from frami.inversion.teacher import TeacherCopy, fast_copy
from frami.models import MaskedBatchNorm2d
from tests.helpers.kinds import FRAMI, KINDS, finished, of_kind, rng, same

# --- what comes out --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_default_settings_reach_their_target_classes(teacher):
    """The promise of the default settings: at least 95 % are classified as their target class."""
    made = make_clips(teacher, samples=10, batch=10, seconds=0.3)
    assert made.target.tolist() == [*range(10)]
    with torch.inference_mode():
        predicted = teacher.model(made.mels, made.lengths).logits.argmax(1)
    assert torch.equal(predicted, made.predicted)
    assert made.target_accuracy == float((predicted == made.target).float().mean()) >= 0.95
    assert torch.equal(made.confidence, made.logits.softmax(1)[torch.arange(10), made.target])


def test_inversion_lowers_its_terms(teacher):
    states = list(invert(teacher, samples=10, batch=10, seconds=0.3, steps=30, every=1))
    first, last = states[0], states[-1]
    assert last.finished and not first.finished
    assert set(first.losses) == {"class", "batch_norm", "contrast"}
    assert last.losses["class"] < 0.4 * first.losses["class"]
    assert last.losses["batch_norm"] < 0.7 * first.losses["batch_norm"]
    assert last.losses["contrast"] < first.losses["contrast"]
    assert last.confidence > first.confidence + 0.3


def test_another_architecture_is_inverted(temporal_teacher):
    """All of its batch norms are matched, the one over the Mel bands among them."""
    teacher = checkpoints.load(temporal_teacher)
    found = TeacherCopy(teacher, (0.4, 0.4))
    norms = [m for m in teacher.model.modules() if isinstance(m, MaskedBatchNorm2d)]
    assert found.norms == [len(norm.running_mean) for norm in norms] and len(norms) == 1 + 1 + 3 * 3
    assert torch.equal(found.bands[0], teacher.model.backbone.bands.running_mean)
    states = list(invert(teacher, samples=8, batch=8, seconds=(0.3, 0.5), steps=30, every=1))
    first, last = states[0], states[-1]
    assert set(first.losses) == {"class", "batch_norm", "contrast"}
    assert all(last.losses[name] < 0.8 * first.losses[name] for name in ("class", "batch_norm"))
    assert last.clips.target_accuracy > 0.5


def test_classes_batches_and_stopping(teacher):
    run = invert(teacher, samples=5, batch=2, seconds=0.2, steps=3, every=1, classes=[7, 3])
    states = [next(run) for _ in range(4)]
    assert [(s.batch, s.step, s.finished) for s in states] == [
        (1, 1, False),
        (1, 2, False),
        (1, 3, True),
        (2, 1, False),
    ]
    assert states[0].clips.target.tolist() == [7, 3]
    assert len(states[3].clips) == 2 and states[3].clips.mels.isfinite().all()
    run.close()
    rest = finished(invert(teacher, samples=5, batch=2, seconds=0.2, steps=2, classes=[7, 3]))
    assert [len(clips) for clips in rest] == [2, 2, 1], "the last batch is a smaller one"
    assert Clips.join(rest).target.tolist() == [7, 3, 7, 3, 7]


@pytest.mark.parametrize("warmup", [0, 2])
def test_progress_counts_every_step(teacher, warmup):
    """Thrown batches count as steps of the first one; what is left falls to nothing."""
    row = replace(RECIPES["dafl"], warmup=warmup)
    states = list(invert(teacher, row, samples=3, batch=2, seconds=0.2, steps=3, every=1))
    first = 3 * (1 + warmup)
    counted = [(1, i, first) for i in range(1, first + 1)] + [(2, i, 3) for i in range(1, 4)]
    assert [(s.batch, s.step, s.steps) for s in states] == counted
    assert [s.finished for s in states] == [s.step == s.steps for s in states]
    assert [s.done for s in states] == [*range(1, len(states) + 1)] and {s.total for s in states} == {len(states)}
    assert all(s.left >= 0 and s.seconds > 0 and s.batches == 2 for s in states) and states[-1].left == 0
    seldom = list(invert(teacher, row, samples=3, batch=2, seconds=0.2, steps=3, every=100))
    assert [s.finished for s in seldom] == [True, True]


def test_chains_of_a_stride_make_one_set(teacher):
    """From one memory, each every second batch: its target classes, seeds and place are those of its number."""
    settings = {"samples": 10, "batch": 2, "seconds": 0.2, "steps": 2, "every": 100, "classes": [0, 1, 2]}
    one, *_ = invert(teacher, "frami", **settings)
    memory = one.memory()
    chains = [list(invert(teacher, "frami", **settings, first=k, stride=2, memory=memory)) for k in (1, 2)]
    assert [[s.batch for s in chain] for chain in chains] == [[2, 4], [3, 5]]
    assert [s.clips.target.tolist() for s in chains[0] + chains[1]] == [[2, 0], [0, 1], [1, 2], [2, 0]]
    assert {s.total for chain in chains for s in chain} == {4} and chains[0][-1].left == 0
    left = next(iter(invert(teacher, "frami", **settings, first=1, stride=2, memory=memory))).memory()
    assert left["batches"] == 3
    later = next(iter(invert(teacher, "frami", **settings, first=3, stride=2, memory=left)))
    assert torch.equal(later.clips.mels, chains[0][1].clips.mels)
    with pytest.raises(FramiError, match="stride"):
        invert(teacher, "frami", **settings, stride=0)


def test_a_short_warm_up_has_clips_and_steps_of_its_own(teacher):
    """Its steps count as steps of the first batch, its clips are of the first target classes, and none are kept."""
    row = replace(RECIPES["frami-warm"], steps=4, warmup=2, warmup_clips=3, warmup_steps=3)
    settings = {"samples": 9, "batch": 5, "seconds": 0.2, "every": 1, "classes": [7, 3]}
    run, memory = [], None
    for state in invert(teacher, row, **settings):
        run.append(state)
        memory = memory or (state.memory() if state.finished else None)
    counted = [(1, i, 10) for i in range(1, 11)] + [(2, i, 4) for i in range(1, 5)]
    assert [(s.batch, s.step, s.steps) for s in run] == counted
    assert [len(s.clips) for s in run] == [3] * 6 + [5] * 4 + [4] * 4
    assert run[0].clips.target.tolist() == [7, 3, 7] and [s.finished for s in run].count(True) == 2
    assert [s.done for s in run] == [*range(1, 15)] and {s.total for s in run} == {14}
    again = list(invert(teacher, row, **settings, first=1, memory=memory))
    assert [s.total for s in again] == [4] * 4, "what goes on is warmed up already"
    assert torch.equal(again[-1].clips.mels, run[-1].clips.mels)


def test_a_warm_up_is_no_larger_than_what_follows(teacher):
    row = replace(RECIPES["frami-warm"], warmup=1, warmup_clips=8, warmup_steps=14)
    states = list(invert(teacher, row, samples=2, batch=16, seconds=0.2, steps=3, every=1))
    assert [(len(s.clips), s.step, s.total) for s in states] == [(2, i, 6) for i in range(1, 7)]
    assert row.warmup_cost(16) == 0.5 and row.warmup_cost(4) == 1.0
    assert RECIPES["dafl"].warmup_cost(7) == RECIPES["dafl"].warmup and RECIPES["cmi"].warmup_cost(7) == 0


def test_batch_norm_weighs_less_where_there_is_no_earlier_batch(teacher):
    """In the first batch and its warm-up alone; what is told of the term is not what it weighs."""
    row = replace(RECIPES["frami-warm"], warmup_clips=3, warmup_steps=1)
    settings = {"samples": 4, "batch": 2, "seconds": 0.2, "steps": 1, "every": 1}
    weighed = replace(row, weights=row.weights | {"batch_norm": 0.2 * row.weights["batch_norm"]}, alone=1.0)
    full, less, lighter = ([*invert(teacher, one, **settings)] for one in (replace(row, alone=1.0), row, weighed))
    assert full[0].losses == less[0].losses == lighter[0].losses
    assert not torch.allclose(full[1].clips.mels, less[1].clips.mels, atol=1e-3)
    assert torch.allclose(less[1].clips.mels, lighter[1].clips.mels, atol=1e-4)
    run = invert(teacher, row, **settings)
    _, first = next(run), next(run)
    choices = settings | {"first": 1, "memory": first.memory()}
    second, as_full = next(run), next(invert(teacher, replace(row, alone=1.0), **choices))
    assert second.finished and torch.equal(second.clips.mels, as_full.clips.mels)


@pytest.mark.slow
def test_the_first_batch_of_a_warmed_up_generator_is_recognised():
    """Of 50 classes; without a warm-up the teacher hears few of them."""
    esc50 = checkpoints.load("esc50", "cpu")
    for seed in (0, 1):
        choices = {"samples": 16, "batch": 16, "seconds": 1.0, "seed": seed}
        warm, without = (make_clips(esc50, name, **choices).target_accuracy for name in ("frami-warm", "frami"))
        assert warm >= 0.9 > 0.75 > without


def test_assigned_classes_are_the_target_classes():
    target, predicted = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 2, 0, 1])
    assert assigned(target, predicted).tolist() == [2, 0, 0, 1]
    assert assigned(target, target).tolist() == target.tolist()
    assert assigned(target, torch.full((4,), 7)).tolist() == target.tolist(), "what is left over is given in order"
    for seed in range(20):
        target, predicted = torch.randint(4, (2, 12), generator=rng(seed))
        given = assigned(target, predicted)
        assert sorted(given.tolist()) == sorted(target.tolist())
        common = sum(min(int((target == k).sum()), int((predicted == k).sum())) for k in range(4))
        assert int((given == predicted).sum()) == common


def test_a_recipe_without_target_classes_notes_it(teacher):
    row = replace(RECIPES["dafl"], warmup=0)
    *_, last = invert(teacher, row, samples=4, seconds=0.2, steps=1, classes=[1, 2])
    assert "cannot be given target classes" in last.notes[0] and sorted(last.clips.target.tolist()) == [1, 1, 2, 2]
    *_, last = invert(teacher, row, samples=4, seconds=0.2, steps=1)
    assert not last.notes


# --- durations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["frami-fine", "cmi", "deepinversion"])
def test_a_batch_mixes_durations(teacher, name):
    """Lengths vary within the range, and behind a clip's end there is exactly the floor, at every state."""
    spec = teacher.spec
    row = of_kind(name)
    for state in invert(teacher, row, samples=16, batch=8, seconds=(0.2, 1.0), steps=2, every=1, snapshots=2):
        clips = state.clips
        assert clips.mels.shape[-1] == spec.frames(1.0)
        assert clips.lengths.min() >= spec.frames(0.2) and clips.lengths.max() <= spec.frames(1.0)
        assert len(clips.lengths.unique()) > 4
        behind = torch.arange(clips.mels.shape[-1]) >= clips.lengths[:, None]
        frames = clips.mels[:, 0].transpose(1, 2)
        assert (frames[behind] == spec.floor).all() and (frames[~behind] > spec.floor).float().mean() > 0.95
        if state.finished:
            shown = state.trajectory.mels.transpose(2, 3)
            assert (shown[:, behind] == torch.tensor(spec.floor).half()).all()


@pytest.mark.parametrize("name", ["fsdd", "esc10", "urbansound8k"])
@torch.no_grad()
def test_padding_never_changes_a_prediction(name):
    """Clips of 0.3 to 5 s in one batch and each alone, also by the fast copy of the steps."""
    teacher = checkpoints.load(name)
    spec = teacher.spec
    each = [spec.frames(seconds) for seconds in (0.3, 0.5, 1.0, 1.7, 3.1, 5.0)]
    clips = [_sound(frames, spec, seed) for seed, frames in enumerate(each)]
    fast = fast_copy(teacher.model, spec, max(each))
    weights = [m.weight for m in fast.modules() if isinstance(m, torch.nn.Conv2d)]
    precision = torch.bfloat16 if fast_bf16(torch.device("cpu")) else torch.float32
    assert all(w.dtype == precision and w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    for padding in ("floor", "noise"):
        batch = torch.full((len(clips), 1, spec.n_mels, max(each)), spec.floor)
        if padding == "noise":
            batch = torch.randn(batch.shape, generator=rng())
        for row, clip in zip(batch, clips, strict=True):
            row[..., : clip.shape[-1]] = clip[0]
        exactly = teacher.model(batch, torch.tensor(each)).logits
        alone = torch.cat([teacher.model(clip).logits for clip in clips])
        torch.testing.assert_close(exactly, alone, rtol=1e-3, atol=1e-3)
        assert torch.equal(exactly.argmax(1), alone.argmax(1)) and len(alone.argmax(1).unique()) > 1
        with torch.autocast("cpu", torch.bfloat16):
            together = fast(batch, torch.tensor(each)).logits.float()
            single = torch.cat([fast(clip).logits.float() for clip in clips])
        error = 0.03 * exactly.abs().max()
        torch.testing.assert_close(together, single, rtol=0, atol=float(error))
        torch.testing.assert_close(together, exactly, rtol=0, atol=float(2 * error))
        assert torch.equal(together.argmax(1), single.argmax(1)) and torch.equal(together.argmax(1), exactly.argmax(1))


def _sound(frames, spec, seed):
    """A made spectrogram with bands and bursts of its own, Tensor[1, 1, F, frames]."""
    draw = rng(seed)
    bands = F.interpolate(torch.randn(1, 1, 8, generator=draw) * 3, spec.n_mels, mode="linear")[..., None]
    bursts = F.interpolate(torch.randn(1, 1, 2 + frames // 10, generator=draw) * 2, frames, mode="linear")[:, :, None]
    return (bands + bursts - 5 + torch.randn(1, 1, spec.n_mels, frames, generator=draw)).clamp(spec.floor, spec.ceiling)


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_same_seed_same_clips_other_seed_other_clips(teacher):
    def run(seed):
        return make_clips(teacher, samples=4, batch=2, seconds=(0.2, 0.3), steps=3, seed=seed)

    torch.manual_seed(1)
    one = run(5)
    torch.manual_seed(2)
    two, other = run(5), run(6)
    assert same(one, two)
    assert not torch.equal(one.mels, other.mels)
    assert not torch.equal(one.mels[:2], one.mels[2:]), "batches differ from each other"


@pytest.mark.parametrize("name", KINDS)
def test_batches_begin_differently(teacher, name):
    """Also for the same class: what a method carries over does not make it repeat itself."""
    states = invert(teacher, of_kind(name), samples=3, batch=1, seconds=0.2, steps=1, classes=[4])
    clips = finished(states)
    for a, b in itertools.combinations(clips, 2):
        assert (a.mels - b.mels).abs().mean() > 0.05


def test_inversion_leaves_the_teacher_and_the_random_state_alone(teacher):
    before = {name: tensor.clone() for name, tensor in teacher.model.state_dict().items()}
    state = torch.random.get_rng_state()
    for name in KINDS:
        run = invert(teacher, of_kind(name), samples=2, seconds=0.2, steps=2, every=1)
        next(run)
        assert not any("tap" in vars(m) or m._forward_pre_hooks for m in teacher.model.modules())
        list(run)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.model.state_dict().items())
    assert not any(p.requires_grad for p in teacher.model.parameters()) and not teacher.model.training


def test_interleaved_runs_do_not_see_each_other(teacher):
    """Two runs of one teacher, step by step in turn, are the same as each alone."""
    settings = [
        (FRAMI, {"samples": 4, "batch": 2, "seconds": 0.2, "steps": 2, "seed": 1}),
        (of_kind("zskt"), {"samples": 2, "batch": 2, "seconds": (0.2, 0.3), "steps": 3, "seed": 2}),
    ]
    alone = [finished(invert(teacher, row, every=1, **choices)) for row, choices in settings]
    runs = [invert(teacher, row, every=1, **choices) for row, choices in settings]
    turns = itertools.zip_longest(*runs)
    mixed = [finished(filter(None, states)) for states in zip(*turns, strict=True)]
    for ours, theirs in zip(alone, mixed, strict=True):
        assert len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs, strict=True))


def test_gradients_are_on_whatever_the_caller_does(teacher):
    settings = {"samples": 2, "seconds": 0.2, "steps": 2}
    for name in ("frami-fine", "zskt"):
        expected = make_clips(teacher, of_kind(name), **settings)
        with torch.no_grad():
            assert same(make_clips(teacher, of_kind(name), **settings), expected)


# --- settings --------------------------------------------------------------------------------------------------------


def test_weights_switch_terms_off_and_one_clip_works(teacher):
    for weights, left in (
        ({"contrast": 0, "batch_norm": 0}, {"class"}),
        ({"contrast": 0}, {"class", "batch_norm"}),
        ({"batch_norm": 0}, {"class", "contrast"}),
        ({"class": 0, "contrast": 0, "variation": 0.1, "balance": 1}, {"batch_norm", "variation", "balance"}),
    ):
        for name in ("frami-fine", "fast"):
            *_, last = invert(teacher, of_kind(name), samples=1, batch=1, seconds=0.2, steps=1, weights=weights)
            assert set(last.losses) == left & ({*RECIPES[name].weights} | {*weights}) - {"adversarial"}
    *_, last = invert(teacher, samples=1, batch=1, seconds=0.2, steps=2)
    assert all(math.isfinite(value) for value in last.losses.values())
