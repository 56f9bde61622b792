"""The card of a checkpoint that a stranger wrote: every value is of the kind that commands and pages print."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from frami import schema
from frami.hub.folders import read_json
from frami.hub.problems import HubError, shown

#: Name of the files of a checkpoint in a repository: ``model.safetensors`` and ``model.json``.
MODEL = "model"


def checked(path: Path, card: type) -> dict:
    """The values of a card at ``path``, a JSON file, which are those of the dataclass ``card``. HubError names what is
    missing or of another kind."""
    values = read_json(path)
    if not {"kind", "classes", "mel_spec", "model"} <= set(values):
        raise HubError(f"{path}: not the card of a checkpoint of frami's (kind, classes, mel_spec, model, …)")
    if unknown := sorted(set(values) - {field.name for field in fields(card)}):
        raise HubError(f"{path}: no field of a card: {shown(', '.join(unknown[:5]))}; written by a newer frami?")
    if values["kind"] not in ("teacher", "student"):
        raise HubError(f"{path}: kind is teacher or student, not {shown(values['kind'], 40)}")
    try:
        schema.checked(card, values)
    except schema.SchemaError as error:
        raise HubError(f"{path}: {error}") from error
    for name, value in values.items():
        if not _printable(value):
            raise HubError(f"{path}: {name} is {schema.about(card, name)}, not {shown(value, 40)}")
    return values


def _printable(value: Any) -> bool:
    """Whether all texts of a value, the names of its fields too, are of one line that can be printed."""
    if isinstance(value, Mapping):
        return all(map(_printable, (*value, *value.values())))
    return all(map(_printable, value)) if isinstance(value, list) else not isinstance(value, str) or value.isprintable()
