"""Runs of synthesis: one after the other in a worker, saved on disk, found again by id, drawn by the page."""

import atexit
import shutil
import tempfile
import threading
import time
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from frami import banks, files
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.inversion import TERMS, Clips, InversionSettings, Progress, invert
from frami.paths import home
from frami.studio.services import clip_ids, offers, page_values
from frami.workers import synthesis
from frami.workers.pool import Pool, on_file, shared

#: Runs on disk, and states of each clip that are saved on its way.
_RUNS = 50
SNAPSHOTS = 8


@dataclass
class Synthesis:
    """One run and where it stands; written by the worker, read by the page.

    ``vocoder`` : its name, None for the usual one; ``finished`` : clips of its finished batches, of which ``saved`` are
    on disk; ``notes`` : on how it is made.
    """

    id: str
    teacher: Checkpoint
    settings: InversionSettings
    folder: Path
    vocoder: str | None = None
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
            "message": self.error,
            "axis": page_values.axis(self.teacher.spec),
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
    """All runs. One worker: two visitors' runs never share the cores, the second waits its turn."""

    def __init__(self, folder: Path | None = None, pool: Pool | None = None):
        self._folder = folder
        self._pool = pool or shared()
        self._runs: dict[str, Synthesis] = {}
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="frami-run")
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        return self._folder or home() / "studio"

    def start(
        self, teacher: Checkpoint, settings: InversionSettings, vocoder: str | None = None, queued: bool = True
    ) -> Synthesis:
        """Queue an inversion; ``FramiError`` at once where nothing would be learnt or the folder cannot be made.

        Not ``queued``, it is the caller's to be made (``gpu_events``).
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FramiError(
                f"{self.folder} cannot be made ({error.strerror}); set FRAMI_HOME to another folder"
            ) from error
        self._forget()
        id = uuid4().hex[:12]
        run = Synthesis(id, teacher, replace(settings, snapshots=SNAPSHOTS), self.folder / id, vocoder)
        invert(teacher, run.settings).close()  # refuses what teaches nothing
        with self._lock:
            self._runs[id] = run
        if queued:
            self.enqueue(run)
        return run

    def enqueue(self, run: Synthesis) -> None:
        """Let a run, or what is missing of it, be made in its turn."""
        run._turn = self._worker.submit(self._work, run)

    def close(self) -> None:
        """Stop all runs, save what they made, and wait for the one at work."""
        for run in list(self._runs.values()):
            run.stop()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def get(self, id: str | None) -> Synthesis | None:
        """The run of this id if this process knows it."""
        return self._runs.get(id) if isinstance(id, str) else None

    def ahead(self, run: Synthesis) -> int:
        """Runs that must end before this one begins."""
        return sum(not other.done and other.requested_at < run.requested_at for other in list(self._runs.values()))

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
            run.error = str(error) if isinstance(error, FramiError) else f"the run failed ({error})"
        finally:
            run.saved = len(self.bank(run.id) or ())
            run.done = True

    def _forget(self) -> None:
        """Drop the oldest runs, in memory and on disk."""
        with self._lock:
            ended = [run.id for run in self._runs.values() if run.done]
            for id in ended[:-_RUNS]:
                del self._runs[id]
            on_disk = [path for path in self.folder.iterdir() if clip_ids.is_run(path.name)]
            on_disk.sort(key=lambda path: path.stat().st_mtime)
            for path in on_disk[:-_RUNS]:
                if path.name not in self._runs:
                    shutil.rmtree(path, ignore_errors=True)


@lru_cache(maxsize=1)
def _zips() -> Path:
    """Folder of this process in the system's temporary folder, whence Gradio serves."""
    folder = Path(tempfile.mkdtemp(prefix="frami-studio-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def archive(folder: Path) -> Path:
    """A zip of a run's sounds, spectrograms and settings."""
    path = _zips() / f"frami-{folder.name}.zip"
    with files.replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as file:
        for entry in sorted(folder.rglob("*")):
            if entry.suffix in (".wav", ".json", ".safetensors"):
                file.write(entry, f"frami-{folder.name}/{entry.relative_to(folder)}")
    return path
