"""Views: range, bounds and gradients hold, and each change is the one that is named."""

import dataclasses

import pytest
import torch

from frami.audio import MelSpec
from frami.inversion.augment import NUMBERS, ImageViewConfig, ViewConfig, draw_image_view, draw_view, view_lengths

FLOOR = MelSpec().floor
STILL = ViewConfig(shortest=1, stretch=0, gain=0, time_mask=0, band_mask=0)
KINDS = [(draw_view, ViewConfig()), (draw_image_view, ImageViewConfig())]


def uniform(clips, seed=0):
    return torch.rand(clips, NUMBERS, generator=torch.Generator().manual_seed(seed))


def noise(clips, frames, seed=0):
    x = torch.randn(clips, 1, 80, frames, generator=torch.Generator().manual_seed(seed)) * 2 - 5
    return x.clamp(FLOOR, 2)


def full(clips, frames):
    return torch.full((clips,), frames)


@pytest.mark.parametrize(("draw", "config"), KINDS)
def test_views_keep_range_and_bounds_and_gradients(draw, config):
    mels = noise(64, 60).requires_grad_()
    lengths = torch.randint(1, 61, (64,), generator=torch.Generator().manual_seed(1))
    view, short = draw(mels, lengths, FLOOR, config, uniform(64, 2))
    assert view.shape == mels.shape and view.isfinite().all() and short.dtype == torch.int64
    assert (short >= 1).all() and (short <= lengths).all()
    assert view.min() >= FLOOR - 1e-4 and view.max() <= 2 + getattr(config, "gain", 0) + 1e-4
    for row, length in zip(view, short.tolist(), strict=True):
        assert (row[..., length:] == FLOOR).all()
    view.sum().backward()
    assert mels.grad.abs().sum() > 0
    behind = torch.arange(60) >= lengths[:, None]
    assert mels.grad[:, 0].transpose(1, 2)[behind].abs().max() < 1e-4, "a view looked behind the end of its clip"


@pytest.mark.parametrize(("draw", "config"), KINDS)
def test_what_lies_behind_a_clips_end_changes_nothing(draw, config):
    mels, lengths = noise(64, 60), torch.randint(1, 61, (64,), generator=torch.Generator().manual_seed(1))
    views = []
    for behind in (FLOOR, 10.0):
        inside = torch.arange(60) < lengths[:, None]
        views.append(draw(torch.where(inside[:, None, None], mels, behind), lengths, FLOOR, config, uniform(64, 2))[0])
    torch.testing.assert_close(*views, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("draw", "config"), KINDS)
@pytest.mark.parametrize("number", [0.0, 1 - 2**-24])
def test_numbers_at_the_ends_of_their_range(draw, config, number):
    lengths = torch.tensor([1, 2, 30, 50])
    view, short = draw(noise(4, 50), lengths, FLOOR, config, torch.full((4, NUMBERS), number))
    assert view.isfinite().all() and (short >= 1).all() and (short <= lengths).all()


@pytest.mark.parametrize(("draw", "config"), KINDS)
def test_a_view_depends_on_its_own_clip_and_numbers_only(draw, config):
    mels, lengths, numbers = noise(8, 40), torch.tensor([40, 30, 20, 10] * 2), uniform(8)
    view, short = draw(mels, lengths, FLOOR, config, numbers)
    alone = draw(mels[3:4], lengths[3:4], FLOOR, config, numbers[3:4])
    torch.testing.assert_close((view[3:4], short[3:4]), alone)
    other, _ = draw(mels, lengths, FLOOR, config, uniform(8, seed=1))
    assert all((a - b).abs().max() > 0.1 for a, b in zip(view, other, strict=True))


# --- views of sounds -------------------------------------------------------------------------------------------------


def test_view_without_strength_is_the_clip_itself():
    mels = noise(3, 20)
    view, lengths = draw_view(mels, full(3, 20), FLOOR, STILL, uniform(3))
    assert lengths.tolist() == [20, 20, 20]
    torch.testing.assert_close(view, mels, rtol=0, atol=1e-5)


def test_views_are_segments():
    mels, lengths = noise(256, 50), full(256, 50)
    _, short = draw_view(mels, lengths, FLOOR, dataclasses.replace(STILL, shortest=0.6), uniform(256))
    assert short.min() in (30, 31) and short.max() in (49, 50) and len(short.unique()) > 15
    _, short = draw_view(mels, lengths, FLOOR, ViewConfig(), uniform(256))
    assert short.min() >= 0.6 * 50 / 1.1 - 1 and short.max() <= 50, "never longer than the clip, stretched or not"


def test_views_move_the_level_and_shift():
    """A single loud frame shows where a view looks."""
    mels = torch.full((64, 1, 80, 50), -8.0)
    mels[..., 25] = 0.0
    config = dataclasses.replace(STILL, shortest=0.7)
    view, _ = draw_view(mels, full(64, 50), FLOOR, config, uniform(64))
    places = view[:, 0].mean(1).argmax(1)
    assert places.min() >= 9 and places.max() <= 25 and len(places.unique()) > 5
    louder, _ = draw_view(mels, full(64, 50), FLOOR, dataclasses.replace(config, gain=0.5), uniform(64))
    change = (louder - view)[:, 0, :, 0]
    assert change.abs().max() <= 0.5 + 1e-5 and change.std() > 0.1
    quiet, _ = draw_view(mels * 0 + FLOOR, full(64, 50), FLOOR, dataclasses.replace(config, gain=0.5), uniform(64))
    assert quiet.min() == FLOOR, "silence is not turned down"


def test_views_mask_time_and_bands():
    """On a ramp that no mask may hide, hidden places are those of the clip's mean level."""
    mels = torch.linspace(-8, 0, 80)[None, None, :, None].expand(64, 1, 80, 50) + torch.linspace(0, 1, 50)
    config = dataclasses.replace(STILL, time_mask=0.2, band_mask=0.2)
    view, _ = draw_view(mels, full(64, 50), FLOOR, config, uniform(64))
    hidden = (view - mels).abs() > 1e-4
    times = hidden[:, 0].float().mean(1).gt(0.9).float().mean(1)
    bands = hidden[:, 0].float().mean(2).gt(0.9).float().mean(1)
    for share in (times, bands):
        assert 0 < share.max() <= 0.2 + 1e-6 and share.min() == 0 and share.std() > 0.02
    assert (view[hidden] - mels.mean()).abs().max() < 1e-3


def test_views_stretch_time():
    """On a ramp over time, the slope of a view is its tempo."""
    mels = torch.linspace(-5, 0, 50).expand(64, 1, 80, 50)
    config = dataclasses.replace(STILL, shortest=0.7, stretch=0.1)
    view, _ = draw_view(mels, full(64, 50), FLOOR, config, uniform(64))
    slopes = (view[:, 0, 0, 10] - view[:, 0, 0, 0]) / 10 / (5 / 49)
    assert slopes.min() > 0.89 and slopes.max() < 1.11 and slopes.std() > 0.03


# --- views of pictures -----------------------------------------------------------------------------------------------


def picture(area=1.0, aspect=0.5, flip=0.9, right=0.0, down=0.0, clips=1):
    """Numbers of an image view: a share of the smallest-to-whole area, and where it lies."""
    numbers = torch.zeros(clips, NUMBERS)
    numbers[:, :5] = torch.tensor([area, aspect, flip, right, down])
    return numbers


def test_an_image_view_of_the_whole_picture_is_the_clip_or_its_mirror():
    mels, lengths = noise(3, 40), torch.tensor([40, 25, 1])
    inside = (torch.arange(40) < lengths[:, None])[:, None, None]
    mels = torch.where(inside, mels, FLOOR)
    view, view_lengths = draw_image_view(mels, lengths, FLOOR, ImageViewConfig(), picture(clips=3))
    assert torch.equal(view_lengths, lengths)
    torch.testing.assert_close(view, mels, rtol=0, atol=1e-3)
    mirror, view_lengths = draw_image_view(mels, lengths, FLOOR, ImageViewConfig(), picture(flip=0.1, clips=3))
    assert torch.equal(view_lengths, lengths)
    for row, clip, length in zip(mirror, mels, lengths.tolist(), strict=True):
        torch.testing.assert_close(row[..., :length], clip[..., :length].flip(-1), rtol=0, atol=1e-3)


def test_an_image_view_enlarges_a_part():
    """On a ramp along one axis: a quarter of the area is half of each side, and lies where the numbers say."""
    time = torch.linspace(-8, 0, 60).expand(1, 1, 80, 60)
    bands = torch.linspace(-8, 0, 80)[:, None].expand(1, 1, 80, 60)
    for place in (0.0, 0.5, 1.0):
        numbers = picture(area=0.0, right=place, down=place)
        along = draw_image_view(time, full(1, 60), FLOOR, ImageViewConfig(), numbers)[0][0, 0]
        across = draw_image_view(bands, full(1, 60), FLOOR, ImageViewConfig(), numbers)[0][0, 0]
        begin = -8 + 4 * place
        assert along.mean() == pytest.approx(begin + 2, abs=0.1) and across.mean() == pytest.approx(begin + 2, abs=0.1)
        assert along[:, 0].mean() == pytest.approx(begin, abs=0.1) and along[:, -1].mean() == pytest.approx(
            begin + 4, abs=0.1
        )
        assert across[0].mean() == pytest.approx(begin, abs=0.1) and across[-1].mean() == pytest.approx(
            begin + 4, abs=0.1
        )


def test_image_views_are_drawn_at_random():
    """Half of them are played backwards, and crops are of all places and sizes."""
    mels = torch.linspace(-8, 0, 60).expand(256, 1, 80, 60)
    view, _ = draw_image_view(mels, full(256, 60), FLOOR, ImageViewConfig(), uniform(256))
    slopes = (view[:, 0, 0, 40] - view[:, 0, 0, 20]) / 20 / (8 / 59)
    assert 0.4 < (slopes < 0).float().mean() < 0.6
    assert slopes.abs().min() > 0.4 and slopes.abs().max() < 1.05 and slopes.abs().std() > 0.1
    assert view[:, 0, 0].mean(1).std() > 0.3


def test_lengths_of_views_are_known_before_they_are_drawn():
    mels, lengths, numbers = torch.zeros(256, 1, 80, 50), torch.arange(256) % 50 + 1, uniform(256)
    view, found = draw_view(mels, lengths, FLOOR, ViewConfig(), numbers)
    assert torch.equal(view_lengths(lengths, ViewConfig(), numbers), found)
    most = int(found.max())
    torch.testing.assert_close(draw_view(mels, lengths, FLOOR, ViewConfig(), numbers, most)[0], view[..., :most])
