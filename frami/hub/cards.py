"""The card of a checkpoint that a stranger wrote: every value is of the kind that commands and pages print."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from frami.hub.folders import read_json
from frami.hub.problems import HubError, shown

#: Name of the files of a checkpoint in a repository: ``model.safetensors`` and ``model.json``.
MODEL = "model"
#: Signs of a name or a sentence; classes; whole numbers of a network's configuration, at most.
_LONG, _CLASSES, _WIDE, _DEEP = 2000, 100_000, 65_536, 256


def checked(path: Path) -> dict:
    """The values of a card at ``path``, a JSON file. HubError names what is missing or of another kind."""
    values = read_json(path)
    if not {"kind", "classes", "mel_spec", "model"} <= set(values):
        raise HubError(f"{path}: not the card of a checkpoint of frami's (kind, classes, mel_spec, model, …)")
    for name, (fits, what) in _KINDS.items():
        if name in values and not fits(values[name]):
            raise HubError(f"{path}: {name} is {what}, not {shown(values[name], 40)}")
    if unknown := sorted(set(values) - set(_KINDS)):
        raise HubError(f"{path}: no field of a card: {shown(', '.join(unknown[:5]))}; written by a newer frami?")
    return values


def name(value: Any, most: int = _LONG) -> bool:
    """Whether a value is a text of one line that can be printed."""
    return isinstance(value, str) and len(value) <= most and value.isprintable()


def whole(value: Any, least: int = 0, most: int = 2**62) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def number(value: Any, least: float, most: float) -> bool:
    """Whether a value is a finite number between two others."""
    fits = isinstance(value, int | float) and not isinstance(value, bool)
    return fits and math.isfinite(value) and least <= value <= most


def names(value: Any, least: int = 0, most: int = _CLASSES) -> bool:
    return isinstance(value, list) and least <= len(value) <= most and all(name(one) for one in value)


def _classes(value: Any) -> bool:
    return names(value, 2) and len(set(value)) == len(value) and all(value)


def _maybe(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _share(value: Any) -> bool:
    return number(value, 0, 1)


def _split(value: Any) -> bool:
    return isinstance(value, dict) and all(name(key) and names(folds) for key, folds in value.items())


def _model(value: Any) -> bool:
    """A configuration whose numbers are no larger than any network's, so that building it is quick."""
    if not isinstance(value, dict):
        return False
    depth = value.get("depth", 1)
    return whole(depth, 1, _DEEP) and all(abs(n) <= max(_WIDE, _CLASSES) for n in _numbers(value, 0))


def _mel_spec(value: Any) -> bool:
    """Settings whose window and bands need no more memory than those of any front-end."""
    if not isinstance(value, dict):
        return False
    sizes = [value.get(name, 1) for name in ("n_fft", "n_mels", "hop_length", "win_length")]
    return all(abs(n) <= _WIDE for n in _numbers(sizes, 0)) and all(abs(n) < math.inf for n in _numbers(value, 0))


def _numbers(value: Any, below: int) -> list[float]:
    """All numbers within a value; infinity for what is nested deeper than any configuration."""
    if below > 8:
        return [math.inf]
    if isinstance(value, Mapping | list):
        inner = value.values() if isinstance(value, Mapping) else value
        return [n for one in inner for n in _numbers(one, below + 1)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _measured(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    interval, per_class = value.get("interval"), value.get("per_class", {})
    return (
        (interval is None or (isinstance(interval, list) and len(interval) == 2 and all(map(_share, interval))))
        and ("balanced_accuracy" not in value or _maybe(_share)(value["balanced_accuracy"]))
        and isinstance(per_class, dict)
        and all(name(key) and _maybe(_share)(share) for key, share in per_class.items())
    )


def _training(value: Any) -> bool:
    texts = ("teacher", "teacher_sha256", "dataset", "bank")
    return isinstance(value, dict) and all(name(key) and (key not in texts or name(one)) for key, one in value.items())


_TEXTS = ("name", "dataset", "title", "licence", "data_licence", "evaluation", "teacher", "sha256")
#: Fields of a card: whether a value fits, and what does.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(_TEXTS, (name, "a text of one line")),
    "kind": (lambda value: value in ("teacher", "student"), "teacher or student"),
    "classes": (_classes, "a list of two or more names, each of them once"),
    "mel_spec": (_mel_spec, "an object of settings of usual size"),
    "model": (_model, "the configuration of a network of usual size"),
    "parameters": (lambda value: whole(value), "a whole number"),
    "clips": (lambda value: whole(value), "a whole number"),
    "format": (lambda value: whole(value), "a whole number"),
    "split": (_split, "an object of lists of names"),
    "accuracy": (_maybe(_share), "a number from 0 to 1, or null"),
    "agreement": (_maybe(_share), "a number from 0 to 1, or null"),
    "seconds": (lambda value: number(value, 0.01, 3600), "a number of seconds from 0.01 to 3600"),
    "training": (_training, "an object"),
    "measured": (_measured, "an object of shares from 0 to 1"),
    "multilabel": (lambda value: isinstance(value, bool), "true or false"),
}  # fmt: skip
