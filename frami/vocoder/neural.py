"""The neural vocoder: its weights, their card, and synthesis.

Weights are stored in half precision in ``NAME.safetensors``, beside their card ``NAME.json``. Loading executes no code,
and is deferred until the first synthesis.
"""

from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from frami import schema, weights
from frami.audio import AudioError, MelSpec
from frami.paths import BUNDLED
from frami.vocoder.base import Vocoder, VocoderError
from frami.vocoder.network import Network, NetworkConfig

FOLDER = BUNDLED / "vocoder"

#: Range of a clip's loudest log-Mel value in training; a clip outside is shifted into it and its sound back.
QUIETEST, LOUDEST = -5.0, 2.5


@dataclass(frozen=True)
class VocoderCard:
    """What a vocoder's weights are. ``rounds`` : default rounds of ``Network.match``; ``data`` : per data set its
    title, licence, folds trained on, folds held out, clips and hours; ``training`` : settings, steps, seconds, device
    and last losses; ``figures`` : measurements on held-out recordings, by the command ``evaluation``."""

    name: schema.Line
    title: schema.Line
    mel_spec: schema.FrontEnd
    network: schema.Network
    parameters: Annotated[int, schema.whole()]
    licence: schema.Line
    rounds: Annotated[int, schema.whole(0, 100_000)] = 32
    data: list[dict] = field(default_factory=list)
    training: dict = field(default_factory=dict)
    figures: dict = field(default_factory=dict)
    evaluation: schema.Path = ""
    kind: schema.Line = "vocoder"
    sha256: schema.Line = ""
    format: Annotated[int, schema.whole()] = weights.FORMAT

    def __post_init__(self):
        if self.kind != "vocoder":
            raise ValueError(f"the card of another thing, a {self.kind}")


class Neural(Vocoder):
    """A Vocos-type network. Takes only the front-end that its weights were trained for.

    Frames of silence are silent; a clip much louder or quieter than those of the training is synthesized at their
    level.

    path : of the weights or card, with or without ending. Raises VocoderError for a missing or damaged card; the
    weights are read (once per device) at the first synthesis. rounds : of matching the sound to the spectrogram, by
    default those of the card.
    """

    def __init__(self, path: str | Path, name: str | None = None, rounds: int | None = None):
        self.path = weights.stem(path)
        self.card = read_card(self.path)
        self.name = name or self.card.name
        self.rounds = self.card.rounds if rounds is None else rounds
        try:
            self.mel_spec = MelSpec.from_dict(self.card.mel_spec)
        except AudioError as error:
            raise VocoderError(f"{self.path}.json: {error}") from error

    def synthesize(self, log_mel: Tensor) -> Tensor:
        network, spec, frames = self._network(log_mel.device), self.mel_spec, log_mel.shape[-1]
        floor = spec.floor
        # MelSpec pads a signal shorter than a window with silence, so frames of silence follow a short spectrogram.
        log_mel = F.pad(log_mel, (0, max(0, -(-spec.shortest // spec.hop_length) - frames)), value=floor)
        silent = log_mel <= floor + 1e-3
        top = log_mel.amax(dim=(1, 2), keepdim=True)
        shift = (top - top.clamp(QUIETEST, LOUDEST)).masked_fill(top <= floor + 1e-3, 0)
        mel = (log_mel - shift).masked_fill(silent, floor).clamp(min=floor)
        stft = network.spectrum(mel).masked_fill(silent.all(1)[..., None], 0)
        sound = network.match(network.synthesis(stft), mel, self.rounds)
        return sound[:, : frames * spec.hop_length] * shift[:, 0].exp()

    def _network(self, device: torch.device) -> Network:
        file = weights.paths(self.path)[0]
        try:
            stamp = file.stat().st_mtime_ns
        except OSError as error:
            raise VocoderError(f"{file}: not readable ({error.strerror}); copy the vocoder again") from error
        return _load(file, stamp, self.card.sha256, str(device))


@lru_cache(maxsize=4)
def _load(path: Path, stamp: int, sha256: str, device: str) -> Network:
    card = read_card(path)
    there = weights.stored(path, "vocoder", VocoderError)
    with weights.fitting(path, VocoderError):
        spec, config = MelSpec.from_dict(card.mel_spec), schema.checked(NetworkConfig, card.network)
        spec.filterbank()  # which is kept: not of the first network, which has no numbers
        weights.compare(lambda: Network(spec, config), there)
    tensors = weights.load(path, sha256, "vocoder", VocoderError)
    with weights.fitting(path, VocoderError):
        with torch.random.fork_rng(devices=[]):  # the initial weights leave the random state alone
            network = Network(spec, config)
        network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return network.eval().requires_grad_(False).to(device)


def save(path: str | Path, network: Network, card: VocoderCard) -> Path:
    """Write ``path.safetensors`` in half precision and ``path.json``, each whole or not at all; the weights' path."""
    return weights.save(path, {name: tensor.half() for name, tensor in network.state_dict().items()}, asdict(card))


def read_card(path: str | Path) -> VocoderCard:
    """The card beside a vocoder's weights; VocoderError when it is missing, damaged or of a newer format."""
    return weights.read_card(path, VocoderCard, "vocoder", VocoderError)
