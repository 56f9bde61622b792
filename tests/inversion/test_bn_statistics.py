"""What batch norms see: the fused operation is autograd's, valid frames alone count, taps always come off."""

import copy
import gc

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from frami.inversion.bn_statistics import NormInput, clip_means, frozen, norms, recorded
from frami.models import MaskedBatchNorm2d, build, length_mask


def noise(clips=4, frames=40, seed=0):
    return torch.randn(clips, 1, 80, frames, generator=torch.Generator().manual_seed(seed)) * 2 - 5


def with_statistics(norm, seed=0):
    """A frozen norm that shifts and scales."""
    rng = torch.Generator().manual_seed(seed)
    norm.running_mean.normal_(generator=rng)
    norm.running_var.uniform_(0.5, 2, generator=rng)
    if norm.affine:
        nn.init.uniform_(norm.weight, -1.5, 1.5, generator=rng)
        nn.init.normal_(norm.bias, generator=rng)
    return norm.eval().requires_grad_(False)


# --- the fused operation ---------------------------------------------------------------------------------------------


def plainly(norm, x, mask, add, relu, plain):
    """The same in single operations, in float32: output, batch mean and variance, and each clip's means."""
    y = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps)
    y = y if add is None else y + add
    y = y.relu() if relu else y
    wide = torch.ones_like(x) if mask is None else mask.expand_as(x)
    count = wide.sum((2, 3))
    means = (x * wide).sum((2, 3)) / count
    part, inside = x[:plain], wide[:plain]
    number = inside.sum((0, 2, 3))
    mean = (part * inside).sum((0, 2, 3)) / number
    var = ((part - mean[:, None, None]).square() * inside).sum((0, 2, 3)) / number
    return y * wide, mean, var, means


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=["rows", "channels last"])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("affine", [True, False], ids=["affine", "bare"])
def test_the_fused_operation_is_autograds(order, precision, masked, affine):
    norm = with_statistics(MaskedBatchNorm2d(6, affine=affine))
    rng = torch.Generator().manual_seed(1)
    mask = length_mask(torch.tensor([9, 4, 1, 7]), 9) if masked else None
    for joined in (False, True):
        for relu in (False, True):
            for plain in (None, 2):
                x = torch.randn(4, 6, 5, 9, generator=rng) + 0.5
                add = torch.randn(4, 6, 5, 9, generator=rng) if joined else None
                given = [t.to(precision, memory_format=order).requires_grad_() for t in (x, add) if t is not None]
                exact = [t.detach().float().contiguous().requires_grad_() for t in given]
                with recorded(norm, plain) as seen:
                    ours = norm(given[0], mask, given[1] if joined else None, relu)
                (entry,) = seen
                ours = (ours, entry.mean, entry.var, entry.means)
                theirs = plainly(norm, exact[0], mask, exact[1] if joined else None, relu, plain)
                pulls = [torch.randn(t.shape, generator=rng) for t in theirs]
                for values in (ours, theirs):
                    sum((value.float() * pull).sum() for value, pull in zip(values, pulls, strict=True)).backward()
                tolerance = 1e-4 if precision == torch.float32 else 2e-2
                pairs = [
                    *zip(ours, theirs, strict=True),
                    *((a.grad, b.grad) for a, b in zip(given, exact, strict=True)),
                ]
                for mine, reference in pairs:
                    assert mine.shape == reference.shape
                    error = (mine.detach().float() - reference.detach()).norm()
                    assert error <= tolerance * (1 + reference.detach().norm()), (joined, relu, plain)
                assert ours[0].dtype == precision and ours[0].is_contiguous(memory_format=order)
                if masked:
                    behind = mask.expand(4, 6, 5, 9) == 0
                    assert all(t[behind].eq(0).all() for t in (ours[0], *(t.grad for t in given)))


@pytest.mark.parametrize("relu", [True, False])
def test_only_what_is_used_reaches_the_input(relu):
    """Gradients of the statistics alone, or of the output alone, with the rest left over."""
    norm = with_statistics(MaskedBatchNorm2d(6))
    x = torch.randn(3, 6, 4, 5, generator=torch.Generator().manual_seed(0))
    for pick in (lambda y, e: y, lambda y, e: e.means, lambda y, e: e.var):
        given, exact = x.clone().requires_grad_(), x.clone().requires_grad_()
        with recorded(norm) as seen:
            y = norm(given, relu=relu)
        pick(y, seen[0]).square().sum().backward()
        y, mean, var, means = plainly(norm, exact, None, None, relu, None)
        pick(y, NormInput(norm, mean, var, means)).square().sum().backward()
        torch.testing.assert_close(given.grad, exact.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("fused", [True, False])
def test_a_recorded_model_answers_as_ever(teacher, fused):
    """Output and gradient of a whole classifier are the same with taps and without."""
    lengths = torch.tensor([48, 30, 17, 3])
    for given in (None, lengths):
        gradients, logits = [], []
        for watched in (True, False):
            x = noise(frames=48).requires_grad_()
            if watched:
                with recorded(teacher.model, fused=fused):
                    out = teacher.model(x, given)
            else:
                out = teacher.model(x, given)
            out.logits.square().sum().backward()
            logits.append(out.logits.detach())
            gradients.append(x.grad)
        torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)


# --- norms that are not ours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [None, 3])
@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(6), (4, 6)),
        (nn.BatchNorm1d(6), (4, 6, 7)),
        (nn.BatchNorm2d(6, affine=False), (4, 6, 5, 7)),
        (nn.BatchNorm3d(6), (4, 6, 2, 3, 5)),
    ],
)
def test_plain_norms_are_recorded(norm, shape, plain):
    norm = with_statistics(norm)
    x = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 2).requires_grad_()
    with recorded(norm, plain) as seen:
        y = norm(x)
    torch.testing.assert_close(y, norm(x))
    (entry,) = seen
    flat = x.flatten(2) if len(shape) > 2 else x[..., None]
    torch.testing.assert_close(entry.means, flat.mean(2))
    torch.testing.assert_close(entry.mean, flat[:plain].mean((0, 2)))
    torch.testing.assert_close(entry.var, flat[:plain].var((0, 2), correction=0), rtol=1e-4, atol=1e-4)
    (entry.var.sum() + entry.means.sum()).backward()
    assert x.grad.abs().min() > 0


def test_rows_of_frames_belong_to_their_clips():
    norm = with_statistics(nn.BatchNorm1d(6))
    x = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    with recorded(norm, plain=3, clips=4) as seen:
        norm(x.flatten(0, 1))
    (entry,) = seen
    torch.testing.assert_close(entry.means, x.mean(1))
    torch.testing.assert_close(entry.mean, x[:3].mean((0, 1)))
    torch.testing.assert_close(entry.var, x[:3].var((0, 1), correction=0), rtol=1e-4, atol=1e-4)


def test_norms_without_statistics_are_passed_over():
    model = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.InstanceNorm2d(3), nn.BatchNorm2d(3)).eval()
    assert norms(model) == [model[2]]
    with recorded(model) as seen:
        model(torch.randn(2, 3, 4, 5))
    assert [entry.norm for entry in seen] == [model[2]]


# --- what is recorded ------------------------------------------------------------------------------------------------


def test_recorded_moments_count_valid_frames_only(teacher):
    x = noise(clips=2, frames=48)
    x[1, ..., 30:] = 100.0
    lengths = torch.tensor([48, 30])
    with recorded(teacher.model) as seen:
        teacher.model(x, lengths)
    first = seen[0]
    frames = torch.cat([x[0, 0], x[1, 0, :, :30]], 1)
    assert torch.allclose(first.mean, frames.mean(1), atol=1e-4)
    assert torch.allclose(first.var, frames.var(1, unbiased=False), atol=1e-3)
    assert torch.allclose(first.means[1], x[1, 0, :, :30].mean(1), atol=1e-4)
    with recorded(teacher.model, plain=1) as seen:
        teacher.model(x, lengths)
    assert torch.allclose(seen[0].mean, x[0, 0].mean(1), atol=1e-4)
    assert torch.allclose(seen[0].var, x[0, 0].var(1, unbiased=False), atol=1e-3)
    assert len(seen[0].means) == 2


def test_padding_changes_no_statistics(teacher):
    """Every norm of the model, deep ones too: each clip's means, and what all clips have together."""
    lengths = torch.tensor([48, 30, 17, 3])
    x = noise(frames=70)
    with torch.no_grad(), recorded(teacher.model) as together:
        teacher.model(x, lengths)
    apart = []
    for clip, length in zip(x, lengths.tolist(), strict=True):
        with torch.no_grad(), recorded(teacher.model) as seen:
            teacher.model(clip[None, ..., :length])
        apart.append(seen)
    torch.testing.assert_close(clip_means(together), torch.cat([clip_means(s) for s in apart]), rtol=1e-3, atol=1e-3)
    for i, entry in enumerate(together):
        frames = lengths if i == 0 else _downsampled(lengths, entry.norm, teacher.model)
        shares = (frames / frames.sum())[:, None]
        means = torch.stack([s[i].mean for s in apart])
        squares = torch.stack([s[i].var + s[i].mean.square() for s in apart])
        torch.testing.assert_close(entry.mean, (shares * means).sum(0), rtol=1e-3, atol=1e-3)
        var = (shares * squares).sum(0) - entry.mean.square()
        torch.testing.assert_close(entry.var, var, rtol=1e-2, atol=1e-3)


def _downsampled(lengths, norm, model):
    """Frames of each clip at a norm, by its width: halved at the first convolution and at each doubling."""
    halvings = 1 + (len(norm.running_mean) // model.config.width).bit_length() - 1
    for _ in range(halvings):
        lengths = (lengths + 1) // 2
    return lengths


def test_recorded_covers_every_batch_norm(teacher):
    with recorded(teacher.model) as seen:
        teacher.model(noise())
    count = sum(isinstance(m, torch.nn.BatchNorm2d) for m in teacher.model.modules())
    assert len(seen) == len({id(entry.norm) for entry in seen}) == count
    assert seen[0].norm is teacher.model.backbone.bands
    assert clip_means(seen).shape == (4, sum(len(entry.norm.running_mean) for entry in seen))


def test_standardised_means_are_in_units_of_the_stored_ones():
    norm = with_statistics(nn.BatchNorm2d(6))
    x = torch.randn(3, 6, 4, 5)
    x[0] = norm.running_mean[:, None, None]
    x[1] = (norm.running_mean + 2 * norm.running_var.sqrt())[:, None, None]
    with recorded(norm) as seen:
        norm(x)
    rows = clip_means(seen)
    torch.testing.assert_close(rows[:2], torch.tensor([[0.0], [2.0]]).expand(2, 6), rtol=1e-3, atol=1e-3)


def test_several_passes_each_have_their_own_mask(teacher):
    """Masks of equal shape that come and go: none takes the place of another."""
    x = noise(frames=48)
    each = [torch.tensor(n) for n in ([48, 48, 48, 48], [5, 9, 17, 48], [40, 30, 20, 10])]
    with torch.no_grad(), recorded(teacher.model) as together:
        for lengths in each:
            teacher.model(x, lengths)
            gc.collect()
    count = len(norms(teacher.model))
    for i, lengths in enumerate(each):
        with torch.no_grad(), recorded(teacher.model) as alone:
            teacher.model(x, lengths)
        for mine, theirs in zip(together[i * count : (i + 1) * count], alone, strict=True):
            torch.testing.assert_close((mine.mean, mine.means), (theirs.mean, theirs.means))


# --- coming off ------------------------------------------------------------------------------------------------------


def watched(model) -> int:
    """Hooks and taps on a model."""
    return sum(len(m._forward_pre_hooks) + ("tap" in vars(m)) for m in model.modules())


def test_taps_and_hooks_come_off_even_after_an_error(teacher):
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)).eval()
    for model in (teacher.model, plain):
        before = {key: value.clone() for key, value in model.state_dict().items()}
        for fails in (True, False):
            with pytest.raises(RuntimeError), recorded(model):
                assert watched(model) == len(norms(model)) > 0
                model(torch.zeros(1, 2, 3, 3)) if fails else None
                raise RuntimeError
            assert watched(model) == 0
        with recorded(model):
            pass
        assert watched(model) == 0
        assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_two_models_are_recorded_at_once(teacher):
    other = copy.deepcopy(teacher.model)
    third = build("nano", 3).eval()
    x, y = noise(seed=1), noise(clips=2, seed=2)
    with recorded(teacher.model) as one, recorded(other, plain=1) as two:
        teacher.model(x)
        with recorded(third) as three:
            other(y)
            third(x)
        teacher.model.backbone(y, None)
    assert watched(teacher.model) == watched(other) == watched(third) == 0
    assert [len(r) for r in (one, two, three)] == [2 * len(two), len(norms(other)), len(norms(third))]
    with recorded(other, plain=1) as alone:
        other(y)
    for mine, theirs in zip(two, alone, strict=True):
        torch.testing.assert_close((mine.mean, mine.var, mine.means), (theirs.mean, theirs.var, theirs.means))
    assert all(entry.means.shape[0] == 4 for entry in one[: len(two)])


def test_a_frozen_model_predicts_the_same_with_fewer_passes():
    model = build("nano", 4).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    for norm in norms(model):
        with_statistics(norm)
    x, lengths = noise(), torch.tensor([40, 13, 40, 7])
    with torch.no_grad():
        before = model(x, lengths)
        with frozen(model):
            within = model(x, lengths)
    assert torch.equal(before.logits, within.logits) and torch.equal(before.frames, within.frames)
    assert all(norm.tap is None for norm in norms(model))
