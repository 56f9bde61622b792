"""Where log-Mels come from: one generator makes any duration, within range, and costs less than what it feeds."""

import copy

import pytest
import torch
import torch.nn.functional as F

from frami import checkpoints
from frami.audio import MelSpec
from frami.cost import macs, parameters
from frami.inversion import arithmetic
from frami.inversion.generator import Free, Generator, Range, blurred

SPEC = MelSpec()


def seeded(seed=0, spec=SPEC, **start):
    torch.manual_seed(seed)
    return Generator(spec, **start)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", [Generator, Free])
def test_one_source_makes_any_duration_within_range(kind):
    source = kind(SPEC)
    before = copy.deepcopy(dict(source.named_parameters()))
    for seconds in (0.3, 5.0, 0.1, 1.0, 0.3):
        frames = SPEC.frames(seconds)
        x = source(source.noise(2, frames, rng()), frames)
        assert x.shape == (2, 1, SPEC.n_mels, frames) and x.dtype == torch.float32
        assert x.min() >= SPEC.floor and x.max() <= SPEC.ceiling and x.std() > 0.05
    assert all(torch.equal(before[name], p) for name, p in source.named_parameters())


@pytest.mark.parametrize("frames", [1, 7, 8, 9, 37])
@pytest.mark.parametrize("n_mels", [40, 64, 83])
def test_any_number_of_frames_and_bands(n_mels, frames):
    spec = MelSpec(n_mels=n_mels)
    source = seeded(spec=spec)
    z = source.noise(2, frames, rng())
    assert z.shape == (2, source.latent, -(-frames // 8))
    assert source(z, frames).shape == (2, 1, n_mels, frames)


def test_a_longer_clip_begins_like_a_shorter_one():
    """Convolutional along time: what comes later changes frames near the border only."""
    source = seeded().eval()
    z = source.noise(2, 160, rng())
    with torch.no_grad():
        short, long = source(z[..., :10], 80), source(z, 160)
    torch.testing.assert_close(short[..., :56], long[..., :56], rtol=1e-4, atol=1e-4)
    assert (short[..., 79] - long[..., 79]).abs().max() > 1e-3


def test_noise_is_of_its_seed_and_of_unit_spread():
    source = seeded()
    z = source.noise(500, 80, rng())
    assert torch.equal(z, source.noise(500, 80, rng())) and not torch.equal(z, source.noise(500, 80, rng(1)))
    assert abs(float(z.std()) - 1) < 0.02 and abs(float(z.mean())) < 0.02
    share = (z[..., 0] * z[..., 1]).mean()
    assert abs(float(share) - 0.5) < 0.05, "frames of a clip share half of their variance"
    assert abs(float((z[:-1, :, 0] * z[1:, :, 0]).mean())) < 0.02, "clips share nothing"


def test_gradients_reach_everything():
    source = seeded()
    z = source.noise(2, 30, rng()).requires_grad_()
    source(z, 30).square().mean().backward()
    assert z.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in source.parameters())
    free = Free(SPEC)
    assert not list(free.parameters())
    z = free.noise(2, 30, rng()).requires_grad_()
    free(z, 30).sum().backward()
    assert (z.grad != 0).float().mean() > 0.95


@pytest.mark.parametrize("name", ["fsdd", "esc10", "urbansound8k"])
def test_generator_is_cheaper_than_every_bundled_teacher(name):
    teacher = checkpoints.load(name)
    cost = arithmetic(teacher, 1.0)
    assert cost["teacher"] == macs(teacher.model, torch.zeros(1, 1, 80, teacher.spec.frames(1.0)))
    assert 0 < cost["generator"] < 0.75 * cost["teacher"]
    assert parameters(Generator(teacher.spec)) < parameters(teacher.model)


@pytest.mark.parametrize("kind", [Generator, Free])
def test_clips_start_from_the_stored_mean_spectrum(teacher, kind):
    bands = teacher.model.backbone.bands
    torch.manual_seed(0)
    source = kind(SPEC, mean=bands.running_mean, std=bands.running_var.sqrt())
    x = source(source.noise(16, 80, rng()), 80)
    plain = kind(SPEC)
    y = plain(plain.noise(16, 80, rng()), 80)

    def distance(made):
        return (made.mean((0, 1, 3)) - bands.running_mean).abs().mean()

    assert distance(x) < 0.5 and distance(x) < 0.4 * distance(y)
    spread = x.std((0, 1, 3)) / bands.running_var.sqrt()
    if kind is Free:
        assert spread.median() == pytest.approx(1, abs=0.2)


def test_range_starts_in_its_middle_and_leaves_it_never():
    middle = (SPEC.floor + SPEC.ceiling) / 2
    plain = Range(SPEC)
    assert torch.allclose(plain.squashed(torch.zeros(1, 1, 80, 3)), torch.tensor(middle), atol=1e-4)
    for extreme in (-1e6, 1e6):
        x = plain.squashed(torch.full((1, 1, 80, 3), extreme))
        assert x.isfinite().all() and x.min() >= SPEC.floor - 1e-6 and x.max() <= SPEC.ceiling + 1e-6
    mean, std = torch.linspace(-9, -2, 80), torch.linspace(0.5, 2.5, 80)
    own = Range(SPEC, mean, std)
    assert torch.allclose(own.squashed(torch.zeros(1, 1, 80, 3)), mean[:, None], atol=1e-2)
    step = 1e-2
    slope = (own.squashed(torch.full((1, 1, 80, 1), step)) - own.squashed(torch.zeros(1, 1, 80, 1))) / step
    torch.testing.assert_close(slope[0, 0, :, 0], std, rtol=2e-2, atol=2e-2)


def test_no_checkerboard_is_drawn():
    board = torch.tensor([1.0, -1.0]).repeat(10)
    board = (board[:, None] * board)[None, None]
    assert blurred(board)[..., 2:-2, 2:-2].abs().max() < 1e-6
    flat = torch.full((1, 1, 6, 7), 3.0)
    assert torch.equal(blurred(flat), flat)


@pytest.mark.parametrize("size", [(6, 9), (1, 4), (2, 1)])
def test_the_blurs_gradient_is_that_of_its_sums(size):
    x = torch.randn(3, 1, *size, dtype=torch.double, generator=torch.Generator().manual_seed(0)).requires_grad_()
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    kernel = torch.tensor([1.0, 2.0, 1.0], dtype=torch.double) / 4
    plain = F.conv2d(padded, (kernel[:, None] * kernel)[None, None])
    torch.testing.assert_close(blurred(x), plain)
    pull = torch.randn(x.shape, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(*(torch.autograd.grad((y * pull).sum(), x)[0] for y in (blurred(x), plain)))
