"""A bank whose batches are made by several workers: it is divided into chains, ranges of batches that know nothing of
each other.

How a bank divides is one of its settings (``chain``: batches of a chain), seeds count batches, a chain begins with
weights of its own, and is made on one thread: so the clips are the same whoever makes them. Workers write shards and
sounds into the bank's folder, which all of them have to see; the manifest, and the folder's lock, are of the process
that divides the work. Beside the shards lies, for each unfinished chain, ``resume-NUMBER.pt``, with which another
worker goes on behind its last batch.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from frami import vocoder, weights
from frami.audio import AudioError
from frami.banks import shards
from frami.banks.folder import CHAINS, RESUME_CHAIN, entries, finish_replacement, read_shards, shard_path
from frami.banks.saving import Saving, predictor, refused
from frami.banks.shards import Damaged, Shard
from frami.banks.writer import OFTEN, Writer, create, saved_state
from frami.checkpoints import Checkpoint
from frami.cluster import Engine, Failures, Task
from frami.cluster.sent import SentTeacher
from frami.cluster.tasks import Progress, Report
from frami.device import threads
from frami.inversion import InversionSettings, check, invert
from frami.vocoder import Vocoder

#: Batches of a chain where a bank is divided and none are given.
CHAIN = 32


@dataclass(frozen=True)
class Plan:
    """What a worker needs to know of the bank. at : folder into which it writes; head : as of ``Saving``; vocoder : as
    of ``vocoder.get``; device : as of ``pick``."""

    settings: InversionSettings
    at: str
    head: dict
    vocoder: str | None
    device: str


@dataclass(frozen=True)
class Made:
    """A chain that is finished: rows of the manifest by batch, and remarks on the result."""

    rows: dict[int, list[dict]]
    notes: tuple[str, ...]


class Divided(Writer):
    """The writer of a bank in chains of ``chain`` batches, one of its settings; ``create`` makes it. ``rows`` : of the
    manifest, by batch."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.rows: dict[int, list[dict]] = {}

    @property
    def open_chains(self) -> list[range]:
        """Batches of each chain of which one is missing."""
        settings = self._head["settings"]
        batches, chain = -(-settings["samples"] // settings["batch"]), settings["chain"]
        chains = [range(first, min(first + chain, batches)) for first in range(0, batches, chain)]
        return [chain for chain in chains if not all(number in self.rows for number in chain)]

    def plan(self, settings: InversionSettings, sounds: str | None, device: str) -> Plan:
        if sounds and Path(sounds).exists():  # one's own, which workers of other folders find, too
            sounds = str(Path(sounds).absolute())
        return Plan(settings, str(self._at.absolute()), self._head, sounds, device)

    def add(self, rows: dict[int, list[dict]], seconds: float) -> None:
        """Batches that a worker has written. seconds : since this run began or went on. Raises BankError when the disk
        refuses the manifest."""
        self._put(rows)
        self.seconds = self._before + seconds
        try:
            # Where it is to replace another bank it comes at the end: with it a folder counts as whole.
            if self.in_place and (self.made <= OFTEN or self.made >= 1.1 * self._listed):
                self._write_manifest()
        except OSError as error:
            raise refused(self.folder, error) from error

    def _find(self, manifest: dict) -> None:
        whole, _ = read_shards(self.folder, manifest)
        self._put({number: entries(shard, shard.first, self._head) for number, shard in whole.items()})
        self.seconds = self._before = manifest["seconds"]
        self._write_manifest()

    def finish(self) -> None:
        """Mark the bank as finished; one that it replaces goes now. Raises BankError."""
        try:
            for path in self._at.glob(CHAINS):
                path.unlink()
            if not self.in_place:
                self._write_manifest()
                finish_replacement(self.folder)
                self._at = self.folder
        except OSError as error:
            raise refused(self.folder, error) from error
        super().finish()

    def _put(self, rows: dict[int, list[dict]]) -> None:
        self.made += sum(len(some) for number, some in rows.items() if number not in self.rows)
        self.rows |= rows
        self.batches = len(self.rows)

    def _write_manifest(self) -> None:
        self._entries = [entry for number in sorted(self.rows) for entry in self.rows[number]]
        super()._write_manifest()


def create_for(
    teacher: Checkpoint, settings: InversionSettings, folder: str | Path, sounds: Vocoder | None, chain: int, **choices
) -> Divided:
    """As ``banks.create_for``, for a bank in chains of so many batches."""
    check(teacher, settings)
    values, more = settings.to_dict() | {"chain": chain}, {"multilabel": teacher.multilabel} | choices
    return create(folder, values, teacher.classes, teacher.spec, sounds, kind=Divided, **more)


def fill(
    writer: Divided, engine: Engine, teacher: SentTeacher, plan: Plan, progress: Progress, note: Callable[[str], None]
) -> None:
    """Make the chains that are missing, on an engine, and finish the bank. ``note(text)`` is called with each remark
    once. Raises FramiError where a chain could not be made, once the others are."""
    chains, began = writer.open_chains, time.perf_counter()
    failures, noted = Failures("chains"), set()
    shared = engine.share(teacher)

    def tasks() -> Iterator[Task]:
        for chain in chains:
            yield Task(
                f"batches {chain[0] + 1} to {chain[-1] + 1}", make_chain, (shared, plan, chain[0], chain[-1] + 1)
            )

    label = f"{plan.settings.recipe.name} on {plan.settings.teacher}"
    unit = "chain" if engine.remote else "step"
    for ended in engine.run(tasks(), progress, unit=unit, label=label, total=len(chains)):
        if failures.note(ended):
            continue
        for text in ended.value.notes:
            if text not in noted:
                note(text)
            noted.add(text)
        writer.add(ended.value.rows, time.perf_counter() - began)
    failures.tell()
    writer.finish()


def make_chain(teacher: SentTeacher, plan: Plan, first: int, end: int, *, report: Report) -> Made:
    """``_make_chain`` on one thread: more of them add in another order, to other clips."""
    with threads(1):
        return _make_chain(teacher, plan, first, end, report)


def _make_chain(teacher: SentTeacher, plan: Plan, first: int, end: int, report: Report) -> Made:
    """Make the batches from ``first`` up to but without ``end`` and write them, behind those that an earlier try has
    left. Raises FramiError, BankError when the disk refuses."""
    at, settings = Path(plan.at), plan.settings
    loaded = teacher.load(plan.device)
    sounds = vocoder.get(plan.vocoder, loaded.spec) if plan.head["ending"] else None
    saving, resume = Saving(plan.head, sounds, predictor(loaded.model)), at / RESUME_CHAIN.format(first)
    rows, memory = _left(at, resume, plan.head, first, end)
    notes: dict[str, None] = {}
    number = first + len(rows)
    try:
        for state in invert(loaded, settings, first=number, end=end, memory=memory) if number < end else ():
            report(state.done, state.total)
            notes |= dict.fromkeys(state.notes)
            if state.finished:
                start = number * settings.batch
                rows[number] = saving.save(at, number, start, state.clips, state.trajectory)
                number += 1
                if number < end:
                    weights.save_state(resume, {"batches": number, "seconds": state.seconds, "state": state.memory()})
        resume.unlink(missing_ok=True)
    except (OSError, AudioError) as error:
        raise refused(at, error) from error
    return Made(rows, tuple(notes))


def _left(at: Path, resume: Path, head: dict, first: int, end: int) -> tuple[dict[int, list[dict]], dict | None]:
    """Rows of the batches of a chain that are there as far as they can be gone on from, and the memory to do so."""
    rows: dict[int, list[dict]] = {}
    for number in range(first, end):
        shard = _shard(at, number)
        if shard is None:
            break
        rows[number] = entries(shard, shard.first, head)
    saved = saved_state(resume)
    if len(rows) == end - first:
        return rows, None
    if saved is None or not first < saved["batches"] <= first + len(rows):
        return {}, None
    return {number: rows[number] for number in range(first, saved["batches"])}, saved["state"]


def _shard(at: Path, number: int) -> Shard | None:
    try:
        return shards.read(shard_path(at, number))
    except Damaged:
        return None
