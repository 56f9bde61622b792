"""The one loop that all inversion recipes run through."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from frami.checkpoints import Checkpoint
from frami.cost import macs
from frami.errors import FramiError
from frami.inversion.bn_statistics import recorded
from frami.inversion.clips import Clips, Progress, Trajectory
from frami.inversion.feature_bank import FeatureBank
from frami.inversion.recipes import RECIPES, TERMS, Recipe, check_terms
from frami.inversion.step import NEGATIVES, Work, anatomy, features, forget, new_generator, new_work, private, set_rate

LONGEST = 30.0
SHORTEST = 0.1


def invert(
    teacher: Checkpoint,
    recipe: Recipe = RECIPES["frami"],
    *,
    samples: int = 16,
    seconds: float | tuple[float, float] | None = 1.0,
    steps: int | None = None,
    classes: Sequence[int] | None = None,
    batch: int = 16,
    seed: int = 0,
    every: int = 5,
    weights: dict[str, float] | None = None,
    student: nn.Module | None = None,
    bank: FeatureBank | None = None,
    snapshots: int = 0,
    first: int = 0,
    memory: dict | None = None,
) -> Iterator[Progress]:
    """Make clips that ``teacher`` hears as the classes asked for, batch after batch.

    Classes (indices; default all) take turns. ``seconds`` : the clips' duration, or the shortest and the longest, or
    None for the teacher's usual ones. Yields a ``Progress`` every ``every`` steps and, with ``finished``, at the end
    of each batch; stop by not asking for the next. ``weights`` replaces single weights of the recipe; ``student`` (any
    module that returns ``Features``; it gathers no gradients) switches the adversarial term on; ``bank`` carries the
    features of earlier clips over; ``snapshots`` : how many states of each clip to keep on its way (see
    ``Progress.trajectory``).

    The same seed gives the same clips on one device (on a GPU up to the order of its sums). To go on with an
    interrupted run, give the number of finished batches as ``first`` and what ``Progress.memory`` returned after the
    last of them as ``memory``.

    Raises FramiError when an argument is out of range or nothing would be learnt, at the call.
    """
    steps = recipe.steps if steps is None else steps
    classes = list(range(len(teacher.classes))) if classes is None else list(classes)
    check_terms(weights or ())
    weights = recipe.weights | (weights or {})
    counts = {"samples": samples, "steps": steps, "batch": batch, "every": every}
    for name, value in (counts | {"snapshots": snapshots, "first": first}).items():
        if value < (name in counts):
            raise FramiError(f"{name} is at least {int(name in counts)}, not {value}")
    if not 0 <= seed < 2**48:
        raise FramiError(f"a seed is a whole number from 0 to {2**48 - 1}, not {seed}")
    shortest, longest = durations(teacher, recipe, seconds)
    if not classes or any(not 0 <= c < len(teacher.classes) for c in classes):
        raise FramiError(f"classes are numbers from 0 to {len(teacher.classes) - 1}, not {classes}")
    if any(not math.isfinite(value) or value < 0 for value in weights.values()):
        raise FramiError("weights of loss terms are finite and not negative")
    notes = []
    try:
        parts = anatomy(private(teacher.model), teacher.spec, teacher.spec.frames(longest))
    except RuntimeError as error:
        raise FramiError(f"this teacher cannot listen to clips of {longest:g} seconds ({error})") from error
    if weights.get("batch_norm") and not parts.sizes:
        weights = weights | {"batch_norm": 0.0}
        notes.append("this teacher has no batch norm: made clips are not held to the statistics of its training data")
    usable = {name for name, value in weights.items() if value}
    if student is None and not recipe.student_steps:
        usable -= {"adversarial"}
    if not usable:
        raise FramiError(f"nothing would be learnt: no loss term of '{recipe.name}' can be used here; raise a weight")
    if recipe.labels == "own" and len(classes) < len(teacher.classes):
        notes.append(f"'{recipe.name}' cannot be asked for classes: it makes what it makes, in whatever balance")
    settings = {
        "samples": samples, "shortest": shortest, "longest": longest, "steps": steps, "classes": classes,
        "batch": batch, "seed": seed, "every": every, "snapshots": snapshots, "first": first,
    }  # fmt: skip
    bank = FeatureBank(recipe.bank) if bank is None else bank
    weights = {name: value for name, value in weights.items() if name in usable}
    return _run(teacher, recipe, weights, student, bank, memory, tuple(notes), **settings)


def durations(teacher: Checkpoint, recipe: Recipe, seconds: float | tuple[float, float] | None) -> tuple[float, float]:
    """Shortest and longest clip in seconds, for what was asked (see ``invert``). Raises FramiError."""
    if seconds is None:
        low, high = (min(max(teacher.seconds * share, SHORTEST), LONGEST) for share in recipe.durations)
    elif isinstance(seconds, tuple | list):
        if len(seconds) != 2:
            raise FramiError(f"durations are the shortest and the longest in seconds, not {seconds}")
        low, high = seconds
    else:
        low = high = seconds
    if not SHORTEST <= low <= high <= LONGEST:
        text = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        raise FramiError(f"a clip lasts {SHORTEST:g} to {LONGEST:g} seconds, the shorter first, not {text}")
    return low, high


def arithmetic(teacher: Checkpoint, seconds: float) -> dict[str, int]:
    """Multiply-accumulates of one forward pass for one clip of this duration: ``{"teacher", "generator"}``."""
    frames = teacher.spec.frames(seconds)
    device = next(teacher.model.parameters()).device
    generator = new_generator(teacher, None, RECIPES["frami"], 0).to(device)
    latents = generator.noise(1, frames, torch.Generator()).to(device)
    silence = torch.full((1, 1, teacher.spec.n_mels, frames), teacher.spec.floor, device=device)
    return {"teacher": macs(teacher.model, silence), "generator": macs(generator, latents, frames)}


def make_clips(teacher: Checkpoint, recipe: Recipe = RECIPES["frami"], **settings) -> Clips:
    """``invert`` to its end: all finished clips at once."""
    return Clips.join([p.clips for p in invert(teacher, recipe, every=10**9, **settings) if p.finished])


def _run(
    teacher, recipe, weights, student, bank, memory, notes, *,
    samples, shortest, longest, steps, classes, batch, seed, every, snapshots, first,
) -> Iterator[Progress]:  # fmt: skip
    start = time.perf_counter()
    spec = teacher.spec
    frames = spec.frames(longest)
    batches = -(-samples // batch)
    work: Work | None = None
    warm = recipe.warmup if first == 0 or memory is None else 0
    total = (batches - first + warm) * steps
    done = 0
    for number in range(first - warm, batches):
        thrown = number < first
        rng = torch.Generator().manual_seed((seed * 1_000_003 + number + 100_000) % 2**63)
        begin = max(number, first) * batch
        target = torch.tensor([classes[i % len(classes)] for i in range(begin, min(begin + batch, samples))])
        if work is None or len(work.labels) != len(target):
            older, work = (
                work,
                new_work(teacher, recipe, weights, student, len(target), frames, shortest < longest, seed * 1009),
            )
            if older is not None:
                load(work, None, snapshot(older, None))
            elif memory is not None:
                load(work, bank, memory)
        kept_rows = bank.rows()
        if kept_rows is not None and kept_rows.shape[1] != work.features:
            raise FramiError("this feature bank holds features of another teacher or recipe; give each its own")
        begin_batch(work, target, shortest, seed * 1009 + number, rng)
        kept = _marks(steps, snapshots)
        states: list[Tensor] = []
        for step in range(1, steps + 1):
            draw(work, bank, rng)
            if recipe.cosine:
                set_rate(work.optimiser, 0.5 * (1 + math.cos(math.pi * (step - 1) / steps)))
            for _ in range(recipe.student_steps if work.companion else 0):
                work.teach()
            work.step()
            done += 1
            if step in kept and not thrown:
                states.append(work.last["x"].half().cpu())
            if done % every == 0 and (step < steps or thrown):
                last = work.last
                yield _progress(
                    work, last, target, number, first, batches, step, steps, warm, done, total, start, notes
                )
        finish_batch(work)
        if thrown:
            continue
        x, out, rows = _result(work)
        labels = target if recipe.labels == "target" else assigned(target, out.logits.argmax(1).cpu())
        bank.push(rows, labels.to(rows.device))
        last = work.last | {"x": x, "logits": out.logits, "pooled": out.pooled}
        state = _progress(work, last, labels, number, first, batches, steps, steps, warm, done, total, start, notes)
        trajectory = Trajectory([*kept, steps], torch.stack([*states, x.half().cpu()])[:, :, 0]) if snapshots else None
        yield replace(state, finished=True, trajectory=trajectory, memory=partial(snapshot, work, bank, number + 1))


def _marks(steps: int, snapshots: int) -> list[int]:
    """Steps after which to keep a state: closer together at the start, where most happens; the end is kept anyway."""
    marks = [round(steps ** (i / max(snapshots - 1, 1))) for i in range(max(snapshots - 1, 0))]
    return sorted(set(marks) - {steps})


def begin_batch(work: Work, target: Tensor, shortest: float, seed: int, rng: torch.Generator) -> None:
    """Set everything that a batch begins with, in place."""
    recipe, spec = work.recipe, work.teacher.spec
    work.labels.copy_(target)
    if work.ragged:
        least = spec.frames(shortest)
        work.lengths.copy_(torch.randint(least, work.frames + 1, (len(target),), generator=rng))
    with torch.no_grad():
        work.latents.copy_(work.generator.noise(len(target), work.frames, rng))
        if recipe.keep in ("reset", "warm"):
            fresh = new_generator(work.teacher, work.anatomy.bands, recipe, seed).state_dict()
            for name, mine in work.generator.state_dict().items():
                if recipe.keep == "reset" or name.startswith("project."):
                    mine.copy_(fresh[name])
        if work.meta is not None:
            for parameter, begin in zip(work.generator.parameters(), work.meta, strict=True):
                parameter.copy_(begin)
                begin.grad = torch.zeros_like(begin) if begin.grad is None else begin.grad.zero_()
    moved = [work.latents, *(() if recipe.keep == "kept" else work.generator.parameters())]
    forget(work.optimiser, moved)
    if work.best_loss is not None:
        work.best_loss.fill_(math.inf)


def draw(work: Work, bank: FeatureBank, rng: torch.Generator) -> None:
    """Random numbers of a step: the view's, fresh latents where they are not learnt, a part of a large bank."""
    if work.weights.get("contrast"):
        work.numbers.copy_(torch.rand(work.numbers.shape, generator=rng))
        chosen = bank.sample(NEGATIVES, rng)
        if chosen is not None:
            rows, labels = chosen
            if work.device.type == "cuda":
                work.negatives[: len(rows)] = rows
                work.negative_labels[: len(rows)] = labels
            else:
                work.negatives, work.negative_labels = rows, labels
            work.negative_count.fill_(len(rows))
    if not work.recipe.lr_latent:
        with torch.no_grad():
            work.latents.copy_(work.generator.noise(len(work.labels), work.frames, rng))


def finish_batch(work: Work) -> None:
    """Carry over what outlasts a batch."""
    if work.past is not None:
        for i, kept in enumerate(work.past):
            now = work.last[f"norm {i}"]
            kept.copy_(torch.where(work.past_share > 0, torch.lerp(now, kept, work.recipe.past), now))
        work.past_share.fill_(work.recipe.past)
    if work.meta is not None:
        work.meta_optimiser.step()


@torch.no_grad()
def _result(work: Work):
    """The clips of a batch as the teacher itself hears them, in full precision: log-Mels, its ``Features``, and the
    rows of the feature bank."""
    model = work.exact
    x = work.best.clone() if work.best is not None else work.generator(work.latents, work.frames).contiguous()
    if work.ragged:
        inside = torch.arange(work.frames, device=x.device) < work.lengths[:, None]
        x = torch.where(inside[:, None, None], x, work.teacher.spec.floor)
    with recorded(model, clips=len(x)) as seen:
        out = model(x, work.lengths if work.ragged else None)
    return x, out, features(seen, out.pooled, work.recipe.feature)


def assigned(target: Tensor, predicted: Tensor) -> Tensor:
    """Give the classes asked for, Tensor[B], to the clips, so that as many as possible are heard as asked.

    For methods that cannot be asked for a class; what is left over goes to the clips left over, in order.
    """
    left = target.tolist()
    given = []
    for label in predicted.tolist():
        given.append(left.pop(left.index(label)) if label in left else None)
    rest = iter(left)
    return torch.tensor([next(rest) if label is None else label for label in given])


def snapshot(work: Work, bank: FeatureBank | None, batches: int = 0) -> dict:
    """What later batches need of the earlier ones: tensors and numbers only, on the CPU."""
    state: dict = {"batches": batches}
    if bank is not None:
        state["bank"] = bank.state_dict()
    if work.recipe.keep in ("kept", "warm"):
        state["generator"] = work.generator.state_dict()
    if work.recipe.keep == "kept":
        state["optimiser"] = [_moments(work.optimiser, p) for p in work.generator.parameters()]
    if work.meta is not None:
        state["generator"] = work.generator.state_dict()
        state["meta"] = [p.detach() for p in work.meta]
        state["meta_optimiser"] = [_moments(work.meta_optimiser, p) for p in work.meta]
    if work.past is not None:
        state |= {"past": work.past, "past_share": work.past_share}
    for name in ("head", "student"):
        module = getattr(work, name)
        if module is not None and (name == "head" or work.companion):
            optimiser = getattr(work, f"{name}_optimiser")
            state[name] = module.state_dict()
            state[f"{name}_optimiser"] = [_moments(optimiser, p) for p in module.parameters()]
    return _on_cpu(state)


def load(work: Work, bank: FeatureBank | None, state: dict) -> None:
    """Inverse of ``snapshot``, for work of the same recipe and teacher (of any batch size)."""
    with torch.no_grad():
        if bank is not None:
            bank.load_state_dict(state["bank"], work.device)
        if "generator" in state:
            work.generator.load_state_dict(state["generator"])
        if "optimiser" in state:
            _restore(work.optimiser, work.generator.parameters(), state["optimiser"])
        if work.meta is not None and "meta" in state:
            for mine, kept in zip(work.meta, state["meta"], strict=True):
                mine.copy_(kept)
            _restore(work.meta_optimiser, work.meta, state["meta_optimiser"])
        if work.past is not None and "past" in state:
            for mine, kept in zip(work.past, state["past"], strict=True):
                mine.copy_(kept)
            work.past_share.copy_(state["past_share"])
        for name in ("head", "student"):
            module = getattr(work, name)
            if module is not None and name in state:
                module.load_state_dict(state[name])
                _restore(getattr(work, f"{name}_optimiser"), module.parameters(), state[f"{name}_optimiser"])


def _moments(optimiser: torch.optim.Adam, parameter: Tensor) -> dict:
    return dict(optimiser.state.get(parameter, {}))


def _restore(optimiser: torch.optim.Adam, parameters, states: list[dict]) -> None:
    for parameter, state in zip(parameters, states, strict=True):
        moved = {name: value.to(parameter.device) for name, value in state.items()}
        if "step" in moved:
            moved["step"] = moved["step"].float()
        optimiser.state[parameter] = moved


def _on_cpu(value):
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {k: _on_cpu(v) for k, v in value.items()}
    return [_on_cpu(v) for v in value] if isinstance(value, list) else value


def _progress(work, last, target, number, first, batches, step, steps, warm, done, total, start, notes) -> Progress:
    logits = last["logits"].float().cpu()
    clips = Clips(
        mels=last["x"].float().cpu().contiguous(),
        lengths=work.lengths.cpu().clone(),
        target=target,
        predicted=logits.argmax(1),
        confidence=logits.softmax(1).gather(1, target[:, None])[:, 0],
        logits=logits,
        pooled=last["pooled"].float().cpu(),
    )
    seconds = time.perf_counter() - start
    values = {name: float(last[name]) for name in TERMS if name in last}
    return Progress(
        batch=max(number, first) + 1,
        batches=batches,
        step=step + (max(0, number - first + warm) * steps if number < first + (warm > 0) else 0),
        steps=steps * (1 + warm) if number <= first and warm else steps,
        clips=clips,
        losses=values,
        finished=False,
        done=done,
        total=total,
        seconds=seconds,
        left=seconds / done * (total - done),
        notes=notes,
    )
