"""The limits of a hosted studio, one row each; on one's own machine there are none.

``FRAMI_LIMITS`` changes them: ``none`` lifts all, ``budget=1800,clips=64`` gives some another value.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass

from frami.errors import FramiError
from frami.hosting.mode import hosted

SETTING = "FRAMI_LIMITS"
LIFTING = (
    f"To lift this, duplicate the Space and set {SETTING}=none in its settings, or run the studio on your own machine"
)


class LimitError(FramiError):
    """More than a hosted studio gives; the message says which limit, how much it is, and how to lift it."""


@dataclass(frozen=True)
class Limit:
    """A row of the table. ``value`` : in ``unit``; ``words`` : what it bounds, as the page says it; ``advice`` : what
    helps whoever meets it."""

    name: str
    value: float
    unit: str
    words: str
    advice: str = ""


LIMITS = (
    Limit("runs_at_once", 6, "runs", "students × objectives × recipes started at once", "Tick fewer"),
    Limit("waiting_runs", 6, "runs", "your distillations that wait or run", "Wait for one to end, or stop one"),
    Limit("waiting_runs_all", 40, "runs", "distillations of all visitors that wait or run", "Try again later"),
    Limit("budget", 600, "s", "time for each distillation", "Choose a shorter time"),
    Limit("kept", 3600, "s", "time that a distillation goes on after you have left, where you asked for it"),
    Limit("waiting_syntheses", 2, "runs", "your syntheses that wait or run", "Wait for one to end, or stop one"),
    Limit("waiting_syntheses_all", 24, "runs", "syntheses of all visitors that wait or run", "Try again in a minute"),
    Limit("clips", 32, "clips", "clips of a synthesis", "Choose fewer"),
    Limit("seconds", 5, "s", "length of a clip", "Choose shorter ones"),
    Limit("steps", 1000, "steps", "steps of a synthesis", "Choose fewer"),
    Limit("work", 10_000, "", "clips × seconds × steps of a synthesis", "Choose less of one of these"),
    Limit("selection", 32, "clips", "clips of the map in one download", "Select fewer"),
    Limit("upload", 10, "MB", "size of an uploaded sound", "Choose a shorter sound"),
    Limit("uploads", 60, "MB", "your uploads within an hour", "Wait some minutes"),
    Limit("uploads_all", 500, "MB", "uploads and downloads of all visitors within an hour", "Wait some minutes"),
    Limit("listening", 120, "s", "time of listening live at a stretch", "Start it again"),
    Limit("exports", 1, "at once", "your ONNX files in the making"),
    Limit("trainings", 0, "at once", "trainings of teachers, of all visitors"),
    Limit("imports", 0, "at once", "imports of teachers, of all visitors"),
    Limit("downloads", 0, "at once", "downloads of data sets, of all visitors"),
    Limit("disk", 200, "MB", "what your runs take on the disk", "Delete runs that you do not need"),
    Limit("disk_all", 4000, "MB", "what the runs of all visitors take on the disk", "Try again later"),
    Limit("age", 24, "h", "time after which a run is deleted"),
    Limit("grace", 75, "s", "time after which work ends whose page was closed"),
    Limit("silence", 180, "s", "time without a sign of a page after which it counts as closed"),
    Limit("sessions", 500, "pages", "open pages that the studio remembers", "Close pages, or wait ten minutes"),
    Limit("address", 4, "times", "what is yours, for all visitors of one network address; at most half of all"),
)
BY_NAME = {row.name: row for row in LIMITS}


@dataclass(frozen=True)
class Limits:
    """The limits that hold. ``values`` : by name; one that is not there is lifted."""

    values: Mapping[str, float]

    def __bool__(self) -> bool:
        return bool(self.values)

    def of(self, name: str) -> float:
        """A limit's value in its unit; infinite where it is lifted."""
        return self.values.get(name, math.inf)

    def least(self, name: str, value: float) -> float:
        """This value, or the limit where that is lower."""
        return min(value, self.of(name))

    def check(self, name: str, amount: float) -> None:
        """``LimitError`` where ``amount`` is more than the limit."""
        if not amount <= self.of(name):
            raise LimitError(_refusal(name, BY_NAME[name].words, self.of(name), amount))

    def of_address(self, name: str) -> float:
        """What all visitors of one network address may have together of what this limit bounds: a multiple of a
        visitor's, and at most half of what all have. Of a limit that has no row ``…_all`` beside it: half of it."""
        own, total = self.of(name), self.of(f"{name}_all")
        if f"{name}_all" not in BY_NAME:
            own, total = math.inf, own
        half = half_of(total)
        return half if math.isinf(own) else min(self.of("address") * own, half)

    def check_address(self, name: str, amount: float) -> None:
        """``LimitError`` where ``amount`` is more than the visitors of one network address may have together."""
        if not amount <= self.of_address(name):
            words = f"{BY_NAME[name].words}, with those of all others at your network address"
            raise LimitError(_refusal(name, words, self.of_address(name), amount))

    def words(self, name: str) -> str:
        """A limit's value with its unit."""
        return _in_words(self.of(name), BY_NAME[name].unit)


def half_of(total: float) -> float:
    """What visitors of one network address may have together of what all may have."""
    return total if math.isinf(total) else max(1, total // 2)


#: None at all, as on one's own machine.
NONE = Limits({})


def current() -> Limits:
    """The limits that hold now. FramiError where ``FRAMI_LIMITS`` cannot be read."""
    if not hosted():
        return NONE
    said = os.environ.get(SETTING, "").strip()
    if said.lower() == "none":
        return NONE
    return Limits({row.name: row.value for row in LIMITS} | dict(map(_setting, filter(None, said.split(",")))))


def _setting(text: str) -> tuple[str, float]:
    name, _, value = (part.strip() for part in text.partition("="))
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if name not in BY_NAME or not 0 <= number < math.inf:
        raise FramiError(f"{SETTING}: '{text}' is no limit; give none, or NAME=NUMBER of: {', '.join(BY_NAME)}")
    return name, number


def _refusal(name: str, words: str, most: float, amount: float) -> str:
    unit, advice = BY_NAME[name].unit, BY_NAME[name].advice
    return (
        f"{words}: at most {_in_words(most, unit)} on this shared page, and this would be {_in_words(amount, unit)}. "
        f"{advice + '. ' if advice else ''}{LIFTING}"
    )


def _in_words(value: float, unit: str) -> str:
    if unit == "s" and value >= 120:
        value, unit = (value / 60, "min") if value < 3600 else (value / 3600, "h")
    if value == 1 and unit not in ("", "s"):
        unit = unit.removesuffix("s")
    digits = 0 if value >= 10 or float(value).is_integer() else 1
    return f"{value:,.{digits}f} {unit}".strip()
