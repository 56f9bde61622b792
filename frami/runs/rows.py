"""What the run store holds: the types of its rows, and values as JSON."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from frami import files, schema
from frami.errors import FramiError

STATUSES = ("waiting", "running", "stopped", "finished", "failed")

#: Points (step, seconds, value) of each curve, by its name.
Curves = dict[str, list[tuple[int, float, float]]]


class RunError(FramiError):
    """A run that is unknown or in use, or a run store that cannot be read or written."""


class DiskError(RunError, OSError):
    """A run store whose disk cannot be written, or fails. ``errno`` : EROFS or EIO."""

    def __init__(self, words: str, number: int):
        OSError.__init__(self, number, words)

    def __str__(self) -> str:
        return self.strerror


class Row(BaseModel):
    """Types of a row: SQLite keeps whatever it is given."""

    id: schema.Line
    kind: schema.Line
    name: schema.Path
    settings: dict
    status: Literal[STATUSES]
    created: Annotated[float, schema.number(0, schema.COUNT)]
    updated: Annotated[float, schema.number(0, schema.COUNT)]
    pid: Annotated[int, schema.whole(0, 2**31 - 1)] | None
    folder: Annotated[schema.Path, AfterValidator(schema.fitting(lambda path: "\0" not in path))]
    result: dict
    error: schema.Path | None


#: A point of a curve: name, step, seconds, value.
Point = tuple[
    schema.Line,
    Annotated[int, schema.whole(-1)],
    Annotated[float, schema.number(0, schema.WORK)],
    Annotated[float, Field(strict=True)],
]


@dataclass(frozen=True)
class Run:
    """A run as the store knows it.

    ``status`` : one of ``STATUSES``; ``created``, ``updated`` : seconds since the epoch, ``updated`` by each call that
    writes; ``pid`` : of the process that runs it, None when there is none alive; ``error`` : why it failed or ended.
    """

    id: str
    kind: str
    name: str
    settings: dict
    status: str
    created: float
    updated: float
    pid: int | None
    folder: Path
    result: dict
    error: str | None

    def to_dict(self) -> dict:
        """All fields as values that JSON knows."""
        return asdict(self) | {"folder": str(self.folder)}


def json_of(text: object):
    """Value of a text of JSON; ValueError where it is none."""
    if not isinstance(text, str):
        raise ValueError(f"a {type(text).__name__}, not a text of JSON")
    return files.as_value(text)


def json_text(values: Mapping) -> str:
    """These values as a text of JSON."""
    return json.dumps(_jsonable(values), ensure_ascii=False)


def _jsonable(value):
    """The value in JSON's types: paths as text, numbers that are not finite as None, arrays as lists."""
    if isinstance(value, Mapping):
        return {str(name): _jsonable(one) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return _jsonable(value.tolist()) if hasattr(value, "tolist") else str(value)
