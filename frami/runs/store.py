"""Runs on disk: settings, curves, results and a folder of artefacts for each, in one SQLite file.

Several processes may read and write at once; each call is a short transaction of its own, so that a process killed at
any moment leaves whole rows behind. A run whose process has ended without a word is reported as stopped. A process is
at work on a run as long as it has the lock of the run's folder, whatever clocks say; one without as ``alive`` says.
"""

import errno
import logging
import math
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path

import psutil

from frami import files, locks, schema
from frami.errors import FramiError
from frami.paths import BUNDLED, home
from frami.runs.rows import STATUSES, Curves, DiskError, Point, Row, Run, RunError, json_of, json_text

_log = logging.getLogger(__name__)
FORMAT = 1
ENDED = "its process ended before it was finished"
_WAIT = 30.0  # seconds that a call waits for the others' transactions
_CLOCK = 2.0  # seconds by which the system's figure of a process's start may be off

#: SQLite's errors that pass when another process has ended its transaction; of a disk that fails, which do not.
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_LASTING = {
    sqlite3.SQLITE_READONLY: errno.EROFS, sqlite3.SQLITE_CANTOPEN: errno.EROFS, sqlite3.SQLITE_IOERR: errno.EIO
}  # fmt: skip

#: What curves were called by earlier versions, and what they are called now.
FORMER_CURVES = {"answer": "kd"}

#: ``born`` is not used: earlier versions noted there when the process began.
_TABLES = (
    f"""CREATE TABLE runs (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, settings TEXT NOT NULL,
        status TEXT NOT NULL CHECK (status IN {STATUSES}), created REAL NOT NULL, updated REAL NOT NULL,
        pid INTEGER, born TEXT, folder TEXT NOT NULL, result TEXT NOT NULL, error TEXT)""",
    """CREATE TABLE metrics (
        run TEXT NOT NULL, name TEXT NOT NULL, step INTEGER NOT NULL, seconds REAL NOT NULL, value REAL NOT NULL,
        PRIMARY KEY (run, name, step)) WITHOUT ROWID""",
)
_COLUMNS = "id, kind, name, settings, status, created, updated, pid, folder, result, error"


class Runs:
    """The run store. ``path`` : its SQLite file (default ``runs/runs.sqlite`` in ``home()``), made when first written.

    Every method raises ``RunError``: for an unknown run, a damaged or newer file, a folder that cannot be written
    (``DiskError``); and ``files.FullError`` where the disk is full.
    """

    def __init__(self, path: Path | None = None):
        self.path = Path(path) if path else home() / "runs" / "runs.sqlite"

    def get(self, id: str) -> Run:
        """The run with exactly this id."""
        rows = self._read(f"SELECT {_COLUMNS} FROM runs WHERE id = ?", (id,))
        if not rows:
            raise _unknown(id)
        return self._run(rows[0])

    def find(self, text: str) -> Run:
        """The run with this id, this folder (the newest of them), or the only one whose id begins so."""
        text, runs = str(text), self.list()
        folder = Path(text).expanduser().resolve() if text else None
        found = (
            [run for run in runs if run.id == text]
            or [run for run in runs if run.folder == folder][:1]
            or [run for run in runs if text and run.id.startswith(text.lower())]
        )
        if not found:
            raise RunError(f"no run '{text}'; give an id, its beginning or the run's folder: frami runs list")
        if len(found) > 1:
            raise RunError(f"'{text}' begins the ids of several runs: {', '.join(run.id for run in found)}; give more")
        return found[0]

    def list(self, kind: str | None = None) -> list[Run]:
        """All runs (of a kind), newest first. Damaged ones are left out with a warning where others are whole."""
        where, values = ("WHERE kind = ?", (kind,)) if kind else ("", ())
        rows = self._read(f"SELECT {_COLUMNS} FROM runs {where} ORDER BY created DESC, rowid DESC", values)
        found, damage = [], None
        for row in rows:
            try:
                found.append(self._run(row))
            except RunError as error:
                damage = error
                _warn_of(f"{self.path}: run {str(row[0])[:40]!r} is damaged and left out")
        if damage is not None and not found:
            raise damage
        return found

    def metrics(self, id: str) -> Curves:
        """Curves: of each name its (step, seconds, value), by step."""
        self.get(id)
        rows = self._read("SELECT name, step, seconds, value FROM metrics WHERE run = ? ORDER BY name, step", (id,))
        curves: dict[str, list] = {}
        try:
            schema.held(list[Point], rows)
        except schema.SchemaError as error:
            raise self._damaged(error) from error
        for name, *point in rows:
            curves.setdefault(FORMER_CURVES.get(name, name), []).append(tuple(point))
        return curves

    def compare(self, ids: Sequence[str]) -> dict:
        """Runs side by side: ``runs`` (list of ``Run``), ``differing`` (for each setting in which they differ its
        values, None for a run without it) and ``results`` (for each figure of any result its values, likewise)."""
        runs = [self.get(id) for id in ids]
        settings = _columns_of([run.settings for run in runs])
        return {
            "runs": runs,
            "differing": {name: values for name, values in settings.items() if any(v != values[0] for v in values)},
            "results": _columns_of([run.result for run in runs]),
        }

    def create(self, kind: str, name: str, settings: dict, folder: Path | None = None, id: str | None = None) -> Run:
        """A new run, waiting, and its folder (default ``runs/ID`` in ``home()``). id : of the run of another store that
        this one continues."""
        id = id or secrets.token_hex(6)
        folder = (Path(folder) if folder else home() / "runs" / id).expanduser().resolve()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            files.raise_full(folder, error)
            raise RunError(
                f"{folder}: the run's folder cannot be made ({error.strerror}); choose another, or set FRAMI_HOME"
            ) from error
        now = time.time()
        values = (id, kind, name, json_text(settings), "waiting", now, now, None, str(folder), "{}", None)
        with self._write() as base:
            base.execute(f"INSERT INTO runs ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)
        return self.get(id)

    def start(self, id: str) -> None:
        """This process runs it from now on. ``RunError`` when another process does."""
        with self._write() as base:
            owner = self._owner(base, id)
            if owner not in (None, os.getpid()):
                raise RunError(f"run {id} runs in process {owner}; stop it first, or wait until it ends")
            self._change(base, id, status="running", pid=os.getpid(), born=None, error=None)

    def log(self, id: str, step: int, seconds: float, values: Mapping[str, float], begins: bool = False) -> None:
        """Add a point to the curves, or replace the one of this step; ``seconds`` : spent since the run's beginning.
        Values that are not finite are left out. ``begins`` : the run goes on from here, points from this step on are
        those of before: they go at the same time."""
        points = [(id, name, int(step), float(seconds), float(value)) for name, value in values.items()]
        query = "INSERT OR REPLACE INTO metrics (run, name, step, seconds, value) VALUES (?, ?, ?, ?, ?)"
        with self._write() as base:
            self._change(base, id)
            if begins:
                base.execute("DELETE FROM metrics WHERE run = ? AND step >= ?", (id, step))
            base.executemany(query, [point for point in points if math.isfinite(point[-1])])

    def cut(self, id: str, step: int) -> None:
        """Remove the points after this step: a run that continues from there repeats them."""
        with self._write() as base:
            self._change(base, id)
            base.execute("DELETE FROM metrics WHERE run = ? AND step > ?", (id, step))

    def finish(self, id: str, result: dict) -> None:
        """Record that the run is finished, with this result."""
        with self._write() as base:
            self._change(base, id, status="finished", pid=None, result=json_text(result), error=None)

    def stop(self, id: str) -> None:
        """Record that the run was stopped and may continue later; one that has finished or failed stays so.

        From another process than the run's own this is only a record: it does not end the run's process.
        """
        with self._write() as base:
            owner = self._owner(base, id)
            (status,) = base.execute("SELECT status FROM runs WHERE id = ?", (id,)).fetchone()
            if status in ("waiting", "running"):
                self._change(base, id, status="stopped", error=None)
            if owner in (None, os.getpid()):
                self._change(base, id, pid=None)

    def fail(self, id: str, message: str) -> None:
        """Record that the run failed, and why."""
        with self._write() as base:
            self._change(base, id, status="failed", pid=None, error=message[: schema.LONG])

    def delete(self, id: str) -> None:
        """Delete a run, and its folder where that lies below ``runs`` in ``home()`` and is no other run's."""
        doomed = None
        with self._write() as base:
            owner = self._owner(base, id)
            if owner is not None:
                raise RunError(f"run {id} runs in process {owner}; stop it before it is deleted")
            (text,) = base.execute("SELECT folder FROM runs WHERE id = ?", (id,)).fetchone()
            folder = _folder(text) or Path()
            if folder != Path() and locks.folder_elsewhere(folder):
                raise RunError(f"run {id} is at work in another process; stop it before it is deleted")
            base.execute("DELETE FROM metrics WHERE run = ?", (id,))
            base.execute("DELETE FROM runs WHERE id = ?", (id,))
            (others,) = base.execute("SELECT count(*) FROM runs WHERE folder = ?", (text,)).fetchone()
            if not others and (home() / "runs").resolve() in folder.parents and folder.is_dir():
                try:
                    doomed = files.put_aside(folder)  # what is in it may take longer than others should wait
                except OSError as error:
                    raise RunError(f"{folder} cannot be removed ({error.strerror}); close what uses it") from error
        if doomed:
            shutil.rmtree(doomed, ignore_errors=True)

    def _read(self, query: str, values: tuple = ()) -> "list[tuple]":
        if not self.path.exists():
            return []
        with self._readable_errors(), closing(self._open()) as base:
            return base.execute(query, values).fetchall()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed when the block ends, rolled back when it fails."""
        with self._readable_errors():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as base, base:
                base.execute("BEGIN IMMEDIATE")
                yield base

    @contextmanager
    def _readable_errors(self) -> Iterator[None]:
        """Errors of SQLite and of the file become a ``RunError`` or a ``FullError``, which say what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            code = _code(error)
            if code == sqlite3.SQLITE_FULL or (code in _LASTING and files.is_full(self.path.parent, error)):
                raise files.FullError(self.path) from error
            words = f"{self.path}: the run store cannot be used now ({error}); {_advice(error)}"
            raise (DiskError(words, _LASTING[code]) if code in _LASTING else RunError(words)) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter of names that SQLite complains of
            raise self._damaged(error) from error
        except OSError as error:
            if isinstance(error, FramiError):
                raise
            if files.is_full(self.path.parent, error):
                raise files.FullError(self.path) from error
            raise RunError(f"{self.path}: cannot be written ({error.strerror}); set FRAMI_HOME elsewhere") from error

    def _damaged(self, error: Exception) -> RunError:
        return RunError(
            f"{self.path}: the run store is damaged ({error}); move this file and those beside it whose names begin "
            "like it away, and an empty one is made (the runs' folders stay)"
        )

    def _open(self) -> sqlite3.Connection:
        base = sqlite3.connect(self.path, timeout=_WAIT, isolation_level=None)
        try:
            base.execute("PRAGMA synchronous = NORMAL")
            version = base.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._create_tables(base)
            elif version > FORMAT:
                raise RunError(f"{self.path}: written by a newer frami (format {version}); update frami to read it")
        except BaseException:
            base.close()
            raise
        return base

    @staticmethod
    def _create_tables(base: sqlite3.Connection) -> None:
        """Create the tables, unless another process does so meanwhile (changing the journal mode never waits)."""
        until = time.monotonic() + _WAIT
        while True:
            try:
                base.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                if _code(error) not in _PASSING or time.monotonic() > until:
                    raise
                time.sleep(0.02)
        with base:
            base.execute("BEGIN IMMEDIATE")
            if base.execute("PRAGMA user_version").fetchone()[0] == 0:
                for table in _TABLES:
                    base.execute(table)
                base.execute(f"PRAGMA user_version = {FORMAT}")

    def _run(self, row: tuple) -> Run:
        values = dict(zip(Row.model_fields, row, strict=True))
        try:
            values |= {name: json_of(values[name]) for name in ("settings", "result")}
            if isinstance(values["error"], str):  # earlier versions noted them whole
                values["error"] = values["error"][: schema.LONG]
            schema.held(Row, values)
        except ValueError as damage:
            raise self._damaged(damage) from damage
        id, kind, name, settings, status, created, updated, pid, folder, result, error = values.values()
        held = locks.folder_in_use(Path(folder)) if pid is not None or status == "running" else None
        if (pid is None or held != pid) and not alive(pid, updated):
            pid = None
            if status == "running" and held is None:
                status, error = "stopped", ENDED
        return Run(id, kind, name, settings, status, created, updated, pid, Path(folder), result, error)

    @staticmethod
    def _owner(base: sqlite3.Connection, id: str) -> int | None:
        """Number of the process that has the run, None when it is not alive."""
        row = base.execute("SELECT pid, updated, folder FROM runs WHERE id = ?", (id,)).fetchone()
        if row is None:
            raise _unknown(id)
        pid, updated, folder = row
        if not (isinstance(pid, int | None) and isinstance(updated, int | float)):  # forged: nobody runs it
            return None
        own = _folder(folder)
        held = pid is not None and own is not None and locks.folder_in_use(own) == pid
        return pid if held or alive(pid, updated) else None

    @staticmethod
    def _change(base: sqlite3.Connection, id: str, **values) -> None:
        values |= {"updated": time.time()}
        changes = ", ".join(f"{column} = ?" for column in values)
        if base.execute(f"UPDATE runs SET {changes} WHERE id = ?", (*values.values(), id)).rowcount == 0:
            raise _unknown(id)


def bundled(name: str) -> tuple[Run, Curves] | None:
    """The run that made a bundled student, and its curves; None for a name that is none of these."""
    path = BUNDLED / "runs" / f"{Path(name).name}.json"
    if Path(name).name != name or not path.is_file():
        return None
    values = files.as_value(files.read_text(path))
    curves = {FORMER_CURVES.get(of, of): [*map(tuple, points)] for of, points in values.pop("metrics").items()}
    return Run(**values, pid=None, folder=BUNDLED, error=None), curves


@lru_cache(maxsize=256)
def _warn_of(words: str) -> None:
    """Once for each damaged run: a page lists them every second."""
    _log.warning(words)


def _folder(text: object) -> Path | None:
    """A row's folder; None of a forged row."""
    return Path(text) if isinstance(text, str) and "\0" not in text else None


def _unknown(id: str) -> RunError:
    return RunError(f"no run '{id}'; see those that are here with: frami runs list")


def _code(error: sqlite3.Error) -> int | None:
    """SQLite's primary code of an error; None of one that Python's module raised itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _advice(error: sqlite3.OperationalError) -> str:
    if _code(error) in _PASSING:
        return f"another process has been writing for {_WAIT:.0f} s: look for one that hangs, or try again"
    return "is its folder there, and can it be written? FRAMI_HOME chooses another"


def _columns_of(tables: Sequence[dict]) -> dict[str, list]:
    """For each name in any of the tables its value in each of them, None where it is missing."""
    names = dict.fromkeys(name for table in tables for name in table)
    return {name: [table.get(name) for table in tables] for name in names}


def alive(pid: int | None, seen: float) -> bool:
    """Whether the process of this number is at work and is the one that had it at the time ``seen`` (since the epoch).

    A number is not given again while its process lives, so the process is the same if it is older than ``seen``.
    """
    try:
        process = psutil.Process(pid) if pid else None
        ended = process is None or process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return not ended and process.create_time() < seen + _CLOCK
    except psutil.AccessDenied:  # somebody else's process, of which the system says nothing
        return True
    except (psutil.Error, ValueError, OverflowError):  # the latter of numbers that no process has
        return False
