"""Where clips of networks of any make begin."""

import pytest
import torch
from torch import nn

from frami import checkpoints
from frami.adapter import adapt
from frami.inversion import make_clips, start
from frami.inversion.teacher import TeacherCopy
from frami.mel import MelSpec

#: In dB, from -100 to 50: the middle of the range is far louder than the sounds below.
SPEC = MelSpec(n_mels=40, power=2, compression="db", clamp=1e-10)
QUIET, SPREAD = -60.0, 12.0


class Network(nn.Sequential):
    """Without a norm of the bands; its statistics are of sounds of this level and spread."""

    def __init__(self, norm: bool = True):
        def layer(inputs: int, outputs: int) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, outputs, 3, 2, 1)
            return [conv, nn.BatchNorm2d(outputs, momentum=None), nn.ReLU()] if norm else [conv, nn.ReLU()]

        super().__init__(*layer(1, 8), *layer(8, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3))


def sounds(clips: int = 64) -> torch.Tensor:
    rng = torch.Generator().manual_seed(5)
    own, fine = torch.randn(clips, 1, 1, 1, generator=rng), torch.randn(clips, 1, 20, 20, generator=rng)
    fine = nn.functional.interpolate(fine, scale_factor=(2, 3), mode="bilinear")
    return (QUIET + SPREAD * (own + fine / fine.std()) / 2**0.5).clamp(SPEC.floor, SPEC.ceiling)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    network = Network().train()
    with torch.no_grad():
        for _ in range(3):
            network(sounds())
    return adapt(network.eval(), SPEC, ["a", "b", "c"], seconds=0.6)


def test_level_and_spread_are_found_from_norms_inside(teacher, monkeypatch):
    copy = TeacherCopy(teacher, (0.6, 0.6))
    assert copy.bands is None
    mean, std = copy.start
    assert mean.shape == std.shape == (40,) and len(mean.unique()) == len(std.unique()) == 1
    middle = (SPEC.floor + SPEC.ceiling) / 2
    assert abs(float(mean[0]) - QUIET) < 8 < abs(middle - QUIET)
    assert 0.6 * SPREAD < float(std[0]) < 1.6 * SPREAD < (SPEC.ceiling - SPEC.floor) / 6
    monkeypatch.setattr(start, "_search", lambda *_: pytest.fail("searched again"))
    again = TeacherCopy(teacher, (0.6, 0.6)).start
    assert torch.equal(again[0], mean) and torch.equal(again[1], std)


def test_clips_stay_where_the_sounds_were(teacher, monkeypatch):
    def spread() -> tuple[float, float]:
        made = make_clips(teacher, "frami", samples=16, seconds=0.6, steps=10)
        each = [mel[0, :, :length] for mel, length in zip(made.mels, made.lengths, strict=True)]
        return float(torch.cat([x.flatten() for x in each]).mean()), float(torch.stack([x.mean() for x in each]).std())

    level, own = spread()
    monkeypatch.setattr(TeacherCopy, "start", None)
    middle, alike = spread()
    assert abs(level - QUIET) < 12 < abs(middle - QUIET), "from the middle of the range it is farther"
    assert own > 4 > alike, "clips differ in level"


def test_other_networks_begin_as_before():
    ours = TeacherCopy(checkpoints.load("fsdd"), (0.3, 0.3))
    assert ours.start is ours.bands is not None
    without = adapt(Network(norm=False), SPEC, ["a", "b", "c"], seconds=0.6)
    assert TeacherCopy(without, (0.6, 0.6)).start is None


def test_a_network_that_the_search_breaks_begins_in_the_middle(monkeypatch):
    monkeypatch.setattr(start, "batch_norm_loss", lambda inputs, **_: sum(i.mean.sum() for i in inputs) * torch.nan)
    torch.manual_seed(1)
    teacher = adapt(Network(), SPEC, ["a", "b", "c"], seconds=0.6)
    mean, std = TeacherCopy(teacher, (0.6, 0.6)).start
    assert float(mean[0]) == pytest.approx((SPEC.floor + SPEC.ceiling) / 2) and float(std[0]) > 0
