"""Public vocoders of optional packages: small packages and weights made here, a folder in place of the Hub."""

import json
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from frami import cli
from frami.audio import MelSpec
from frami.vocoder import PEAK, PLUGINS, GriffinLim, VocoderError, get

SPEC = MelSpec()
VOCOS = MelSpec(24_000, 1024, 256, 100, 0.0, 12_000.0)
SPECS = {"bigvgan": SPEC, "vocos": VOCOS}

_BIGVGAN = '''
import torch
class AttrDict(dict):
    def __init__(self, *a, **k):
        super().__init__(*a, **k)
        self.__dict__ = self
class BigVGAN(torch.nn.Module):
    """A transposed convolution with weight norm: loud, and never silent."""
    def __init__(self, h, use_cuda_kernel=False):
        super().__init__()
        conv = torch.nn.ConvTranspose1d(h.num_mels, 1, h.hop_size, h.hop_size)
        self.conv = torch.nn.utils.weight_norm(conv)
    def forward(self, x):
        assert x.shape[1] == 80 and x.min() > -11.6
        return torch.tanh(self.conv(x))
    def remove_weight_norm(self):
        print("Removing weight norm...")
        torch.nn.utils.remove_weight_norm(self.conv)
'''
_VOCOS = """
import json, torch
class Vocos(torch.nn.Module):
    def __init__(self, bands):
        super().__init__()
        self.linear = torch.nn.Linear(bands, 256)
        self.seen = None
    @classmethod
    def from_hparams(cls, path):
        return cls(json.load(open(path))["bands"])
    def decode(self, features):
        self.seen = features
        return self.linear(features.transpose(1, 2)).flatten(1)[:, :-256]
"""
_FILES = {"bigvgan": ("config.json", "bigvgan_generator.pt"), "vocos": ("config.yaml", "pytorch_model.bin")}


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Small packages of these names, found first."""
    for name, file, text in (("bigvgan", "bigvgan.py", _BIGVGAN), ("vocos", "__init__.py", _VOCOS)):
        (tmp_path / "site" / name).mkdir(parents=True)
        (tmp_path / "site" / name / "__init__.py").touch()
        (tmp_path / "site" / name / file).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    forget(monkeypatch)
    yield
    forget(monkeypatch)


def forget(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in PLUGINS]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def folders(packages, tmp_path):
    """Weights of both, in folders as the Hub has them."""
    torch.manual_seed(0)
    config = {"sampling_rate": 22_050, "n_fft": 1024, "hop_size": 256, "num_mels": 80, "fmin": 0, "fmax": None}
    found = {name: tmp_path / f"{name}-files" for name in PLUGINS}
    for folder in found.values():
        folder.mkdir()
    from bigvgan.bigvgan import AttrDict, BigVGAN
    from vocos import Vocos

    (found["bigvgan"] / "config.json").write_text(json.dumps(config))
    network = BigVGAN(AttrDict(config))
    torch.save({"generator": network.state_dict()}, found["bigvgan"] / "bigvgan_generator.pt")
    (found["vocos"] / "config.yaml").write_text('{"bands": 100}')
    torch.save(Vocos(100).state_dict(), found["vocos"] / "pytorch_model.bin")
    return found


def mels(spec, clips=1, frames=40, level=0.1, seed=0):
    noise = level * torch.randn(clips, frames * spec.hop_length, generator=torch.Generator().manual_seed(seed))
    return spec(noise)[:, None]


def speakers(folders):
    """Every vocoder that there is, with the front-end that it takes."""
    yield from ((get(f"{name}:{folders[name]}", spec), spec) for name, spec in SPECS.items())
    yield get("frami", SPEC), SPEC
    yield from ((GriffinLim(spec), spec) for spec in (SPEC, VOCOS, MelSpec(16_000, 512, 160, 64, 20.0, 8_000.0)))


# --- what the sound of every vocoder keeps to ------------------------------------------------------------------------


def test_every_sound_is_clean(folders):
    for vocoder, spec in speakers(folders):
        for change in (0.0, 4.0, 12.0):
            (sound,) = vocoder(mels(spec) + change)
            name = f"{vocoder.name}, {change}"
            assert sound.dtype == torch.float32 and sound.isfinite().all(), name
            assert sound.abs().max() <= PEAK, name
            assert sound.mean().abs() < 2e-4, name
            assert max(sound[0].abs(), sound[-1].abs()) < 0.02, name
            assert sound[: round(0.003 * spec.sample_rate) // 4].abs().max() < 0.3, name


def test_silence_stays_silent_with_every_vocoder(folders):
    for vocoder, spec in speakers(folders):
        for value in (spec.floor, spec.floor - 5, float("-inf")):
            assert not vocoder(torch.full((1, 1, spec.n_mels, 20), value))[0].any(), vocoder.name
        half = mels(spec)
        half[..., 20:] = spec.floor
        (sound,) = vocoder(half)
        assert sound[: 18 * spec.hop_length].abs().max() > 0.01, vocoder.name
        assert not sound[25 * spec.hop_length :].any(), vocoder.name


def test_any_duration_alone_as_in_a_batch_with_every_vocoder(folders):
    for vocoder, spec in speakers(folders):
        clips = [mels(spec, frames=n, seed=n) if n > 4 else mels(spec, seed=n)[..., :n] for n in (40, 1, 2, 25, 40)]
        lengths = torch.tensor([clip.shape[-1] for clip in clips])
        padded = torch.full((5, 1, spec.n_mels, 45), float("nan"))
        for row, clip in zip(padded, clips, strict=True):
            row[..., : clip.shape[-1]] = clip[0]
        for sound, clip, length in zip(vocoder(padded, lengths), clips, lengths, strict=True):
            assert sound.shape == (int(length) * spec.hop_length,)
            torch.testing.assert_close(sound, vocoder(clip)[0], atol=2e-3, rtol=0, msg=vocoder.name)


# --- loading ---------------------------------------------------------------------------------------------------------


def test_bigvgan_takes_the_default_spectrogram_as_it_is(folders, capsys):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    vocoder = get(f"bigvgan:{folders['bigvgan']}", SPEC)
    assert torch.equal(torch.get_rng_state(), state)
    assert capsys.readouterr().out == "", "a package's chatter does not get into --json"
    assert not any(p.requires_grad for p in vocoder.network.parameters())
    log_mel = mels(SPEC)
    raw = vocoder.synthesize(log_mel[:, 0])
    torch.testing.assert_close(raw, vocoder.network(log_mel[:, 0])[:, 0])
    with pytest.raises(VocoderError, match="bigvgan takes spectrograms of n_mels 80; these have n_mels 64"):
        get("bigvgan", replace(SPEC, n_mels=64))


def test_bigvgan_in_a_folder_states_its_own_spectrogram(folders):
    path = folders["bigvgan"] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fmax": 8000}))
    with pytest.raises(VocoderError, match=r"takes spectrograms of f_max 8000.0; these have f_max 11025.0"):
        get(f"bigvgan:{folders['bigvgan']}", SPEC)


def test_vocos_refuses_ours_by_name_and_gets_its_own_bands(folders):
    for name in ("vocos", f"vocos:{folders['vocos']}"):
        with pytest.raises(VocoderError, match="vocos takes spectrograms of sample_rate 24000, n_mels 100"):
            get(name, SPEC)
    vocoder = get(f"vocos:{folders['vocos']}", VOCOS)
    t = torch.arange(40 * 256) / 24_000
    sound = sum(0.05 * torch.sin(6.2832 * hertz * t) for hertz in range(200, 11_000, 170))
    vocoder(VOCOS(sound)[None, None])
    seen = vocoder.network.seen[0]
    assert seen.shape == (100, 42)
    from torchaudio.transforms import MelSpectrogram

    own = MelSpectrogram(24_000, 1024, hop_length=256, n_mels=100, power=1)(sound).clamp(min=1e-7).log()
    assert (seen[20:, 5:-5].mean(1) - own[20:, 5:-5].mean(1)).abs().mean() < 0.5


def test_from_the_hub_only_when_asked_for(folders, monkeypatch):
    import huggingface_hub

    requested = []

    def fetch(repository, name, **settings):
        requested.append((repository, name, settings.get("local_files_only", False)))
        if settings:
            raise FileNotFoundError("not in the cache")
        return str(folders["bigvgan" if "bigvgan" in repository else "vocos"] / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    get("griffin-lim", SPEC)
    get("frami", SPEC)
    assert not requested
    for name, spec in SPECS.items():
        get(name, spec)(mels(spec))
        fetched = [(repository, file) for repository, file, local in requested if not local]
        assert fetched == [(PLUGINS[name].repository, file) for file in _FILES[name]]
        requested.clear()


def test_without_a_network_it_says_so(packages, monkeypatch):
    import huggingface_hub

    def fetch(*given, **settings):
        raise ConnectionError("Name or service not known\nand more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    for name, spec in SPECS.items():
        with pytest.raises(VocoderError, match=rf"{name} cannot be fetched from .*network\?.*{name}:FOLDER") as error:
            get(name, spec)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", PLUGINS)
def test_without_its_package_it_says_so(name, monkeypatch):
    forget(monkeypatch)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(VocoderError, match=rf"{name} needs packages .*pip install -r requirements-vocoders.txt"):
        get(name, SPECS[name])


def test_the_command_says_so_before_it_makes_clips(monkeypatch, tmp_path, capsys):
    forget(monkeypatch)
    monkeypatch.setitem(sys.modules, "bigvgan", None)
    out = tmp_path / "bank"
    assert cli.main(["synthesize", "--teacher", "fsdd", "--vocoder", "bigvgan", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert "requirements-vocoders.txt" in error and error.count("\n") == 1 and not out.exists()


def test_damaged_files_are_named(folders):
    for name, (_, weights) in _FILES.items():
        path = folders[name] / weights
        torch.save({"generator": nn.Linear(2, 2).state_dict()}, path)
        with pytest.raises(VocoderError, match=rf"not usable as the vocoder {name}"):
            get(f"{name}:{folders[name]}", SPECS[name])
        path.write_bytes(b"no weights")
        with pytest.raises(VocoderError, match=rf"not usable as the vocoder {name}"):
            get(f"{name}:{folders[name]}", SPECS[name])
        path.unlink()
        with pytest.raises(VocoderError, match=f"holds no {weights}"):
            get(f"{name}:{folders[name]}", SPECS[name])
