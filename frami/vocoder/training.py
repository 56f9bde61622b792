"""Training of the neural vocoder: reconstruction from disturbed log-Mels, then judges as well.

Budgeted by steps or by time: learning rates fall and the judges come in by the share of the budget that is spent. What
is saved is a running mean of the weights. All of a step happens on the device, and on CUDA a step is one graph.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, parameters_to_vector, vector_to_parameters

from frami import files
from frami.audio import MelSpec
from frami.device import RecordedStep, autocast, describe, memory_format
from frami.errors import FramiError
from frami.optim import moments, restore
from frami.vocoder import losses, neural
from frami.vocoder.discriminators import Judges
from frami.vocoder.network import Network, NetworkConfig, parameters
from frami.vocoder.neural import VocoderCard
from frami.vocoder.recordings import DATASETS, Recordings, Report, disturb, read

KEEP = 60.0  # seconds between two savings of the state
TERMS = ("mel", "stft", "adversarial", "feature")


class VocoderTrainingError(FramiError):
    """A training that cannot start or go on."""


@dataclass(frozen=True)
class VocoderConfig:
    """Settings of a training. ``steps`` or ``minutes`` : the budget (of all sittings); ``frames`` : length of a crop;
    ``judges_from`` : share of the budget after which judges take part (1: never); ``mel``, ``stft``, ``adversarial``,
    ``feature`` : share of each term in a step; ``rounds`` : of matching the half of the crops whose log-Mels are not
    disturbed, as it is done in use; ``mean`` : decay of the running mean of the weights."""

    steps: int = 0
    minutes: float = 0.0
    batch: int = 64
    frames: int = 64
    lr: float = 8e-4
    judges_lr: float = 3e-4
    warm_up: int = 500
    judges_from: float = 0.2
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
class Work:
    """A training under way. ``mean`` : Tensor[P], running mean of all weights; ``mean_step`` : Tensor[], how far it
    goes to the new ones; ``ramp`` : Tensor[], share of the judges' weight; ``sums`` : Tensor[len(TERMS) + 2], losses
    (the judges' own last but one) and steps since the last report."""

    config: VocoderConfig
    recordings: Recordings
    network: Network
    judges: Judges
    analysis: losses.Analysis
    optimiser: torch.optim.AdamW
    judges_optimiser: torch.optim.AdamW
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
    out: str | Path,
    config: VocoderConfig,
    *,
    datasets: Sequence[str] = DATASETS,
    data_folder: str | Path | None = None,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    graphs: bool = True,
    every: int = 50,
    on_clips: Report | None = None,
) -> Iterator[Progress]:
    """Train a vocoder for the default ``MelSpec`` and write ``out.safetensors`` and ``out.json``; yields reports.

    A training that was cut off goes on from what ``out.training`` holds (kept each minute, and when stopped). The time
    of a budget in minutes runs from the start of each sitting, reading included. graphs : record steps on CUDA.
    Raises FramiError subclasses.
    """
    begun = time.perf_counter()
    if (config.steps > 0) == (config.minutes > 0):
        raise VocoderTrainingError("give a training either steps or minutes")
    out = neural.stem(out)
    if Path(f"{out}.safetensors").exists() and not overwrite:
        raise VocoderTrainingError(f"{out}.safetensors is there already; choose another --out, or add --overwrite")
    out.parent.mkdir(parents=True, exist_ok=True)
    device = torch.device(device)
    spec = MelSpec()
    recordings = read(datasets, data_folder, spec.sample_rate, on_clips)
    work = start(config, recordings.to(device), spec, device)
    state = out.with_name(out.name + ".training")
    _resume(state, work)
    clock = begun - work.seconds
    torch.manual_seed(config.seed * 1_000_003 + work.step)
    plain, judged = (
        RecordedStep(lambda a=a: _step(work, a), device if graphs else torch.device("cpu")) for a in (0, 1)
    )
    kept = time.perf_counter()
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    try:
        while (share := _share(work)) < 1:
            _schedule(work, share)
            (judged if share >= config.judges_from else plain)()
            work.step += 1
            work.seconds = time.perf_counter() - clock
            if work.step % every == 0 or work.step == config.steps:
                yield _report(work)
            if time.perf_counter() - kept > KEEP:
                _keep(state, work)
                kept = time.perf_counter()
    except BaseException:
        _keep(state, work)
        raise
    vector_to_parameters(work.mean, work.network.parameters())
    neural.save(out, work.network, _card(out.name, work, spec))
    state.unlink(missing_ok=True)


def start(config: VocoderConfig, recordings: Recordings, spec: MelSpec, device: torch.device) -> Work:
    """A training before its first step."""
    torch.manual_seed(config.seed)
    network = Network(spec, config.network).to(device).train()
    judges = Judges(len(losses.WINDOWS) - 1).to(device, memory_format=memory_format(device)).train()
    fast = {"fused": True, "capturable": True} if device.type == "cuda" else {}

    def optimiser(module: torch.nn.Module, lr: float, **more) -> torch.optim.AdamW:
        kind = fast | more if fast else {}
        rate = torch.tensor(lr, device=device) if fast else lr
        return torch.optim.AdamW(module.parameters(), lr=rate, betas=(0.8, 0.99), weight_decay=0.01, **kind)

    return Work(
        config=config,
        recordings=recordings,
        network=network,
        judges=judges,
        analysis=losses.Analysis(spec).to(device),
        optimiser=optimiser(network, config.lr),
        judges_optimiser=optimiser(judges, config.judges_lr, fused=False),  # slopes come in other orders
        balance=losses.Balance(TERMS, device),
        mean=parameters_to_vector(network.parameters()).detach().clone(),
        mean_step=torch.ones((), device=device),
        ramp=torch.zeros((), device=device),
        sums=torch.zeros(len(TERMS) + 2, device=device),
        device=device,
    )


def _share(work: Work) -> float:
    """Share of the budget that is spent."""
    config = work.config
    return work.step / config.steps if config.steps else work.seconds / (60 * config.minutes)


def _schedule(work: Work, share: float) -> None:
    """Learning rates (warm-up, then half a cosine), the judges' part, the running mean's step: into device memory."""
    config = work.config
    fall = 0.02 + 0.98 * (1 + math.cos(math.pi * min(share, 1.0))) / 2
    warm = min(1.0, (work.step + 1) / config.warm_up)
    for optimiser, rate in ((work.optimiser, config.lr * warm), (work.judges_optimiser, config.judges_lr)):
        for group in optimiser.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * fall)
            else:
                group["lr"] = rate * fall
    work.ramp.fill_(min(1.0, max(0.0, (share - config.judges_from) / 0.05)))
    work.mean_step.fill_(max(1 - config.mean, 1 / (1 + work.step / 10)))


@torch.enable_grad()
def _step(work: Work, judged: int) -> None:
    """One step: sounds, their disturbed log-Mels, sounds from these, and what is wrong with them."""
    config, analysis = work.config, work.analysis
    with torch.no_grad():
        sound = work.recordings.crops(config.batch, config.frames * analysis.hops[0])
        scale = sound.abs().amax(1).clamp(min=1e-3)  # sounds are compared at full scale, so that quiet ones count
        relative = sound / scale[:, None]
        real_stfts = analysis(relative)
        real = losses.magnitudes(real_stfts)
        real_mels = [analysis.log_mel(m * scale[:, None, None], i) for i, m in enumerate(real)]
        half = config.batch // 2
        plain = real_mels[0][half:]
        seen = torch.cat([disturb(real_mels[0][:half], work.network.floor), plain])
    with autocast(work.device):
        made = work.network(seen)
    made = torch.cat([made[:half], work.network.match(made[half:], plain, config.rounds)])
    at = (made.detach() / scale[:, None]).requires_grad_()
    made_stfts = analysis(at)
    magnitudes = losses.magnitudes(made_stfts)
    mels = [analysis.log_mel(m * scale[:, None, None], i) for i, m in enumerate(magnitudes)]
    terms = {"mel": losses.mel_loss(mels, real_mels), "stft": losses.stft_loss(magnitudes, real, scale)}
    weights: dict[str, Tensor | float] = {name: getattr(config, name) for name in TERMS}
    if judged:
        terms |= _judge(work, real_stfts[1:], relative, made_stfts[1:], at)
        weights |= {name: weights[name] * work.ramp for name in ("adversarial", "feature")}
    slope = work.balance.gradient(terms, weights, at)
    if judged:  # not before: the slopes pass through the judges as they were
        work.judges_optimiser.step()
    own = list(work.network.parameters())
    _set_slopes(own, torch.autograd.grad(made, own, slope / scale[:, None]))
    clip_grad_norm_(own, 1.0)
    work.optimiser.step()
    work.mean.lerp_(parameters_to_vector(own).detach(), work.mean_step)
    for i, name in enumerate(TERMS):
        if name in terms:
            work.sums[i] += terms[name].detach()
    work.sums[-1] += 1


def _judge(work: Work, real_stfts, real: Tensor, made_stfts, made: Tensor) -> dict[str, Tensor]:
    """Terms by the judges' opinion, and the judges' own gradients: one pass over each sound serves both."""
    with autocast(work.device):
        scores, features = work.judges(real_stfts, real)
        made_scores, made_features = work.judges(made_stfts, made)
    loss = losses.judge_loss(scores, made_scores)
    own = list(work.judges.parameters())
    _set_slopes(own, torch.autograd.grad(loss, own, retain_graph=True))
    terms = {
        "adversarial": losses.adversarial_loss(made_scores),
        "feature": losses.feature_loss(features, made_features),
    }
    work.sums[-2] += loss.detach()
    return terms


def _set_slopes(parameters: Sequence[Tensor], slopes: Sequence[Tensor]) -> None:
    for parameter, slope in zip(parameters, slopes, strict=True):
        parameter.grad = slope


def _report(work: Work) -> Progress:
    """Read the losses (the only time that the host waits for the device), and begin new sums."""
    sums = work.sums.tolist()
    work.sums.zero_()
    count = max(sums[-1], 1.0)
    found = {name: sums[i] / count for i, name in enumerate((*TERMS, "judges"))}
    found = {name: value for name, value in found.items() if value or name in ("mel", "stft")}
    if not math.isfinite(sum(found.values())):
        raise VocoderTrainingError(f"the training diverged at step {work.step}; take a lower --lr")
    progress = Progress(work.step, _share(work), work.seconds, found)
    work.history.append(
        {"step": work.step, "seconds": round(work.seconds, 1)} | {k: round(v, 4) for k, v in found.items()}
    )
    return progress


def _card(name: str, work: Work, spec: MelSpec) -> VocoderCard:
    config, history = work.config, work.history
    last = {key: history[-1][key] for key in (*TERMS, "judges") if key in history[-1]} if history else {}
    thinned = history[:: -(-len(history) // 40)] if history else []
    return VocoderCard(
        name=name,
        title=f"Vocos-type vocoder of {parameters(work.network) / 1e6:.2f} M parameters",
        mel_spec=spec.to_dict(),
        network=config.network.to_dict(),
        parameters=parameters(work.network),
        licence="Apache-2.0",
        data=work.recordings.notes,
        training=asdict(config)
        | {"steps_done": work.step, "seconds": round(work.seconds, 1), "device": describe(work.device)}
        | {"last_losses": last, "history": thinned},
    )


def _keep(state: Path, work: Work) -> None:
    """Write all that is needed to go on, whole or not at all."""
    values = {
        "settings": _settings(work),
        "network": work.network.state_dict(),
        "judges": work.judges.state_dict(),
        "optimiser": moments(work.optimiser),
        "judges_optimiser": moments(work.judges_optimiser),
        "sizes": work.balance.sizes,
        "mean": work.mean,
        "step": work.step,
        "seconds": work.seconds,
        "history": work.history,
    }
    with files.replacing(state) as temporary, temporary.open("wb") as file:
        torch.save(values, file)


def _resume(state: Path, work: Work) -> None:
    if not state.exists():
        return
    try:
        kept = torch.load(state, map_location="cpu", weights_only=True)
        same = kept["settings"] == _settings(work)
        if same:
            work.network.load_state_dict(kept["network"])
            work.judges.load_state_dict(kept["judges"])
            restore(work.optimiser, kept["optimiser"])
            restore(work.judges_optimiser, kept["judges_optimiser"])
            for name, sizes in kept["sizes"].items():
                work.balance.sizes[name].copy_(sizes)
            work.mean.copy_(kept["mean"])
            work.step, work.seconds, work.history = kept["step"], kept["seconds"], kept["history"]
            return
    except Exception as error:
        raise VocoderTrainingError(f"{state}: damaged; delete it to start again") from error
    raise VocoderTrainingError(f"{state} belongs to a training with other settings; delete it or choose another --out")


def _settings(work: Work) -> dict:
    """What must be the same for a training to go on."""
    clips = {note["dataset"]: note["clips"] for note in work.recordings.notes}
    return asdict(work.config) | {"clips": clips, "format": 1}
