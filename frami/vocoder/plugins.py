"""Public vocoders from the Hub, for those who install their packages: BigVGAN and Vocos.

``requirements-vocoders.txt`` names the packages. Weights come from huggingface.co when such a vocoder is first used,
or from a folder that holds the same files. Both formats are PyTorch's: only tensors are read from them.
"""

import importlib
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import melscale_fbanks

from frami.audio import MelSpec
from frami.vocoder.base import Vocoder, VocoderError
from frami.vocoder.griffin_lim import unmel

REQUIREMENTS = "requirements-vocoders.txt"


class BigVGAN(Vocoder):
    """BigVGAN v2 for 22,050 Hz and 80 bands (Lee et al., ICLR 2023), 112 M parameters: takes the default ``MelSpec``.

    folder : in place of the Hub's repository, with its ``config.json`` and ``bigvgan_generator.pt``; its own settings
    say which spectrograms it takes.
    """

    name, title, optional = "bigvgan", "BigVGAN", True
    repository = "nvidia/bigvgan_v2_22khz_80band_256x"

    def __init__(self, mel_spec: MelSpec, folder: str | Path | None = None):
        self.mel_spec = MelSpec()
        if folder is None:
            self.check(mel_spec)
        package = _package("bigvgan.bigvgan", self.name)
        config, weights = _files(self, folder, ("config.json", "bigvgan_generator.pt"))
        try:
            values = json.loads(config.read_text(encoding="utf-8"))
            rate, *sizes = (values[key] for key in ("sampling_rate", "n_fft", "hop_size", "num_mels"))
            self.mel_spec = MelSpec(rate, *sizes, float(values["fmin"]), float(values["fmax"] or rate / 2))
            self.check(mel_spec)
            tensors = torch.load(weights, map_location="cpu", weights_only=True)["generator"]
            with redirect_stdout(sys.stderr), torch.random.fork_rng(devices=[]):
                self.network = package.BigVGAN(package.AttrDict(values))
                if not any(name.endswith("weight_g") for name in tensors):
                    self.network.remove_weight_norm()
                self.network.load_state_dict(tensors)
                self.network.remove_weight_norm()
        except VocoderError:
            raise
        except Exception as error:
            raise _damaged(self, config.parent, error) from error
        self.network.eval().requires_grad_(False)

    def synthesize(self, log_mel: Tensor) -> Tensor:
        return self.network.to(log_mel.device)(log_mel.clamp(min=self.mel_spec.floor))[:, 0]


class Vocos(Vocoder):
    """Vocos for 24,000 Hz and 100 bands (Siuzdak, ICLR 2024), 13.5 M parameters.

    It was trained on bands of another shape (HTK's scale, not normalised) than a ``MelSpec`` has, so the spectrogram is
    turned into magnitudes and these into its bands.

    folder : in place of the Hub's repository, with its ``config.yaml`` and ``pytorch_model.bin``.
    """

    name, title, optional = "vocos", "Vocos", True
    repository = "charactr/vocos-mel-24khz"

    def __init__(self, mel_spec: MelSpec, folder: str | Path | None = None):
        self.mel_spec = MelSpec(24_000, 1024, 256, 100, 0.0, 12_000.0)
        self.check(mel_spec)
        package = _package("vocos", self.name)
        config, weights = _files(self, folder, ("config.yaml", "pytorch_model.bin"))
        try:
            with torch.random.fork_rng(devices=[]):
                self.network = package.Vocos.from_hparams(str(config))
            self.network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as error:
            raise _damaged(self, config.parent, error) from error
        self.network.eval().requires_grad_(False)
        spec = self.mel_spec
        self._bands = melscale_fbanks(spec.n_fft // 2 + 1, spec.f_min, spec.f_max, spec.n_mels, spec.sample_rate)

    def synthesize(self, log_mel: Tensor) -> Tensor:
        spec, frames = self.mel_spec, log_mel.shape[-1]
        top = log_mel.amax(dim=(1, 2), keepdim=True).clamp(min=spec.floor)
        magnitude = unmel((log_mel.clamp(min=spec.floor) - top).exp(), spec.filterbank().to(log_mel))
        own = (self._bands.to(log_mel).T @ (magnitude * top.exp())).clamp(min=1e-7).log()
        # Its frames are centred half a hop earlier than ours: one more at each end, and the sound half a hop later.
        sound = self.network.to(log_mel.device).decode(F.pad(own, (1, 1), mode="replicate"))
        begin = spec.hop_length // 2
        return sound[:, begin : begin + frames * spec.hop_length]


def _package(module: str, name: str) -> ModuleType:
    try:
        with redirect_stdout(sys.stderr):
            return importlib.import_module(module)
    except ImportError as error:
        raise VocoderError(
            f"the vocoder {name} needs packages that are not here ({error}); pip install -r {REQUIREMENTS}"
        ) from error


def _files(vocoder: BigVGAN | Vocos, folder: str | Path | None, names: Sequence[str]) -> list[Path]:
    """Where the files of a repository are: in ``folder``, or fetched from the Hub (once; its cache holds them)."""
    if folder is not None:
        paths = [Path(folder).expanduser() / name for name in names]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise VocoderError(f"{folder} holds no {' and no '.join(missing)}, the vocoder {vocoder.name}'s files")
        return paths
    hub = _package("huggingface_hub", vocoder.name)
    try:
        with suppress(Exception):  # what was fetched before needs no network
            return [Path(hub.hf_hub_download(vocoder.repository, name, local_files_only=True)) for name in names]
        return [Path(hub.hf_hub_download(vocoder.repository, name)) for name in names]
    except Exception as error:  # of the network, of the Hub, of its cache: the package has dozens
        first = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise VocoderError(
            f"the vocoder {vocoder.name} cannot be fetched from huggingface.co/{vocoder.repository} ({first}); "
            f"is there a network? With its files in a folder: {vocoder.name}:FOLDER"
        ) from error


def _damaged(vocoder: BigVGAN | Vocos, folder: Path, error: Exception) -> VocoderError:
    last = (str(error).strip().splitlines() or [""])[-1].strip()
    return VocoderError(f"{folder}: not usable as the vocoder {vocoder.name} ({type(error).__name__}: {last})")
