import math
import os
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch

from frami.audio import AudioError, MelSpec, load, mono, save, to_int16

SPEC = MelSpec()
SPECS = [
    SPEC,
    MelSpec(16_000, 512, 160, 64, 20.0, 8_000.0),
    MelSpec(8_000, 256, 64, 40, 50.0, 3_800.0),
    MelSpec(44_100, 2048, 512, 128, 0.0, 16_000.0),
]


def sine(hertz, rate, seconds=0.5, level=0.5):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def speechlike(rate, seconds=1.0):
    """A gliding harmonic tone under syllable-like loudness, with a little hiss."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 1.5 * t)) / rate
    tone = sum(np.sin(k * phase) / k for k in range(1, 20))
    hiss = 0.003 * np.random.default_rng(2).standard_normal(len(t))
    return (0.2 * tone * np.sin(2 * np.pi * 2 * t).clip(0) + hiss).astype(np.float32)


def level_at(samples, hertz, rate):
    """Amplitude of one frequency, away from the ends."""
    middle = np.asarray(samples, dtype=np.float64)[len(samples) // 8 : -len(samples) // 8]
    window = np.hanning(len(middle))
    wave = np.exp(-2j * np.pi * hertz * np.arange(len(middle)) / rate)
    return 2 * abs((middle * window * wave).sum()) / window.sum()


def reference(samples, spec):
    """The BigVGAN ``mel_spectrogram``, by hand: NumPy STFT, librosa's filters."""
    pad = (spec.n_fft - spec.hop_length) // 2
    x = np.pad(samples.astype(np.float64), (pad, pad), mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.n_fft) / spec.n_fft)
    starts = range(0, len(x) - spec.n_fft + 1, spec.hop_length)
    spectra = np.stack([np.fft.rfft(x[s : s + spec.n_fft] * window) for s in starts], axis=1)
    magnitude = np.sqrt(np.abs(spectra) ** 2 + 1e-9)
    bank = librosa.filters.mel(
        sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.f_min, fmax=spec.f_max
    )
    return np.log(np.clip(bank.astype(np.float64) @ magnitude, 1e-5, None))


# --- the spectrogram -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.sample_rate}Hz")
@pytest.mark.parametrize("kind", ["noise", "sine", "speech"])
def test_equals_the_vocoders_definition(kind, spec):
    rate = spec.sample_rate
    sound = {
        "noise": 0.3 * np.random.default_rng(0).standard_normal(rate).astype(np.float32),
        "sine": sine(440, rate, 1.0) + 0.01 * np.random.default_rng(1).standard_normal(rate).astype(np.float32),
        "speech": speechlike(rate),
    }[kind]
    difference = np.abs(spec(torch.from_numpy(sound)).numpy() - reference(sound, spec))
    assert difference.max() < 1e-3


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.sample_rate}Hz")
def test_filterbank_is_librosas(spec):
    bank = librosa.filters.mel(
        sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.f_min, fmax=spec.f_max
    )
    np.testing.assert_allclose(spec.filterbank().numpy().T, bank, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 100, 1023, 1024, 1279, 1280, 22_050, 66_150])
def test_frames(samples):
    log_mel = SPEC(torch.zeros(samples))
    assert log_mel.shape == (80, max(samples, 1024) // 256)
    assert log_mel.shape[-1] == SPEC.frames(samples / SPEC.sample_rate)
    assert SPEC.seconds(log_mel.shape[-1]) == log_mel.shape[-1] * 256 / 22_050


def test_a_frame_is_centred_on_its_hop():
    sound = torch.zeros(8_192)
    sound[10 * 256 + 128] = 1.0
    energy = SPEC(sound).exp().sum(0)
    assert int(energy.argmax()) == 10
    assert float(energy[9]) == pytest.approx(float(energy[11]), rel=1e-3)


def test_batch_equals_single():
    batch = torch.randn(2, 3, 5_000, generator=torch.Generator().manual_seed(0))
    log_mel = SPEC(batch)
    assert log_mel.shape == (2, 3, 80, 19)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(log_mel[i, j], SPEC(batch[i, j]), atol=1e-5, rtol=0)


def test_silence_is_the_floor_and_ten_milliseconds_are_padded():
    assert torch.allclose(SPEC(torch.zeros(5_000)), torch.tensor(SPEC.floor))
    short = torch.from_numpy(sine(440, 22_050, 0.01))
    assert SPEC(short).shape == (80, 4)
    torch.testing.assert_close(SPEC(short), SPEC(torch.cat([short, torch.zeros(1024 - len(short))])))


def test_full_scale_stays_below_the_ceiling():
    sounds = [torch.from_numpy(sine(hertz, 22_050, 0.3, 1.0)) for hertz in (50, 441, 1_000, 5_000, 10_000)]
    sounds.append(torch.rand(8_000, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    highest = max(float(SPEC(sound).max()) for sound in sounds)
    assert SPEC.ceiling - 2 < highest <= SPEC.ceiling + 1e-3


@pytest.mark.parametrize("shape", [(0,), (1, 0), (3, 2, 0)])
def test_no_samples_is_an_error(shape):
    with pytest.raises(AudioError, match="no samples"):
        SPEC(torch.zeros(shape))


def test_frames_of_an_odd_hop():
    spec = replace(SPEC, hop_length=255)
    assert [spec(torch.zeros(n)).shape[-1] for n in (255 * 40 - 1, 255 * 40)] == [39, 40]


def test_gradient_reaches_the_waveform():
    sound = torch.randn(4_096).requires_grad_()
    SPEC(sound).sum().backward()
    assert sound.grad.isfinite().all() and sound.grad.abs().max() > 0


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.sample_rate}Hz")
def test_settings_survive_a_dictionary(spec):
    assert MelSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize("values", [{"hops": 3}, {"f_max": 20_000.0}, {"n_mels": "many"}, {"hop_length": 0}])
def test_a_bad_dictionary_is_named(values):
    with pytest.raises(AudioError, match="not the settings of a Mel-spectrogram"):
        MelSpec.from_dict({**SPEC.to_dict(), **values})


@pytest.mark.parametrize(
    "values",
    [
        {"f_min": -1.0},
        {"f_min": 11_025.0},
        {"f_max": 11_026.0},
        {"f_max": math.nan},
        {"hop_length": 0},
        {"hop_length": 1025},
        {"n_mels": 0},
        {"clamp": 0.0},
        {"sample_rate": 0},
    ],
    ids=str,
)
def test_unusable_settings(values):
    with pytest.raises(ValueError, match="MelSpec"):
        replace(SPEC, **values)


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_load_formats(tmp_path, ending, rate, channels):
    path = tmp_path / f"sound.{ending}"
    tone = sine(440, rate)
    soundfile.write(path, np.repeat(tone[:, None], channels, axis=1), rate)
    sound = load(path)
    assert sound.dtype == torch.float32 and sound.ndim == 1
    assert abs(len(sound) - 11_025) <= 1
    lossy = ending == "ogg" and channels == 6  # Vorbis takes the sixth channel for a subwoofer and cuts it
    assert level_at(sound, 440, 22_050) == pytest.approx(0.5, rel=0.2 if lossy else 0.02)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_load_sample_formats(tmp_path, subtype):
    path = tmp_path / "sound.wav"
    tone = sine(440, 22_050)
    soundfile.write(path, tone, 22_050, subtype=subtype)
    np.testing.assert_allclose(load(path), tone, atol=0.03 if subtype == "ULAW" else 0.01)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([sine(440, 22_050), np.zeros(11_025)], axis=1), 22_050)
    assert level_at(load(path), 440, 22_050) == pytest.approx(0.25, rel=0.01)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_mono_takes_integers_and_floats(dtype):
    tone = sine(440, 22_050)
    scaled = tone if np.issubdtype(dtype, np.floating) else tone * np.iinfo(dtype).max
    for samples in (scaled.astype(dtype), np.stack([scaled, scaled], axis=1).astype(dtype)):
        np.testing.assert_allclose(mono(samples, 22_050), tone, atol=1e-4)


@pytest.mark.parametrize(("rate", "to"), [(44_100, 22_050), (48_000, 22_050), (8_000, 22_050), (22_050, 16_000)])
def test_resampling_keeps_frequency_level_and_length(rate, to):
    sound = mono(sine(1_000, rate, 1.0), rate, to)
    assert abs(len(sound) - to) <= 1
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert spectrum.argmax() * to / len(sound) == pytest.approx(1_000, abs=1)
    assert level_at(sound, 1_000, to) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(("rate", "to"), [(44_100, 16_000), (48_000, 16_000), (22_050, 16_000)])
def test_resampling_does_not_alias(rate, to):
    sound = mono(sine(10_000, rate, 1.0), rate, to).numpy()
    assert np.sqrt(np.mean(sound[1_000:-1_000] ** 2)) < 1e-4  # 70 dB below the tone, which would come back at 6 kHz
    assert level_at(sound, 6_000, to) < 1e-4


def test_silent_file_is_the_floor(tmp_path):
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(44_100), 44_100)
    assert torch.allclose(SPEC(load(path)), torch.tensor(SPEC.floor))


def test_ten_milliseconds(tmp_path):
    path = tmp_path / "short.wav"
    soundfile.write(path, sine(1_000, 48_000, 0.01), 48_000)
    sound = load(path)
    assert len(sound) in (220, 221)
    assert SPEC(sound).shape == (80, 4)


def test_one_sample(tmp_path):
    """Either a sound or a clear error, never an empty tensor."""
    for rate in (8_000, 22_050, 192_000):
        path = tmp_path / f"{rate}.wav"
        soundfile.write(path, np.array([0.5]), rate)
        try:
            assert len(load(path)) > 0
        except AudioError as error:
            assert path.name in str(error)


def test_ten_minutes(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.tile(to_int16(sine(500, 8_000, 1.0)), 600), 8_000)
    tracemalloc.start()
    sound = load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert abs(len(sound) - 600 * 22_050) <= 1
    assert peak < 4 * sound.nbytes
    log_mel = SPEC(sound)
    assert log_mel.shape == (80, 600 * 22_050 // 256) and log_mel.isfinite().all()


def test_nan_and_infinity(tmp_path):
    for bad in (np.nan, np.inf):
        path = tmp_path / "bad.wav"
        samples = sine(440, 22_050)
        samples[100] = bad
        soundfile.write(path, samples, 22_050, subtype="FLOAT")
        with pytest.raises(AudioError, match=r"bad\.wav.*not numbers"):
            load(path)


def no_samples(path):
    soundfile.write(path, np.zeros(0), 22_050)


def no_bytes(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("this is not a sound\n" * 50)


def noise_bytes(path):
    path.write_bytes(np.random.default_rng(0).bytes(5_000))


def header_only(path):
    soundfile.write(path, sine(440, 22_050), 22_050)
    path.write_bytes(path.read_bytes()[:20])


def folder(path):
    path.mkdir()


def missing(path):
    pass


@pytest.mark.parametrize("make", [no_samples, no_bytes, text, noise_bytes, header_only, folder, missing])
def test_what_is_not_a_sound_is_named(tmp_path, make):
    path = tmp_path / "odd name é.wav"
    make(path)
    for given in (path, str(path)):
        with pytest.raises(AudioError) as error:
            load(given)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_truncated_wav_gives_what_is_there(tmp_path):
    """A copy that broke off: the header promises more than the file holds."""
    path = tmp_path / "cut.wav"
    tone = sine(440, 22_050, 1.0)
    soundfile.write(path, tone, 22_050, subtype="PCM_16")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    sound = load(path)
    assert abs(len(sound) - 11_025) < 30
    np.testing.assert_allclose(sound, tone[: len(sound)], atol=1e-4)


def test_a_truncated_flac_is_what_is_there_or_an_error(tmp_path):
    path = tmp_path / "cut.flac"
    soundfile.write(path, speechlike(22_050), 22_050)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    try:
        sound = load(path)
    except AudioError as error:
        assert "cut.flac" in str(error)
    else:
        np.testing.assert_allclose(sound, speechlike(22_050)[: len(sound)], atol=1e-3)


def test_a_header_of_an_absurd_length_does_not_take_the_memory(tmp_path):
    path = tmp_path / "huge.wav"
    soundfile.write(path, sine(440, 22_050, 0.1), 22_050, subtype="PCM_16")
    data = bytearray(path.read_bytes())
    where = data.index(b"data")
    data[where + 4 : where + 8] = struct.pack("<I", 0x7FFFFFF0)
    path.write_bytes(data)
    assert len(load(path)) <= 2_300


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg"])
def test_what_is_saved_comes_back_as_loud(tmp_path, ending):
    path = tmp_path / f"sound.{ending}"
    tone = torch.from_numpy(sine(440, 22_050, level=0.05))
    save(path, tone)
    back = load(path)
    assert len(back) == len(tone)
    assert level_at(back, 440, 22_050) == pytest.approx(0.05, rel=0.02)
    if ending != "ogg":
        assert soundfile.info(path).subtype == "PCM_16"
        np.testing.assert_allclose(back, tone, atol=1e-4)


def test_save_keeps_its_sample_rate_and_takes_a_string(tmp_path):
    path = str(tmp_path / "sound.wav")
    save(path, sine(440, 16_000), 16_000)
    assert soundfile.info(path).samplerate == 16_000 and len(load(path, 16_000)) == 8_000


def test_to_int16_clips():
    samples = to_int16(torch.tensor([-5.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.0001, 9.0]))
    assert samples.dtype == np.int16
    assert samples.tolist() == [-32767, -32767, -16384, 0, 16384, 32767, 32767, 32767]


@pytest.mark.skipif("FRAMI_DATA" not in os.environ, reason="FRAMI_DATA, a folder of real recordings, is not set")
def test_real_recordings():
    files = sorted((Path(os.environ["FRAMI_DATA"]) / "fsdd" / "recordings").glob("*.wav"))[::500]
    assert files, "FRAMI_DATA holds no fsdd/recordings/*.wav"
    for file in files:
        sound = load(file)
        assert abs(len(sound) / 22_050 - soundfile.info(file).duration) < 1e-3
        wanted = reference(sound.numpy(), SPEC)
        difference = np.abs(SPEC(sound).numpy() - wanted)
        assert difference[wanted > SPEC.floor + 5].max() < 1e-3
        assert difference.max() < 0.1  # near the floor the 1e-9 in BigVGAN's root shows
