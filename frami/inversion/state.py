"""What a batch under optimisation holds, how it begins and ends, and what of it outlasts the batch and the run.

Everything that changes from step to step or from batch to batch is written into the same memory, so that on CUDA a step
is recorded once as a graph and replayed: launching its some hundred small kernels one by one costs more than running
them.
"""

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import Adam

from frami import models
from frami.audio import MelSpec
from frami.device import seeded
from frami.inversion.augment import NUMBERS, centred
from frami.inversion.conditional import NoisyLayerGenerator, SumGenerator
from frami.inversion.feature_bank import FeatureBank
from frami.inversion.generator import Free, Generator
from frami.inversion.recipes import TERMS, Recipe
from frami.inversion.sounds import log_mels
from frami.inversion.teacher import TeacherCopy
from frami.optim import adam, forget, moments, restore

#: Rows of the feature bank that a step contrasts with.
NEGATIVES = 512
#: Spread at which the levels of clips of a network of any make begin, in units of that of its bands: real sounds differ
#: in level more than within, and the norms know the sum of both alone.
LEVELS = 0.75
#: Size of a companion student, and its learning rate.
COMPANION, COMPANION_RATE = "tiny", 2e-3


@dataclass
class Trained:
    """A network that learns along, with its optimiser."""

    network: nn.Module
    optimiser: Adam


@dataclass
class Negatives:
    """Rows of the feature bank, Tensor[N, D], with their classes, Tensor[N]; the first ``count``, Tensor[], count."""

    rows: Tensor
    labels: Tensor
    count: Tensor


@dataclass
class Work:
    """A batch of B clips under optimisation.

    ``model`` : the teacher's fast copy; ``weights`` : of the terms that can be used here; ``optimiser`` : of the
    ``generator`` and of the ``latents`` (as of its ``noise``) from which it draws the clips; labels, lengths :
    Tensor[B]; numbers : Tensor[B, 9], of the view.
    ``last`` : what the latest step computed (``x``, ``logits``, ``pooled``, and the unweighted terms by name).

    Where the recipe has them: ``head`` : projection of the contrastive term; ``student`` : of the adversarial term, the
    caller's or the network of ``companion``; ``past`` : mean and variance Tensor[2, C] of each batch norm's inputs in
    earlier batches, which count for ``past_share``, Tensor[]; ``meta`` : the start of the generator in each batch;
    ``average`` : moving average of the generator; ``best``, ``best_loss`` : the clips of the step with the lowest loss.
    """

    teacher: TeacherCopy
    model: nn.Module
    recipe: Recipe
    weights: dict[str, float]
    generator: nn.Module
    latents: nn.Parameter
    optimiser: Adam
    labels: Tensor
    lengths: Tensor
    numbers: Tensor
    negatives: Negatives
    head: Trained | None = None
    student: nn.Module | None = None
    companion: Trained | None = None
    past: list[Tensor] | None = None
    past_share: Tensor | None = None
    meta: Trained | None = None
    average: nn.Module | None = None
    best: Tensor | None = None
    best_loss: Tensor | None = None
    last: dict[str, Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.labels.device

    @property
    def frames(self) -> int:
        return self.teacher.frames

    @property
    def mask(self) -> Tensor | None:
        """Lengths for a model, Tensor[B]; None where every clip is as long as the batch."""
        return None if self.teacher.shortest == self.frames else self.lengths

    def ended(self, x: Tensor) -> Tensor:
        """Log-Mels Tensor[B, 1, F, T] with the floor behind each clip's end."""
        spec = self.teacher.spec
        if self.mask is None:
            return centred(x, spec)
        inside = torch.arange(self.frames, device=x.device) < self.lengths[:, None]
        return torch.where(inside[:, None, None], centred(x, spec, self.lengths), spec.floor)

    @torch.no_grad()
    def begin(self, target: Tensor, seed: int, rng: torch.Generator) -> None:
        """Set everything that a batch begins with, in place. target : classes Tensor[B]; seed : of new weights."""
        recipe, generator = self.recipe, self.generator
        self.labels.copy_(target)
        if self.mask is not None:
            self.lengths.copy_(torch.randint(self.teacher.shortest, self.frames + 1, (len(target),), generator=rng))
        self.latents.copy_(generator.noise(len(target), self.frames, rng))
        if recipe.start == "spectrum" and self.teacher.unknown:
            generator.range.begin_at(log_mels(self.teacher.spec, len(target), self.frames, rng))
        if recipe.keep in ("reset", "warm"):
            fresh = new_generator(recipe, self.teacher.spec, self.teacher, seed).state_dict()
            for name, mine in generator.state_dict().items():
                if recipe.keep == "reset" or name.startswith("project."):
                    mine.copy_(fresh[name])
        if recipe.given != "noise":
            for network in filter(None, (generator, self.average)):
                network.aim(self.labels)
        if self.meta is not None:
            for parameter, start in zip(generator.parameters(), self.meta.network.parameters(), strict=True):
                parameter.copy_(start)
                start.grad = torch.zeros_like(start) if start.grad is None else start.grad.zero_()
        forget(self.optimiser, [self.latents, *(() if recipe.keep == "kept" else generator.parameters())])
        if self.best_loss is not None:
            self.best_loss.fill_(math.inf)

    @torch.no_grad()
    def draw(self, feature_bank: FeatureBank, rng: torch.Generator) -> None:
        """Random numbers of a step: the view's, rows of a large feature bank, fresh latents where none are learnt."""
        if "contrast" in self.weights:
            self.numbers.copy_(torch.rand(self.numbers.shape, generator=rng))
            chosen = feature_bank.sample(NEGATIVES, rng)
            if chosen is not None:
                rows, labels = chosen
                if self.device.type == "cuda":
                    self.negatives.rows[: len(rows)] = rows
                    self.negatives.labels[: len(rows)] = labels
                else:
                    self.negatives.rows, self.negatives.labels = rows, labels
                self.negatives.count.fill_(len(rows))
        if not self.recipe.lr_latent:
            self.latents.copy_(self.generator.noise(len(self.labels), self.frames, rng))

    def factor(self, term: str) -> Tensor | float:
        """Of a term's weight in this batch. What a batch does to statistics that earlier ones share in, and with it the
        gradient, is less by that share."""
        if term != "batch_norm" or self.past_share is None or self.recipe.alone == 1:
            return 1.0
        return torch.where(self.past_share > 0, 1.0, self.recipe.alone)

    def finish(self, counts: bool = True) -> None:
        """Carry over what outlasts a batch; with its statistics, where it ``counts``."""
        if self.past is not None and counts:
            for i, past in enumerate(self.past):
                now = self.last[f"norm {i}"]
                past.copy_(torch.where(self.past_share > 0, torch.lerp(now, past, self.recipe.past), now))
            self.past_share.fill_(self.recipe.past)
        if self.meta is not None:
            self.meta.optimiser.step()

    def snapshot(self, feature_bank: FeatureBank | None, batches: int = 0) -> dict:
        """What later batches need of the earlier ones: tensors and numbers only, on the CPU."""
        networks, optimisers, tensors = self._carried()
        state = {"batches": batches} | ({} if feature_bank is None else {"bank": feature_bank.state_dict()})
        for name, network in networks.items():
            state[name] = {part: value.cpu().clone() for part, value in network.state_dict().items()}
        state |= {name: moments(*pair) for name, pair in optimisers.items()}
        return state | {name: [t.detach().cpu().clone() for t in values] for name, values in tensors.items()}

    @torch.no_grad()
    def load(self, feature_bank: FeatureBank | None, state: dict) -> None:
        """Inverse of ``snapshot``, for the same recipe and teacher and any batch size."""
        if feature_bank is not None:
            feature_bank.load_state_dict(state["bank"], self.device)
        networks, optimisers, tensors = self._carried()
        for name in networks.keys() & state.keys():
            networks[name].load_state_dict(state[name])
        for name in optimisers.keys() & state.keys():
            restore(optimisers[name][0], state[name], optimisers[name][1])
        for name in tensors.keys() & state.keys():
            stored = state[name] if isinstance(state[name], list) else [state[name]]  # past_share of earlier versions
            for mine, value in zip(tensors[name], stored, strict=True):
                mine.copy_(value)

    def _carried(self) -> tuple[dict, dict, dict]:
        """What outlasts a batch, by name: networks, optimisers with their parameters, lists of tensors."""
        networks, optimisers, tensors = {}, {}, {}
        if self.recipe.keep != "reset":
            networks["generator"] = self.generator
        if self.average is not None:
            networks["average"] = self.average
        if self.recipe.keep == "kept":
            optimisers["optimiser"] = self.optimiser, list(self.generator.parameters())
        if self.meta is not None:
            tensors["meta"] = list(self.meta.network.parameters())
            optimisers["meta_optimiser"] = self.meta.optimiser, tensors["meta"]
        if self.past is not None:
            tensors |= {"past": self.past, "past_share": [self.past_share]}
        for name, trained in (("head", self.head), ("student", self.companion)):
            if trained is not None:
                networks[name] = trained.network
                optimisers[f"{name}_optimiser"] = trained.optimiser, list(trained.network.parameters())
        return networks, optimisers, tensors


def usable(recipe: Recipe, teacher: TeacherCopy, student: nn.Module | None) -> dict[str, float]:
    """Weights of the terms that add something here, in the order of ``TERMS``."""
    absent = set() if student is not None or recipe.student_steps else {"adversarial"}
    absent |= set() if teacher.norms else {"batch_norm"}
    return {name: recipe.weights[name] for name in TERMS if recipe.weights.get(name) and name not in absent}


def feature_size(recipe: Recipe, teacher: TeacherCopy) -> int:
    """Size of what the contrastive term compares; the embedding alone where there is no batch norm."""
    means = sum(teacher.norms) if recipe.feature != "pooled" else 0
    return means + (teacher.embedding if recipe.feature != "means" or not means else 0)


def new_work(teacher: TeacherCopy, recipe: Recipe, clips: int, student: nn.Module | None = None, seed: int = 0) -> Work:
    """Everything that batches of this size need."""
    device, frames, spec = teacher.device, teacher.frames, teacher.spec
    weights = usable(recipe, teacher, student)
    generator = new_generator(recipe, spec, teacher, seed).to(device)
    latents = nn.Parameter(torch.zeros_like(generator.noise(clips, frames, torch.Generator())).to(device))
    learnt = ([latents], recipe.lr_latent), (list(generator.parameters()), recipe.lr)
    groups = [{"params": parameters, "lr": rate} for parameters, rate in learnt if parameters and rate]
    size, rows = feature_size(recipe, teacher), NEGATIVES if device.type == "cuda" else 0
    whole = {"dtype": torch.long, "device": device}
    work = Work(
        teacher=teacher, model=teacher.fast, recipe=recipe, weights=weights, student=student,
        generator=generator, latents=latents, optimiser=adam(groups, device, betas=recipe.betas),
        labels=torch.zeros(clips, **whole), lengths=torch.full((clips,), frames, **whole),
        numbers=torch.zeros(clips, NUMBERS, device=device),
        negatives=Negatives(
            torch.zeros(rows, size, device=device), torch.zeros(rows, **whole), torch.zeros((), **whole)
        ),
    )  # fmt: skip
    if "contrast" in weights and recipe.contrast == "view" and recipe.head == "learned":
        with seeded(seed):
            head = nn.Sequential(nn.Linear(size, 256), nn.ReLU(), nn.Linear(256, 128)).to(device)
        work.head = _trained(head, recipe.lr_head)
    if "adversarial" in weights and student is None:
        with seeded(seed):
            work.student = models.build(COMPANION, teacher.classes, spec.n_mels).to(device).eval()
        work.companion = _trained(work.student, COMPANION_RATE)
    if "batch_norm" in weights and recipe.past:
        work.past = [torch.zeros(2, size, device=device) for size in teacher.norms]
        work.past_share = torch.zeros((), device=device)
    if recipe.keep == "meta":
        work.meta = _trained(copy.deepcopy(generator), recipe.lr * recipe.steps, recipe.betas)
    if recipe.average:
        work.average = copy.deepcopy(generator).requires_grad_(False)
    if recipe.best:
        work.best = torch.zeros(clips, 1, spec.n_mels, frames, device=device)
        work.best_loss = torch.full((), math.inf, device=device)
    return work


def _trained(network: nn.Module, rate: float, betas: tuple[float, float] = (0.9, 0.999)) -> Trained:
    own = list(network.parameters())
    return Trained(network, adam([{"params": own, "lr": rate}], own[0].device, betas=betas))


def new_generator(recipe: Recipe, spec: MelSpec, teacher: TeacherCopy | None, seed: int) -> nn.Module:
    """Generator (or free spectrogram) of a recipe, on the CPU; the same seed gives the same weights.

    teacher : at whose stored spectrum it starts, and of whose classes it is told, where the recipe says so; None for a
    recipe that needs neither.
    """
    start = {}
    if recipe.start == "spectrum" and teacher is not None and teacher.start is not None:
        start = dict(zip(("mean", "std"), teacher.start, strict=True))
    if recipe.parameter == "clip":
        return Free(spec, **start)
    with seeded(seed):
        if recipe.given == "sum":
            return SumGenerator(spec, teacher.classes, **start)
        if recipe.given == "noisy_layer":
            return NoisyLayerGenerator(spec, teacher.codes, **start)
        levels = LEVELS if start and teacher.foreign and not spec.remove_mean else 0.0
        return Generator(spec, **start, levels=levels)
