"""Advice of the engine in the page's words.

The engine names settings by their options (``--budget``) and some things by a command: that is how the command line
says them. On the page a control stands in their place; advice for which it has none is left out.
"""

import re

from frami.hosting.limits import SETTING
from frami.hosting.mode import hosted

#: What messages say, and what the page says instead, the longer first; the names in “ ” stand on its controls.
WORDS = {
    "export with --format safetensors instead": "download “Weights and card (zip)” instead",
    "export with --format safetensors": "download “Weights and card (zip)”",
    "see those that are here with: frami runs list": "the list shows those that are here",
    "a larger --budget": "a longer “Time for each”",
    "--data or FRAMI_DATA": "FRAMI_DATA",
    "--recipe": "recipe",
    "--objective": "objective",
    "--steps": "“Steps”",
    "--seed": "seed",
}
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
#: What only whoever runs the studio can do: commands, and variables of its environment.
_COMMAND = re.compile(rf"\bframi [a-z][a-z-]+ [\w-]|\bFRAMI_(?!{SETTING.removeprefix('FRAMI_')}\b)[A-Z_]+")
_BETWEEN = re.compile(r"(, or |, and | or |, )(?![^(]*\))")
_CLAUSES = re.compile(r"(;\s+|(?<=[.?])\s+)(?![^(]*\))")


def worded(message: str) -> str:
    """A message as a page says it, hosted or not."""
    for said, instead in WORDS.items():
        message = message.replace(said, instead)
    if not _foreign(message):
        return message
    first, *rest = _CLAUSES.split(message)
    words = _OPTION.sub(lambda option: f"“{option[0][2:].replace('-', ' ')}”", first) if _foreign(first) else first
    for mark, clause in zip(rest[::2], rest[1::2], strict=True):
        if kept := _possible(clause):
            words += mark + kept
    return words


def _possible(clause: str) -> str:
    """What of the alternatives of a clause can be done from a page."""
    if not _foreign(clause):
        return clause
    parts = _BETWEEN.split(clause)
    kept = [part.strip() for part in parts[::2] if not _foreign(part)]
    return " or ".join(filter(None, [", ".join(kept[:-1]), *kept[-1:]]))


def _foreign(text: str) -> bool:
    """Whether a text names what a page does not have."""
    return bool(_OPTION.search(text) or (hosted() and _COMMAND.search(text)))
