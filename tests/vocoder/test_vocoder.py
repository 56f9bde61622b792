import math
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from frami.audio import MelSpec, load
from frami.presets import PRESETS
from frami.vocoder import PEAK, VOCODERS, GriffinLim, Vocoder, VocoderError, get, unmel
from frami.vocoder.base import centre, gate, limit

SPEC = MelSpec()
RATE, HOP = SPEC.sample_rate, SPEC.hop_length
SPECS = [
    SPEC,
    MelSpec(16_000, 512, 160, 64, 20.0, 8_000.0),
    MelSpec(8_000, 256, 64, 40, 0.0, 4_000.0),
    MelSpec(44_100, 2048, 512, 128, 0.0, 16_000.0),
    MelSpec(22_050, 1024, 255),
]


def sine(hertz=440.0, seconds=0.6, level=0.3, rate=RATE):
    return level * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate)) / rate)


def chirp(low=200.0, high=4_000.0, seconds=0.6, level=0.3, rate=RATE):
    t = torch.arange(round(seconds * rate)) / rate
    return level * torch.sin(2 * math.pi * (low * t + (high - low) / (2 * seconds) * t**2))


def burst(seconds=0.6, level=0.2, rate=RATE):
    """Noise in the middle third, silence around it."""
    samples = round(seconds * rate)
    noise = level * torch.randn(samples, generator=torch.Generator().manual_seed(1))
    place = torch.arange(samples) / samples
    return noise * ((place > 1 / 3) & (place < 2 / 3))


SOUNDS = {"sine": sine, "chirp": chirp, "burst": burst}


def analyse(sound, spec=SPEC):
    return spec(sound)[None, None]


def energy_db(log_mel):
    return 10 * math.log10(float(log_mel.exp().square().sum()))


def distance(log_mel, other, decibels=20):
    """Mean absolute log-Mel difference over the cells within this many dB of the loudest."""
    audible = log_mel > log_mel.max() - decibels / 20 * math.log(10)
    return float((log_mel - other)[audible].abs().mean())


@pytest.fixture(scope="module")
def vocoder():
    return get("griffin-lim", SPEC)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.sample_rate}/{spec.hop_length}")
@pytest.mark.parametrize("kind", SOUNDS)
def test_resynthesis_keeps_length_loudness_and_spectrogram(kind, spec):
    log_mel = analyse(SOUNDS[kind](rate=spec.sample_rate), spec)
    (sound,) = GriffinLim(spec)(log_mel)
    again = analyse(sound, spec)
    assert sound.shape == (log_mel.shape[-1] * spec.hop_length,) and sound.dtype == torch.float32
    assert again.shape == log_mel.shape
    assert abs(energy_db(again) - energy_db(log_mel)) < 1
    assert sound.abs().max() < 1


@pytest.mark.parametrize(("kind", "bound"), [("sine", 0.25), ("chirp", 0.15), ("burst", 0.09)])
def test_iterations_bring_the_spectrogram_back(vocoder, kind, bound):
    log_mel = analyse(SOUNDS[kind]())
    reached = distance(log_mel, analyse(vocoder(log_mel)[0]))
    started = distance(log_mel, analyse(GriffinLim(SPEC, iterations=0)(log_mel)[0]))
    assert reached < bound < started, (reached, started)


@pytest.mark.parametrize("kind", ["chirp", "burst"])
def test_frames_are_where_they_were(vocoder, kind):
    """A quarter hop to either side is further away."""
    log_mel = analyse(SOUNDS[kind]())
    (sound,) = vocoder(log_mel)
    early, exact, late = (distance(log_mel, analyse(sound.roll(shift))) for shift in (-HOP // 4, 0, HOP // 4))
    assert exact < 0.7 * min(early, late)


def test_momentum_helps():
    log_mel = analyse(burst())
    fast, plain = (distance(log_mel, analyse(GriffinLim(SPEC, momentum=m)(log_mel)[0])) for m in (0.99, 0.0))
    assert fast < plain


def test_a_sine_keeps_its_frequency_and_level(vocoder):
    (sound,) = vocoder(analyse(sine(1_000.0, level=0.25)))
    middle = sound[4096:8192] * torch.hann_window(4096)
    spectrum = torch.fft.rfft(middle).abs()
    assert abs(int(spectrum.argmax()) * RATE / 4096 - 1_000) < 25  # half a bin of 21.5 Hz, and the Mel band's own blur
    assert sound[4096:8192].square().mean().sqrt() == pytest.approx(0.25 / math.sqrt(2), rel=0.15)


@pytest.mark.parametrize("place", [0.1, 0.3, 0.52])
def test_a_click_stays_within_one_hop_of_its_place(vocoder, place):
    at = round(place * RATE)
    sound = torch.zeros(round(0.6 * RATE))
    sound[at] = 0.9
    (back,) = vocoder(analyse(sound))
    power = back.square()
    centre = float((power * torch.arange(len(back))).sum() / power.sum())
    assert abs(centre - at) < HOP, centre - at
    assert power[max(0, at - 2 * HOP) : at + 2 * HOP].sum() > 0.8 * power.sum()


def test_silence_stays_silent(vocoder):
    for value in (SPEC.floor, SPEC.floor - 5, -math.inf):
        (sound,) = vocoder(torch.full((1, 1, SPEC.n_mels, 40), value))
        assert len(sound) == 40 * HOP and sound.abs().max() < 1e-4


def test_quiet_sound_is_not_normalised(vocoder):
    log_mel = analyse(chirp(level=0.003))
    (sound,) = vocoder(log_mel)
    assert 0.001 < sound.abs().max() < 0.01
    assert abs(energy_db(analyse(sound)) - energy_db(log_mel)) < 1


@pytest.mark.parametrize("extra", [2.0, 10.0, 60.0])
def test_too_loud_stays_within_full_scale(vocoder, extra):
    log_mel = analyse(burst())
    normal, loud = vocoder(torch.cat([log_mel, log_mel + extra]))
    assert 0.8 < float(loud.abs().max()) < 1
    again = loud[RATE // 5 : 2 * RATE // 5], normal[RATE // 5 : 2 * RATE // 5]
    assert float(torch.corrcoef(torch.stack(again))[0, 1]) > 0.9, "the same sound, but for its level"


def test_a_peak_is_turned_down_where_it_is():
    sound = torch.stack([sine(level=0.5)] * 2)
    sound[1, 6000:6100] *= 3
    limited = limit(sound, 88)
    assert torch.equal(limited[0], sound[0]) and limited.abs().max() <= PEAK
    far = torch.cat([torch.arange(6000 - 177), torch.arange(6100 + 177, sound.shape[1])])
    torch.testing.assert_close(limited[1, far], sound[1, far])
    gain = limited[1, 5800:6300] / sound[1, 5800:6300]
    assert gain.min() > 0 and gain.max() < 1.001 and gain.diff().abs().max() < 0.02, "no click"


def test_a_constant_part_goes_and_silence_stays():
    sound = burst() + 0.01 * (burst() != 0)
    gain = (burst() != 0).float()
    back = centre(sound[None], gain[None])[0]
    assert back.mean().abs() < 1e-6 < sound.mean() and not back[gain == 0].any()
    assert not centre(torch.zeros(2, 500), torch.zeros(2, 500)).any()


def test_the_gate_opens_as_far_as_a_frame_hears():
    silent = torch.ones(1, 40, dtype=torch.bool)
    assert not gate(silent, SPEC).any()
    silent[0, 20] = False
    opened = gate(silent, SPEC)[0]
    centred = 20 * HOP + HOP // 2
    assert (opened[centred - 512 : centred + 512] == 1).all() and opened.shape == (40 * HOP,)
    assert not opened[: centred - 512 - HOP].any() and not opened[centred + 512 + HOP :].any()


def test_ends_are_faded(vocoder):
    (sound,) = vocoder(analyse(sine(level=0.5)))
    assert sound[0].abs() < 0.02 and sound[-1].abs() < 0.02
    assert sound[:600].abs().max() > 0.2 and sound[-600:].abs().max() > 0.2


def test_deterministic_and_global_random_state_untouched(vocoder):
    log_mel = analyse(burst())
    torch.manual_seed(5)
    state = torch.get_rng_state()
    (first,) = vocoder(log_mel)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(vocoder(log_mel)[0], first)
    assert not torch.equal(GriffinLim(SPEC, seed=1)(log_mel)[0], first)


def test_a_clip_does_not_depend_on_its_batch(vocoder):
    clips = [analyse(sine(seconds=0.5)), analyse(chirp(seconds=0.3)), analyse(burst(seconds=0.5)), analyse(burst())]
    lengths = torch.tensor([clip.shape[-1] for clip in clips])
    padded = torch.full((len(clips), 1, SPEC.n_mels, int(lengths.max()) + 3), math.nan)  # padding is never read
    for row, clip in zip(padded, clips, strict=True):
        row[..., : clip.shape[-1]] = clip[0]
    for sound, clip, length in zip(vocoder(padded, lengths), clips, lengths, strict=True):
        assert sound.shape == (int(length) * HOP,)
        torch.testing.assert_close(sound, vocoder(clip)[0], atol=2e-3, rtol=0)


def test_large_batch_is_split_without_a_trace(vocoder, monkeypatch):
    log_mel = torch.cat([analyse(sine(200.0 + 50 * i, 0.2)) for i in range(20)])
    whole = vocoder(log_mel)
    monkeypatch.setattr("frami.vocoder.base.CHUNK_FRAMES", 3 * log_mel.shape[-1])
    for a, b in zip(whole, vocoder(log_mel), strict=True):
        torch.testing.assert_close(a, b, atol=2e-3, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_very_short(vocoder, frames):
    (sound,) = vocoder(analyse(sine())[..., 10 : 10 + frames])
    assert sound.shape == (frames * HOP,)
    assert sound.isfinite().all() and 0.03 < sound.abs().max() < 1


def test_no_gradient_and_half_precision(vocoder):
    log_mel = analyse(sine(seconds=0.2)).requires_grad_()
    assert not vocoder(log_mel)[0].requires_grad
    assert vocoder(log_mel.detach().bfloat16())[0].dtype == torch.float32


def test_empty_batch(vocoder):
    assert vocoder(torch.zeros(0, 1, SPEC.n_mels, 10)) == []


def test_what_is_refused(vocoder):
    good = analyse(sine(seconds=0.2)).repeat(2, 1, 1, 1)
    for value in (math.nan, math.inf, 1e4):
        bad = good.clone()
        bad[1, 0, 3, 2] = value
        with pytest.raises(VocoderError, match=r"spectrogram 1 of the batch .* NaN"):
            vocoder(bad)
    for shape in ((2, 80, 10), (2, 2, 80, 10), (2, 1, 64, 10)):
        with pytest.raises(VocoderError, match="80, frames"):
            vocoder(torch.zeros(shape))
    for lengths in ([1], [0, 3], [3, 10_000]):
        with pytest.raises(VocoderError, match="lengths"):
            vocoder(good, torch.tensor(lengths))
    with pytest.raises(VocoderError):
        vocoder(torch.zeros(1, 1, SPEC.n_mels, 0))
    for settings in ({"iterations": -1}, {"momentum": -0.1}):
        with pytest.raises(ValueError, match="negative"):
            GriffinLim(SPEC, **settings)


def test_another_front_end_is_refused_by_name(vocoder):
    vocoder.check(MelSpec())
    with pytest.raises(VocoderError) as error:
        vocoder.check(replace(SPEC, hop_length=200, n_mels=64))
    message = str(error.value)
    assert (
        "griffin-lim" in message and "hop_length 256, n_mels 80" in message and "hop_length 200, n_mels 64" in message
    )
    assert "sample_rate" not in message


def test_get_names_the_choices(monkeypatch):
    assert isinstance(get("griffin-lim", SPEC), GriffinLim) and isinstance(get("griffin-lim", SPEC), Vocoder)
    with pytest.raises(VocoderError, match=r"'hifi'.*griffin-lim"):
        get("hifi", SPEC)

    class Fixed(GriffinLim):
        name = "fixed"

        def __init__(self, mel_spec):
            super().__init__(SPEC)

    monkeypatch.setitem(VOCODERS, "fixed", Fixed)
    with pytest.raises(VocoderError, match="fixed takes spectrograms of n_mels 80; these have n_mels 64"):
        get("fixed", replace(SPEC, n_mels=64))


@pytest.mark.parametrize("spec", [*SPECS, MelSpec(8_000, 256, 64, 128, 0.0, 4_000.0)], ids=str)  # the last: empty bands
def test_unmel_is_non_negative_and_fits(spec):
    bank = spec.filterbank()
    truth = torch.rand(2, bank.shape[0], 12, generator=torch.Generator().manual_seed(0)) ** 4 / bank.sum(0).max()
    mel = bank.T @ truth
    magnitude = unmel(mel, bank)
    assert magnitude.shape == truth.shape and (magnitude >= 0).all() and magnitude.isfinite().all()
    assert ((bank.T @ magnitude - mel).norm() / mel.norm()) < 0.01
    clipped = (torch.linalg.pinv(bank.T) @ mel).clamp(min=0)
    assert (magnitude - truth).norm() < 1.02 * (clipped - truth).norm()


@pytest.mark.skipif("FRAMI_DATA" not in os.environ, reason="FRAMI_DATA, a folder of real recordings, is not set")
def test_spoken_digits_come_back(vocoder):
    files = sorted((Path(os.environ["FRAMI_DATA"]) / "fsdd" / "recordings").glob("*.wav"))[::500]
    assert files, "FRAMI_DATA holds no fsdd/recordings/*.wav"
    for file in files:
        log_mel = analyse(load(file))
        (sound,) = vocoder(log_mel)
        again = analyse(sound)
        assert distance(log_mel, again, decibels=60) < 0.2, file
        assert abs(energy_db(again) - energy_db(log_mel)) < 1, file


# --- front-ends of other networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("kind", ["chirp", "burst"])
def test_griffin_lim_sounds_every_front_end(name, kind):
    spec = MelSpec.preset(name)
    sound = SOUNDS[kind](rate=spec.sample_rate)
    log_mel = spec(sound)
    (made,) = GriffinLim(spec)(log_mel[None, None])
    assert len(made) == spec.samples(log_mel.shape[-1]) and made.isfinite().all()
    again = spec(made)
    assert again.shape == log_mel.shape
    loud = log_mel > log_mel.max() - 2 * spec.unit
    apart = float((again - log_mel)[loud].abs().mean()) / spec.unit
    if spec.remove_mean:  # the level and the long-term spectrum are not known
        assert apart < 0.6 and 0.01 < float(made.square().mean().sqrt()) < 0.5
    else:
        assert apart < 0.15
        assert energy_of(made) == pytest.approx(energy_of(sound), abs=1.5)
    assert GriffinLim(spec)(torch.full((1, 1, spec.n_mels, 9), spec.floor))[0].abs().max() == 0


def energy_of(sound):
    return 10 * math.log10(float(sound.square().sum()))


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("name", PRESETS)
def test_few_frames_of_every_front_end(name, frames):
    spec = MelSpec.preset(name)
    (made,) = GriffinLim(spec, iterations=4)(torch.full((1, 1, spec.n_mels, frames), (spec.floor + spec.ceiling) / 2))
    assert len(made) == spec.samples(frames) and made.isfinite().all()


def test_a_vocoder_names_settings_that_a_card_does_not():
    with pytest.raises(VocoderError, match="window hann; these have window hamming"):
        get("frami", replace(SPEC, window="hamming"))
    assert get(None, MelSpec.preset("panns")).name == "griffin-lim"
