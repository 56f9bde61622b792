"""Clips on the device, augmented as they are drawn."""

from dataclasses import replace

import pytest
import torch

from frami.audio import MelSpec
from frami.distill.augment import NUMBERS, AugmentConfig, ReplayBuffer, augment, noise_clips, split, texture, warped
from frami.inversion.augment import ViewConfig


def test_a_buffer_grows_and_gives_back_what_it_got():
    spec = MelSpec()
    buffer = ReplayBuffer(spec, 20)
    rng = torch.Generator().manual_seed(0)
    parts = [torch.empty(n, 1, 80, t).uniform_(-9, 0, generator=rng) for n, t in ((3, 12), (300, 20), (2, 50))]
    for part in parts:
        buffer.add(part, torch.full((len(part),), part.shape[-1]), torch.arange(len(part)) % 4)
    assert len(buffer) == 305
    mels, lengths, labels = buffer.take(torch.tensor([1, 4, 304]), torch.tensor([0.0, 0.0, 1.0]))
    assert mels.shape == (3, 1, 80, 20) and lengths.tolist() == [12, 20, 20] and labels.tolist() == [1, 1, 1]
    torch.testing.assert_close(mels[0, :, :, :12], parts[0][1], atol=0.01, rtol=0)
    assert (mels[0, :, :, 12:] - spec.floor).abs().max() < 0.01
    torch.testing.assert_close(mels[2], parts[2][1][..., 30:], atol=0.01, rtol=0), "a random segment of a longer clip"


def test_augmentation_without_strength_changes_nothing_but_the_segment():
    spec = MelSpec()
    still = AugmentConfig(view=ViewConfig(1.0, 0.0, 0.0, 0.0, 0.0), colour=0, noise=0, mix=0, warp=0, silence=0)
    x = torch.empty(4, 1, 80, 30).uniform_(-9, 0, generator=torch.Generator().manual_seed(0))
    lengths, labels = torch.tensor([30, 20, 30, 5]), torch.arange(4)
    numbers = torch.rand(4, NUMBERS, generator=torch.Generator().manual_seed(1))
    y, found, _, share = augment(x, lengths, labels, spec, still, numbers, texture(spec, torch.device("cpu")))
    assert torch.equal(found, lengths) and (share == 1).all()
    for i, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(y[i, ..., :n], x[i, ..., :n], rtol=0, atol=1e-5)
        assert (y[i, ..., n:] == spec.floor).all()


@pytest.mark.parametrize("silence", [0.0, 0.5])
def test_frames_behind_all_views_are_left_out(silence: float):
    spec, config = MelSpec(), AugmentConfig(noise=0, mix=0.5, silence=silence)
    rng = torch.Generator().manual_seed(3)
    x = torch.empty(32, 1, 80, 50).uniform_(-9, 0, generator=rng)
    lengths, numbers = torch.randint(20, 41, (32,), generator=rng), torch.rand(32, NUMBERS, generator=rng)
    most = int(config.lengths(lengths, spec, numbers).max())
    whole_length = config.most(50, spec)
    assert 20 < most < 41 if not silence else 41 < most < whole_length == 50 + 2 * 25
    whole, few = (
        augment(x, lengths, lengths, spec, config, numbers, texture(spec, torch.device("cpu")), frames)
        for frames in (None, most)
    )
    assert whole[0].shape[-1] == whole_length and few[0].shape[-1] == most
    torch.testing.assert_close(few[0], whole[0][..., :most])
    assert (whole[0][..., most:] == spec.floor).all()
    for one, other in zip(whole[1:], few[1:], strict=True):
        assert torch.equal(one, other)


def test_augmentation_means_the_same_in_any_unit():
    """Log-Mels in decibels of powers, shifted and scaled, are augmented as those in natural logarithms are."""
    spec, config = MelSpec(), AugmentConfig(noise=0.5, mix=0.5)
    other = replace(spec, clamp=spec.clamp**2, power=2, compression="db", shift=4.0, scale=5.0)
    rng = torch.Generator().manual_seed(3)
    x = torch.empty(32, 1, 80, 50).uniform_(-9, 0, generator=rng)
    lengths, numbers = torch.randint(20, 51, (32,), generator=rng), torch.rand(32, NUMBERS, generator=rng)

    def theirs(mels):
        return mels * other.unit + 4 / 5

    noise = texture(spec, torch.device("cpu"))
    wanted = augment(x, lengths, lengths, spec, config, numbers, noise)
    found = augment(theirs(x), lengths, lengths, other, config, numbers, noise)
    torch.testing.assert_close(found[0], theirs(wanted[0]), rtol=0, atol=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(wanted[1:], found[1:], strict=True))


def test_noise_and_mixture_reach_the_chosen_clips_alone():
    """Beside the same for every clip."""
    spec, still = MelSpec(), ViewConfig(1.0, 0.0, 0.0, 0.0, 0.0)
    rng = torch.Generator().manual_seed(4)
    x = torch.empty(64, 1, 80, 9).uniform_(-9, 0, generator=rng)
    lengths, numbers = torch.full((64,), 9), torch.rand(64, NUMBERS, generator=rng)

    def made(noise: float, mix: float) -> torch.Tensor:
        config = AugmentConfig(view=still, colour=0, warp=0, noise=noise, mix=mix, silence=0)
        return augment(x, lengths, lengths, spec, config, numbers, texture(spec, torch.device("cpu")))[0]

    plain, some, every = made(0, 0), made(0.5, 0), made(1, 0)
    noisy = (some != plain).flatten(1).any(1)
    assert 16 < noisy.sum() < 48
    torch.testing.assert_close(some, torch.where(noisy[:, None, None, None], every, plain))
    some, every = made(0, 0.5), made(0, 1)
    mixed = (some != plain).flatten(1).any(1)
    assert 16 < mixed.sum() < 48
    torch.testing.assert_close(some, torch.where(mixed[:, None, None, None], every, plain))


def test_clips_are_mixed_as_sounds_add():
    spec = MelSpec()
    both = AugmentConfig(view=ViewConfig(1.0, 0.0, 0.0, 0.0, 0.0), colour=0, noise=0, mix=1, warp=0, silence=0)
    x = torch.full((2, 1, 80, 8), spec.floor)
    x[0, :, 10] = -1
    x[1, :, 50] = -1
    numbers = torch.full((2, NUMBERS), 0.5)
    y, lengths, partners, share = augment(
        x, torch.tensor([8, 4]), torch.tensor([0, 1]), spec, both, numbers, texture(spec, torch.device("cpu"))
    )
    assert partners.tolist() == [1, 0] and share.tolist() == [0.5, 0.5] and lengths.tolist() == [8, 8]
    assert (y[0, 0, [10, 50], 0] + 1 - torch.tensor(0.5).log()).abs().max() < 0.01, "half of each, as sounds add"


def test_a_warped_sound_keeps_its_lowest_band_and_moves_the_others():
    bands = torch.arange(80.0)
    x = (-(bands - 30).square() / 50)[None, None, :, None].expand(3, 1, 80, 4).contiguous()
    y = warped(x, torch.tensor([1.0, 1.1, 0.9]))
    assert torch.equal(y[0], x[0])
    assert y.argmax(2)[:, 0, 0].tolist() == [30, 27, 33], "the peak of band 30, where i · rate is 30"
    ramp = warped(bands[None, None, :, None].expand(1, 1, 80, 2), torch.tensor([1.12]))[0, 0, :, 0]
    torch.testing.assert_close(ramp, (bands * 1.12).clamp(max=79))


def test_some_made_clips_are_set_apart():
    use, aside = split(40)
    classes = {(32 * batch + i) % 10 for batch in range(20) for i in split(32, 32 * batch)[1]}
    assert classes == set(range(10)), "every class has its turn"
    assert sorted([*use, *aside]) == list(range(40)) and len(aside) == 5
    mels, lengths = noise_clips(MelSpec(), 5, 10, 20, 0)
    assert mels.shape == (5, 1, 80, 20) and 10 <= lengths.min() <= lengths.max() <= 20


def test_some_sounds_stand_in_silence():
    """A drawn clip keeps its frames, with up to so many seconds of silence on each side."""
    spec = MelSpec()
    config = AugmentConfig(
        view=ViewConfig(1.0, 0.0, 0.0, 0.0, 0.0), colour=0, noise=0, mix=0, warp=0, silence=0.5, around=0.2
    )
    rng = torch.Generator().manual_seed(5)
    x = torch.empty(200, 1, 80, 12).uniform_(-9, 0, generator=rng)
    lengths, numbers = torch.randint(4, 13, (200,), generator=rng), torch.rand(200, NUMBERS, generator=rng)
    y, found, _, _ = augment(x, lengths, lengths, spec, config, numbers, texture(spec, torch.device("cpu")))
    most = int(0.2 * spec.sample_rate / spec.hop_length)
    before, after = config.margins(spec, numbers)
    assert torch.equal(found, lengths + before + after)
    moved = (found != lengths).float().mean()
    assert 0.4 < moved < 0.6 and most - 1 <= max(before.max(), after.max()) <= most == 17
    for i in range(200):
        begin, end = int(before[i]), int(before[i] + lengths[i])
        torch.testing.assert_close(y[i, ..., begin:end], x[i, ..., : int(lengths[i])], rtol=0, atol=1e-5)
        assert (y[i, ..., :begin] == spec.floor).all() and (y[i, ..., end:] == spec.floor).all()


def test_most_noises_fall_towards_the_high_bands():
    spec = MelSpec()
    config = AugmentConfig(view=ViewConfig(1.0, 0.0, 0.0, 0.0, 0.0), colour=0, noise=1, mix=0, warp=0, silence=0)
    x, lengths = torch.full((300, 1, 80, 20), spec.floor), torch.full((300,), 20)
    numbers = torch.rand(300, NUMBERS, generator=torch.Generator().manual_seed(6))
    y = augment(x, lengths, lengths, spec, config, numbers, texture(spec, torch.device("cpu")))[0]
    low, high = y[:, 0, :20].mean((1, 2)), y[:, 0, 60:].mean((1, 2))
    assert 0.6 < (low > high).float().mean() < 0.8


def test_texture_changes_most_clips_by_its_own_numbers_alone():
    """Without it all other changes are what they were; with it a share of the clips stays smooth."""
    spec, rng = MelSpec(), torch.Generator().manual_seed(8)
    mels = torch.full((200, 1, spec.n_mels, 30), -3.0)
    plain = AugmentConfig(silence=0, colour=0, noise=0, mix=0, warp=0, view=ViewConfig(1.0, 0.0, 0.0, 0.0, 0.0))
    numbers = torch.rand(200, replace(plain, texture=1.0).numbers, generator=rng)
    lengths, labels, noise = torch.full((200,), 30), torch.zeros(200, dtype=torch.long), texture(spec, "cpu")
    rough, *_ = augment(mels, lengths, labels, spec, replace(plain, texture=1.0), numbers, noise)
    smooth, *_ = augment(mels, lengths, labels, spec, plain, numbers[:, :NUMBERS], noise)
    assert plain.numbers == NUMBERS and replace(plain, texture=0.5).numbers == NUMBERS + 2
    spread = (rough - smooth).std((1, 2, 3))
    still = spread < 1e-6
    assert 0.2 < still.float().mean() < 0.4 and torch.equal(still, numbers[:, NUMBERS] < 0.3)
    torch.testing.assert_close(spread, ((numbers[:, NUMBERS] - 0.3) / 0.7).clamp(min=0), rtol=0.25, atol=0.02)
