"""The one loop that all inversion recipes run through."""

import math
import time
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frami.checkpoints import Teacher
from frami.device import autocast, memory_format
from frami.errors import FramiError
from frami.inversion import losses
from frami.inversion.bank import FeatureBank
from frami.inversion.clips import Clips, Progress
from frami.inversion.generator import Generator
from frami.inversion.recipes import RECIPES, Recipe
from frami.inversion.statistics import recorded
from frami.inversion.views import draw_view
from frami.models import MaskedBatchNorm2d, macs

_NEGATIVES = 512


def invert(
    teacher: Teacher,
    recipe: Recipe = RECIPES["frami"],
    *,
    samples: int = 16,
    seconds: float = 1.0,
    steps: int | None = None,
    classes: Sequence[int] | None = None,
    batch: int = 16,
    seed: int = 0,
    every: int = 5,
    weights: dict[str, float] | None = None,
    student: nn.Module | None = None,
    bank: FeatureBank | None = None,
) -> Iterator[Progress]:
    """Make clips that ``teacher`` hears as the classes asked for, batch after batch.

    Classes (indices; default all) take turns. Yields a ``Progress`` every ``every`` steps and, with ``finished``, at
    the end of each batch; stop by not asking for the next. ``weights`` replaces single weights of the recipe;
    ``student`` (any module that returns ``Features``; it gathers no gradients) switches the adversarial term on;
    ``bank`` carries the features of earlier clips over. The same seed gives the same clips on one device (on a GPU up
    to the order of its sums).

    Raises FramiError when an argument is out of range, at the call.
    """
    steps = recipe.steps if steps is None else steps
    classes = list(range(len(teacher.classes))) if classes is None else list(classes)
    weights = recipe.weights | (weights or {})
    _check(samples=samples, steps=steps, batch=batch, every=every)
    if not 0 <= seed < 2**48:
        raise FramiError(f"a seed is a whole number from 0 to {2**48 - 1}, not {seed}")
    if not 0.1 <= seconds <= 30:
        raise FramiError(f"a clip lasts 0.1 to 30 seconds, not {seconds:g}")
    if not classes or any(not 0 <= c < len(teacher.classes) for c in classes):
        raise FramiError(f"classes are numbers from 0 to {len(teacher.classes) - 1}, not {classes}")
    if any(not math.isfinite(value) or value < 0 for value in weights.values()):
        raise FramiError("weights of loss terms are finite and not negative")
    if not any(weights[name] for name in ("class", "batch_norm", "contrast")):
        raise FramiError("every loss weight is 0, so nothing would be learnt; raise one")
    bank = FeatureBank(recipe.bank) if bank is None else bank
    return _run(teacher, recipe, weights, student, bank, samples, seconds, steps, classes, batch, seed, every)


def arithmetic(teacher: Teacher, seconds: float) -> dict[str, int]:
    """Multiply-accumulates of one forward pass for one clip of this duration: ``{"teacher", "generator"}``."""
    frames = teacher.spec.frames(seconds)
    device = next(teacher.model.parameters()).device
    generator = _new_generator(teacher, 0).to(device)
    latents = generator.noise(1, frames, torch.Generator()).to(device)
    silence = torch.full((1, 1, teacher.spec.n_mels, frames), teacher.spec.floor, device=device)
    return {"teacher": macs(teacher.model, silence), "generator": macs(generator, latents, frames)}


def _check(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1:
            raise FramiError(f"{name} is at least 1, not {value}")


def make_clips(teacher: Teacher, recipe: Recipe = RECIPES["frami"], **settings) -> Clips:
    """``invert`` to its end: all finished clips at once."""
    return Clips.join([p.clips for p in invert(teacher, recipe, every=10**9, **settings) if p.finished])


def _run(
    teacher, recipe, weights, student, bank, samples, seconds, steps, classes, batch, seed, every
) -> Iterator[Progress]:
    start = time.perf_counter()
    device = next(teacher.model.parameters()).device
    frames = teacher.spec.frames(seconds)
    batches = -(-samples // batch)
    rng = torch.Generator().manual_seed(seed)
    head, head_optimiser = None, None
    for number in range(batches):
        first = number * batch
        asked = torch.tensor([classes[i % len(classes)] for i in range(first, min(first + batch, samples))])
        labels = asked.to(device)
        count = len(labels)
        generator = _new_generator(teacher, seed * 1009 + number).to(device, memory_format=memory_format(device))
        latents = nn.Parameter(generator.noise(count, frames, rng).to(device))
        optimiser = torch.optim.Adam(
            [
                {"params": generator.parameters(), "lr": recipe.lr},
                {"params": [latents], "lr": recipe.lr_latent},
            ],
            betas=recipe.betas,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        lengths = torch.full((count,), frames, device=device)
        for step in range(1, steps + 1):
            with autocast(device):
                x = generator(latents, frames)
            inputs, input_lengths = x, None
            if weights["contrast"]:
                view, view_lengths = draw_view(x, lengths, teacher.spec.floor, recipe.views, rng)
                inputs, input_lengths = torch.cat([x, view]), torch.cat([lengths, view_lengths])
            with recorded(teacher.model, count) as norms, autocast(device):
                out = teacher.model(inputs, input_lengths)
            terms = {"class": losses.class_loss(out.logits[:count], labels)}
            if norms.inputs and weights["batch_norm"]:
                terms["batch_norm"] = losses.batch_norm_loss(norms.inputs)
            if weights["contrast"]:
                features = _features(norms, out)
                if head is None:
                    head, head_optimiser = _new_head(features.shape[1], seed, device, recipe)
                projected = F.normalize(head(features), dim=1)
                terms["contrast"] = losses.contrastive_loss(
                    projected[count:], projected[:count].detach(), _negatives(head, bank, rng), recipe.temperature
                )
            if student is not None and weights["adversarial"]:
                with autocast(device):
                    answer = student(x).logits
                terms["adversarial"] = losses.adversarial_loss(out.logits[:count], answer)
            if step % every == 0 and step < steps:
                yield _progress(number, batches, step, steps, x, asked, out, terms, False, start)
            optimiser.zero_grad(set_to_none=True)
            if head_optimiser:
                head_optimiser.zero_grad(set_to_none=True)
            learning = [latents, *generator.parameters(), *(head.parameters() if head else ())]
            sum(weights[name] * term for name, term in terms.items()).backward(inputs=learning)
            optimiser.step()
            schedule.step()
            if head_optimiser:
                head_optimiser.step()
        with torch.no_grad():
            with autocast(device):
                x = generator(latents, frames)
            with recorded(teacher.model) as norms:
                out = teacher.model(x)
            bank.push(_features(norms, out))
        yield _progress(number, batches, steps, steps, x, asked, out, terms, True, start)


def _negatives(head: nn.Module, bank: FeatureBank, rng: torch.Generator) -> Tensor | None:
    """Rows of the bank as the head sees them now (a random part of a large bank), Tensor[N, D], without gradient.

    They are projected anew at every step: the head would learn to turn away from rows that it does not move along.
    """
    rows = bank.rows()
    if rows is None:
        return None
    if len(rows) > _NEGATIVES:
        rows = rows[torch.randperm(len(rows), generator=rng)[:_NEGATIVES].to(rows.device)]
    with torch.no_grad():
        return F.normalize(head(rows), dim=1)


def _new_generator(teacher: Teacher, seed: int) -> Generator:
    bands = getattr(getattr(teacher.model, "backbone", None), "bands", None)
    own = isinstance(bands, MaskedBatchNorm2d)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Generator(
            teacher.spec,
            mean=bands.running_mean if own else None,
            std=bands.running_var.sqrt() if own else None,
        )


def _new_head(features: int, seed: int, device: torch.device, recipe: Recipe):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Sequential(nn.Linear(features, 256), nn.ReLU(), nn.Linear(256, 128)).to(device)
    return head, torch.optim.Adam(head.parameters(), lr=recipe.lr_head)


def _features(norms, out) -> Tensor:
    """Feature that the contrastive term compares: channel means of every batch norm, and the pooled state."""
    pooled = out.pooled.float()
    return torch.cat([norms.clip_means(), pooled], 1) if norms.inputs else pooled


def _progress(number, batches, step, steps, x, asked, out, terms, finished, start) -> Progress:
    count = len(asked)
    logits = out.logits[:count].detach().float().cpu()
    clips = Clips(
        mels=x.detach().cpu().contiguous(),
        lengths=torch.full((count,), x.shape[-1]),
        asked=asked,
        heard=logits.argmax(1),
        confidence=logits.softmax(1).gather(1, asked[:, None])[:, 0],
        logits=logits,
        pooled=out.pooled[:count].detach().float().cpu(),
    )
    seconds = time.perf_counter() - start
    share = (number + step / steps) / batches
    values = {name: float(term.detach()) for name, term in terms.items()}
    return Progress(number + 1, batches, step, steps, clips, values, finished, seconds, seconds / share - seconds)
