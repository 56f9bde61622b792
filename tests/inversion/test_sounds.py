"""Made-up sounds, where clips of a network begin that stores nothing of its training data."""

import pytest
import torch

from frami.adapter import adapt
from frami.audio import MelSpec
from frami.inversion import invert, sounds
from frami.inversion.generator import Generator


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("preset", ("frami", "panns", "efficientat", "speechbrain", "yamnet", "ast", "ced"))
@pytest.mark.parametrize("frames", (1, 40, 101))
def test_log_mels_have_the_frames_and_the_range_of_their_front_end(preset, frames):
    spec = MelSpec() if preset == "frami" else MelSpec.preset(preset)
    mels = sounds.log_mels(spec, 3, frames, rng())
    assert mels.shape == (3, 1, spec.n_mels, frames) and mels.isfinite().all()
    assert mels.max() <= spec.ceiling + 1e-3 and (spec.remove_mean or mels.min() >= spec.floor - 1e-3)


def test_the_same_seed_gives_the_same_sounds_and_another_one_others():
    first, again, other = (sounds.waveforms(4, 8000, 4000, rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.allclose(first, other, atol=1e-2)
    assert first.abs().max() <= 1 and len({round(float(x.std()), 5) for x in first}) == 4


def test_sounds_are_pulsed_or_noisy_swell_and_fade_and_have_more_in_low_pitches():
    rate, clips = 16_000, 64
    x = sounds.waveforms(clips, rate, rate, rng())
    spectra = torch.stft(x, 512, 128, window=torch.hann_window(512), return_complex=True).abs().square()
    course = spectra.mean(1)
    assert (course.amax(1) / course.median(1).values > 4).float().mean() > 0.5
    power = spectra.mean(2)
    assert (power[:, :64].sum(1) > power[:, 128:].sum(1)).float().mean() > 0.7
    around = x - x.mean(1, keepdim=True)
    repeated = torch.fft.irfft(torch.fft.rfft(around, 2 * rate).abs().square())[:, :rate]
    pitched = repeated[:, rate // 600 : rate // 60].amax(1) / repeated[:, 0]
    assert (pitched > 0.5).any() and (pitched < 0.2).any()


def test_a_generator_begins_at_the_sounds_that_it_was_given():
    spec, frames = MelSpec(), 48
    made, generator = sounds.log_mels(spec, 8, frames, rng()), Generator(MelSpec())
    latents = generator.noise(8, frames, rng())
    before = generator(latents, frames)
    generator.range.begin_at(made)
    memory = generator.range.around.data_ptr()
    after = generator(latents, frames)
    assert (after - made).abs().mean() < 0.5 * (before - made).abs().mean()
    generator.range.begin_at(made.flip(0))
    assert generator.range.around.data_ptr() == memory and "range.around" not in generator.state_dict()
    assert (generator(latents, frames) - made.flip(0)).abs().mean() < 0.5 * (before - made).abs().mean()


class Plain(torch.nn.Module):
    """A classifier without batch norms."""

    def __init__(self, norm: bool):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 8, 5, 2)
        self.norm = torch.nn.BatchNorm2d(8) if norm else torch.nn.Identity()
        self.last = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.conv(x)).relu().mean((2, 3)))


@pytest.mark.parametrize("norm", (False, True))
def test_clips_of_a_network_without_norms_alone_begin_at_sounds(norm, monkeypatch):
    torch.manual_seed(0)
    asked = []
    given = sounds.log_mels
    monkeypatch.setattr("frami.inversion.state.log_mels", lambda *a: asked.append(a) or given(*a))
    teacher = adapt(Plain(norm), spec=MelSpec(), classes=list("abcd"))

    def made(recipe: str) -> torch.Tensor:
        return [s for s in invert(teacher, recipe, samples=8, batch=8, steps=2) if s.finished][-1].clips.mels

    first = made("frami")
    assert bool(asked) != norm
    assert torch.equal(first, made("frami"))
    asked.clear()
    made("cmi")  # a published method begins where its paper does
    assert not asked
