"""What several workers are worth beside one: by tasks that sleep, which measure the engine alone, or that compute."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from frami.cluster import Engine, Failures, Task
from frami.cluster.tasks import Progress, Report

#: Kinds of tasks.
SLEEP, CLIPS = "sleep", "clips"


@dataclass(frozen=True)
class Plan:
    """So many tasks a worker, each of which sleeps for ``seconds``, or makes a batch of ``clips`` of the teacher
    ``fsdd`` in ``steps`` steps."""

    kind: str = SLEEP
    each: int = 10
    seconds: float = 1.0
    clips: int = 16
    steps: int = 14


def run(plan: Plan, engine: Engine, progress: Progress) -> dict:
    """Efficiency of an engine: the time that its tasks would take in one row, by their own clocks, over the time that
    they took together and the number of workers. All workers have begun a task before the clock starts. FramiError."""
    workers = engine.workers
    started = _ended(engine, [_task(plan, -1 - n, 1.0) for n in range(workers)], progress, "start")
    began = time.perf_counter()
    ended = _ended(engine, [_task(plan, n) for n in range(plan.each * workers)], progress, "tasks")
    wall = time.perf_counter() - began
    spent = sum(one.value for one in ended)
    return {
        "kind": plan.kind, "workers": workers, "tasks": len(ended), "processes": len({one.where for one in ended}),
        "task_seconds": round(spent / len(ended), 4), "seconds": round(wall, 3),
        "efficiency": round(spent / (workers * wall), 4), "began": len(started),
    }  # fmt: skip


def _task(plan: Plan, number: int, least: float = 0.0) -> Task:
    """least : seconds that it takes at least, so that no worker takes two at the start."""
    if plan.kind == SLEEP:
        return Task(f"sleep {number}", sleep, (max(plan.seconds, least),))
    return Task(f"clips {number}", make, (plan.clips, plan.steps, number % 1000))


def _ended(engine: Engine, tasks: list[Task], progress: Progress, label: str) -> Iterator:
    failures = Failures("tasks")
    ended = [one for one in engine.run(tasks, progress, label=label, total=len(tasks)) if not failures.note(one)]
    failures.tell()
    return ended


def sleep(seconds: float, *, report: Report) -> float:
    """Seconds that the task asked for: what it takes longer is a loss."""
    time.sleep(seconds)
    return seconds


def make(clips: int, steps: int, seed: int, *, report: Report) -> float:
    """Seconds of this process's processor that a batch took."""
    from frami import checkpoints
    from frami.inversion import make_clips

    began = time.process_time()
    make_clips(checkpoints.load("fsdd"), "frami", samples=clips, batch=clips, steps=steps, seed=seed)
    return time.process_time() - began
