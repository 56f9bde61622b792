"""A piece of work, what comes of it, and when it is tried again."""

import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frami.errors import FramiError
from frami.files import FullError

#: Times that a task is tried which raises an exception, and times that it is begun which is lost with its worker: one
#: that takes its worker with it each time, as for want of memory, would take all of them.
TRIES, BEGINS = 3, 2

#: ``report(done, total)``, and ``with progress(unit, label) as report`` for one piece of work.
Report = Callable[[int, int], None]
Progress = Callable[[str, str], AbstractContextManager[Report]]


@dataclass(frozen=True)
class Task:
    """``function(*arguments, report=report)``. function : of a module, which the workers import by its name; name : for
    people; what ``Engine.share`` returned among the arguments arrives as the value."""

    name: str
    function: Callable[..., Any]
    arguments: tuple = ()


@dataclass(frozen=True)
class Ended:
    """What came of a task. value : what its function returned; error : why there is none, in a line; trace : where it
    was raised, of an error that is no FramiError; begins : how often it was begun; where : host and process; full :
    path of a file that the disk had no room for."""

    task: Task
    value: Any = None
    error: str | None = None
    trace: str = ""
    begins: int = 1
    where: str = ""
    full: str = ""


@dataclass(frozen=True)
class Failed:
    """An exception of a task's function. final : another try would end alike (a FramiError); full : as of ``Ended``."""

    error: str
    trace: str
    final: bool
    full: str = ""


def attempt(function: Callable[..., Any], arguments: tuple, report: Report) -> Any:
    """What the function returns, or ``Failed``. A stop by the keyboard passes through."""
    try:
        return function(*arguments, report=report)
    except FullError as error:
        return Failed(str(error), "", final=True, full=str(error.path))
    except FramiError as error:
        return Failed(str(error), "", final=True)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        return Failed(f"{type(error).__name__}: {error} ({place})", traceback.format_exc(), final=False)


@dataclass
class Tries:
    """How often a task was begun, and what became of that."""

    task: Task
    begins: int = 0
    failed: int = 0
    lost: int = 0

    def fail(self, failed: Failed, where: str) -> Ended | None:
        """Its end, or None where it is to be tried again."""
        self.failed += 1
        if failed.final or self.failed >= TRIES:
            return Ended(self.task, None, failed.error, failed.trace, self.begins, where, failed.full)
        return None

    def lose(self, reason: str) -> Ended | None:
        """As ``fail``, where the worker has gone."""
        self.lost += 1
        if self.lost >= BEGINS:
            return Ended(self.task, None, f"lost with its worker, {self.lost} times ({reason})", "", self.begins)
        return None


@dataclass
class Failures:
    """Tasks that failed, to be told once the others have ended. what : what a task makes, as ``cells``."""

    what: str
    ended: list[Ended] = field(default_factory=list)

    def note(self, ended: Ended) -> bool:
        """Whether this one has failed. FullError where the disk is full: the others would fail alike."""
        if ended.full:
            raise FullError(ended.full)
        if ended.error is not None:
            self.ended.append(ended)
        return ended.error is not None

    def tell(self) -> None:
        """FramiError where one has failed."""
        if self.ended:
            reasons = "; ".join(f"{one.task.name}: {one.error}" for one in self.ended[:3])
            more = f"; and {len(self.ended) - 3} more" if len(self.ended) > 3 else ""
            raise FramiError(
                f"{len(self.ended)} of the {self.what} could not be made ({reasons}{more}); all others are saved, and "
                "the same command tries these again"
            )
