"""Functions of tasks, which worker processes import by their names."""

import os
import time
from pathlib import Path

from frami.errors import FramiError
from frami.files import FullError


def doubled(value: int, *, report) -> int:
    report(1, 1)
    return 2 * value


def slept(seconds: float, value: int, folder: str | None = None, *, report) -> int:
    """Sleeps; into a folder it writes a file of its process's number, whose name is the value, and another one at the
    end."""
    if folder is not None:
        with (Path(folder) / f"{value}.begun").open("a") as file:
            file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    if folder is not None:
        (Path(folder) / f"{value}.ended").touch()
    return value


def failing(folder: str, times: int, *, report) -> str:
    """Raises an exception so many times, which the folder remembers, and then does not."""
    count = Path(folder) / "count"
    tried = int(count.read_text()) + 1 if count.exists() else 1
    count.write_text(str(tried))
    if tried <= times:
        raise ValueError(f"try {tried}")
    return "done"


def refused(*, report) -> None:
    raise FramiError("this cannot be had")


def deadly(*, report) -> None:
    """Takes its worker with it, each time."""
    os._exit(1)


def full(*, report) -> None:
    raise FullError("/there")
