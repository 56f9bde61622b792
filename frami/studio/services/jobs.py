"""Runs of the studio: each in the worker thread, one after the other, kept on disk, found again by id."""

import atexit
import re
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

from frami import banks, files, vocoder
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.inversion import Clips, Progress, invert, recipe
from frami.paths import home
from frami.studio.services import offers, page_values

_ID = re.compile(r"[0-9a-f]{12}")
_KEPT = 50
#: States of each clip that are kept on its way.
SNAPSHOTS = 8


@dataclass
class Job:
    """One run: what was asked, and where it stands. Written by the worker, read by the page."""

    id: str
    teacher: Checkpoint
    settings: dict
    folder: Path
    requested_at: float = field(default_factory=time.time)
    done: bool = False
    stopped: bool = False
    error: str | None = None
    latest: Progress | None = None
    finished: Clips | None = None
    curves: dict[str, list[float]] = field(default_factory=dict)
    manifest: dict | None = None
    _writer: banks.Writer | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _turn: Future | None = None

    @property
    def untargeted(self) -> bool:
        """Whether its recipe takes the classes as they come."""
        return offers.untargeted(self.settings)

    def stop(self) -> None:
        """End after the present step, keeping what was made so far; at once while it still waits its turn."""
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

    def start(self, teacher: Checkpoint, settings: dict) -> Job:
        """Queue a run of ``invert`` with these settings; ``FramiError`` at once when one is out of range."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FramiError(
                f"{self.folder} cannot be made ({error.strerror}); set FRAMI_HOME to another folder"
            ) from error
        self._forget()
        id = uuid4().hex[:12]
        job = Job(id, teacher, settings, self.folder / id)
        arguments = {k: v for k, v in settings.items() if k not in ("teacher", "recipe", "vocoder")}
        states = invert(teacher, recipe(settings["recipe"]), every=2, snapshots=SNAPSHOTS, **arguments)
        with self._lock:
            self._jobs[job.id] = job
        job._turn = self._worker.submit(self._run, job, states)
        return job

    def close(self) -> None:
        """Stop all runs, keeping what they made, and wait for the one at work."""
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

    def _run(self, job: Job, states) -> None:
        try:
            for state in states:
                # Without what only the writer or a later run wants: it would outlive the run.
                job.latest = replace(state, trajectory=None, memory=None)
                for name, value in (
                    state.losses | {"confidence": page_values.confidence(state.clips, job.untargeted)}
                ).items():
                    job.curves.setdefault(name, []).append(value)
                if job._stop.is_set():
                    job.stopped = state.step < state.steps or state.batch < state.batches
                if state.finished or job.stopped:
                    self._keep(job, state)
                if job.stopped:
                    break
            else:
                job._writer.finish()
        except Exception as error:
            job.error = str(error) if isinstance(error, FramiError) else f"the run failed ({error})"
        finally:
            states.close()
            job.done = True

    def _keep(self, job: Job, state: Progress) -> None:
        """Save the clips of a batch, finished or stopped on its way."""
        job.finished = state.clips if job.finished is None else Clips.join([job.finished, state.clips])
        if job._writer is None:
            teacher, voice = job.teacher, job.settings.get("vocoder")
            job._writer = banks.create(
                job.folder,
                job.settings,
                teacher.classes,
                teacher.spec,
                vocoder.get(None if voice == "frami" else voice, teacher.spec),
                predict=banks.predictor(teacher.model),
            )
        job._writer.append(state.clips, seconds=state.seconds, trajectory=state.trajectory)
        job.manifest = job._writer.manifest

    def _forget(self) -> None:
        """Drop the oldest runs, in memory and on disk."""
        with self._lock:
            ended = [job for job in self._jobs.values() if job.done]
            for job in ended[: max(0, len(ended) - _KEPT)]:
                del self._jobs[job.id]
            if not self.folder.is_dir():
                return
            on_disk = [path for path in self.folder.iterdir() if _ID.fullmatch(path.name)]
            on_disk.sort(key=lambda path: path.stat().st_mtime)
            for path in on_disk[: max(0, len(on_disk) - _KEPT)]:
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
