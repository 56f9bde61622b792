"""Training of the neural vocoder: reconstruction from degraded log-Mels, with discriminators in the later part.

Budgeted by steps or by time: learning rates fall and the discriminators come in by the share of the budget that is
spent. The weights that are saved are a running mean. A step happens wholly on the device, on CUDA as one graph.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters

from frami import files, locks
from frami.audio import MelSpec
from frami.cost import parameters
from frami.device import RecordedStep, autocast, describe, memory_format
from frami.errors import FramiError
from frami.optim import adam, moments, restore, set_rate
from frami.vocoder import losses, neural
from frami.vocoder.discriminators import Discriminators
from frami.vocoder.network import Network, NetworkConfig
from frami.vocoder.neural import VocoderCard
from frami.vocoder.recordings import DATASETS, Recordings, Report, degrade, read
from frami.weights import save_state, stem

SAVE_EVERY = 60.0  # seconds between two saves of the state
TERMS = ("mel", "stft", "adversarial", "feature")


class VocoderTrainingError(FramiError):
    """A training that cannot start or continue."""


@dataclass(frozen=True)
class VocoderConfig:
    """Settings of a training. ``steps`` or ``minutes`` : the budget (of all sittings); ``frames`` : length of a crop;
    ``discriminators_from`` : share of the budget after which discriminators take part (1: never); ``mel``, ``stft``,
    ``adversarial``, ``feature`` : weight of each term; ``rounds`` : of ``Network.match``, for the half of the crops
    whose log-Mels are not degraded; ``mean`` : decay of the running mean of the weights."""

    steps: int = 0
    minutes: float = 0.0
    batch: int = 64
    frames: int = 64
    lr: float = 8e-4
    discriminators_lr: float = 3e-4
    warm_up: int = 500
    discriminators_from: float = 0.2
    mel: float = 1.0
    stft: float = 0.7
    adversarial: float = 0.3
    feature: float = 0.6
    rounds: int = 2
    mean: float = 0.999
    dim: int = 256
    layers: int = 8
    hidden: int = 768
    seed: int = 0

    @property
    def network(self) -> NetworkConfig:
        return NetworkConfig(self.dim, self.layers, self.hidden)


@dataclass(frozen=True)
class Progress:
    """Report of a training: steps done, share of the budget, seconds of all sittings, mean losses since the last."""

    step: int
    share: float
    seconds: float
    losses: dict[str, float]


@dataclass
class State:
    """A training in progress. ``mean`` : Tensor[P], running mean of all weights; ``mean_step`` : Tensor[], its step
    towards the new ones; ``ramp`` : Tensor[], factor of the discriminators' terms; ``sums`` : Tensor[len(TERMS) + 2],
    losses (the discriminators' own last but one) and steps since the last report."""

    config: VocoderConfig
    recordings: Recordings
    network: Network
    discriminators: Discriminators
    analysis: losses.Analysis
    optimiser: torch.optim.Optimizer
    discriminators_optimiser: torch.optim.Optimizer
    balance: losses.Balance
    mean: Tensor
    mean_step: Tensor
    ramp: Tensor
    sums: Tensor
    device: torch.device
    step: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)


def train(
    out: str | Path, config: VocoderConfig, *, datasets: Sequence[str] = DATASETS,
    data_folder: str | Path | None = None, device: torch.device | str = "cpu", overwrite: bool = False,
    graphs: bool = True, every: int = 50, on_clips: Report | None = None,
) -> Iterator[Progress]:  # fmt: skip
    """Train a vocoder for the default ``MelSpec`` and write ``out.safetensors`` and ``out.json``; yields reports.

    A training that was interrupted continues from ``out.training`` (saved each minute, and when stopped). The time of a
    budget in minutes runs from the start of each sitting, reading included. graphs : record steps on CUDA. Raises
    FramiError subclasses.
    """
    begun = time.perf_counter()
    if (config.steps > 0) == (config.minutes > 0):
        raise VocoderTrainingError("give a training either steps or minutes")
    out = stem(out)
    if Path(f"{out}.safetensors").exists() and not overwrite:
        raise VocoderTrainingError(f"{out}.safetensors is there already; choose another --out, or add --overwrite")
    lock = locks.checkpoint(out)
    device, spec = torch.device(device), MelSpec()
    recordings = read(datasets, data_folder, spec.sample_rate, on_clips)
    state = start(config, recordings.to(device), spec, device)
    path = out.with_name(out.name + ".training")
    _resume(path, state)
    clock = begun - state.seconds
    torch.manual_seed(config.seed * 1_000_003 + state.step)
    recorded_on = device if graphs else torch.device("cpu")
    plain, adversarial = (RecordedStep(lambda a=a: _step(state, a), recorded_on) for a in (False, True))
    saved = time.perf_counter()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    try:
        while (share := _share(state)) < 1:
            _schedule(state, share)
            (adversarial if share >= config.discriminators_from else plain)()
            state.step += 1
            state.seconds = time.perf_counter() - clock
            if state.step % every == 0 or state.step == config.steps:
                yield _report(state)
            if time.perf_counter() - saved > SAVE_EVERY:
                _save(path, state)
                saved = time.perf_counter()
    except BaseException:
        _save(path, state)
        raise
    vector_to_parameters(state.mean, state.network.parameters())
    neural.save(out, state.network, _card(out.name, state, spec))
    path.unlink(missing_ok=True)
    lock.release()


def start(config: VocoderConfig, recordings: Recordings, spec: MelSpec, device: torch.device) -> State:
    """A training before its first step."""
    torch.manual_seed(config.seed)
    network = Network(spec, config.network).to(device).train()
    discriminators = Discriminators(len(losses.WINDOWS) - 1)
    discriminators = discriminators.to(device, memory_format=memory_format(device)).train()

    def optimiser(module: torch.nn.Module, lr: float, **choices) -> torch.optim.Optimizer:
        group = {"params": list(module.parameters()), "lr": lr}
        return adam([group], device, torch.optim.AdamW, betas=(0.8, 0.99), weight_decay=0.01, **choices)

    return State(
        config=config,
        recordings=recordings,
        network=network,
        discriminators=discriminators,
        analysis=losses.Analysis(spec).to(device),
        optimiser=optimiser(network, config.lr),
        # Not fused: the gradients of these weights come in several memory formats.
        discriminators_optimiser=optimiser(discriminators, config.discriminators_lr, fused=False),
        balance=losses.Balance(TERMS, device),
        mean=parameters_to_vector(network.parameters()).detach().clone(),
        mean_step=torch.ones((), device=device),
        ramp=torch.zeros((), device=device),
        sums=torch.zeros(len(TERMS) + 2, device=device),
        device=device,
    )


def _share(state: State) -> float:
    """Share of the budget that is spent."""
    config = state.config
    return state.step / config.steps if config.steps else state.seconds / (60 * config.minutes)


def _schedule(state: State, share: float) -> None:
    """Set what depends on the step, in device memory: learning rates (warm-up, then half a cosine), the factor of the
    discriminators' terms, the running mean's step."""
    config = state.config
    decay = 0.02 + 0.98 * (1 + math.cos(math.pi * min(share, 1.0))) / 2
    set_rate(state.optimiser, decay * min(1.0, (state.step + 1) / config.warm_up))
    set_rate(state.discriminators_optimiser, decay)
    state.ramp.fill_(min(1.0, max(0.0, (share - config.discriminators_from) / 0.05)))
    state.mean_step.fill_(max(1 - config.mean, 1 / (1 + state.step / 10)))


@torch.enable_grad()
def _step(state: State, adversarial: bool) -> None:
    """One step: crops of recordings, their degraded log-Mels, sounds from these, and the loss between the sounds."""
    config, analysis = state.config, state.analysis
    with torch.no_grad():
        sound = state.recordings.crops(config.batch, config.frames * analysis.hops[0])
        scale = sound.abs().amax(1).clamp(min=1e-3)  # sounds are compared at full scale, so that quiet ones count
        relative = sound / scale[:, None]
        real_stfts = analysis(relative)
        real = losses.magnitudes(real_stfts)
        real_mels = [analysis.log_mel(m * scale[:, None, None], i) for i, m in enumerate(real)]
        half = config.batch // 2
        plain = real_mels[0][half:]
        log_mel = torch.cat([degrade(real_mels[0][:half], state.network.floor), plain])
    with autocast(state.device):
        made = state.network(log_mel)
    made = torch.cat([made[:half], state.network.match(made[half:], plain, config.rounds)])
    at = (made.detach() / scale[:, None]).requires_grad_()
    made_stfts = analysis(at)
    magnitudes = losses.magnitudes(made_stfts)
    mels = [analysis.log_mel(m * scale[:, None, None], i) for i, m in enumerate(magnitudes)]
    terms = {"mel": losses.mel_loss(mels, real_mels), "stft": losses.stft_loss(magnitudes, real, scale)}
    weights: dict[str, Tensor | float] = {name: getattr(config, name) for name in TERMS}
    if adversarial:
        terms |= _discriminate(state, real_stfts[1:], relative, made_stfts[1:], at)
        weights |= {name: weights[name] * state.ramp for name in ("adversarial", "feature")}
    gradient = state.balance.gradient(terms, weights, at)
    if adversarial:  # only now: the gradient passes through the discriminators before their step
        state.discriminators_optimiser.step()
    own = list(state.network.parameters())
    _set_gradients(own, torch.autograd.grad(made, own, gradient / scale[:, None]))
    clip_grad_norm_(own, 1.0)
    state.optimiser.step()
    state.mean.lerp_(parameters_to_vector(own).detach(), state.mean_step)
    for i, name in enumerate(TERMS):
        if name in terms:
            state.sums[i] += terms[name].detach()
    state.sums[-1] += 1


def _discriminate(state: State, real_stfts, real: Tensor, made_stfts, made: Tensor) -> dict[str, Tensor]:
    """The vocoder's adversarial terms, and the discriminators' own gradients: one pass over each sound serves both."""
    with autocast(state.device):
        scores, features = state.discriminators(real_stfts, real)
        made_scores, made_features = state.discriminators(made_stfts, made)
    loss = losses.discriminator_loss(scores, made_scores)
    own = list(state.discriminators.parameters())
    _set_gradients(own, torch.autograd.grad(loss, own, retain_graph=True))
    state.sums[-2] += loss.detach()
    return {
        "adversarial": losses.adversarial_loss(made_scores),
        "feature": losses.feature_loss(features, made_features),
    }


def _set_gradients(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def _report(state: State) -> Progress:
    """Read the losses (the only time that the host waits for the device), and begin new sums."""
    sums = state.sums.tolist()
    state.sums.zero_()
    count = max(sums[-1], 1.0)
    found = {name: sums[i] / count for i, name in enumerate((*TERMS, "discriminators"))}
    found = {name: value for name, value in found.items() if value or name in ("mel", "stft")}
    if not math.isfinite(sum(found.values())):
        raise VocoderTrainingError(f"the training diverged at step {state.step}; take a lower --lr")
    rounded = {name: round(value, 4) for name, value in found.items()}
    state.history.append({"step": state.step, "seconds": round(state.seconds, 1)} | rounded)
    return Progress(state.step, _share(state), state.seconds, found)


def _card(name: str, state: State, spec: MelSpec) -> VocoderCard:
    config, history = state.config, state.history
    last = {key: history[-1][key] for key in (*TERMS, "discriminators") if key in history[-1]} if history else {}
    thinned = history[:: -(-len(history) // 40)] if history else []
    return VocoderCard(
        name=name,
        title=f"Vocos-type vocoder of {parameters(state.network) / 1e6:.2f} M parameters",
        mel_spec=spec.to_dict(),
        network=config.network.to_dict(),
        parameters=parameters(state.network),
        licence="Apache-2.0",
        data=state.recordings.notes,
        training=asdict(config)
        | {"steps_done": state.step, "seconds": round(state.seconds, 1), "device": describe(state.device)}
        | {"last_losses": last, "history": thinned},
    )


def _save(path: Path, state: State) -> None:
    """Write all that is needed to continue."""
    values = {
        "settings": _settings(state),
        "network": state.network.state_dict(),
        "discriminators": state.discriminators.state_dict(),
        "optimiser": moments(state.optimiser),
        "discriminators_optimiser": moments(state.discriminators_optimiser),
        "sizes": state.balance.sizes,
        **{name: getattr(state, name) for name in ("mean", "step", "seconds", "history")},
    }
    save_state(path, values)


def _resume(path: Path, state: State) -> None:
    if not path.exists():
        return
    try:
        saved = files.present_keys(torch.load(path, map_location="cpu", weights_only=True))
        if saved["settings"] == _settings(state):
            state.network.load_state_dict(saved["network"])
            state.discriminators.load_state_dict(saved["discriminators"])
            restore(state.optimiser, saved["optimiser"])
            restore(state.discriminators_optimiser, saved["discriminators_optimiser"])
            for name, sizes in saved["sizes"].items():
                state.balance.sizes[name].copy_(sizes)
            state.mean.copy_(saved["mean"])
            state.step, state.seconds, state.history = saved["step"], saved["seconds"], saved["history"]
            return
    except Exception as error:
        raise VocoderTrainingError(f"{path}: damaged; delete it to start again") from error
    raise VocoderTrainingError(f"{path} belongs to a training with other settings; delete it or choose another --out")


def _settings(state: State) -> dict:
    """What must be the same for a training to continue."""
    clips = {note["dataset"]: note["clips"] for note in state.recordings.notes}
    return asdict(state.config) | {"clips": clips, "format": 1}
