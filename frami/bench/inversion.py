"""Measurements of inversion: speed beside the machine's own ceiling, worth of each speedup, confidence by duration."""

import ctypes
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from pathlib import Path

import numpy as np
import psutil
import torch
import torch.nn.functional as F
from torch import nn

from frami.bench.pages import mean_sd, picture
from frami.bench.results import Report, silent
from frami.checkpoints import Checkpoint
from frami.device import RecordedStep, describe, fast_bf16, machine, precision, processor
from frami.inversion import Recipe, arithmetic, make_clips
from frami.inversion.feature_bank import FeatureBank
from frami.inversion.state import new_work
from frami.inversion.step import stepper
from frami.inversion.teacher import ALL, Speedups, TeacherCopy

Clock = Callable[[], float]  # seconds


@dataclass(frozen=True)
class Timing:
    """How steps are timed: of batches of ``clips`` that last ``seconds`` each, in ``rounds`` turns."""

    clips: int = 64
    seconds: float = 0.93
    rounds: int = 3
    clock: Clock = time.perf_counter


def speed(teacher: Checkpoint, recipes: Sequence[Recipe], timing: Timing, report: Report = silent) -> dict:
    """Measure recipes side by side, in turns, as ``rows``:

    ``clips_per_second`` : finished clips, at the recipe's own ``steps``; ``clip_steps_per_second`` : clips of a batch
    over the time of a step; ``flops`` : operations of a step per clip, forward and backward, a companion student's
    included (a multiply-accumulate is two); ``ceiling_ratio`` : operations per second as a share of what the teacher's
    convolutions alone reach in the same precision; ``peak_bytes`` : memory beyond what was held before.

    A figure is that of the fastest step of all turns, as the ``ceiling`` by precision (operations per second) is that
    of the fastest pass: on a shared machine, the slower ones measure the neighbours. ``macs`` : multiply-accumulates of
    a forward pass.
    """
    device, clips = teacher.device, timing.clips
    frames = teacher.spec.frames(timing.seconds)
    dtypes = {"float32": torch.float32} | ({"bfloat16": torch.bfloat16} if fast_bf16(device) else {})
    ceilings = {name: ceiling(teacher, 2 * clips, frames, dtype, timing.clock) for name, dtype in dtypes.items()}
    best = ceilings.get("bfloat16", ceilings["float32"])
    times, operations, peaks = {}, {}, {}
    for recipe in _turns(recipes, timing.rounds, report):
        name = recipe.name
        with _peak(device) as peak:
            step = _stepper(teacher, recipe, clips, timing.seconds)
            if name not in operations:
                operations[name] = _operations(step) // clips
            times[name] = min(times.get(name, inf), fastest(step, device, timing.clock))
            del step
        peaks[name] = max(peaks.get(name, 0), peak())
    rows = []
    for recipe in recipes:
        rate, flops = clips / times[recipe.name], operations[recipe.name]
        rows.append({
            "recipe": recipe.name, "clips_per_second": rate / recipe.steps, "clip_steps_per_second": rate,
            "steps": recipe.steps, "flops": flops, "flops_per_second": flops * rate,
            "ceiling_ratio": flops * rate / best, "peak_bytes": peaks[recipe.name],
        })  # fmt: skip
    return {
        "device": describe(device), "machine": machine(device), "processor": processor(),
        "precision": precision(device), "torch": torch.__version__, "teacher": teacher.card.name, "batch": clips,
        "frames": frames, "macs": arithmetic(teacher, timing.seconds), "ceiling": ceilings, "rows": rows,
    }  # fmt: skip


#: What the ladder takes away, in the order of ``Speedups``, and what is left instead.
LADDER = {
    "precision": "float32 instead of bfloat16",
    "order": "channels in planes instead of channels last",
    "norms": "batch norms, their statistics and what follows under plain autograd",
}


def ladder(teacher: Checkpoint, recipe: Recipe, timing: Timing, report: Report = silent) -> list[dict]:
    """What each speedup is worth: clip-steps per second with all of them, without each one, and without any, in turns,
    by the fastest step. Rows ``{"without", "clip_steps_per_second", "ratio"}``, the ratio to the first."""
    rows = [(), *((name,) for name in LADDER), tuple(LADDER)]
    times = dict.fromkeys(rows, inf)
    for row in _turns(rows, timing.rounds, report):
        speedups = Speedups(*(name not in row for name in LADDER))
        step = _stepper(teacher, recipe, timing.clips, timing.seconds, speedups)
        times[row] = min(times[row], fastest(step, teacher.device, timing.clock))
    return [
        {"without": list(row), "clip_steps_per_second": timing.clips / spent, "ratio": times[()] / spent}
        for row, spent in times.items()
    ]


def ceiling(
    teacher: Checkpoint, clips: int, frames: int, dtype: torch.dtype, clock: Clock = time.perf_counter
) -> float:
    """Operations per second that the teacher's own 3 × 3 convolutions reach in this precision, each alone, forward and
    gradient of the input, on as many clips as a step joins; the mean over them, weighted by their work."""
    device = teacher.device
    shapes: list[tuple] = []

    def note(module: nn.Conv2d, args: tuple) -> None:
        if module.kernel_size == (3, 3) and module.in_channels > 1:
            shapes.append((module, args[0].shape))

    handles = [m.register_forward_pre_hook(note) for m in teacher.model.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        teacher.model(torch.zeros(1, 1, teacher.spec.n_mels, frames, device=device))
    for handle in handles:
        handle.remove()
    order = torch.channels_last if device.type != "mps" else torch.contiguous_format
    work, spent = 0, 0.0
    for module, shape in shapes:
        x = torch.randn(clips, *shape[1:], device=device, dtype=dtype).contiguous(memory_format=order).requires_grad_()
        weight = module.weight.detach().to(dtype).contiguous(memory_format=order)

        def both(x=x, weight=weight, module=module) -> None:
            y = F.conv2d(x, weight, stride=module.stride, padding=module.padding)
            torch.autograd.grad(y, x, torch.ones_like(y))

        spent += fastest(RecordedStep(both, device), device, clock, row=20 if device.type == "cuda" else 1)
        work += _operations(both)
    return work / spent


def _turns(rows: Sequence, rounds: int, report: Report) -> Iterator:
    """All rows again and again: what changes on the machine meanwhile concerns all of them."""
    for turn in range(rounds):
        for done, row in enumerate(rows, 1):
            yield row
            report(turn * len(rows) + done, rounds * len(rows))


def fastest(call: Callable[[], None], device: torch.device, clock: Clock = time.perf_counter, row: int = 1) -> float:
    """Seconds of a call, after some to warm up (on CUDA until its graph is recorded): the best of five, or of fewer
    where they take long, each the mean of ``row`` calls without a pause."""
    for _ in range(4 if device.type == "cuda" else 1):
        call()
    times: list[float] = []
    while len(times) < 5 and (len(times) < 2 or sum(times) * row < 2):
        _wait(device)
        start = clock()
        for _ in range(row):
            call()
        _wait(device)
        times.append((clock() - start) / row)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _stepper(
    teacher: Checkpoint, recipe: Recipe, clips: int, seconds: float, speedups: Speedups = ALL
) -> Callable[[], None]:
    """One step of this recipe on a batch, the feature bank full."""
    work = new_work(TeacherCopy(teacher, (seconds, seconds), speedups), recipe, clips)
    improve = stepper(work)
    rng = torch.Generator().manual_seed(0)
    target = torch.arange(clips) % len(teacher.classes)
    work.begin(target, 0, rng)
    bank = FeatureBank(recipe.feature_bank)
    if "contrast" in work.weights:
        rows = torch.randn(recipe.feature_bank, work.negatives.rows.shape[1], generator=rng)
        bank.push(rows.to(work.device), (torch.arange(recipe.feature_bank) % len(teacher.classes)).to(work.device))

    def step() -> None:
        work.draw(bank, rng)
        improve()

    return step


def _operations(step: Callable[[], None]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


@contextmanager
def _peak(device: torch.device) -> Iterator[Callable[[], int]]:
    """Most memory that was held within, beyond what was held before, in bytes."""
    found = 0
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: torch.cuda.max_memory_allocated(device) - before
        return
    with suppress(OSError, AttributeError):  # freed memory goes back to the system, where the C library can (glibc)
        ctypes.CDLL(None).malloc_trim(0)
    process, stop = psutil.Process(), threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal found
        while not stop.wait(0.005):
            found = max(found, process.memory_info().rss - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: found
    finally:
        stop.set()
        thread.join()


def by_duration(teacher: Checkpoint, recipe: Recipe, seconds: tuple[float, float], report: Report, **choices) -> dict:
    """Clips of every duration from one run: their ``{"seconds", "confidence", "target_accuracy"}``, a value a clip,
    and ``rows`` of the means in five equal parts of the range. ``choices`` are those of ``invert``."""
    clips = make_clips(teacher, recipe, report=report, seconds=seconds, **choices)
    found = {
        "seconds": [round(teacher.spec.seconds(n), 3) for n in clips.lengths.tolist()],
        "confidence": [round(c, 4) for c in clips.confidence.tolist()],
        "target_accuracy": (clips.target == clips.predicted).tolist(),
    }
    edges = np.linspace(*seconds, 6)
    parts = np.digitize(found["seconds"], edges[1:-1])
    rows = []
    for part, (low, high) in enumerate(pairwise(edges.round(2).tolist())):
        inside = np.flatnonzero(parts == part)
        means = {name: mean_sd([found[name][i] for i in inside])[0] for name in ("confidence", "target_accuracy")}
        rows.append({"from": low, "to": high, "clips": len(inside)} | means)
    return {"teacher": teacher.card.name, "recipe": recipe.name, "rows": rows, "clips": found}


def draw_durations(value: dict, title: str, path: Path) -> None:
    """A point for each clip of ``by_duration``, a line for the means."""
    clips, full = value["clips"], [row for row in value["rows"] if row["clips"]]
    middles, means = [(row["from"] + row["to"]) / 2 for row in full], [row["confidence"] for row in full]
    with picture(path, 6.4, 3.2) as axes:
        axes.scatter(clips["seconds"], clips["confidence"], s=9, color="#b5306f", alpha=0.45, label="clip")
        axes.plot(middles, means, color="#2b2533", marker="o", label="mean")
        axes.set(xlabel="duration in s", ylabel="teacher's confidence", ylim=(0, 1.02), title=title)
        axes.legend(frameon=False)
