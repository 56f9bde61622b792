"""Batches of clips for a distillation, made by two chains side by side where that is of use."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial

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
    """Batches of which each begins with what the one before it left. ``states`` : of its inversion; ``memory`` : what
    its last batch left, with the number of its next one among all as ``batches``; None before the first."""

    states: Iterator[Progress]
    memory: Callable[[], dict] | dict | None = None

    def remember(self) -> dict | None:
        """The memory as numbers, to be called before the chain's next batch begins."""
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
        stored = memory.get("streams", [memory]) if memory else []
        self._chains = self._begun(stored) if memory else [_Chain(self._states(stride=self._most))]
        self._pool: ThreadPoolExecutor | None = None
        self._stopped = False

    def _begun(self, stored: Sequence[dict | None]) -> list[_Chain]:
        """Chains that go on from these memories, in the order of their next batches; from a single one, as many as
        there may be. (In earlier versions a chain may have made nothing yet, and each counted from 0.)"""
        memories = sorted((one for one in stored if one), key=lambda one: one["batches"])
        count = max(len(memories), self._most)
        numbers = [one["batches"] for one in memories]
        if len(set(numbers)) < count:
            numbers = [len(memories) * numbers[0] + k for k in range(count)]
        return [self._from(memories[k % len(memories)], number, count) for k, number in enumerate(numbers)]

    def _from(self, memory: dict, number: int, stride: int) -> _Chain:
        """A chain that goes on with this batch."""
        return _Chain(self._states(first=number, stride=stride, memory=memory), memory | {"batches": number})

    @property
    def coming(self) -> int:
        """Batches of the next turn."""
        return min(len(self._chains), self._most, torch.get_num_threads())

    def turn(self, most: int | None = None) -> Iterator[Progress | None]:
        """Make a turn (of ``most`` batches at most, but of one at least); yields None now and then while it is being
        made, then the joined clips. Give it up by asking no further: what was begun is then lost with this maker."""
        count = self.coming if most is None else max(1, min(most, self.coming))
        chains = self._chains[:count]
        for chain in chains:
            chain.remember()
        begin = time.perf_counter()
        made = yield from (self._beside(chains) if count > 1 else _alone(chains[0]))
        seconds, first = time.perf_counter() - begin, made[0]
        for chain, progress in zip(chains, made, strict=True):
            chain.memory = progress.memory
        self._chains = self._chains[count:] + chains
        self.turns += 1
        if len(self._chains) < self._most:
            self._chains.insert(0, self._from(chains[0].remember(), 1, self._most))
        yield replace(
            first, clips=Clips.join([progress.clips for progress in made]), seconds=seconds,
            warmup=seconds * first.warmup / first.seconds, memory=self.memory,
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
        """What a later maker needs to go on after the last finished turn: how many there were (``batches``), and what
        each chain left (``streams``: the names are those of earlier versions)."""
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
