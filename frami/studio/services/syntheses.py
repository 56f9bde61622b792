"""Runs of synthesis: one after the other in a worker, saved on disk, found again by id, drawn by the page."""

import atexit
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from frami import banks, files, locks
from frami.checkpoints import Checkpoint
from frami.errors import FramiError, sentence
from frami.hosting import owners
from frami.hosting.addresses import Origins
from frami.hosting.limits import NONE, Limits
from frami.hosting.owners import EVERYONE, Visitor
from frami.inversion import TERMS, Clips, InversionSettings, Progress, invert
from frami.paths import home
from frami.studio.services import clip_ids, offers, page_values, troubles
from frami.studio.services.turns import Turns
from frami.workers import synthesis
from frami.workers.pool import Pool, on_file, shared

#: Runs on disk where none has an owner, and states of each clip that are saved on its way.
_RUNS = 50
SNAPSHOTS = 8
#: Seconds that a second of one clip takes in each step, as long as no run has told better: a small network on a CPU.
_RATE = 0.04
#: What is said of a run that ended in an error before anything of it was saved.
_NOTHING = "Nothing was saved yet: press Generate to start it again."
#: Seconds for which a zip is left for the page to copy.
_COPIED = 600
#: Seconds that something else usually takes which is made among the runs (a change of a sound).
_OTHER = 30.0


@dataclass
class Synthesis:
    """One run and where it stands; written by the worker, read by the page.

    ``vocoder`` : its name, None for the usual one; ``owner``, ``address`` : as of ``Visitor``; ``finished`` : clips of
    its finished batches, of which ``saved`` are on disk; ``notes`` : on how it is made.
    """

    id: str
    teacher: Checkpoint
    settings: InversionSettings
    folder: Path
    vocoder: str | None = None
    owner: str | None = None
    address: str | None = None
    requested_at: float = field(default_factory=time.time)
    done: bool = False
    stopped: bool = False
    error: str | None = None
    latest: Progress | None = None
    finished: Clips | None = None
    saved: int = 0
    notes: tuple[str, ...] = ()
    curves: dict[str, list[float]] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _turn: Future | None = None

    @property
    def untargeted(self) -> bool:
        """Whether its recipe takes no target classes."""
        return not offers.targeted(self.settings.recipe)

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End after the present step, and save what was made so far; at once while it still waits its turn."""
        self._stop.set()
        if self._turn is not None and self._turn.cancel():
            self.stopped = self.done = True

    def take(self, told: dict) -> None:
        """Take in a state that the process at work tells of (``workers.synthesis``)."""
        state = synthesis.state(told)
        confidence = {"confidence": page_values.confidence(state.clips, self.untargeted)}
        for name, value in (state.losses | confidence).items():
            self.curves.setdefault(name, []).append(value)
        self.saved, self.stopped = told["saved"], told["ends"]
        if state.finished or self.stopped:
            self.finished = state.clips if self.finished is None else Clips.join([self.finished, state.clips])
        self.latest = state

    def value(self) -> dict:
        """The run as the page draws it, with the clips that form."""
        state, settings = self.latest, self.settings
        value = {
            "run": self.id,
            "state": "running" if not self.done else "error" if self.error else "stopped" if self.stopped else "done",
            "message": self.error and sentence(self.error),
            "axis": page_values.axis_of(self.teacher),
            "hints": {name: term.about for name, term in TERMS.items()},
            "clips": [],
            "curves": {name: page_values.curve(list(values)) for name, values in list(self.curves.items())},
            "share": 0.0,
            "teacher": self.teacher.card.title,
            "recipe": settings.recipe.title,
            "untargeted": self.untargeted,
        }
        if state is None:
            return value | {"state": value["state"] if self.done else "waiting"}
        first = (state.batch - 1) * settings.batch
        if not self.done and self.saved <= first:
            value["clips"] = self._rows(state.clips, f"step {state.step}", first)
        return value | {
            "step": state.step,
            "steps": state.steps,
            "batch": state.batch,
            "batches": state.batches,
            "share": state.seconds / (state.seconds + state.left),
            "left": round(state.left, 1),
            "seconds": round(state.seconds, 1),
            "confidence": self.curves["confidence"][-1],
            "notes": [*self.notes, *state.notes],
        }

    def saved_clips(self) -> list[dict]:
        """The clips that are done and saved, as the page draws them."""
        return self._rows(self.finished, offers.origin(self.settings.to_dict()))[: self.saved] if self.saved else []

    def _rows(self, made: Clips, origin: str, first: int = 0) -> list[dict]:
        teacher, prefix = self.teacher, clip_ids.prefix("run", self.id)
        return page_values.clips(made, prefix, teacher.classes, teacher.spec, origin, first, self.untargeted)


class Syntheses:
    """All runs. One worker: two visitors' runs never share the cores, the second waits its turn. ``limits`` : of each
    visitor and all together."""

    def __init__(self, folder: Path | None = None, limits: Limits = NONE, pool: Pool | None = None):
        self._folder = folder
        self._limits = limits
        self._pool = pool or shared()
        self._runs: dict[str, Synthesis] = {}
        self._turns = Turns("frami-run")
        self._others: list = []
        self.origins = Origins()
        self._rate = _RATE
        self._lock = threading.Lock()

    def tidy(self) -> None:
        """Remove what processes that were killed left beside the clips, before any run begins."""
        files.clear_removed(self.folder)
        for folder in files.folders(self.folder):
            locks.clear(folder)
            files.tidy(folder, owners.FILE)

    @property
    def folder(self) -> Path:
        return self._folder or home() / "studio"

    def start(
        self,
        teacher: Checkpoint,
        settings: InversionSettings,
        vocoder: str | None = None,
        who: Visitor = EVERYONE,
        queued: bool = True,
    ) -> Synthesis:
        """Queue an inversion for a visitor; ``FramiError`` at once where nothing would be learnt, the folder cannot be
        made, the visitor is not known, or it would be more than the limits. Not ``queued``, it is the caller's to be
        made (``gpu_events``)."""
        owners.check(who)
        self._limits.check("clips", settings.samples)
        self._limits.check("seconds", settings.seconds[1])
        self._limits.check("steps", settings.recipe.steps)
        self._limits.check("work", work(settings))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FramiError(
                f"{self.folder} cannot be made ({error.strerror}); set FRAMI_HOME to another folder"
            ) from error
        self._forget()
        id = uuid4().hex[:12]
        made = replace(settings, snapshots=SNAPSHOTS)
        run = Synthesis(id, teacher, made, self.folder / id, vocoder, who.owner, who.address)
        invert(teacher, run.settings).close()  # refuses what teaches nothing
        with self._lock:
            self._check_waiting(who.owner, who.address)
            try:
                owners.claim(run.folder, who.owner)
            except OSError as error:
                raise FramiError(f"the run cannot be stored ({error.strerror}); make room and try again") from error
            self._runs[id] = run
            self.origins.note(id, who.address)
        if queued:
            self.enqueue(run)
        return run

    def _check_waiting(self, owner: str | None, address: str | None) -> None:
        """LimitError where one more of this visitor would be more than may wait."""
        self._others = [other for other in self._others if not other.done]
        going = [other for other in self._runs.values() if not other.done] + self._others
        self._limits.check("waiting_syntheses", 1 + sum(other.owner == owner for other in going))
        if address is not None:
            self._limits.check_address("waiting_syntheses", 1 + sum(other.address == address for other in going))
        self._limits.check("waiting_syntheses_all", 1 + len(going))

    def submit(self, other, work: Callable[[], None]) -> Future:
        """Let something else be done in its turn among the runs, and count as one. other : has ``owner``, ``address``,
        ``done`` and ``stop()``. LimitError where it would be more than may wait."""
        with self._lock:
            self._check_waiting(other.owner, other.address)
            self._others.append(other)
        return self._turns.submit(other.owner, other.address, work)

    def change(self, teacher: Checkpoint, path: Path, target: int, tell: Callable, stopped: Callable[[], bool]) -> None:
        """Let a worker change a sound (``inversion.change``); ``tell("latest", state)`` is called with each state."""
        arguments = on_file(teacher) | {"path": str(path), "target": target}
        self._pool.run("clips-change", arguments, lambda state: tell("latest", state), stopped, again=0)

    def enqueue(self, run: Synthesis) -> None:
        """Let a run, or what is missing of it, be made in its turn."""
        run._turn = self._turns.submit(run.owner, run.address, self._take, run)

    def close(self) -> None:
        """Stop all runs, save what they made, and wait for the one at work."""
        for run in [*self._runs.values(), *self._others]:
            run.stop()
        self._turns.close()

    def get(self, id: str | None) -> Synthesis | None:
        """The run of this id if this process knows it."""
        return self._runs.get(id) if isinstance(id, str) else None

    def going(self) -> list[Synthesis]:
        """Runs that wait or are at work."""
        return [run for run in list(self._runs.values()) if not run.done]

    def others(self) -> list:
        """What was submitted beside runs (``submit``), and waits or is at work."""
        return [other for other in list(self._others) if not other.done]

    def before(self, run: Synthesis) -> list:
        """Runs, and others, that must end before this one begins, the first first."""
        order, going = self._turns.order(), [*self.going(), *self.others()]
        if run._turn not in order:
            return []
        of_turn = {other._turn: other for other in going}
        at_work = [other for other in going if other._turn not in (None, *order)]
        return at_work + [of_turn[turn] for turn in order[: order.index(run._turn)] if turn in of_turn]

    def ahead(self, run: Synthesis) -> int:
        """Number of runs and others that must end before this one begins."""
        return len(self.before(run))

    def seconds_before(self, run: Synthesis) -> float:
        """Seconds until this run begins, as far as can be told."""
        return sum(self._seconds(other) for other in self.before(run))

    def _seconds(self, other) -> float:
        """Seconds that a run still takes; of others the usual ones."""
        if not isinstance(other, Synthesis):
            return _OTHER
        return other.latest.left if other.latest else self._rate * work(other.settings)

    def owned(self, id: str | None, who: Visitor) -> bool:
        """Whether a run is the visitor's own."""
        return clip_ids.is_run(id) and owners.owns(who, self.folder / id)

    def shown(self, id: str | None, who: Visitor) -> bool:
        """Whether a visitor may look at a run: an own one, or that of a link."""
        return clip_ids.is_run(id) and owners.sees(who, id, self.folder / id)

    def teacher_of(self, id: str, who: Visitor) -> str | None:
        """The teacher of a run that the visitor's link shows; None for another."""
        if not clip_ids.is_run(id) or not owners.is_shared(who, id, self.folder / id):
            return None
        run, bank = self.get(id), self.bank(id)
        return run.settings.teacher if run else bank.manifest["settings"]["teacher"] if bank else None

    def has_link(self, id: str) -> bool:
        """Whether a link shows a run to others."""
        return bool(owners.entry(self.folder / id).share)

    def share(self, id: str | None, who: Visitor) -> str:
        """What a link that shows a visitor's run to others names it by. FramiError for another's run."""
        if not self.owned(id, who) or not (self.folder / id).is_dir():
            raise FramiError("no such run")
        try:
            return f"{id}.{owners.share(self.folder / id)}"
        except OSError as error:
            raise FramiError("the link could not be stored; try again later") from error

    def unshare(self, id: str | None, who: Visitor) -> None:
        """Take the link back. FramiError for another's run."""
        if not self.owned(id, who):
            raise FramiError("no such run")
        try:
            owners.unshare(self.folder / id)
        except OSError as error:
            raise FramiError("the link could not be taken back; try again later") from error

    @property
    def alive(self) -> bool:
        """Whether runs that are started will be made."""
        return self._turns.alive

    def load(self) -> tuple[int, int]:
        """How many runs wait, and how many are at work."""
        there = [*self.going(), *self.others()]
        waiting = sum(run._turn is not None and not run._turn.running() for run in there)
        return waiting, len(there) - waiting

    def bank(self, id: str | None) -> banks.Bank | None:
        """What a run left on disk, also from before a restart."""
        try:
            return banks.load(self.folder / id) if clip_ids.is_run(id) else None
        except FramiError:
            return None

    def saved(self, id: str | None, load_teacher) -> Synthesis | None:
        """A run of which only the bank is left; None where its teacher is not there, or has other weights."""
        bank = self.bank(id)
        try:
            settings = InversionSettings.from_dict(bank.manifest["settings"]) if bank else None
            teacher = load_teacher(settings.teacher) if settings else None
        except FramiError:
            return None
        if teacher is None or not bank.made_from(teacher.card):
            return None
        return Synthesis(id, teacher, settings, bank.folder, done=True, finished=bank.clips(), saved=len(bank))

    def _take(self, run: Synthesis) -> None:
        """A run's turn; how long it took tells when later ones begin."""
        self._work(run)
        if run.latest is not None and run.latest.seconds > 0 and not run.stopped and not run.error:
            self._rate += (run.latest.seconds / work(run.settings) - self._rate) / 2

    def _work(self, run: Synthesis) -> None:
        """Let a worker make a run's clips; what is lost with it is not more than a batch."""
        arguments = on_file(run.teacher) | {
            "settings": run.settings.to_dict(),
            "folder": str(run.folder),
            "sounds": offers.vocoder(run.vocoder),
        }
        try:
            self._pool.run("clips-make", arguments, run.take, lambda: run.stopping, again=0)
        except Exception as error:
            run.error = troubles.in_words(error)
        finally:
            with suppress(OSError):
                locks.clear(run.folder)  # of a worker that was killed
            run.saved = len(self.bank(run.id) or ())
            if run.error and not run.saved:
                run.error = f"{sentence(run.error)} {_NOTHING}"
            run.done = True

    def drop(self, id: str) -> None:
        """Delete a run that has ended, in memory and on disk."""
        with self._lock:
            run = self._runs.get(id)
            if clip_ids.is_run(id) and (run is None or run.done):
                self._runs.pop(id, None)
                with suppress(OSError):
                    files.remove_folder(self.folder / id)

    def _forget(self) -> None:
        """Drop the oldest runs, in memory and on disk; those with an owner leave the disk by their age and size where
        there are limits, else not at all."""
        with self._lock:
            ended = [run.id for run in self._runs.values() if run.done]
            for id in ended[:-_RUNS]:
                del self._runs[id]
            if self._limits:
                return
            on_disk = [
                path for path in self.folder.iterdir() if clip_ids.is_run(path.name) and not owners.entry(path).owner
            ]
            on_disk.sort(key=lambda path: path.stat().st_mtime)
            for path in on_disk[:-_RUNS]:
                if path.name not in self._runs and locks.folder_in_use(path) is None:
                    with suppress(OSError):
                        files.remove_folder(path)


def work(settings: InversionSettings) -> float:
    """What an inversion costs: clips × seconds × steps."""
    clips = settings.samples + settings.recipe.warmup_cost(settings.batch) * settings.batch
    return clips * sum(settings.seconds) / 2 * settings.recipe.steps


@lru_cache(maxsize=1)
def _zips() -> Path:
    """Folder of this process in the system's temporary folder, whence Gradio serves."""
    folder = Path(tempfile.mkdtemp(prefix="frami-clips-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def archive(folder: Path) -> Path:
    """A zip of a run's sounds, spectrograms and settings; older zips are removed."""
    for older in _zips().glob("frami-*.zip"):
        with suppress(OSError):
            if time.time() - older.stat().st_mtime > _COPIED:
                older.unlink()
    path = _zips() / f"frami-{folder.name}.zip"
    with files.replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:
        for entry in sorted(folder.rglob("*")):
            if entry.suffix in (".wav", ".json", ".safetensors"):
                file.write(entry, f"frami-{folder.name}/{entry.relative_to(folder)}")
    return path
