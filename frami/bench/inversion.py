"""Measurements of inversion: speed beside the machine's own ceiling, diversity of recipes, confidence by duration."""

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor, nn

from frami import files
from frami.checkpoints import Checkpoint
from frami.device import RecordedStep, fast_bf16
from frami.errors import FramiError
from frami.features import diversity
from frami.inversion import Clips, Recipe, invert
from frami.inversion.feature_bank import FeatureBank
from frami.inversion.loop import begin_batch, draw
from frami.inversion.step import ALL, Speedups, new_work

# ------------------------------------------------------------------------------------------------- speed


@dataclass(frozen=True)
class Speed:
    """Speed of a recipe. ``clips_per_second`` : finished clips, at the recipe's own steps; ``clip_steps_per_second`` :
    clips of a batch over the time of a step; ``flops`` : operations of a step per clip, forward and backward, a
    companion student's included (a multiply-accumulate is two); ``ceiling_ratio`` : operations per second as a share of
    what the teacher's convolutions alone reach in the same precision; ``peak_bytes`` : memory beyond what was held
    before."""

    recipe: str
    clips_per_second: float
    clip_steps_per_second: float
    steps: int
    flops: int
    flops_per_second: float
    ceiling_ratio: float
    peak_bytes: int


def ceiling(teacher: Checkpoint, clips: int, frames: int, dtype: torch.dtype) -> float:
    """Operations per second that the teacher's own 3 × 3 convolutions reach in this precision, each alone, forward and
    gradient of the input, on as many clips as a step joins; the mean over them, weighted by their work."""
    device = next(teacher.model.parameters()).device
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

        spent += _fastest(RecordedStep(both, device), device)
        out = F.conv2d(x[:1], weight, stride=module.stride, padding=module.padding)
        work += 2 * 2 * clips * out.shape[1] * out.shape[2] * out.shape[3] * weight[0].numel()
    return work / spent


def _fastest(function: RecordedStep, device: torch.device, repeats: int = 5) -> float:
    """Seconds of one call: the best of some; on CUDA each of many in a row, since one is shorter than its launch."""
    row = 20 if device.type == "cuda" else 1
    for _ in range(_warm(device)):
        function()
    times = []
    for _ in range(repeats):
        _wait(device)
        start = time.perf_counter()
        for _ in range(row):
            function()
        _wait(device)
        times.append((time.perf_counter() - start) / row)
    return min(times)


def _timed(step: Callable[[], None], device: torch.device) -> list[float]:
    """Seconds of some steps after the first ones: five, or fewer where that would take long."""
    for _ in range(_warm(device)):
        step()
    times: list[float] = []
    while len(times) < 5 and (len(times) < 2 or sum(times) < 2):
        _wait(device)
        start = time.perf_counter()
        step()
        _wait(device)
        times.append(time.perf_counter() - start)
    return times


def _warm(device: torch.device) -> int:
    """Calls before the first that counts: on CUDA until the graph is recorded."""
    return 4 if device.type == "cuda" else 1


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def speed(
    teacher: Checkpoint,
    recipes: Sequence[Recipe],
    *,
    clips: int = 64,
    seconds: float = 0.93,
    rounds: int = 3,
    report: Callable[[int, int], None] | None = None,
) -> tuple[list[Speed], dict[str, float]]:
    """Measure recipes side by side, in turns, and the ceilings by precision (operations per second).

    Every clip lasts ``seconds``. A figure is that of the fastest step of all ``rounds``, as the ceiling is that of the
    fastest pass: on a shared machine, the slower ones tell of the neighbours.
    """
    device = next(teacher.model.parameters()).device
    frames = teacher.spec.frames(seconds)
    ceilings = {"float32": ceiling(teacher, 2 * clips, frames, torch.float32)}
    if fast_bf16(device):
        ceilings["bfloat16"] = ceiling(teacher, 2 * clips, frames, torch.bfloat16)
    best = ceilings.get("bfloat16", ceilings["float32"])
    times: dict[str, list[float]] = {recipe.name: [] for recipe in recipes}
    work: dict[str, int] = {}
    peaks: dict[str, int] = {}
    for turn in range(rounds):
        for done, recipe in enumerate(recipes):
            with _peak(device) as peak:
                step = _stepper(teacher, recipe, clips, frames)
                if turn == 0:
                    work[recipe.name] = _operations(step) // clips
                times[recipe.name] += _timed(step, device)
                del step
            peaks[recipe.name] = max(peaks.get(recipe.name, 0), peak())
            if report:
                report(turn * len(recipes) + done + 1, rounds * len(recipes))
    rows = []
    for recipe in recipes:
        second = min(times[recipe.name])
        rate = work[recipe.name] * clips / second
        rows.append(
            Speed(
                recipe=recipe.name,
                clips_per_second=clips / second / recipe.steps,
                clip_steps_per_second=clips / second,
                steps=recipe.steps,
                flops=work[recipe.name],
                flops_per_second=rate,
                ceiling_ratio=rate / best,
                peak_bytes=peaks[recipe.name],
            )
        )
    return rows, ceilings


def _stepper(
    teacher: Checkpoint, recipe: Recipe, clips: int, frames: int, speedups: Speedups = ALL
) -> Callable[[], None]:
    """One step of this recipe on a batch, the feature bank full."""
    weights = {name: value for name, value in recipe.weights.items() if name != "adversarial" or recipe.student_steps}
    work = new_work(teacher, recipe, weights, None, clips, frames, False, 0, speedups)
    rng = torch.Generator().manual_seed(0)
    target = torch.arange(clips) % len(teacher.classes)
    begin_batch(work, target, 0.0, 0, rng)
    bank = FeatureBank(recipe.bank)
    if weights.get("contrast"):
        rows = torch.randn(recipe.bank, work.features, generator=rng)
        bank.push(rows.to(work.device), (torch.arange(recipe.bank) % len(teacher.classes)).to(work.device))

    def step() -> None:
        draw(work, bank, rng)
        for _ in range(recipe.student_steps if work.companion else 0):
            work.teach()
        work.step()

    return step


#: What the ladder takes away, in the order of ``Speedups``, and what is left instead.
LADDER = {
    "precision": "float32 instead of bfloat16",
    "order": "channels in planes instead of channels last",
    "norms": "batch norms, their statistics and what follows under plain autograd",
}


def ladder(
    teacher: Checkpoint, recipe: Recipe, *, clips: int = 64, seconds: float = 0.93, rounds: int = 3,
    report: Callable[[int, int], None] | None = None,
) -> list[dict]:  # fmt: skip
    """What each measure against lost time is worth: clip-steps per second with all of them, without each one, and
    without any, in turns, by the fastest step. Rows ``{"without", "clip_steps_per_second", "ratio"}``, the ratio to
    the first."""
    frames = teacher.spec.frames(seconds)
    device = next(teacher.model.parameters()).device
    rows = [(), *((name,) for name in LADDER), tuple(LADDER)]
    times: dict[tuple, list[float]] = {row: [] for row in rows}
    for turn in range(rounds):
        for done, row in enumerate(rows):
            speedups = Speedups(*(name not in row for name in LADDER))
            times[row] += _timed(_stepper(teacher, recipe, clips, frames, speedups), device)
            if report:
                report(turn * len(rows) + done + 1, rounds * len(rows))
    best = min(times[()])
    return [
        {
            "without": list(row),
            "clip_steps_per_second": clips / min(times[row]),
            "ratio": best / min(times[row]),
        }
        for row in rows
    ]


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
    _give_back()
    before, stop = _resident(), threading.Event()

    def watch() -> None:
        nonlocal found
        while not stop.wait(0.005):
            found = max(found, _resident() - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield lambda: found
    finally:
        stop.set()
        thread.join()


def _resident() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _give_back() -> None:
    """Hand freed memory back to the system, where the C library can (glibc)."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError):
        return


# ------------------------------------------------------------------------------------------------- diversity


def richness(
    teacher: Checkpoint,
    recipe: Recipe,
    real: Tensor | None,
    real_labels: Tensor | None,
    *,
    samples: int,
    batch: int,
    seed: int,
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """Make ``samples`` clips by a recipe and measure how rich they are, beside real ones (pooled states Tensor[M, D])
    where there are any. Returns plain numbers: those of ``diversity.summary``, the mean confidence, seconds spent."""
    start = time.perf_counter()
    parts = []
    for state in invert(teacher, recipe, samples=samples, batch=batch, seconds=None, seed=seed, every=20):
        if report:
            report(state.done, state.total)
        if state.finished:
            parts.append(state.clips)
    clips = Clips.join(parts)
    spent = time.perf_counter() - start
    found = diversity.summary(clips.pooled, clips.target, clips.predicted, clips.confidence, real, real_labels)
    found.pop("intervals")
    return found | {"seconds": spent}


class Results:
    """Measurements kept in a JSON file, each under its settings, so that a stopped benchmark goes on where it was.
    Several processes may fill one file."""

    def __init__(self, path: Path):
        self.path = path
        self.cells: dict[str, dict] = self._read()

    def _read(self) -> dict[str, dict]:
        try:
            found = files.read_json(self.path) if self.path.exists() else {}
            if not isinstance(found, dict) or not all(isinstance(cell, dict) for cell in found.values()):
                raise ValueError("it holds something else")
            return found
        except (OSError, ValueError) as error:
            raise FramiError(
                f"{self.path}: not a benchmark's results ({error}); move it away, or choose another --out"
            ) from error

    def get(self, key: str) -> dict | None:
        return self.cells.get(key)

    def renew(self) -> None:
        """Take another look at the file: other processes may fill it too."""
        self.cells = self._read()

    def put(self, key: str, value: dict) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock")):
                self.cells = self._read() | {key: value}
                files.write_json(self.path, dict(sorted(self.cells.items())))
        except OSError as error:
            raise FramiError(f"{self.path} cannot be written ({error.strerror})") from error


# ------------------------------------------------------------------------------------------------- duration


def by_duration(
    teacher: Checkpoint,
    recipe: Recipe,
    *,
    samples: int,
    batch: int,
    shortest: float,
    longest: float,
    seed: int,
    report: Callable[[int, int], None] | None = None,
) -> dict[str, list]:
    """Clips of every duration from one run: ``{"seconds", "confidence", "as_asked"}``, a value a clip."""
    rows: dict[str, list] = {"seconds": [], "confidence": [], "target_accuracy": []}
    span = (shortest, longest)
    for state in invert(teacher, recipe, samples=samples, batch=batch, seconds=span, seed=seed, every=20):
        if report:
            report(state.done, state.total)
        if state.finished:
            clips = state.clips
            rows["seconds"] += [round(teacher.spec.seconds(n), 3) for n in clips.lengths.tolist()]
            rows["confidence"] += [round(c, 4) for c in clips.confidence.tolist()]
            rows["target_accuracy"] += (clips.target == clips.predicted).tolist()
    return rows
