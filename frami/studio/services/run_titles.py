"""Names of distillations that differ by what differs between them."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from frami import distill
from frami.errors import FramiError
from frami.runs import Run
from frami.studio.services import offers, page_values

#: Settings that the page names in words of its own; the others keep their names.
SETTINGS = {
    "student": "Student",
    "objective": "Objective",
    "recipe": "Clips by",
    "budget": "Time for each",
    "seed": "Seed",
}
#: Settings that are none of the distillation itself.
BESIDE = ("teacher", "data", "dataset", "skip_bad")

_SOURCES = {"bank": "a finished bank", "real": "real clips", "noise": "noise"}
#: Classes of a run that are named; the others are counted.
_NAMED = 5


def objective(name: str) -> str:
    """An objective's title; the name itself of one that is not known here."""
    with suppress(FramiError):
        name = distill.objective(name).title
    return name


def made_by(settings: dict) -> str:
    """Where the clips come from, in a word or two."""
    if settings.get("source") == "bank" and is_ready(settings):
        return "ready clips"
    return _SOURCES.get(settings.get("source")) or offers.title(settings.get("recipe", "?"))


def is_ready(settings: dict) -> bool:
    """Whether a run learns from the clips that ship with its teacher, as the studio's quick run does."""
    bank = Path(str(settings.get("bank") or ""))
    return settings.get("source") == "bank" and bank.parts[-3:-1] == ("explore", str(settings.get("teacher")))


def title(settings: dict) -> str:
    """A run in a few words, whatever else is there."""
    some = f" · {len(settings['classes'])} classes" if settings.get("classes") else ""
    return f"{settings.get('student', '?')} · {objective(settings.get('objective', '?'))} · {made_by(settings)}{some}"


def titles(runs: Sequence[Run]) -> dict[str, tuple[str, bool]]:
    """Of each run, by its id, a name of the settings in which these runs differ, and whether the time of day belongs to
    it because several have this name: later ones have a number, too."""
    parts = {run.id: _parts(run.settings) for run in runs}
    names = dict.fromkeys(name for own in parts.values() for name in own)
    differing = [name for name in names if len({own.get(name) for own in parts.values()}) > 1]
    if not set(differing) - {"student"}:
        differing = ["time", "seed"]
    named = {
        id: " · ".join(filter(None, (own["student"], *(own.get(name) for name in differing if name != "student"))))
        for id, own in parts.items()
    }
    count, seen, found = Counter(named.values()), Counter(), {}
    for run in sorted(runs, key=lambda run: run.created):
        text = named[run.id]
        seen[text] += 1
        found[run.id] = text + (f" ({seen[text]})" if seen[text] > 1 else ""), count[text] > 1
    return found


def _parts(settings: dict) -> dict[str, str]:
    """Each setting of a run as it stands in a name."""
    budget, rounds = settings.get("budget"), settings.get("rounds")
    found = {
        "student": str(settings.get("student", "?")),
        "objective": objective(str(settings.get("objective", "?"))),
        "clips by": made_by(settings),
        "time": _time(budget) if isinstance(budget, int | float) else f"{rounds} round{'s' * (rounds != 1)}",
        "seed": f"seed {settings.get('seed', 0)}",
    }
    if settings.get("classes"):
        found["classes"] = f"{len(settings['classes'])} classes"
    told = {*BESIDE, "student", "objective", "source", "recipe", "bank", "budget", "rounds", "seed", "classes"}
    rest = {name: value for name, value in settings.items() if name not in told and value is not None}
    return found | {name: f"{name.replace('_', ' ')} {in_words(name, value)}" for name, value in rest.items()}


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 7200 else f"{seconds / 3600:g} h"


def settings_in_words(settings: dict) -> dict[str, str]:
    """The settings of a run as the page names them; no path of this machine is among them."""
    return {
        SETTINGS.get(name, name.replace("_", " ")): made_by(settings) if name == "bank" else in_words(name, value)
        for name, value in settings.items()
        if name not in BESIDE and value is not None
    }


def in_words(name: str, value) -> str:
    """A setting's value for people."""
    if name == "objective":
        return objective(value)
    if name == "recipe":
        return offers.title(value)
    if name == "budget":
        return _time(value)
    if name == "classes":
        more = f" and {len(value) - _NAMED} more" * (len(value) > _NAMED)
        return ", ".join(map(page_values.name, value[:_NAMED])) + more
    return f"{value:g}" if isinstance(value, float) else str(value)
