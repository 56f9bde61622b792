"""Bounds of what is read from files: types of fields, and the one place that holds values against them.

A dataclass that is read from a file has these types; ``checked`` makes it of a file's values, or says in a line which
of them is another thing than it has to be. No size is believed: every number has a bound.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import AfterValidator, Field, InstanceOf, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from frami.errors import FramiError

#: At most: signs of a text, of a path; classes; channels, and samples of a window; blocks of a stage; numbers of any
#: configuration, and how deep it is; counts; seconds of a piece of work.
LONG, PATH, CLASSES, WIDE, DEEP, LARGE, NESTED, COUNT, WORK = 2_000, 4_096, 100_000, 65_536, 64, 10**6, 8, 2**53, 1e9
Kind = TypeVar("Kind")


class SchemaError(FramiError, ValueError):
    """Values that are not those of the thing that they are read as."""


def shown(text: object, most: int = 80) -> str:
    """A stranger's text on one line, without control characters."""
    try:
        text = str(text)
    except (ValueError, RecursionError):  # a number of thousands of digits; lists in lists
        text = type(text).__name__
    plain = "".join(sign if sign.isprintable() else " " for sign in text[: 4 * most])
    plain = " ".join(plain.split())
    return plain if len(plain) <= most else f"{plain[:most]}…"


# --- types of fields -------------------------------------------------------------------------------------------------


def whole(least: int = 0, most: int = COUNT) -> FieldInfo:
    """Of an ``int``: a whole number from ``least`` to ``most``."""
    about = "a whole number" if most == COUNT else f"a whole number from {least:,} to {most:,}"
    return Field(strict=True, ge=least, le=most, description=about)


def number(least: float, most: float) -> FieldInfo:
    """Of a ``float``: a finite number from ``least`` to ``most``."""
    about = f"a number from {least:g} to {most:g}"
    return Field(strict=True, ge=least, le=most, allow_inf_nan=False, description=about)


def text(most: int = LONG, what: str = "a text of one line") -> Any:
    """A ``str`` of so many signs at most, in whatever encoding a system gave it."""
    short = AfterValidator(fitting(lambda value: len(value) <= most))
    return Annotated[InstanceOf[str], short, Field(description=what)]


def fitting(fits: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """A validator that takes the values for which ``fits`` holds, as they are."""

    def check(value: Any) -> Any:
        if not fits(value):
            raise ValueError("another thing")
        return value

    return check


def numbers(value: Any, below: int = 0) -> list[float]:
    """All numbers within a value of JSON; infinity for what is nested deeper than any configuration."""
    if below > NESTED:
        return [math.inf]
    if isinstance(value, Mapping | list | tuple):
        inner = value.values() if isinstance(value, Mapping) else value
        return [n for one in inner for n in numbers(one, below + 1)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def is_name(value: Any, most: int = LONG) -> bool:
    """Whether a value is a text of one line that can be printed."""
    return isinstance(value, str) and len(value) <= most and value.isprintable()


def is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_number(value: Any, least: float, most: float) -> bool:
    """Whether a value is a finite number between two others."""
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    return fits and least <= value <= most  # false for NaN


Line = text()
Path = text(PATH, "the path of a folder or file")
Share = Annotated[float, number(0, 1)]
MaybeShare = Annotated[Share | None, Field(description="a number from 0 to 1, or null")]
#: Names of classes.
Names = Annotated[
    tuple[Line, ...],
    Field(min_length=2, max_length=CLASSES, description="a list of two or more names, each of them once"),
    AfterValidator(fitting(lambda names: len(set(names)) == len(names) and all(names))),
]
#: Folds by what they are for.
Split = Annotated[
    dict[Line, Annotated[list[Line], Field(max_length=CLASSES)]], Field(description="an object of lists of names")
]
#: A network's configuration, whose numbers are no larger than any network's, so that looking at it is quick.
Network = Annotated[
    dict,
    AfterValidator(fitting(lambda value: all(abs(n) <= LARGE for n in numbers(value)))),
    Field(description="the configuration of a network of usual size"),
]
#: Settings of a front-end, likewise.
FrontEnd = Annotated[
    dict,
    AfterValidator(fitting(lambda value: all(abs(n) < math.inf for n in numbers(value)))),
    AfterValidator(fitting(lambda value: all(abs(n) <= WIDE for n in numbers([value.get(k) for k in _SIZES])))),
    Field(description="an object of settings of usual size"),
]
#: What is known of a training; the network, recordings and clips that it names have names.
Facts = Annotated[
    dict[Line, Any],
    AfterValidator(fitting(lambda value: all(isinstance(value.get(k, ""), str | None) for k in _NAMED))),
    Field(description="an object"),
]
#: Figures of an evaluation.
Measured = Annotated[
    dict[Line, Any],
    AfterValidator(fitting(lambda value: _shares(value))),
    Field(description="an object of shares from 0 to 1"),
]
Flag = Annotated[bool, Field(strict=True, description="true or false")]
_NAMED = ("teacher", "teacher_sha256", "dataset", "bank")
_SIZES = ("n_fft", "n_mels", "hop_length", "win_length")


def _shares(measured: dict) -> bool:
    interval, each = measured.get("interval"), measured.get("per_class", {})
    several = [interval] if interval is None else interval
    if not isinstance(several, list | tuple) or not isinstance(each, dict):
        return False
    single = [measured.get("balanced_accuracy"), *several, *each.values()]
    return all(one is None or is_number(one, 0, 1) for one in single) and (interval is None or len(interval) == 2)


# --- holding values against them -------------------------------------------------------------------------------------


def checked(kind: type[Kind], values: Any) -> Kind:
    """A dataclass of a file's values, an object. SchemaError names the first field that is missing, unknown or another
    thing."""
    names = {field.name for field in fields(kind)} if is_dataclass(kind) else set()
    if not isinstance(values, Mapping):
        raise SchemaError(f"a {type(values).__name__}, not an object")
    if unknown := sorted(str(name) for name in set(values) - names) if names else []:
        raise SchemaError(f"no field of it: {shown(', '.join(unknown[:5]))}")
    return held(kind, values)


def held(kind: type[Kind], value: Any) -> Kind:
    """A value as of a type; SchemaError where it is none."""
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise SchemaError(_said(kind, value, error)) from None


@lru_cache(maxsize=64)
def _adapter(kind: type) -> TypeAdapter:
    return TypeAdapter(kind)


def _said(kind: type, values: Any, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place, why = first["loc"], first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not place:
        return shown(why, 200)
    name = str(place[0])
    if first["type"] == "missing" and len(place) == 1:
        return f"{name} is missing"
    about = _abouts(kind).get(name)
    given = values.get(name) if isinstance(values, Mapping) else None
    if about is None:
        return f"{shown('.'.join(map(str, place)))}: {shown(why, 120)}"
    return f"{name} is {about}, not {'null' if given is None else shown(given, 40)}"


def about(kind: type, name: str) -> str:
    """What a field has to be, in words."""
    return _abouts(kind).get(name, "another thing")


@lru_cache(maxsize=64)
def _abouts(kind: type) -> dict[str, str]:
    """What each field has to be, in words."""
    found = {}
    for name, hint in (get_type_hints(kind, include_extras=True) if isinstance(kind, type) else {}).items():
        for one in getattr(hint, "__metadata__", ()):
            if isinstance(one, FieldInfo) and one.description:
                found[name] = one.description
    return found
