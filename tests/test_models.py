"""Padding never changes a clip; the masked batch norm is batch norm; sizes and costs are as stated."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from frami import models
from frami.cost import macs, parameters
from frami.errors import FramiError
from frami.models import Classifier, MaskedBatchNorm2d, ResidualConfig, StatisticsPooling, build, from_dict, length_mask
from frami.models.slots import AttentivePooling

#: Frames of the input for one of the frame-level features.
REDUCTION = {"residual": 16, "tc-resnet": 8}


def trained_like(size: str, classes: int = 5, architecture: str = "residual") -> Classifier:
    """A classifier whose batch norms shift and scale, as trained ones do (fresh ones keep zeros at zero)."""
    torch.manual_seed(1)
    model = build(size, classes, architecture=architecture)
    for norm in (m for m in model.modules() if isinstance(m, MaskedBatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    return model.eval()


def ragged(lengths, frames: int, n_mels: int = 80, padding: str = "silence", seed: int = 2):
    """Clips alone, Tensor[1, 1, F, T_i] each, and together in one batch with something behind their ends."""
    make = torch.Generator().manual_seed(seed)
    clips = [torch.randn(1, 1, n_mels, length, generator=make) * 2 - 6 for length in lengths]
    if padding == "silence":
        batch = torch.full((len(clips), 1, n_mels, frames), math.log(1e-5))
    else:
        batch = torch.randn(len(clips), 1, n_mels, frames, generator=make) * 1e3
    for row, clip in zip(batch, clips, strict=True):
        row[..., : clip.shape[-1]] = clip[0]
    return clips, batch, torch.tensor(lengths)


# --- padding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["silence", "garbage"])
@pytest.mark.parametrize(
    ("size", "architecture"),
    [("nano", "residual"), ("tiny", "residual"), ("base", "residual"), ("huge", "residual"), ("tiny", "tc-resnet")],
)
@torch.no_grad()
def test_padding_never_changes_a_clip(size, architecture, padding):
    model = trained_like(size, architecture=architecture)
    every = range(1, 39) if size in ("nano", "tiny") else (1, 2, 15, 16, 17, 31, 33, 38)
    clips, batch, lengths = ragged([*every], 57, padding=padding)
    together = model(batch, lengths)
    for i, clip in enumerate(clips):
        alone = model(clip)
        torch.testing.assert_close(together.logits[i], alone.logits[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.pooled[i], alone.pooled[0], rtol=1e-4, atol=1e-4)
        valid = together.lengths[i]
        assert valid == alone.lengths[0] == math.ceil(clip.shape[-1] / REDUCTION[architecture])
        torch.testing.assert_close(together.frames[i, ..., :valid], alone.frames[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", REDUCTION)
@torch.no_grad()
def test_frames_behind_the_end_are_zero(architecture):
    _, batch, lengths = ragged([1, 16, 17, 40, 64], 80, padding="garbage")
    for training in (False, True):
        features = trained_like("tiny", architecture=architecture).train(training)(batch, lengths)
        assert features.frames.shape[-1] == 80 / REDUCTION[architecture]
        for row, length in zip(features.frames, features.lengths, strict=True):
            assert row[..., length:].eq(0).all()
            assert row[..., :length].ne(0).any()


@pytest.mark.parametrize("architecture", REDUCTION)
@torch.no_grad()
def test_training_statistics_do_not_see_the_padding(architecture):
    lengths = [3, 16, 17, 30, 41]
    stored = []
    for frames, padding in ((41, "silence"), (41, "garbage"), (90, "garbage")):
        model = trained_like("nano", architecture=architecture).train()
        model(*ragged(lengths, frames, padding=padding)[1:])
        stored.append({k: v for k, v in model.state_dict().items() if "running" in k})
    for other in stored[1:]:
        for name, value in stored[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@torch.no_grad()
def test_training_statistics_are_those_of_the_clips_without_padding():
    """Each batch norm's input, cut to every clip's true length and joined: its moments are what is stored."""
    lengths = [2, 16, 23, 41]
    clips, batch, given = ragged(lengths, 60, padding="garbage")
    model = build("nano", 3).train()
    seen = []
    norms = [m for m in model.modules() if isinstance(m, MaskedBatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.register_forward_pre_hook(lambda norm, args: seen.append((norm, args[0])))
    model(batch, given)
    assert len(seen) == len(norms) == 1 + 1 + 4 * 2 + 3
    for norm, x in seen:
        down = next(k for k in (1, 2, 4, 8, 16) if math.ceil(60 / k) == x.shape[-1])
        valid = torch.cat([x[i, :, :, : math.ceil(n / down)].flatten(1) for i, n in enumerate(lengths)], 1)
        torch.testing.assert_close(norm.running_mean, valid.mean(1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(norm.running_var, valid.var(1), rtol=1e-3, atol=1e-4)
    joined = torch.cat([clip[0, 0] for clip in clips], 1)
    torch.testing.assert_close(model.backbone.bands.running_mean, joined.mean(1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", REDUCTION)
@torch.no_grad()
def test_full_lengths_are_the_same_as_none(architecture):
    model = trained_like("tiny", architecture=architecture)
    x = torch.randn(3, 1, 80, 37)
    torch.testing.assert_close(model(x, torch.full((3,), 37)).logits, model(x).logits)


@pytest.mark.parametrize("frames", [1, 2, 16, 17, 86, 1500])
@pytest.mark.parametrize("n_mels", [40, 80])
@torch.no_grad()
def test_any_duration_and_band_count(frames, n_mels):
    model = build("nano", 7, n_mels).eval()
    features = model(torch.zeros(2, 1, n_mels, frames))
    assert features.logits.shape == (2, 7)
    assert features.frames.shape == (2, 32, math.ceil(n_mels / 16), math.ceil(frames / 16))
    assert features.pooled.shape == (2, 64)
    other = build("nano", 7, n_mels, "tc-resnet").eval()(torch.zeros(2, 1, n_mels, frames))
    assert other.frames.shape == (2, 24, 1, math.ceil(frames / 8)) and other.pooled.shape == (2, 48)
    for found in (features, other):
        assert all(t.isfinite().all() for t in (found.logits, found.frames, found.pooled))


def test_length_mask():
    mask = length_mask(torch.tensor([1, 3, 0]), 3)
    assert mask.shape == (3, 1, 1, 3)
    assert mask[:, 0, 0].tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0]]


def test_pooling_is_mean_and_deviation():
    frames = torch.randn(3, 4, 5, 9)
    lengths = torch.tensor([1, 6, 9])
    pooled = StatisticsPooling(4)(frames, lengths).numpy()
    for row, clip, length in zip(pooled, frames.numpy(), lengths.tolist(), strict=True):
        x = clip.mean(1)[:, :length]
        expected = np.concatenate([x.mean(1), np.sqrt(x.var(1) + 1e-5)])
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_attentive_pooling_is_weighted_mean_and_deviation():
    frames, lengths = torch.randn(3, 4, 2, 9), torch.tensor([1, 6, 9])
    pooling = AttentivePooling(4)
    found = pooling(frames, lengths)
    for row, clip, length in zip(found, frames.mean(2), lengths.tolist(), strict=True):
        x = clip[:, :length]
        weights = pooling.attention(x[None])[0].softmax(1)
        mean = (weights * x).sum(1)
        spread = ((weights * x**2).sum(1) - mean**2 + 1e-5).sqrt()
        torch.testing.assert_close(row, torch.cat([mean, spread]), rtol=1e-3, atol=1e-4)
    for part in (pooling.attention[2].weight, pooling.attention[2].bias):
        part.zero_()
    torch.testing.assert_close(
        pooling(frames, lengths), StatisticsPooling(4)(frames, lengths)
    )  # every frame weighs alike


# --- masked batch norm -----------------------------------------------------------------------------------------------


def twins(channels: int = 6, **choices) -> tuple[MaskedBatchNorm2d, nn.BatchNorm2d]:
    ours, theirs = MaskedBatchNorm2d(channels, **choices), nn.BatchNorm2d(channels, **choices)
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_mask_of_ones_is_batch_norm(momentum, masked):
    torch.manual_seed(3)
    ours, theirs = twins(momentum=momentum)
    mask = torch.ones(4, 1, 1, 7) if masked else None
    for _ in range(3):
        x = (torch.randn(4, 6, 5, 7) * 3 + 2).requires_grad_()
        y = x.detach().clone().requires_grad_()
        ahead, behind = ours(x, mask), theirs(y)
        torch.testing.assert_close(ahead, behind, rtol=1e-4, atol=1e-5)
        pull = torch.randn_like(behind)
        ahead.backward(pull)
        behind.backward(pull)
        torch.testing.assert_close(x.grad, y.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-4, atol=1e-5)
    assert ours.num_batches_tracked == 3
    x = torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(ours.eval()(x, torch.ones(2, 1, 1, 7)), theirs.eval()(x))


def test_a_mask_is_batch_norm_of_the_valid_positions():
    """The ragged batch, its valid columns joined to one clip, gives the same outputs, gradients and statistics."""
    torch.manual_seed(4)
    ours, theirs = twins()
    lengths = [2, 7, 5]
    mask = length_mask(torch.tensor(lengths), 7)
    x = (torch.randn(3, 6, 5, 7) * 3 + 2).requires_grad_()
    pull = torch.randn(3, 6, 5, 7)

    def joined(t):
        return torch.cat([t[i, :, :, :n] for i, n in enumerate(lengths)], 2)[None]

    y = joined(x.detach()).requires_grad_()
    ahead, behind = ours(x, mask), theirs(y)
    torch.testing.assert_close(joined(ahead), behind, rtol=1e-4, atol=1e-5)
    (ahead * mask * pull).sum().backward()
    (behind * joined(pull)).sum().backward()
    torch.testing.assert_close(joined(x.grad), y.grad, rtol=1e-4, atol=1e-5)
    assert (x.grad * (1 - mask)).eq(0).all()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-4, atol=1e-5)


def test_gradient_agrees_with_finite_differences():
    torch.manual_seed(5)
    norm, _ = twins(3)
    mask = length_mask(torch.tensor([4, 1]), 4)
    x = torch.randn(2, 3, 2, 4)
    pull = torch.randn_like(x)

    def value(x, weight, bias):
        y = torch.func.functional_call(norm, {"weight": weight, "bias": bias}, (x, mask))
        return (torch.tanh(y) * mask * pull).sum(dtype=torch.float64)

    at = [x.requires_grad_(), norm.weight.detach().requires_grad_(), norm.bias.detach().requires_grad_()]
    gradients = torch.autograd.grad(value(*at), at)
    step = 1e-2
    with torch.no_grad():
        for which, gradient in enumerate(gradients):
            for _ in range(5):
                way = torch.randn_like(at[which])
                ends = [[t + sign * step * way if k == which else t for k, t in enumerate(at)] for sign in (1, -1)]
                slope = (value(*ends[0]) - value(*ends[1])) / (2 * step)
                assert float(slope) == pytest.approx(float((gradient * way).sum()), rel=2e-2, abs=5e-3)


# --- sizes and costs -------------------------------------------------------------------------------------------------


def test_the_family_spans_students_and_teachers():
    counts = {size: parameters(build(size, 10)) for size in models.ARCHITECTURES["residual"].sizes}
    assert list(counts.values()) == sorted(set(counts.values()))
    assert 15_000 < counts["nano"] < 25_000
    for teacher in ("base", "large", "huge"):
        assert 500_000 <= counts[teacher] <= 3_000_000


def test_parameters_by_hand():
    block = 2 * 9 * 4 * 4 + 2 * 2 * 4  # two 3x3 convolutions, two norms
    narrow = [(4, 8), (8, 16), (16, 32)]
    wider = sum(9 * a * b + 9 * b * b + a * b + 3 * 2 * b for a, b in narrow)  # and a 1x1 shortcut with its norm
    assert parameters(build("nano", 10)) == 2 * 80 + 9 * 4 + 2 * 4 + block + wider + 64 * 10 + 10


@pytest.mark.parametrize(("size", "architecture"), [("gigantic", "residual"), ("huge", "tc-resnet"), ("tiny", "wave")])
def test_an_unknown_name(size, architecture):
    with pytest.raises(FramiError, match=r"choose one of: .*(tiny|residual)"):
        build(size, 10, architecture=architecture)


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_a_config_is_read_as_it_was_written(architecture):
    for fields in ({}, {"projected": 12, "bottleneck": 6, "pooling": "attentive"}):
        config = build("tiny", 7, 64, architecture).config
        config = replace(config, **fields)
        assert from_dict(config.to_dict()).config == config


def test_the_default_architecture_writes_what_it_wrote_before_there_were_others():
    """Files of earlier versions have no other fields."""
    values = ResidualConfig(classes=7, width=12, depth=3, n_mels=64).to_dict()
    assert values == {"classes": 7, "width": 12, "depth": 3, "n_mels": 64}
    more = {"block": "separable", "projected": 128, "bottleneck": 64}
    assert build("micro", 7, projected=128, bottleneck=64).config.to_dict() == {
        "classes": 7, "width": 8, "depth": 1, "n_mels": 80, **more,
    }  # fmt: skip


def test_macs_by_hand():
    conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    assert macs(conv, torch.zeros(2, 3, 20, 31)) == 2 * 8 * 3 * 9 * 10 * 16
    assert macs(nn.Linear(12, 5), torch.zeros(4, 12)) == 4 * 12 * 5
    both = nn.Sequential(conv, nn.Flatten(), nn.Linear(8 * 10 * 16, 5))
    assert macs(both, torch.zeros(1, 3, 20, 31)) == 8 * 3 * 9 * 10 * 16 + 8 * 10 * 16 * 5


def test_macs_leaves_the_model_as_it_was():
    model = build("nano", 3).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert macs(model, torch.randn(1, 1, 80, 86)) > 1_000_000
    assert model.training and model.backbone.bands.training
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert macs(model.eval(), torch.randn(1, 1, 80, 172)) > 1.9 * macs(model, torch.randn(1, 1, 80, 86))
    assert not model.training


# --- masked batch norm in training -----------------------------------------------------------------------------------


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("added", [False, True])
def test_masked_norm_has_the_gradient_of_what_it_computes(relu, added):
    """Beside the same arithmetic under autograd, in double precision."""
    rng = torch.Generator().manual_seed(0)
    norm = models.MaskedBatchNorm2d(3).double()
    x, add, weight = (torch.randn(4, 3, 5, 9, generator=rng, dtype=torch.double) for _ in range(3))
    x.requires_grad_(), add.requires_grad_()
    with torch.no_grad():
        norm.weight.copy_(torch.randn(3, generator=rng))
        norm.bias.copy_(torch.randn(3, generator=rng))
    mask = models.length_mask(torch.tensor([9, 5, 1, 7]), 9, torch.double)

    def plain():
        count = mask.sum() * 5
        mean = (x * mask).sum((0, 2, 3), keepdim=True) / count
        var = ((x - mean) * mask).square().sum((0, 2, 3), keepdim=True) / count
        y = (x - mean) * (var + norm.eps).rsqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
        y = y + add if added else y
        return (y.relu() if relu else y) * mask

    learning = [x, norm.weight, norm.bias, *([add] if added else [])]
    out = norm(x, mask, add if added else None, relu)
    torch.testing.assert_close(out, plain())
    ours, theirs = (torch.autograd.grad((y * weight).sum(), learning) for y in (out, plain()))
    for mine, own in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, own)
