"""One batch of clips under optimisation: tensors of fixed shape, and the step that improves them in place.

Everything that changes from step to step or from batch to batch is written into the same memory, so that on CUDA a step
is recorded once as a graph and replayed: launching its some hundred small kernels one by one costs more than running
them.
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami import models
from frami.audio import MelSpec
from frami.checkpoints import Checkpoint
from frami.device import RecordedStep, autocast, fast_bf16
from frami.inversion import losses
from frami.inversion.augment import NUMBERS, ImageViewConfig, draw_image_view, draw_view
from frami.inversion.bn_statistics import Recording, recorded
from frami.inversion.generator import Free, Generator
from frami.inversion.recipes import Recipe

#: Rows of the feature bank that a step contrasts with.
NEGATIVES = 512
_COMPANION = "tiny"


@dataclass
class Anatomy:
    """What a teacher offers to an inversion: the channels of each batch norm in order, the size of its pooled state,
    and the norm that sees the Mel bands themselves (or None)."""

    sizes: list[int]
    pooled: int
    bands: nn.Module | None


def anatomy(model: nn.Module, spec: MelSpec, frames: int) -> Anatomy:
    """Look at a model that hears noise. It must be nobody else's: what its batch norms see is recorded."""
    mels = _noise(spec, frames, next(model.parameters()).device)
    with torch.no_grad(), recorded(model, clips=len(mels)) as seen:
        out = model(mels)
    bands = None
    if seen.inputs and seen.inputs[0].mean.shape == (spec.n_mels,):
        same = torch.allclose(seen.inputs[0].mean, mels.mean((0, 1, 3)), atol=1e-2)
        bands = seen.inputs[0].norm if same else None
    return Anatomy([len(entry.mean) for entry in seen.inputs], out.pooled.shape[1], bands)


def _noise(spec: MelSpec, frames: int, device: torch.device) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.empty(2, 1, spec.n_mels, frames).uniform_(spec.floor, spec.ceiling, generator=rng).to(device)


def private(model: nn.Module) -> nn.Module:
    """A frozen copy in evaluation mode: two runs of one teacher, in two threads, do not see each other's taps."""
    return copy.deepcopy(model).eval().requires_grad_(False)


@dataclass(frozen=True)
class Speedups:
    """What makes a step fast; each is there to be left out where its worth is measured.

    ``bf16`` : bfloat16 where the device has it; ``channels_last`` : order of the teacher's convolutions; ``fused`` :
    batch norms as one autograd function (see ``recorded``).
    """

    bf16: bool = True
    channels_last: bool = True
    fused: bool = True


ALL = Speedups()


def quick(model: nn.Module, spec: MelSpec, frames: int, speedups: Speedups = ALL) -> nn.Module:
    """A frozen copy for the steps, convolutions in the device's fast precision and order (channels-last: twice as fast
    on a CPU for few channels) as far as the model takes them: a foreign one may ask for its own order (``view``) or
    precision (``float()`` without autocast)."""
    mels = _noise(spec, frames, next(model.parameters()).device)
    fast = speedups.bf16 and fast_bf16(mels.device)
    ordered = speedups.channels_last and mels.device.type != "mps"
    for order, precision in dict.fromkeys([(ordered, fast), (ordered, False), (False, fast), (False, False)]):
        made = private(model)
        if order:
            made = made.to(memory_format=torch.channels_last)
        if precision:
            for module in made.modules():
                if isinstance(module, nn.Conv1d | nn.Conv2d):
                    module.to(torch.bfloat16)
        if _runs(made, mels, fast):
            return made
    return _FullPrecision(private(model))


def _runs(model: nn.Module, mels: Tensor, fast: bool) -> bool:
    """Whether a step gets through a model, there and back, with numbers at the end."""
    mels = mels.clone().requires_grad_()
    try:
        with torch.enable_grad(), autocast(mels.device, fast):
            model(mels).logits.float().sum().backward()
    except (RuntimeError, TypeError):
        return False
    return bool(mels.grad.isfinite().all())


class _FullPrecision(nn.Module):
    """A model that does not run under autocast."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> models.Features:
        with torch.autocast(x.device.type, enabled=False):
            return self.model(x, lengths)


@dataclass
class Work:
    """A batch under optimisation. Shapes: latents as of the generator's ``noise``; labels, lengths Tensor[B]; numbers
    Tensor[B, 9] (of the view); negatives Tensor[N, D], their labels Tensor[N], how many of them count Tensor[].

    ``exact`` : the teacher in full precision, for what is reported; ``model`` : the quick one, for the steps.
    ``last`` : what the latest step computed (``x``, ``logits``, ``pooled``, and the unweighted terms by name).
    """

    recipe: Recipe
    weights: dict[str, float]
    teacher: Checkpoint
    exact: nn.Module
    model: nn.Module
    anatomy: Anatomy
    frames: int
    ragged: bool
    generator: nn.Module
    latents: nn.Parameter
    labels: Tensor
    lengths: Tensor
    numbers: Tensor
    negatives: Tensor
    negative_labels: Tensor
    negative_count: Tensor
    optimiser: torch.optim.Adam
    head: nn.Module | None = None
    head_optimiser: torch.optim.Adam | None = None
    student: nn.Module | None = None
    companion: bool = False
    student_optimiser: torch.optim.Adam | None = None
    past: list[Tensor] | None = None
    past_share: Tensor | None = None
    meta: list[Tensor] | None = None
    meta_optimiser: torch.optim.Adam | None = None
    best: Tensor | None = None
    best_loss: Tensor | None = None
    last: dict[str, Tensor] = field(default_factory=dict)
    step: RecordedStep | None = None
    teach: RecordedStep | None = None
    speedups: Speedups = ALL

    @property
    def device(self) -> torch.device:
        return self.labels.device

    @property
    def features(self) -> int:
        """Size of what the contrastive term compares."""
        return self.negatives.shape[1]


def new_generator(teacher: Checkpoint, bands: nn.Module | None, recipe: Recipe, seed: int) -> nn.Module:
    """Generator (or free spectrogram) of a recipe, on the CPU; the same seed gives the same weights."""
    start = {}
    if recipe.start == "spectrum" and bands is not None:
        start = {"mean": bands.running_mean, "std": bands.running_var.sqrt()}
    if recipe.parameter == "clip":
        return Free(teacher.spec, **start)
    with _seeded(seed):
        return Generator(teacher.spec, **start)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """A seed for new weights (on the CPU); the random state is afterwards what it was before."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        yield


def new_work(
    teacher: Checkpoint, recipe: Recipe, weights: dict[str, float], student: nn.Module | None, clips: int,
    frames: int, ragged: bool, seed: int, speedups: Speedups = ALL,
) -> Work:  # fmt: skip
    """Everything that batches of this size need."""
    device = next(teacher.model.parameters()).device
    exact = private(teacher.model)
    parts = anatomy(exact, teacher.spec, frames)
    generator = new_generator(teacher, parts.bands, recipe, seed).to(device)
    latents = nn.Parameter(torch.zeros_like(generator.noise(clips, frames, torch.Generator())).to(device))
    groups = [{"params": [latents], "lr": recipe.lr_latent}] if recipe.lr_latent else []
    own = list(generator.parameters())
    groups += [{"params": own, "lr": recipe.lr}] if own else []
    means = sum(parts.sizes)
    features = {"means": means, "pooled": parts.pooled, "both": means + parts.pooled}[recipe.feature] or parts.pooled
    rows = NEGATIVES if device.type == "cuda" else 0
    work = Work(
        recipe=recipe, weights=weights, teacher=teacher, exact=exact, speedups=speedups,
        model=quick(exact, teacher.spec, frames, speedups), anatomy=parts, frames=frames, ragged=ragged,
        generator=generator, latents=latents,
        labels=torch.zeros(clips, dtype=torch.long, device=device),
        lengths=torch.full((clips,), frames, device=device),
        numbers=torch.zeros(clips, NUMBERS, device=device),
        negatives=torch.zeros(rows, features, device=device),
        negative_labels=torch.zeros(rows, dtype=torch.long, device=device),
        negative_count=torch.zeros((), dtype=torch.long, device=device),
        optimiser=_adam(groups, recipe.betas, device),
        student=student,
    )  # fmt: skip
    if weights.get("contrast") and recipe.head == "learned":
        with _seeded(seed):
            work.head = nn.Sequential(nn.Linear(features, 256), nn.ReLU(), nn.Linear(256, 128)).to(device)
        work.head_optimiser = _adam(
            [{"params": list(work.head.parameters()), "lr": recipe.lr_head}], (0.9, 0.999), device
        )
    if student is None and recipe.student_steps and weights.get("adversarial"):
        with _seeded(seed):
            work.student = models.build(_COMPANION, len(teacher.classes), teacher.spec.n_mels).to(device).eval()
        work.companion = True
        work.student_optimiser = _adam([{"params": list(work.student.parameters()), "lr": 2e-3}], (0.9, 0.999), device)
        work.teach = RecordedStep(lambda: _teach(work), device)
    if recipe.past and weights.get("batch_norm"):
        work.past = [torch.zeros(2, size, device=device) for size in parts.sizes]
        work.past_share = torch.zeros((), device=device)
    if recipe.keep == "meta":
        work.meta = [p.detach().clone().requires_grad_() for p in generator.parameters()]
        work.meta_optimiser = _adam([{"params": work.meta, "lr": recipe.lr * recipe.steps}], recipe.betas, device)
    if recipe.best:
        work.best = torch.zeros(clips, 1, teacher.spec.n_mels, frames, device=device)
        work.best_loss = torch.full((), math.inf, device=device)
    work.step = RecordedStep(lambda: _step(work), device)
    return work


def _adam(groups: list[dict], betas: tuple[float, float], device: torch.device) -> torch.optim.Adam | None:
    if not groups:
        return None
    cuda = device.type == "cuda"
    groups = [g | {"base": g["lr"], "lr": torch.tensor(g["lr"], device=device) if cuda else g["lr"]} for g in groups]
    return torch.optim.Adam(groups, betas=betas, fused=device.type != "mps", capturable=cuda)


def set_rate(optimiser: torch.optim.Adam, factor: float) -> None:
    """Learning rates as shares of those that the optimiser began with."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(group["base"] * factor)
        else:
            group["lr"] = group["base"] * factor


def forget(optimiser: torch.optim.Adam, parameters: list[Tensor]) -> None:
    """Set an optimiser's moments of these parameters back to the start."""
    for parameter in parameters:
        for value in optimiser.state.get(parameter, {}).values():
            value.zero_()


@torch.enable_grad()
def _step(work: Work) -> None:
    """Compute all terms, and improve what learns by one step."""
    recipe, weights, count = work.recipe, work.weights, len(work.labels)
    device, spec = work.device, work.teacher.spec
    fast, fused = work.speedups.bf16, work.speedups.fused
    contrast = bool(weights.get("contrast"))
    with autocast(device, fast):
        x = work.generator(work.latents, work.frames)
    if work.ragged:
        inside = torch.arange(work.frames, device=device) < work.lengths[:, None]
        x = torch.where(inside[:, None, None], x, spec.floor)
    inputs, lengths = x, work.lengths if work.ragged else None
    if contrast:
        draw = draw_image_view if isinstance(recipe.views, ImageViewConfig) else draw_view
        view, view_lengths = draw(x, work.lengths, spec.floor, recipe.views, work.numbers)
        inputs = torch.cat([x, view])
        lengths = torch.cat([work.lengths, view_lengths])
        if not work.ragged and isinstance(recipe.views, ImageViewConfig):
            lengths = None
    wanted = contrast or weights.get("batch_norm")
    watched = recorded(work.model, count, len(inputs), fused=fused) if wanted else nullcontext(Recording())
    with watched as seen, autocast(device, fast):
        out = work.model(inputs, lengths)
    logits, pooled = out.logits[:count], out.pooled[:count]
    terms: dict[str, Tensor] = {}
    if weights.get("class"):
        labels = work.labels if recipe.labels == "target" else logits.argmax(1)
        terms["class"] = losses.class_loss(logits, labels, recipe.certainty)
    if weights.get("batch_norm") and seen.inputs:
        terms["batch_norm"] = losses.batch_norm_loss(seen.inputs, work.past, work.past_share, recipe.first_norm)
    if contrast:
        terms["contrast"] = _contrast(work, seen, out, count)
    if weights.get("adversarial") and work.student is not None:
        with _evaluating(work.student), autocast(device, fast):
            answer = work.student(x, work.lengths if work.ragged else None).logits
        terms["adversarial"] = losses.adversarial_loss(logits, answer, recipe.divergence)
    if weights.get("balance"):
        terms["balance"] = losses.balance_loss(logits)
    if weights.get("activation"):
        terms["activation"] = losses.activation_loss(pooled)
    if weights.get("variation"):
        terms["variation"] = losses.variation_loss(x, work.lengths)
    loss = sum(weights[name] * term for name, term in terms.items())

    optimisers = [o for o in (work.optimiser, work.head_optimiser) if o is not None]
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward(inputs=[p for o in optimisers for g in o.param_groups for p in g["params"]])
    if work.meta is not None:
        for start, now in zip(work.meta, work.generator.parameters(), strict=True):
            start.grad.add_(now.grad)
    with torch.no_grad():
        if work.best is not None:
            better = loss < work.best_loss
            work.best.copy_(torch.where(better, x, work.best))
            work.best_loss.copy_(torch.where(better, loss, work.best_loss))
    for optimiser in optimisers:
        optimiser.step()
    work.last = {"x": x.detach(), "logits": logits.detach(), "pooled": pooled.detach()}
    work.last |= {name: term.detach() for name, term in terms.items()}
    if work.past is not None:
        work.last |= {f"norm {i}": torch.stack([e.mean, e.var]).detach() for i, e in enumerate(seen.inputs)}


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode: a student's batch norms learn nothing from clips in the making."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def features(recording: Recording, pooled: Tensor, kind: str) -> Tensor:
    """What the contrastive term compares, Tensor[B, D]; the pooled state where there is no batch norm."""
    pooled = pooled.float()
    if kind == "pooled" or not recording.inputs:
        return pooled
    means = recording.clip_means().float()
    return means if kind == "means" else torch.cat([means, pooled], 1)


def _contrast(work: Work, seen: Recording, out: models.Features, count: int) -> Tensor:
    rows = features(seen, out.pooled, work.recipe.feature)
    negatives, labels = work.negatives, work.negative_labels
    if work.head is not None:
        projected = F.normalize(work.head(rows), dim=1)
        with torch.no_grad():
            # Anew at every step: the head would learn to turn away from rows that it does not move along.
            negatives = F.normalize(work.head(negatives), dim=1)
    else:
        plain = rows[:count].detach()
        centre, spread = plain.mean(0), plain.std(0, correction=0).clamp(min=1e-3)
        projected = F.normalize((rows - centre) / spread, dim=1)
        negatives = F.normalize((negatives - centre) / spread, dim=1)
    there = torch.arange(len(negatives), device=rows.device) < work.negative_count
    allowed = torch.cat([torch.ones(count, dtype=torch.bool, device=rows.device), there]).expand(count, -1)
    if work.recipe.negatives == "same":
        allowed = allowed & (work.labels[:, None] == torch.cat([work.labels, labels]))
    return losses.contrastive_loss(
        projected[count:], projected[:count].detach(), negatives, work.recipe.temperature, allowed
    )


@torch.enable_grad()
def _teach(work: Work) -> None:
    """One training step of the companion student on what the generator makes now."""
    device = work.device
    work.student.train()
    with torch.no_grad(), autocast(device, work.speedups.bf16):
        x = work.generator(work.latents, work.frames)
        target = work.model(x, work.lengths if work.ragged else None).logits
    answer = work.student(x, work.lengths if work.ragged else None).logits
    loss = F.kl_div(answer.log_softmax(1), target.float().log_softmax(1), reduction="batchmean", log_target=True)
    work.student_optimiser.zero_grad(set_to_none=True)
    loss.backward()
    work.student_optimiser.step()
    work.student.eval()
