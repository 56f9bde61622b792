"""What the Method tab shows: a clip of the bundled gallery on its way, the curve of a student, measured results.

Figures come from the files in which the measurements were written (``docs/results``), so that they cannot differ from
these.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import yaml

from frami import files
from frami.checkpoints import Card
from frami.data.catalogue import DATASETS
from frami.errors import FramiError
from frami.paths import PACKAGE
from frami.runs import bundled
from frami.studio.services.clips import ClipLookup
from frami.studio.services.distillations import bundled_students
from frami.studio.services.galleries import Galleries

#: The repository's own folder; a Space has its parts that are read here, an installed package none of them.
ROOT = PACKAGE.parent
#: Points of a curve at most.
POINTS = 120
#: Rows of the table of students that are shown: of the reference, without data, with real clips.
_TEACHER, _MADE, _REAL = "teacher", "frami + frami", "real clips, frami"
_HEAD = "## All together"


@dataclass(frozen=True)
class Method:
    """``teachers`` : their cards by name; ``galleries``, ``clips`` : where clips and their states are found."""

    teachers: Mapping[str, Card]
    galleries: Galleries
    clips: ClipLookup
    _stories: Callable[[str, str], dict] = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_stories", lru_cache(maxsize=8)(self._read_story))

    def story(self, name: str) -> dict:
        """How a clip of this teacher formed, and how its bundled student learnt; those of the first teacher that has
        both where this one has none. ``{"teacher": name}`` where there is no such teacher at all."""
        for one in dict.fromkeys([name, *self.teachers]):
            if (card := self.teachers.get(one)) is not None and (found := self._stories(one, card.sha256)):
                return found | {"asked": name}
        return {"asked": name}

    def _read_story(self, name: str, sha256: str) -> dict:
        card, axis, best = self.teachers[name], None, None
        value = self.galleries.value(name)
        made = [clip for group in value["groups"] for clip in group["clips"] if clip["predicted"] == clip["target"]]
        student = next(iter(bundled_students(name)), None)
        if not made or student is None:
            return {}
        axis, best = value["axis"], max(made, key=lambda clip: clip["confidence"])
        states, curve = self.clips.states(best["id"]), _curve(student.name)
        if not states or not curve:
            return {}
        return {
            "teacher": name,
            "title": card.title,
            "target": best["target"],
            "states": states,
            "axis": axis,
            "student": {
                "name": student.name,
                "parameters": student.parameters,
                "teacher_parameters": card.parameters,
                "teacher_accuracy": card.accuracy,
            }
            | curve,
        }


def _curve(student: str) -> dict | None:
    """A bundled student's curve: of accuracy on held-out recordings, else of agreement with its teacher."""
    found = bundled(student)
    if found is None:
        return None
    _, curves = found
    for metric in ("accuracy", "agreement", "kd"):
        points = curves.get(metric, [])
        if len(points) > 1:
            step = max(1, -(-len(points) // POINTS))
            return {
                "metric": metric,
                "curve": [[round(at, 1), round(value, 4)] for _, at, value in points[::-1][::step][::-1]],
            }
    return None


@lru_cache(maxsize=1)
def students() -> dict | None:
    """Students after the same time, without data and with real clips, beside their teachers, from the table of
    ``docs/results/distillation.md``: ``{"command", "title", "rows": [[data set, teacher's accuracy, accuracy,
    agreement, accuracy with real clips], …]}`` in %; None where the page is not here."""
    text = _text("docs/results/distillation.md")
    if text is None or _HEAD not in text:
        return None
    section = text[text.index(_HEAD) :]
    title, lines = section.splitlines()[0].removeprefix(_HEAD).strip(": "), _table(section)
    command = re.search(r"^ {4}(.*frami bench distillation.*)$", text, re.MULTILINE)
    head, by_name = lines[0], {row[0].strip("*`"): row for row in lines[1:]}
    rows = []
    for place, cell in enumerate(head):
        if cell.endswith(": accuracy, held out"):
            cells = [by_name[_TEACHER][place], *by_name[_MADE][place : place + 2], by_name[_REAL][place]]
            name = cell.partition(":")[0]
            rows.append([DATASETS[name].title if name in DATASETS else name, *cells])
    return {"command": command[1] if command else "", "title": title.replace("`", ""), "rows": rows}


@lru_cache(maxsize=1)
def strangers() -> dict | None:
    """Networks on people whom they never heard, from ``docs/results/strangers.md``: ``{"command", "head", "rows"}``;
    None where the page is not here."""
    text = _text("docs/results/strangers.md")
    lines = _table(text) if text else []
    if not lines:
        return None
    command = re.search(r"^ {4}(.*frami bench strangers.*)$", text, re.MULTILINE)
    head, *rows = [[cell.strip("`") for k, cell in enumerate(row) if k != 1] for row in lines]
    rows = [[row[0], *map(_counted, row[1:])] for row in rows]
    return {"command": command[1] if command else "", "head": head, "rows": rows}


def _counted(cell: str) -> str:
    """A cell of that table, accuracy, clips and speakers, with the words for these."""
    found = re.fullmatch(r"([\d.]+%) of ([\d,]+), (\d+)", cell)
    return f"{found[1]} of {found[2]} clips, {found[3]} speaker{'s' * (found[3] != '1')}" if found else cell


@lru_cache(maxsize=1)
def citation() -> str | None:
    """The paper as BibTeX, from ``CITATION.cff``; None where that is not here."""
    found = _cff()
    if not found:
        return None
    paper = found["references"][0]
    authors = " and ".join(f"{one['family-names']}, {one['given-names']}" for one in paper["authors"])
    first, arxiv = paper["authors"][0]["family-names"].lower(), paper["identifiers"][0]["value"].partition(":")[2]
    lines = {
        "title": f"{{{paper['title']}}}", "author": authors, "booktitle": paper["collection-title"],
        "year": paper["year"], "eprint": arxiv, "archiveprefix": "arXiv",
    }  # fmt: skip
    body = ",\n".join(f"  {name} = {{{value}}}" for name, value in lines.items())
    return f"@inproceedings{{{first}{paper['year']}frami,\n{body}\n}}"


def repository() -> str:
    """Address of the repository, where ``CITATION.cff`` names one; else empty."""
    said = str((_cff() or {}).get("repository-code", ""))
    return said.rstrip("/") if said.startswith("https://") else ""


def _cff() -> dict | None:
    text = _text("CITATION.cff")
    found = yaml.safe_load(text) if text else None
    return found if isinstance(found, dict) else None


def _text(path: str) -> str | None:
    """A file of the repository; None where it is not here."""
    try:
        return files.read_text(Path(ROOT, path))
    except (OSError, ValueError, FramiError):
        return None


def _table(text: str) -> list[list[str]]:
    """The first table of a page, its head first, without the rule below that."""
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("|"):
            lines.append(line)
        elif lines:
            break
    return [[cell.strip() for cell in line.strip("|").split("|")] for k, line in enumerate(lines) if k != 1]
