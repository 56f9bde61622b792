"""A run's process in a worker of a cluster: what it needs goes there, and what it writes comes back bit by bit.

The process is the one that the studio's queue starts on its own machine (``frami.runs.child``), with a folder and a run
store of its own; machines need have no folder in common. It ends with its worker.
"""

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import frami
from frami import files, paths, temporary
from frami.errors import FramiError
from frami.runs import Runs
from frami.runs.rows import Run

STUDENT, STATE, MANIFEST = ("student.safetensors", "student.json"), "state.pt", "bank/manifest.json"
#: Files of a run's folder that travel, by their paths in it.
FILES = re.compile(r"student\.(safetensors|json)|state\.pt|bank/(manifest\.json|shards/shard-\d{5,7}\.safetensors)")
#: Where its own process finds what is given to it: its working folder.
GIVEN = "given"
#: Where it lies until the run begins, and the files of the run's folder that come with it.
_RECEIVED = "received"
#: Bytes of files in one answer, after which the others wait for the next; those that go with the answer itself.
PORTION, WITH = 1 << 26, 1 << 18
#: Characters of the end of its process's output.
_LOG = 4000


@dataclass(frozen=True)
class Order:
    """A run to be done. ``settings`` : as stored, its teacher and bank named as they lie among the files; ``files`` :
    paths of what was sent before (``receive``), those of the run's folder (``FILES``) and those below ``GIVEN``;
    ``device`` : as of ``pick``."""

    id: str
    kind: str
    name: str
    settings: dict
    files: tuple[str, ...]
    device: str = "auto"


@dataclass(frozen=True)
class Begun:
    """Where a run has begun. ``node`` : the machine's name in Ray."""

    host: str
    node: str


@dataclass(frozen=True)
class News:
    """What is new since the last time: points of the curves as rows (name, step, seconds, value); ``files`` : contents
    by path, whole; ``large`` : bytes of those that are to be asked for (``piece``) before the next news, all of one
    answer; ``more`` : others wait. Once its process has ended, ``code`` is its exit status, and the run's status, error
    and result are those of its store; ``log`` : the end of what it printed."""

    points: tuple = ()
    files: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, int] = field(default_factory=dict)
    more: bool = False
    code: int | None = None
    status: str = "running"
    error: str | None = None
    result: dict = field(default_factory=dict)
    log: str = ""


class RunThere:
    """One run, from what is sent for it to ``end``."""

    _base: Path | None = None

    def version(self) -> str:
        """Of frami there."""
        return frami.__version__

    def receive(self, name: str, piece: bytes) -> None:
        """Append to a file that the run needs."""
        path = self._place() / _RECEIVED / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(piece)

    def begin(self, order: Order) -> Begun:
        """Start the run's process."""
        import ray

        self.start(order)
        return Begun(socket.gethostname(), ray.get_runtime_context().get_node_id())

    def start(self, order: Order) -> None:
        """``begin``, wherever it is."""
        recordings = paths.data_folder()
        self._place()
        self._id, self._sent, self._seen = order.id, {}, {}
        self._store = Runs(self._base / "runs" / "runs.sqlite")
        folder = self._base / "runs" / order.id
        self._store.create(order.kind, order.name, order.settings, folder, order.id)
        self._folder, given = folder, self._base / GIVEN
        given.mkdir()
        for name in order.files:
            target = self._base / name if name.startswith(f"{GIVEN}/") else folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._base / _RECEIVED / name, target)
        self._seen = {name: _stamp(folder / name) for name in order.files if FILES.fullmatch(name)}
        environment = paths.child_environment() | {"FRAMI_HOME": str(self._base), "FRAMI_DATA": str(recordings)}
        command = (sys.executable, "-m", "frami.runs.child", order.kind, "--run", order.id, "--device", order.device)
        with (self._base / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment, cwd=given,
                start_new_session=True,
            )  # fmt: skip

    def news(self) -> News:
        """What is new."""
        code = self._process.poll()  # before the files are read: what is there then is the last
        changed, more = self._changed()
        points = self._points()
        small = sum(map(len, changed.values())) <= WITH
        self._large = {} if small else changed
        sizes = {name: len(content) for name, content in self._large.items()}
        news = News(points, changed if small else {}, sizes, more)
        if code is None or more:
            return news
        run: Run = self._store.get(self._id)
        text = (self._base / "log").read_bytes()[-_LOG:].decode("utf-8", "replace")
        return replace(news, code=code, status=run.status, error=run.error, result=run.result, log=text)

    def piece(self, name: str, start: int, length: int) -> bytes:
        """Of a file of the last news."""
        return self._large[name][start : start + length]

    def stop(self) -> None:
        """Tell its process to save its state and end."""
        with suppress(OSError):
            self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Leave nothing behind."""
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        shutil.rmtree(self._base, ignore_errors=True)
        temporary.end()

    def _place(self) -> Path:
        """Where all of it lies."""
        if self._base is None:
            temporary.begin()  # which removes what workers left that were killed
            self._base = Path(tempfile.mkdtemp(prefix="run-"))
        return self._base

    def _points(self) -> tuple:
        """Rows of the curves that are new, or another than they were."""
        rows = []
        with suppress(FramiError):  # its process writes: the next time
            for name, points in self._store.metrics(self._id).items():
                for step, seconds, value in points:
                    if self._sent.get((name, step)) != (seconds, value):
                        self._sent[name, step] = seconds, value
                        rows.append((name, step, seconds, value))
        return tuple(sorted(rows, key=lambda row: row[2]))

    def _changed(self) -> tuple[dict[str, bytes], bool]:
        """Files that have changed, and whether others wait. A state goes with all clips that it counts: it is read
        first and sent last; a student goes with its card."""
        found: dict[str, bytes] = {}
        state = self._read(STATE)
        student = [self._read(name) for name in STUDENT]
        if any(student):
            weights, card = (self._folder / name for name in STUDENT)
            with suppress(OSError, ValueError, KeyError):
                pair = weights.read_bytes(), card.read_bytes()
                if hashlib.sha256(pair[0]).hexdigest() == files.as_value(pair[1].decode())["sha256"]:
                    found |= dict(zip(STUDENT, pair, strict=True))
                    self._seen |= {name: one[1] for name, one in zip(STUDENT, student, strict=True) if one}
        names = sorted(f"bank/shards/{path.name}" for path in self._folder.glob("bank/shards/*.safetensors"))
        for name in (*names, MANIFEST):
            if sum(map(len, found.values())) > PORTION:
                return found, True
            if FILES.fullmatch(name) and (read := self._read(name)):
                found[name], self._seen[name] = read
        if state:
            found[STATE], self._seen[STATE] = state
        return found, False

    def _read(self, name: str) -> tuple[bytes, tuple] | None:
        """A file's content and its stamp; None where it has not changed, or is not there."""
        path = self._folder / name
        stamp = _stamp(path)
        if stamp is None or self._seen.get(name) == stamp:
            return None
        with suppress(OSError):
            return path.read_bytes(), stamp
        return None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file."""
    with suppress(OSError):
        found = os.stat(path)
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None
