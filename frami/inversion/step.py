"""One optimisation step of a batch: clips, the teacher's view of them, the weighted terms, and what they improve."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami import answers
from frami.device import RecordedStep, autocast
from frami.inversion import losses
from frami.inversion.augment import ImageViewConfig, draw_image_view, draw_view
from frami.inversion.bn_statistics import NormInput, clip_means, recorded
from frami.inversion.exchange import Plan, draw_plan, exchanging, likelier
from frami.inversion.state import Work
from frami.models import Features


def stepper(work: Work) -> Callable[[], None]:
    """The step of a batch, to be called after ``Work.draw``: a companion student learns first, then the clips."""
    every = work.recipe.view_every if _views(work) else 1
    teach, improve, plain = (
        RecordedStep(partial(function, work), work.device)
        for function in (_teach, _improve, partial(_improve, without="contrast"))
    )
    done = 0

    def step() -> None:
        nonlocal done
        for _ in range(work.recipe.student_steps if work.companion else 0):
            teach()
        (plain if done % every else improve)()
        done += 1

    return step


def _views(work: Work) -> bool:
    """Whether a second view of each clip passes through the teacher."""
    return "contrast" in work.weights and work.recipe.contrast == "view"


@torch.enable_grad()
def _improve(work: Work, without: str | None = None) -> None:
    """Compute all terms (but one), and improve what learns by one step."""
    made = _forward(work, views=_views(work) and without != "contrast")
    terms = {name: LOSSES[name](work, made) for name in work.weights if name != without}
    loss = sum(work.weights[name] * work.factor(name) * term for name, term in terms.items())

    optimisers = [work.optimiser, *((work.head.optimiser,) if work.head else ())]
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward(inputs=[p for o in optimisers for group in o.param_groups for p in group["params"]])
    if work.meta is not None:
        for start, now in zip(work.meta.network.parameters(), work.generator.parameters(), strict=True):
            start.grad.add_(now.grad)
    with torch.no_grad():
        if work.best is not None:
            better = loss < work.best_loss
            work.best.copy_(torch.where(better, made.x, work.best))
            work.best_loss.copy_(torch.where(better, loss, work.best_loss))
    for optimiser in optimisers:
        optimiser.step()
    if work.average is not None:
        with torch.no_grad():
            for mean, now in zip(work.average.parameters(), work.generator.parameters(), strict=True):
                mean.lerp_(now, 1 - work.recipe.average)
    computed = {"x": made.x, "logits": made.logits, "pooled": made.pooled} | terms
    if work.past is not None:
        computed |= {f"norm {i}": torch.stack([e.mean, e.var]) for i, e in enumerate(made.statistics)}
    kept = {without: work.last[without]} if without in work.last else {}
    work.last = kept | {name: value.detach() for name, value in computed.items()}


@dataclass
class Forward:
    """A forward pass. x : clips Tensor[B, 1, F, T]; logits, pooled : the teacher's, Tensor[B, K] and Tensor[B, D];
    features : of the clips and, where there are any, of a view of each behind them; statistics : inputs of the batch
    norms, where a term needs them; answers : a student's logits, once a term asked for them."""

    x: Tensor
    logits: Tensor
    pooled: Tensor
    features: Features
    statistics: list[NormInput]
    answers: Tensor | None = None


def _forward(work: Work, views: bool) -> Forward:
    teacher, recipe, fast = work.teacher, work.recipe, work.teacher.speedups.bf16
    with autocast(work.device, fast):
        x = work.generator(work.latents, work.frames)
    x = work.ended(x)
    inputs, lengths = x, work.mask
    if views:
        of_images = isinstance(recipe.views, ImageViewConfig)
        draw = draw_image_view if of_images else draw_view
        config = recipe.views if of_images else recipe.views.scaled(teacher.spec.unit)
        view, view_lengths = draw(x, work.lengths, teacher.spec.floor, config, work.numbers)
        inputs = torch.cat([x, view])
        lengths = None if lengths is None and of_images else torch.cat([work.lengths, view_lengths])
    watched = nullcontext([])
    if work.weights.keys() & {"batch_norm", "contrast"}:
        watched = recorded(work.model, len(x), len(inputs), fused=teacher.speedups.fused)
    with watched as statistics, autocast(work.device, fast):
        out = work.model(inputs, lengths)
    return Forward(x, out.logits[: len(x)], out.pooled[: len(x)], out, statistics)


def _class(work: Work, made: Forward) -> Tensor:
    labels = work.labels if work.recipe.labels == "target" else made.logits.argmax(1)
    weights = None
    if work.recipe.modulate:
        judge = made.logits if work.student is None else _student_logits(work, made)
        weights = losses.difficulty(judge, labels, work.recipe.modulate, work.teacher.multilabel)
    return losses.class_loss(made.logits, labels, work.recipe.certainty, weights, work.teacher.multilabel)


def _batch_norm(work: Work, made: Forward) -> Tensor:
    recipe, relative = work.recipe, work.teacher.foreign
    return losses.batch_norm_loss(made.statistics, work.past, work.past_share, recipe.first_norm, relative)


def _contrast(work: Work, made: Forward) -> Tensor:
    return _CONTRASTS[work.recipe.contrast](work, made)


def _of_batch(work: Work, made: Forward) -> Tensor:
    rows = features(made.statistics, made.pooled, work.recipe.feature)
    rows = F.normalize(_standardised(rows, rows.detach()), dim=1)
    return losses.repulsion_loss(rows, work.recipe.temperature, _same_class(work, work.labels))


def _of_segments(work: Work, made: Forward) -> Tensor:
    frames, lengths = made.features.frames, made.features.lengths
    both = [losses.segment_means(frames, lengths, work.numbers[:, i : i + 2]) for i in (0, 2)]
    around = torch.cat(both).detach()
    first, second = (F.normalize(_standardised(rows, around), dim=1) for rows in both)
    return losses.contrastive_loss(first, second, None, work.recipe.temperature, _same_class(work, work.labels))


def _standardised(rows: Tensor, around: Tensor) -> Tensor:
    """Rows Tensor[N, D] in units of the spread of other ones around their mean, as a projection that learns nothing."""
    return (rows - around.mean(0)) / around.std(0, correction=0).clamp(min=1e-3)


def _same_class(work: Work, others: Tensor) -> Tensor | None:
    """Pairs of the batch's clips and others of these classes that a recipe contrasts; None: all of them."""
    return work.labels[:, None] == others if work.recipe.negatives == "same" else None


def _of_view(work: Work, made: Forward) -> Tensor:
    rows, count = features(made.statistics, made.features.pooled, work.recipe.feature), len(made.x)
    negatives = work.negatives.rows
    if work.head is not None:
        projected = F.normalize(work.head.network(rows), dim=1)
        with torch.no_grad():
            # Anew at every step: the head would learn to turn away from rows that it does not move along.
            negatives = F.normalize(work.head.network(negatives), dim=1)
    else:
        around = rows[:count].detach()
        projected = F.normalize(_standardised(rows, around), dim=1)
        negatives = F.normalize(_standardised(negatives, around), dim=1)
    there = torch.arange(len(negatives), device=rows.device) < work.negatives.count
    allowed = torch.cat([torch.ones(count, dtype=torch.bool, device=rows.device), there]).expand(count, -1)
    alike = _same_class(work, torch.cat([work.labels, work.negatives.labels]))
    if alike is not None:
        allowed = allowed & alike
    return losses.contrastive_loss(
        projected[count:], projected[:count].detach(), negatives, work.recipe.temperature, allowed
    )


_CONTRASTS = {"view": _of_view, "segments": _of_segments, "batch": _of_batch}


def _adversarial(work: Work, made: Forward) -> Tensor:
    both = made.logits, _student_logits(work, made)
    return losses.adversarial_loss(*both, work.recipe.divergence, work.teacher.multilabel)


def _student_logits(work: Work, made: Forward) -> Tensor:
    """A student's answers to the clips, Tensor[B, K], computed once a step."""
    if made.answers is None:
        with _evaluating(work.student), autocast(work.device, work.teacher.speedups.bf16):
            made.answers = work.student(made.x, work.mask).logits
    return made.answers


#: How each term of ``TERMS`` is computed in a step.
LOSSES: dict[str, Callable[[Work, Forward], Tensor]] = {
    "class": _class,
    "batch_norm": _batch_norm,
    "contrast": _contrast,
    "adversarial": _adversarial,
    "balance": lambda work, made: losses.balance_loss(made.logits, work.teacher.multilabel),
    "activation": lambda work, made: losses.activation_loss(made.pooled),
    "variation": lambda work, made: losses.variation_loss(made.x, work.lengths),
}


def features(statistics: list[NormInput], pooled: Tensor, kind: str) -> Tensor:
    """What the contrastive term compares, Tensor[B, D]; the embeddings where there is no batch norm."""
    pooled = pooled.float()
    if kind == "pooled" or not statistics:
        return pooled
    means = clip_means(statistics).float()
    return means if kind == "means" else torch.cat([means, pooled], 1)


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


@torch.enable_grad()
def _teach(work: Work) -> None:
    """One training step of the companion student on the present clips."""
    student, optimiser = work.companion.network, work.companion.optimiser
    student.train()
    with torch.no_grad(), autocast(work.device, work.teacher.speedups.bf16):
        x = work.generator(work.latents, work.frames)
        target = work.model(x, work.mask).logits
    both = target, student(x, work.mask).logits
    loss = answers.divergences(*(answers.log_probabilities(z, work.teacher.multilabel) for z in both)).mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    student.eval()


@torch.no_grad()
def result(work: Work, rng: torch.Generator) -> tuple[Tensor, Features, Tensor, Tensor]:
    """The finished clips of a batch, log-Mels Tensor[B, 1, F, T], what the teacher in full precision makes of them,
    their rows for the feature bank, and their target classes Tensor[B]."""
    exact, labels = work.teacher.exact, work.labels
    plan = draw_plan(len(labels), work.recipe.exchange, rng, work.device) if work.recipe.exchange else None
    x = work.best.clone() if work.best is not None else _drawn(work, plan).contiguous()
    x = work.ended(x)
    with recorded(exact, clips=len(x)) as statistics:
        out = exact(x, work.mask)
    if plan is not None:
        labels = likelier(out.logits, labels, plan)
    return x, out, features(statistics, out.pooled, work.recipe.feature), labels


def _drawn(work: Work, plan: Plan | None) -> Tensor:
    """The clips that the latents give in the end; the second half by the generator's average, where there is one."""
    with nullcontext() if plan is None else exchanging(work.generator, plan):
        x = work.generator(work.latents, work.frames)
    if work.average is None:
        return x
    half = (len(x) + 1) // 2
    return torch.cat([x[:half], work.average(work.latents, work.frames)[half:]])
