"""Runs of the studio: each in the worker thread, one after the other, saved on disk, found again by id."""

import atexit
import re
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from frami import banks, files
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.inversion import Clips, InversionSettings, Progress, invert
from frami.paths import home
from frami.studio.services import offers, page_values

_ID = re.compile(r"[0-9a-f]{12}")
#: Runs on disk, and states of each clip that are saved on its way.
_RUNS = 50
SNAPSHOTS = 8


@dataclass
class Job:
    """One run and where it stands; written by the worker, read by the page. ``vocoder`` : name, None for the usual."""

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
    curves: dict[str, list[float]] = field(default_factory=dict)
    manifest: dict | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _turn: Future | None = None

    @property
    def untargeted(self) -> bool:
        """Whether its recipe takes no target classes."""
        return not offers.targeted(self.settings.recipe)

    def stop(self) -> None:
        """End after the present step, and save what was made so far; at once while it still waits its turn."""
        self._stop.set()
        if self._turn is not None and self._turn.cancel():
            self.stopped = self.done = True


class Jobs:
    """The studio's runs. One worker: two visitors' runs never share the cores, the second waits its turn."""

    def __init__(self, folder: Path | None = None):
        self._folder = folder
        self._jobs: dict[str, Job] = {}
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="frami-run")
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        return self._folder or home() / "studio"

    def start(self, teacher: Checkpoint, settings: InversionSettings, vocoder: str | None = None) -> Job:
        """Queue an inversion; ``FramiError`` at once where nothing would be learnt or the folder cannot be made."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FramiError(
                f"{self.folder} cannot be made ({error.strerror}); set FRAMI_HOME to another folder"
            ) from error
        self._forget()
        id = uuid4().hex[:12]
        job = Job(id, teacher, replace(settings, snapshots=SNAPSHOTS), self.folder / id, vocoder)
        states = invert(teacher, job.settings, every=2)
        with self._lock:
            self._jobs[job.id] = job
        job._turn = self._worker.submit(self._run, job, states)
        return job

    def close(self) -> None:
        """Stop all runs, save what they made, and wait for the one at work."""
        for job in list(self._jobs.values()):
            job.stop()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def get(self, id: str | None) -> Job | None:
        """The run of this id if this process knows it."""
        return self._jobs.get(id) if isinstance(id, str) else None

    def ahead(self, job: Job) -> int:
        """Runs that must end before this one begins."""
        return sum(not other.done and other.requested_at < job.requested_at for other in list(self._jobs.values()))

    def bank(self, id: str | None) -> banks.Bank | None:
        """What a run left on disk, also from before a restart."""
        if not isinstance(id, str) or not _ID.fullmatch(id):
            return None
        try:
            return banks.load(self.folder / id)
        except FramiError:
            return None

    def _run(self, job: Job, states: Iterator[Progress]) -> None:
        writer = None

        def report(state: Progress) -> bool:
            # Without what only the writer or a later run wants: it would outlive the run.
            job.latest = replace(state, trajectory=None, memory=None)
            confidence = {"confidence": page_values.confidence(state.clips, job.untargeted)}
            for name, value in (state.losses | confidence).items():
                job.curves.setdefault(name, []).append(value)
            job.stopped = job._stop.is_set() and (state.step < state.steps or state.batch < state.batches)
            job.manifest = writer.manifest if writer.made else None
            if state.finished or job.stopped:
                job.finished = state.clips if job.finished is None else Clips.join([job.finished, state.clips])
            return job.stopped

        try:
            synthesize = offers.vocoder(job.vocoder, job.teacher.spec)
            writer = banks.create_for(job.teacher, job.settings, job.folder, synthesize)
            banks.fill(writer, states, report, resumable=False)
        except Exception as error:
            job.error = str(error) if isinstance(error, FramiError) else f"the run failed ({error})"
        finally:
            states.close()
            job.manifest = writer.manifest if writer and writer.made else None
            job.done = True

    def _forget(self) -> None:
        """Drop the oldest runs, in memory and on disk."""
        with self._lock:
            ended = [job for job in self._jobs.values() if job.done]
            for job in ended[: max(0, len(ended) - _RUNS)]:
                del self._jobs[job.id]
            if not self.folder.is_dir():
                return
            on_disk = [path for path in self.folder.iterdir() if _ID.fullmatch(path.name)]
            on_disk.sort(key=lambda path: path.stat().st_mtime)
            for path in on_disk[: max(0, len(on_disk) - _RUNS)]:
                if path.name not in self._jobs:
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
