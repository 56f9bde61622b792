"""What a step of both loops costs: of an inversion, and of a student that learns from clips of the same durations."""

import time
from collections.abc import Callable

import torch

from frami.bench.results import Report, silent
from frami.checkpoints import Checkpoint
from frami.device import machine
from frami.distill import Settings
from frami.distill.augment import AugmentConfig, ReplayBuffer, noise_clips
from frami.distill.learner import close, learn, new_learner
from frami.distill.objectives import objective
from frami.distill.student import new_student
from frami.inversion.feature_bank import FeatureBank
from frami.inversion.recipes import recipe
from frami.inversion.settings import durations
from frami.inversion.state import new_work
from frami.inversion.step import stepper
from frami.inversion.teacher import TeacherCopy

#: Clips that the student draws from, and steps before the first that counts.
CLIPS, WARM = 512, 4


def measure(teacher: Checkpoint, settings: Settings, steps: int, report: Report = silent) -> dict:
    """Mean milliseconds of a step, on the wall's clock and of all cores together, of ``settings.clips`` made clips and
    of ``settings.batch`` learnt ones: ``rows`` of ``{"loop", "wall", "cpu"}``. Clips last as long as the recipe's."""
    seconds = durations(teacher, recipe(settings.recipe), None)
    loops = {
        "inversion": _inversion(teacher, settings, seconds),
        "distillation": _distillation(teacher, settings, seconds),
    }
    rows = []
    for done, (name, (step, end)) in enumerate(loops.items(), 1):
        for _ in range(WARM):
            step()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            step()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        end()
        rows.append({"loop": name, "wall": 1e3 * wall / steps, "cpu": 1e3 * cpu / steps})
        report(done, len(loops))
    frames = [teacher.spec.frames(s) for s in seconds]
    return {"machine": machine(teacher.device), "torch": torch.__version__, "teacher": teacher.card.name,
            "frames": frames, "steps": steps, "rows": rows}  # fmt: skip


Loop = tuple[Callable[[], None], Callable[[], None]]  # a step, and what ends the loop


def _inversion(teacher: Checkpoint, settings: Settings, seconds: tuple[float, float]) -> Loop:
    work = new_work(TeacherCopy(teacher, seconds), recipe(settings.recipe), settings.clips)
    rng, bank = torch.Generator().manual_seed(0), FeatureBank(work.recipe.feature_bank)
    improve = stepper(work)
    work.begin(torch.arange(settings.clips) % len(teacher.classes), 0, rng)

    def step() -> None:
        work.draw(bank, rng)
        improve()

    return step, lambda: None


def _distillation(teacher: Checkpoint, settings: Settings, seconds: tuple[float, float]) -> Loop:
    shortest, longest = map(teacher.spec.frames, seconds)
    student = new_student(teacher, settings.student, objective(settings.objective))
    learner = new_learner(teacher, student, settings, longest, AugmentConfig())
    buffer = ReplayBuffer(teacher.spec, longest, teacher.device)
    mels, lengths = noise_clips(teacher.spec, CLIPS, shortest, longest, 0)
    buffer.add(mels, lengths, torch.zeros(CLIPS, dtype=torch.long))
    return lambda: learn(learner, buffer), lambda: close(learner)
