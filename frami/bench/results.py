"""Measurements in a file that a benchmark fills, and how it reports its progress."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from frami import files
from frami.bench.pages import check, write
from frami.errors import FramiError

#: Teachers of the tables of methods unless others are named.
TEACHERS = ("esc10", "fsdd", "urbansound8k")
#: ``report(done, total)``
Report = Callable[[int, int], None]
#: ``with progress(unit, label) as report``: one piece of work
Progress = Callable[[str, str], AbstractContextManager[Report]]


@dataclass(frozen=True)
class Context:
    """Where a benchmark computes, finds recordings and reports its progress. device_name : by which workers of another
    machine pick theirs."""

    device: torch.device
    data_folder: str | None
    progress: Progress
    device_name: str = "auto"


def silent(done: int, total: int) -> None:
    """A report to nobody."""


class Results:
    """Measurements in a JSON file, each under its settings, so that a stopped benchmark goes on where it was.
    Several processes may fill one file. Raises FramiError for a file that holds something else."""

    def __init__(self, path: Path):
        self.path = path
        self.cells: dict[str, dict] = self._read()

    def _read(self) -> dict[str, dict]:
        try:
            found = files.read_json(self.path) if self.path.exists() else {}
            if not isinstance(found, dict) or not all(isinstance(cell, dict) for cell in found.values()):
                raise ValueError("it holds something else")
            return found
        except (OSError, ValueError) as error:
            raise FramiError(
                f"{self.path}: not a benchmark's results ({error}); move it away, or choose another --out"
            ) from error

    def get(self, key: str) -> dict | None:
        return self.cells.get(key)

    def put(self, key: str, value: dict) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock")):
                self.cells = self._read() | {key: value}
                files.write_json(self.path, dict(sorted(self.cells.items())))
        except OSError as error:
            files.raise_full(self.path, error)
            raise FramiError(f"{self.path} cannot be written ({error.strerror})") from error

    def still_open(self, runs: Iterable, is_open: Callable[[Any], bool]) -> Iterator:
        """Runs that are open when their turn comes: another process may have measured them meanwhile."""
        for run in runs:
            self.cells = self._read()
            if is_open(run):
                yield run


@contextmanager
def filling(out: Path, page: str, lines: Callable[[Results], Sequence[str]]) -> Iterator[Results]:
    """The results beside a page while they are filled. At the end its ``lines`` are written; where the filling stops
    early, only if there is something new. Raises FramiError before that where ``out`` is no such page."""
    check(out, page)
    results = Results(out.with_suffix(".json"))
    before = results.cells
    try:
        yield results
    except BaseException:
        if results.cells != before:
            write(out, lines(results))
        raise
    write(out, lines(results))
