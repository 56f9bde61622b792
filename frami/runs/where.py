"""Where a run works that a cluster does: a note in the run's folder, of the process that follows it."""

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from frami import files, schema
from frami.runs.rows import Run

FILE = "where.json"
STATES = ("reaching", "unreachable", "lacking", "other", "waiting", "sending", "working")
_LARGEST = 10_000


@dataclass(frozen=True)
class Where:
    """``state`` : the cluster is being asked, does not answer, has fewer GPUs than are asked for, has another version
    of this package, has no room yet, gets what the run needs, or is at work on it; ``pid`` : of the process that
    follows the run; ``host`` : name of the machine, and ``worker`` its number in the cluster, from 1."""

    state: Literal[STATES]
    pid: Annotated[int, schema.whole(0, 2**31 - 1)]
    host: schema.text(253) = ""
    worker: Annotated[int, schema.whole(0, 10**6)] = 0


def note(folder: Path, state: str, host: str = "", worker: int = 0) -> None:
    """Note where this process has its run done. SchemaError for what cannot be; a disk that refuses costs the note."""
    found = schema.checked(Where, {"state": state, "pid": os.getpid(), "host": host, "worker": worker})
    with suppress(OSError):
        files.write_json(folder / FILE, asdict(found))


def forget(folder: Path) -> None:
    """Remove the note, of an earlier time."""
    with suppress(OSError):
        (folder / FILE).unlink()


def of(run: Run) -> Where | None:
    """Where a run works, as the process says that has it; None where it says nothing."""
    try:
        found = schema.checked(Where, files.read_json(run.folder / FILE, _LARGEST))
    except (OSError, ValueError):
        return None
    return found if run.pid in (None, found.pid) else None
