"""Front-ends of published networks equal what their own libraries compute, and say what is wrong with settings."""

import json
import math
from dataclasses import replace

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from torchaudio.compliance import kaldi

from frami import checkpoints
from frami.audio import AudioError, MelSpec
from frami.errors import FramiError
from frami.mel import CHOICES, WINDOWS
from frami.presets import PRESETS

FIELDS = ["sample_rate", "n_fft", "hop_length", "n_mels", "f_min", "f_max", "clamp"]
each_preset = pytest.mark.parametrize("name", PRESETS)


def noise(rate: int) -> torch.Tensor:
    return 0.3 * torch.randn(rate, generator=torch.Generator().manual_seed(0))


def chirp(rate: int) -> torch.Tensor:
    """100 Hz to 0.45 of the rate in a second, over noise at -40 dB, so that no band holds rounding errors only."""
    t = torch.arange(rate) / rate
    tone = 0.5 * torch.sin(2 * math.pi * (100 * t + (0.45 * rate - 100) / 2 * t**2))
    return tone + 1e-2 * torch.randn(rate, generator=torch.Generator().manual_seed(1))


# --- what their own libraries compute --------------------------------------------------------------------------------


def panns(x):
    """torchlibrosa says that it is librosa's."""
    powers = librosa.feature.melspectrogram(
        y=x.numpy(), sr=32_000, n_fft=1024, hop_length=320, n_mels=64, fmin=50, fmax=14_000, pad_mode="reflect"
    )
    return librosa.power_to_db(powers, ref=1.0, amin=1e-10, top_db=None)


def efficientat(x):
    x = torch.nn.functional.conv1d(x[None, None], torch.tensor([[[-0.97, 1.0]]]))[0]
    window = torch.hann_window(800, periodic=False)
    power = torch.stft(x, 1024, 320, 800, window, center=True, return_complex=True)[0].abs().square()
    bands, _ = kaldi.get_mel_banks(128, 1024, 32_000, 0.0, 15_000.0, 100.0, -500.0, 1.0)
    return ((torch.nn.functional.pad(bands, (0, 1)) @ power + 1e-5).log() + 4.5) / 5


def speechbrain(x):
    """By hand in NumPy: triangles whose upper side is as wide as their lower one."""
    edges = 700 * (10 ** (np.linspace(0, 2595 * math.log10(1 + 8_000 / 700), 82) / 2595) - 1)
    frequencies, width = np.linspace(0, 8_000, 201)[:, None], np.diff(edges)[:-1]
    slope = (frequencies - edges[1:-1]) / width
    bands = np.maximum(0, np.minimum(1 + slope, 1 - slope))
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    padded = np.pad(x.double().numpy(), 200)
    frames = np.stack([padded[i : i + 400] * window for i in range(0, len(padded) - 399, 160)])
    decibels = 10 * np.log10(np.maximum(np.abs(np.fft.rfft(frames)) ** 2 @ bands, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    return (decibels - decibels.mean(0)).T


def yamnet(x):
    """By hand in NumPy: triangles over the Mel scale, without bin 0; windows that fit in."""

    def mel(hertz):
        return 1127 * np.log(1 + np.asarray(hertz) / 700)

    edges, bins = np.linspace(mel(125), mel(7_500), 66), mel(np.linspace(0, 8_000, 257)[1:])[:, None]
    rising, falling = (bins - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - bins) / np.diff(edges)[1:]
    bands = np.pad(np.maximum(0, np.minimum(rising, falling)), ((1, 0), (0, 0)))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    x = x.double().numpy()
    frames = np.stack([x[i : i + 400] * window for i in range(0, len(x) - 399, 160)])
    return np.log(np.abs(np.fft.rfft(frames, 512)) @ bands + 0.001).T


def ast(x):
    found = kaldi.fbank(
        x[None], sample_frequency=16_000, window_type="hanning", num_mel_bins=128, frame_shift=10, htk_compat=True,
        use_energy=False, dither=0.0,
    )  # fmt: skip
    return (found.T + 4.2677393) / (2 * 4.5689974)


def ced(x):
    powers = torchaudio.transforms.MelSpectrogram(
        16_000, n_fft=512, win_length=512, hop_length=160, n_mels=64, f_min=0, f_max=8_000, center=True
    )(x)
    return torchaudio.transforms.AmplitudeToDB(top_db=120)(powers)


LIBRARIES = {f.__name__: f for f in (panns, efficientat, speechbrain, yamnet, ast, ced)}


@pytest.mark.parametrize("sound", [noise, chirp])
@each_preset
def test_a_preset_is_its_librarys_front_end(name, sound):
    spec = MelSpec.preset(name)
    x = sound(spec.sample_rate)
    wanted = np.asarray(LIBRARIES[name](x))
    assert spec(x).shape == wanted.shape
    np.testing.assert_allclose(spec(x).numpy(), wanted, rtol=0, atol=1e-3)


KALDI = MelSpec(
    16_000, 512, 160, 80, 20.0, 7_600.0, 2.0**-23, win_length=400, window="povey", padding="snip", preemphasis=0.97,
    preemphasis_of="frame", remove_dc=True, power=2, mel_scale="kaldi", mel_norm="none",
)  # fmt: skip


@pytest.mark.parametrize("sound", [noise, chirp])
@pytest.mark.parametrize(
    ("fields", "arguments"),
    [
        ({}, {}),
        ({"window": "hamming-symmetric"}, {"window_type": "hamming"}),
        ({"remove_dc": False}, {"remove_dc_offset": False}),
        ({"preemphasis": 0.0}, {"preemphasis_coefficient": 0.0}),
        ({"power": 1}, {"use_power": False}),
        ({"remove_mean": True}, {"subtract_mean": True}),
        ({"n_fft": 400}, {"round_to_power_of_two": False}),
    ],
    ids=lambda given: ",".join(given) or "as they are",
)
def test_kaldis(fields, arguments, sound):
    x = sound(16_000) + 0.1
    usual = {"sample_frequency": 16_000, "num_mel_bins": 80, "high_freq": 7_600}
    wanted = kaldi.fbank(x[None] * 32_768, **usual | arguments).T
    found = replace(KALDI, full_scale=32_768.0, **fields)(x)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)


@pytest.mark.parametrize("sound", [noise, chirp])
@pytest.mark.parametrize(
    ("fields", "arguments"),
    [
        ({}, {}),
        ({"win_length": 300}, {"win_length": 300}),
        ({"window": "hamming"}, {"window_fn": torch.hamming_window}),
        ({"power": 1}, {"power": 1}),
        ({"padding": "zeros"}, {"pad_mode": "constant"}),
        ({"padding": "none", "win_length": 300}, {"center": False, "win_length": 300}),
        ({"mel_scale": "slaney"}, {"mel_scale": "slaney"}),
        ({"mel_norm": "slaney"}, {"norm": "slaney"}),
    ],
    ids=lambda given: ",".join(given) or "as they are",
)
def test_torchaudios(fields, arguments, sound):
    x, usual = sound(16_000), {"n_fft": 512, "hop_length": 200, "n_mels": 40, "f_min": 60.0, "f_max": 7_000.0}
    wanted = torchaudio.transforms.MelSpectrogram(16_000, **usual | arguments)(x)
    spec = MelSpec(16_000, **usual, padding="reflect", mel_scale="htk", mel_norm="none", power=2)
    spec = replace(spec, clamp=1e-20, **fields)
    torch.testing.assert_close(spec(x), wanted.log(), rtol=0, atol=1e-3)
    torch.testing.assert_close(replace(spec, compression="log10")(x), wanted.log10(), rtol=0, atol=1e-3)
    added = replace(spec, clamp=0.3, clamping="add", shift=1.0, scale=2.0)
    torch.testing.assert_close(added(x), ((wanted + 0.3).log() + 1) / 2, rtol=0, atol=1e-3)


def test_clips_of_a_batch_do_not_depend_on_each_other():
    """torchaudio's AmplitudeToDB cuts a batch of spectrograms below the loudest value of all."""
    spec = MelSpec.preset("ced")
    batch = torch.stack([noise(16_000), 1e-4 * chirp(16_000)])
    assert torch.equal(spec(batch)[1], spec(batch[1]))


# --- sizes, floor and ceiling ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 300, 401, 512, 513, 514, 4_000, 16_001])
@each_preset
def test_frames_and_samples(name, samples):
    spec = MelSpec.preset(name)
    frames = spec(torch.zeros(samples)).shape[-1]
    assert frames == spec.count(samples) == spec.frames(samples / spec.sample_rate)
    if samples > 1_000:
        least = spec.samples(frames)
        assert spec.count(least) == frames and least <= samples and spec.count(least - 1) == frames - 1


@each_preset
def test_silence_is_the_floor_and_full_scale_the_ceiling(name):
    spec = MelSpec.preset(name)
    t = torch.arange(spec.sample_rate) / spec.sample_rate
    silence = spec(torch.zeros(spec.sample_rate))
    sounds = [noise(spec.sample_rate), *(torch.sin(2 * math.pi * hertz * t) for hertz in (130, 1_000, 4_000, 7_000))]
    sounds.append(torch.cat([torch.zeros(spec.sample_rate), sounds[-1]]))
    found = torch.cat([spec(sound) for sound in sounds], -1)
    if spec.remove_mean:
        assert silence.abs().max() == 0 and spec.floor == -80 and spec.ceiling == 80
        assert spec.floor <= found.min() < 0.4 * spec.floor and found.max() <= spec.ceiling
    else:
        torch.testing.assert_close(silence, torch.full_like(silence, spec.floor), rtol=0, atol=1e-4)
        assert found.min() >= spec.floor - 1e-4
        assert spec.ceiling - 2.5 * spec.unit < found.max() <= spec.ceiling + 1e-3


@each_preset
def test_e_times_as_loud_is_a_unit_more(name):
    spec = replace(MelSpec.preset(name), remove_mean=False, top_db=None)
    x = 0.3 * noise(spec.sample_rate)
    louder = spec(math.e * x) - spec(x)
    assert float(louder.median()) == pytest.approx(spec.unit, rel=0.01)
    assert MelSpec().unit == 1.0
    bands = 20 / spec.power * spec.mel(x).log10()
    if spec.clamping == "max":
        assert spec.decibels(float(spec(x)[20, 20])) == pytest.approx(float(bands[20, 20]), abs=0.01)


@each_preset
def test_compression_is_undone(name):
    spec = MelSpec.preset(name)
    x, plain = noise(spec.sample_rate), spec.absolute()
    values = plain.natural(plain(x)).exp() - (spec.clamp if spec.clamping == "add" else 0)
    torch.testing.assert_close(values, plain.mel(x), rtol=1e-3, atol=1e-5)


# --- settings --------------------------------------------------------------------------------------------------------


def test_what_is_stored_stays_as_it_was():
    assert list(MelSpec().to_dict()) == FIELDS
    changed = replace(MelSpec(), scale=2.0, window="hamming")
    assert changed.to_dict() == {**MelSpec().to_dict(), "window": "hamming", "scale": 2.0}
    for card in checkpoints.bundled():
        assert MelSpec.from_dict(card.mel_spec).to_dict() == card.mel_spec


@each_preset
def test_a_preset_survives_json(name, tmp_path):
    spec = MelSpec.preset(name)
    assert MelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    (tmp_path / "own.json").write_text(json.dumps({"preset": name, "n_mels": 40}))
    assert MelSpec.read(tmp_path / "own.json") == replace(spec, n_mels=40)
    (tmp_path / "whole.json").write_text(json.dumps(spec.to_dict()))
    assert MelSpec.read(tmp_path / "whole.json") == spec


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ["not JSON"]),
        ("[1]", ["object of settings", "preset"]),
        ('{"hop": 3}', ["unknown: hop", "hop_length", "win_length"]),
        ('{"preset": "vgg"}', ["'vgg'", "panns", "yamnet"]),
        ('{"window": "blackman"}', ["window", "blackman", "povey"]),
        ('{"mel_scale": 3}', ["mel_scale", "kaldi"]),
        ('{"power": true}', ["power", "1, 2"]),
        ('{"n_fft": 512.5}', ["n_fft", "whole number", "512.5"]),
        ('{"remove_dc": 1}', ["remove_dc", "true or false"]),
        ('{"f_max": 20000}', ["f_max", "sample_rate / 2"]),
        ('{"f_max": NaN}', ["f_max", "number"]),
        ('{"win_length": 2000}', ["win_length", "n_fft"]),
        ('{"mel_scale": "kaldi"}', ["mel_norm"]),
        ('{"mel_scale": "kaldi", "mel_norm": "none", "n_mels": 2}', ["4 or more"]),
        ('{"scale": 0}', ["scale", "above 0"]),
        ('{"top_db": -3}', ["top_db", "above 0"]),
        ('{"preemphasis": 2}', ["preemphasis", "0 to 1"]),
    ],
)
def test_a_bad_file_is_named(text, words, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(text)
    with pytest.raises(FramiError) as caught:
        MelSpec.read(path)
    assert all(word in str(caught.value) for word in [str(path), *words]) and "\n" not in str(caught.value)


def test_bad_names_are_named(tmp_path):
    with pytest.raises(FramiError, match="choose one of: panns, efficientat, speechbrain, yamnet, ast, ced"):
        MelSpec.preset("vggish")
    with pytest.raises(AudioError, match=r"nowhere\.json: not readable"):
        MelSpec.read(tmp_path / "nowhere.json")
    for make in (lambda: MelSpec(window="flat"), lambda: MelSpec(n_mels=0)):
        with pytest.raises(FramiError, match="MelSpec"):
            make()
    assert set(WINDOWS) == set(CHOICES["window"])
