"""Batches of clips for a distillation, made by two inversions side by side where that is of use."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from statistics import fmean

import torch
from torch import nn

from frami.checkpoints import Checkpoint
from frami.device import threads
from frami.distill.settings import Settings
from frami.inversion import Clips, Progress, invert
from frami.inversion import recipe as row
from frami.inversion.settings import MOST_SEED

#: Inversions that take turns on a CPU: each step is hundreds of small operations, of which two threads do more side by
#: side than one operation does on two cores.
STREAMS = 2
#: Seconds between two looks at batches that are being made.
POLL = 0.1
#: What keeps the seeds of the streams apart.
_APART = 1_000_000_007


class Maker:
    """Makes batches in turns. A *turn* is one batch of each stream, joined; on one thread the streams take turns, so
    that the same seed gives the same clips on any number of threads (up to the order of sums).

    A recipe whose generator learns from batch to batch (``kept``, ``meta``) has one stream, and so has a GPU.

    ``turns`` : finished ones. ``student`` : for the adversarial term, unless the recipe alternates with a companion of
    its own; None without. ``memory`` : of an earlier maker of the same settings.
    """

    def __init__(
        self, teacher: Checkpoint, settings: Settings, student: nn.Module | None = None, memory: dict | None = None
    ):
        recipe = row(settings.recipe)
        streams = STREAMS if teacher.device.type == "cpu" and recipe.keep in ("reset", "warm") else 1
        inner = memory.get("streams", [memory]) if memory else [None] * streams
        self.turns = memory["batches"] if memory else 0
        alternates = recipe.student_steps > 0  # then a single step takes long: the clock is read more often
        self._streams = [
            invert(
                teacher, recipe, samples=settings.clips * 10**6, batch=settings.clips, seconds=None,
                seed=(settings.seed + _APART * k) % (MOST_SEED + 1), every=1 if alternates else 10,
                student=None if alternates else student, first=one["batches"] if one else 0, memory=one,
            )
            for k, one in enumerate(inner)
        ]  # fmt: skip
        self._memories = list(inner)
        self._pool: ThreadPoolExecutor | None = None
        self._stopped = False

    def turn(self, batches: int | None = None) -> Iterator[Progress | None]:
        """Make a turn (of ``batches`` of its streams, default: all); yields None now and then while it is being made,
        then the joined clips. Give it up by asking no further: what was begun is then lost with this maker."""
        self._memories = [memory() if callable(memory) else memory for memory in self._memories]
        streams = self._streams[:batches]
        cores = torch.get_num_threads()
        begin = time.perf_counter()
        made = yield from (self._beside(streams, cores) if len(streams) > 1 and cores > 1 else _in_turn(streams))
        self._memories[: len(made)] = [progress.memory for progress in made]
        self.turns += 1
        seconds, share = time.perf_counter() - begin, fmean(progress.warmup / progress.seconds for progress in made)
        yield replace(
            made[0], clips=Clips.join([progress.clips for progress in made]), seconds=seconds, warmup=share * seconds,
            memory=self.memory,
        )  # fmt: skip

    def _beside(self, streams, cores: int):
        """Each stream on a thread of its own."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(len(self._streams), thread_name_prefix="maker")
        tasks = [self._pool.submit(partial(self._batch, stream, cores // len(streams) or 1)) for stream in streams]
        while wait(tasks, timeout=POLL).not_done:
            yield None
        return [task.result() for task in tasks]

    def _batch(self, stream: Iterator[Progress], cores: int) -> Progress | None:
        with threads(cores):
            return next((made for made in stream if made.finished or self._stopped), None)

    def memory(self) -> dict:
        """What a later maker needs to go on after the last finished turn; ``batches`` : its turns."""
        self._memories = [memory() if callable(memory) else memory for memory in self._memories]
        return {"batches": self.turns, "streams": self._memories}

    def close(self) -> None:
        """End the threads; batches in the making are given up."""
        self._stopped = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _in_turn(streams):
    """One stream after the other."""
    made = []
    for stream in streams:
        for progress in stream:
            if progress.finished:
                made.append(progress)
                break
            yield None
    return made
