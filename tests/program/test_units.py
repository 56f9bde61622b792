"""The same function in other units is inverted alike, and a teacher of another make gets views that it knows."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import nn

from frami.adapter import adapt
from frami.audio import MelSpec
from frami.checkpoints import Checkpoint
from frami.distill import Settings, distill
from frami.distill.augment import AGREEING, STRENGTHS, AugmentConfig, tolerated
from frami.inversion import losses, make_clips
from frami.inversion.augment import centred
from frami.inversion.bn_statistics import recorded
from frami.inversion.teacher import TeacherCopy
from frami.models import Features
from tests.helpers.networks import BANDS, CLASSES, clip, network

SPEC = MelSpec(n_mels=BANDS)


class Units(nn.Module):
    """A network that scales and shifts what it is given, as from natural logarithms to dB."""

    def __init__(self, module: nn.Module, scale: float, shift: float):
        super().__init__()
        self.module, self.scale, self.shift = module, scale, shift

    def forward(self, x):
        return self.module(x.transpose(2, 3) * self.scale + self.shift)["clipwise_output"]


def twin(scale: float = 1.0, shift: float = 0.0, inside: float = 1.0) -> Checkpoint:
    """The same function for all arguments: log-Mels in other units before the first norm, activations inside too."""
    module = network("bands")
    norm = module.bn0
    norm.running_mean.mul_(scale).add_(shift)
    norm.running_var.mul_(scale**2)
    norm.eps *= scale**2
    for conv, norm in ((module.conv1, module.bn1), (module.conv2, module.bn2)):
        conv.weight.data *= inside
        norm.running_mean *= inside
        norm.running_var *= inside**2
        norm.eps *= inside**2
    return adapt(Units(module, scale, shift), SPEC, CLASSES)


def missed(teacher: Checkpoint) -> float:
    """How far the statistics of made clips are from the stored ones: mean of some seeds, since rounding alone leads
    elsewhere."""
    found = []
    for seed in (2, 3, 4):
        clips = make_clips(teacher, "frami", samples=16, batch=16, steps=60, seconds=0.6, seed=seed)
        with torch.no_grad(), recorded(teacher.model, clips=16) as inputs:
            teacher.model(clips.mels)
        found.append(float(losses.batch_norm_loss(inputs, relative=True)))
    return sum(found) / len(found)


@cache
def missed_alone() -> float:
    """Of the network itself, once for all its twins."""
    return missed(twin())


TWINS = {"dB + 100": (8.7, 100.0, 1.0), "a third": (1 / 3, 5 / 3, 1.0), "x 10 inside": (1.0, 0.0, 10.0)}


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_twins_are_inverted_alike(name):
    first, second = twin(), twin(*TWINS[name])
    x = clip("bands", 4).transpose(2, 3)
    torch.testing.assert_close(first.model(x).logits, second.model(x).logits, rtol=1e-3, atol=1e-3)
    assert missed(second) == pytest.approx(missed_alone(), rel=0.3)


@pytest.mark.parametrize("name", TWINS)
def test_the_relative_distance_is_the_same_for_twins(name):
    values, raw = [], []
    for t in (twin(), twin(*TWINS[name])):
        with torch.no_grad(), recorded(t.model, clips=4) as inputs:
            t.model(clip("bands", 4, seed=5).transpose(2, 3))
        values.append(float(losses.batch_norm_loss(inputs, relative=True)))
        raw.append(float(losses.batch_norm_loss(inputs)))
    assert values[1] == pytest.approx(values[0], rel=1e-2)
    assert raw[1] != pytest.approx(raw[0], rel=0.5), "in the network's own units it is another"


@pytest.mark.parametrize("name", ["dB + 100", "a third"])
def test_the_spectrum_of_the_training_data_is_found_in_other_units(name):
    (mean, std), (other_mean, other_std) = (
        TeacherCopy(t, (0.5, 0.6)).bands for t in (twin(), twin(*TWINS[name]))
    )  # fmt: skip
    torch.testing.assert_close(other_mean, mean, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(other_std, std, rtol=1e-3, atol=1e-2)


def test_a_first_norm_of_other_channels_is_no_spectrum():
    mixed = nn.Sequential(
        nn.Conv2d(1, BANDS, 3, 2, 1), nn.BatchNorm2d(BANDS), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(BANDS, 4),
    )  # fmt: skip
    assert TeacherCopy(adapt(mixed, SPEC, CLASSES), (0.5, 0.6)).bands is None


def test_clips_have_the_mean_that_their_front_end_leaves():
    spec = replace(MelSpec.preset("speechbrain"), n_mels=BANDS)
    plain = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    teacher = adapt(plain, spec, CLASSES)
    clips = make_clips(teacher, "frami", samples=4, steps=3, seconds=(0.3, 0.6))
    for mel, length in zip(clips.mels, clips.lengths, strict=True):
        assert mel[..., :length].mean(2).abs().max() < 0.05
    x = torch.randn(2, 1, BANDS, 20)
    assert torch.equal(centred(x, SPEC), x), "with another front-end nothing changes"


class Fragile(nn.Module):
    """Says another class as soon as a clip's level changes by more than ``least``."""

    def __init__(self, least: float):
        super().__init__()
        self.least = least

    def forward(self, x, lengths=None):
        level = x[..., :10].mean((1, 2, 3)) + 4
        logits = torch.stack([torch.full_like(level, self.least), level.abs()], 1)
        return Features(x, logits, logits, lengths)


@pytest.mark.parametrize(("least", "expected"), [(10.0, 1.0), (0.0001, 0.0)])
def test_augmentation_is_as_strong_as_the_teacher_takes_it(least, expected):
    mels, lengths = torch.full((64, 1, BANDS, 50), -4.0), torch.full((64,), 50)
    found = tolerated(Fragile(least), mels, lengths, SPEC, AugmentConfig())
    assert found == expected
    middle = tolerated(Fragile(0.35), mels, lengths, SPEC, AugmentConfig())
    assert middle in STRENGTHS and 0 < middle < 1 and 0 < AGREEING < 1


def test_a_distillation_says_that_it_weakened_the_augmentation(monkeypatch):
    teacher = twin()
    monkeypatch.setattr("frami.distill.loop.tolerated", lambda *_: 0.25)
    settings = Settings(budget=None, rounds=1, clips=8, steps=2, batch=4, student="nano", objective="logits")
    states = list(distill(teacher, settings, every=1e9))
    assert any("25%" in note for note in states[-1].notes)
    memory = states[-1].memory()
    assert memory["strength"] == 0.25
