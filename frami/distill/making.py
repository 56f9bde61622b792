"""Batches of clips for a distillation, made by two chains side by side where that is of use."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from statistics import fmean

import torch
from torch import nn

from frami.checkpoints import Checkpoint
from frami.device import threads
from frami.distill.settings import Settings
from frami.inversion import Clips, Progress, invert
from frami.inversion import recipe as row

#: Chains of batches on a CPU: each step is hundreds of small operations, of which two threads do more side by side than
#: one operation does on two cores.
CHAINS = 2
#: Seconds between two looks at batches that are being made.
POLL = 0.1


@dataclass
class _Chain:
    """Batches of which each begins with what the one before it left. ``states`` : of its inversion; ``number`` : of its
    next batch among all; ``memory`` : what its last one left, None before the first."""

    states: Iterator[Progress]
    number: int = 0
    memory: Callable[[], dict] | dict | None = None

    def remember(self) -> dict | None:
        """The memory as numbers; it has to be asked for before the next batch is."""
        self.memory = self.memory() if callable(self.memory) else self.memory
        return self.memory


class Maker:
    """Makes batches in turns, numbered from 0. The first one is made alone: a generator that has learnt nothing makes
    poor clips. From what it left two *chains* go on, one with the batches of odd numbers and one with those of even
    ones. A *turn* is the next batch of each chain, joined, where there are threads for both, else of one: so many
    rounds of the same seed are the same clips on any number of threads (up to the order of sums).

    There is one chain for a recipe whose generator learns from batch to batch (``kept``, ``meta``), on a GPU, and
    within a budget on one thread: each batch then begins with what all before it left.

    ``turns`` : finished ones. ``student`` : for the adversarial term, unless the recipe alternates with a companion
    of its own; None without. ``memory`` : of an earlier maker of the same settings.
    """

    def __init__(
        self, teacher: Checkpoint, settings: Settings, student: nn.Module | None = None, memory: dict | None = None
    ):
        recipe = row(settings.recipe)
        several = teacher.device.type == "cpu" and recipe.keep in ("reset", "warm")
        self._most = min(CHAINS, torch.get_num_threads() if settings.budget else CHAINS) if several else 1
        self.turns = memory["batches"] if memory else 0
        alternates = recipe.student_steps > 0  # then a single step takes long: the clock is read more often
        self._states = partial(
            invert, teacher, recipe, samples=settings.clips * 10**6, batch=settings.clips, seconds=None,
            seed=settings.seed, every=1 if alternates else 10, student=None if alternates else student,
        )  # fmt: skip
        self._chains = self._begun(memory.get("streams", [memory])) if memory else [_Chain(self._states())]
        self._pool: ThreadPoolExecutor | None = None
        self._stopped = False

    def _begun(self, memories: Sequence[dict]) -> list[_Chain]:
        """Chains that go on from these memories; from a single one, as many as there may be."""
        count = max(len(memories), self._most)
        numbers = [one["batches"] for one in memories]
        if len(set(numbers)) < count:  # of a single one, or of chains that each counted from 0, as they once did
            numbers = [len(memories) * numbers[0] + k for k in range(count)]

        def chain(number: int, memory: dict) -> _Chain:
            states = self._states(first=number, stride=count, memory=memory)
            return _Chain(states, number, memory | {"batches": number})

        return [chain(*pair) for pair in zip(numbers, cycle(memories), strict=False)]

    @property
    def coming(self) -> int:
        """Batches of the next turn."""
        return min(len(self._chains), self._most, torch.get_num_threads())

    def turn(self, most: int | None = None) -> Iterator[Progress | None]:
        """Make a turn (of ``most`` batches at most); yields None now and then while it is being made, then the joined
        clips. Give it up by asking no further: what was begun is then lost with this maker."""
        chains = sorted(self._chains, key=lambda chain: chain.number)[: min(self.coming, most or self.coming)]
        for chain in chains:
            chain.remember()
        begin = time.perf_counter()
        made = yield from (self._beside(chains) if len(chains) > 1 else _alone(chains[0]))
        seconds, share = time.perf_counter() - begin, fmean(progress.warmup / progress.seconds for progress in made)
        for chain, progress in zip(chains, made, strict=True):
            chain.memory, chain.number = progress.memory, chain.number + len(self._chains)
        self.turns += 1
        if len(self._chains) < self._most:
            self._chains = self._begun([chains[0].remember()])
        yield replace(
            made[0], clips=Clips.join([progress.clips for progress in made]), seconds=seconds, warmup=share * seconds,
            memory=self.memory,
        )  # fmt: skip

    def _beside(self, chains: Sequence[_Chain]) -> Generator[None, None, list[Progress]]:
        """Each chain on a thread of its own."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(len(chains), thread_name_prefix="maker")
        cores = torch.get_num_threads() // len(chains)
        tasks = [self._pool.submit(partial(self._batch, chain.states, cores)) for chain in chains]
        while wait(tasks, timeout=POLL).not_done:
            yield None
        return [task.result() for task in tasks]

    def _batch(self, states: Iterator[Progress], cores: int) -> Progress | None:
        with threads(cores):
            return next((made for made in states if made.finished or self._stopped), None)

    def memory(self) -> dict:
        """What a later maker needs to go on after the last finished turn; ``batches`` : its turns."""
        return {"batches": self.turns, "streams": [chain.remember() for chain in self._chains]}

    def close(self) -> None:
        """End the threads; batches in the making are given up."""
        self._stopped = True
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _alone(chain: _Chain) -> Generator[None, None, list[Progress]]:
    for progress in chain.states:
        if progress.finished:
            return [progress]
        yield None
