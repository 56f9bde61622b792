"""Distillations as plain values that the page draws, and their files to download."""

import io
import json
import threading
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from heapq import heappop, heappush
from itertools import count
from pathlib import Path

from frami import checkpoints, cost
from frami.checkpoints import Card, Checkpoint
from frami.distill import OBJECTIVES, STUDENTS, new_student
from frami.errors import FramiError
from frami.hosting import owners
from frami.hosting.limits import NONE, Limits
from frami.hosting.owners import EVERYONE, Visitor
from frami.runs import Run, bundled
from frami.runs.queue import Queue
from frami.studio.services import page_values, places, quick_students, run_pairs, run_titles, troubles
from frami.studio.services.class_groups import of_teacher
from frami.studio.services.idle_costs import IdleCosts
from frami.studio.services.owned_runs import OVER, OwnedRuns
from frami.studio.services.run_titles import title as title
from frami.workers.pool import asked_by, shared

#: Runs that the page lists at most, the newest; those that are at work or wait are always among them.
MOST = 40
#: Colours that the page has for runs (``distil.css``, ``distil_colours.css``), and the one that bundled runs have:
#: no other run gets it. Runs of one colour have other dashes.
COLOURS, BUNDLED = 64, 0
#: What a run can be downloaded as: name of the kind, its words on the page.
FILES = (
    ("safetensors", "Weights and card (zip)"), ("onnx", "ONNX, takes sound"), ("onnx-mel", "ONNX, takes log-Mels"),
    ("onnx-int8", "ONNX, eight bits"), ("web", "Web page (zip)"),
)  # fmt: skip
#: What the names of files end with behind the run.
_ENDINGS = {
    "safetensors": ".zip", "onnx": ".onnx", "onnx-mel": "-mel.onnx", "onnx-int8": "-int8.onnx", "web": "-web.zip",
}  # fmt: skip
#: Points of a curve that the page draws at most.
POINTS = 240
#: Seconds that a run takes beside its budget, and those of one without a budget, as far as can be told.
EXTRA, UNKNOWN = 20, 300
#: Clips from which on a measured share is said without its interval.
SURE = 50
#: Figures of a run's course that are no curves.
_BESIDE = ("share", "left", "clips", "steps", "accuracy_clips", "agreement_clips")


def objectives() -> list[tuple[str, str]]:
    """(title, name) of the objectives to tick."""
    return [(row.title, name) for name, row in OBJECTIVES.items()]


def students(teacher: Checkpoint) -> list[tuple[str, str]]:
    """(size and parameters, size) of the students to tick."""
    return [(f"{size} · {page_values.amount(_size(teacher, size))}", size) for size in STUDENTS]


def _size(teacher: Checkpoint, size: str) -> int:
    return cost.parameters(new_student(teacher, size, OBJECTIVES["frami"]))


@dataclass
class Distillations:
    """The distillations of the ``teachers`` (their names) as the page draws them, and their files.

    Each belongs to a visitor: what is not their own is to others as if it were not there, unless a link shows it.
    ``beside()`` : whether something else computes, beside which nothing is measured.
    """

    queue: Queue
    load_teacher: Callable[[str], Checkpoint]
    teachers: Sequence[str]
    limits: Limits = NONE
    beside: Callable[[], bool] = lambda: False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self):
        self._curves = lru_cache(maxsize=64)(self._read_curves)
        self._exported = lru_cache(maxsize=8)(self._export)
        self.owned = OwnedRuns(self.queue, self.limits)
        self.costs = IdleCosts(lambda: bool(self.queue.busy) or self.beside())

    def close(self) -> None:
        """Begin nothing more; the run at work is saved."""
        self.costs.close()
        self.queue.close()

    # ------------------------------------------------------------------------------------- what the page shows

    def of(self, name: str, who: Visitor = EVERYONE) -> list[Run]:
        """A teacher's runs that a visitor may look at, newest first."""
        waiting = self.queue.waiting()
        runs = [
            run
            for run in self.queue.all()
            if run.settings.get("teacher") == name and owners.sees(who, run.id, run.folder)
        ]
        return [run for place, run in enumerate(runs) if place < MOST or self.queue.status(run, waiting) not in OVER]

    def teacher_of(self, id: str, who: Visitor) -> str | None:
        """The teacher of a run that the visitor's link shows; None for another."""
        with suppress(FramiError):
            run = self.queue.get(id)
            teacher = run.settings.get("teacher")
            return teacher if owners.is_shared(who, id, run.folder) and teacher in self.teachers else None
        return None

    def value(self, name: str, seen: dict | None = None, known: bool = False, who: Visitor = EVERYONE) -> dict:
        """All runs of a teacher that a visitor may look at; curves and results only of those that changed since
        ``seen`` ({id: stamp}), its classes unless they are ``known`` already."""
        if name not in self.teachers:
            raise FramiError("no such teacher; reload the page")
        teacher, seen = self.load_teacher(name), seen or {}
        waiting = self.queue.waiting()
        runs = self.of(name, who)
        colours, begins, named = self._colours(runs), self._begins(waiting), run_titles.titles(runs)
        rows = [
            self._row(run, waiting, colours[run.id], seen, teacher.classes)
            | {"begins": begins.get(run.id), "own": owners.owns(who, run.folder)}
            | {"link": bool(owners.entry(run.folder).share)}
            | {"title": named[run.id][0], "twin": named[run.id][1], "quick": run_titles.is_ready(run.settings)}
            for run in runs
        ]
        for row in rows:
            row["title"] += " · shared with you" * (not row["own"])
        rows += self._bundled_rows(name, seen, teacher.classes)
        for row in rows:
            if row.get("bundled"):
                row["idle"] = self.costs.of(row["bundled"])
        value = self._about(name) | {"runs": rows}
        if not known:
            value["classes"] = [page_values.name(label) for label in teacher.classes]
            value["categories"] = of_teacher(teacher.card)
        return value | (self.costs.of(name) or {})

    def _about(self, name: str) -> dict:
        """What is said of a teacher."""
        card = self.load_teacher(name).card
        return {
            "teacher": name,
            "title": card.title,
            "accuracy": card.accuracy,
            "parameters": card.parameters,
            "bytes": _bytes(name),
            "ready": quick_students.ready(name) is not None,
        }

    def first(self, name: str) -> dict:
        """What the first view draws before it has asked for anything: as ``value``, of the bundled students alone their
        accuracy."""
        rows = self._bundled_rows(name, {}, self.load_teacher(name).classes)
        for row in rows:
            row["stamp"] = "first"  # the rest is asked for
            row["curves"] = {"accuracy": row["curves"].get("accuracy", [])}
            row["result"] = {k: v for k, v in row["result"].items() if not isinstance(v, dict)}
        return self._about(name) | {"runs": rows}

    def pair(self, name: str, ids: Sequence[str], who: Visitor = EVERYONE) -> dict:
        """Two finished runs of a teacher that a visitor may look at, beside each other (``run_pairs.pair``)."""
        if name not in self.teachers:
            raise FramiError("no such teacher; reload the page")
        found = {run.id: run.result for run in self.of(name, who)}
        found |= {run.id: run.result for _, run, _ in self._bundled(name)}
        if any(id not in found for id in ids):
            raise FramiError("no such run")
        return run_pairs.pair(*(found[id] for id in ids), self.load_teacher(name).classes)

    def next_seed(self, name: str, who: Visitor = EVERYONE) -> int:
        """A seed that no quick student of the visitor's has: each turns out another."""
        own = [run for run in self.of(name, who) if run_titles.is_ready(run.settings) and owners.owns(who, run.folder)]
        seeds = {run.settings.get("seed") for run in own}
        return next(seed for seed in count() if seed not in seeds)

    def _begins(self, waiting: Sequence[str]) -> dict[str, float]:
        """Seconds until each waiting run begins, as far as budgets tell: nothing while one waits for a cluster."""
        if not waiting:
            return {}
        known, free, begins = {run.id: run for run in self.queue.all()}, [], {}
        at_work = list(filter(None, map(known.get, self.queue.busy)))
        if self.queue.several and any(run.status != "running" for run in at_work):
            return {}
        for busy in at_work:  # as many at once as now
            left = self._curves(busy.id, _stamp(busy)).get("left")
            heappush(free, EXTRA + (left[-1][1] if left else _budget(busy)))
        for id in waiting:
            begins[id] = round(passed := heappop(free) if free else 0.0)
            heappush(free, passed + EXTRA + (_budget(known[id]) if id in known else UNKNOWN))
        return begins

    def _bundled_rows(self, name: str, seen: dict, classes: Sequence[str]) -> list[dict]:
        """The runs that made the bundled students, to look at."""
        rows = []
        for card, run, curves in self._bundled(name):
            row = self._described(run, "finished", "bundled", BUNDLED, _thinned(curves))
            row |= {"title": f"{card.training.get('student') or card.name} · bundled", "own": False, "link": False}
            row |= {"usable": False, "bundled": card.name, "twin": False, "quick": False}
            rows.append(row | (self._details(run, _thinned(curves), classes) if seen.get(run.id) != "bundled" else {}))
        return rows

    @staticmethod
    def _bundled(name: str) -> list[tuple[Card, Run, dict]]:
        """Bundled students of a teacher: card, run and curves of each."""
        found = ((card, bundled(card.name)) for card in bundled_students(name))
        return [(card, *run) for card, run in found if run is not None]

    def _row(self, run: Run, waiting: list[str], colour: int, seen: dict, classes: Sequence[str]) -> dict:
        status, stamp = self.queue.status(run, waiting), _stamp(run)
        curves = self._curves(run.id, stamp)
        row = self._described(run, status, stamp, colour, curves) | {"usable": has_student(run)}
        if status == "finished" and row["usable"]:
            row["idle"] = self.costs.of(self.student_path(run.id))
        if status == "waiting":
            row["ahead"] = waiting.index(run.id) + len(self.queue.busy)
        row["where"] = places.words(run) if status in ("starting", "running") else None
        return row | (self._details(run, curves, classes) if seen.get(run.id) != stamp else {})

    @staticmethod
    def _described(run: Run, status: str, stamp: str, colour: int, curves: dict) -> dict:
        """What is said of a run in any case."""
        latest = {name: points[-1][1] for name, points in curves.items() if points}
        return {
            "id": run.id,
            "title": run_titles.title(run.settings),
            "colour": colour,
            "status": status,
            "ahead": 0,
            "share": 1.0 if status == "finished" else latest.get("share", 0.0),
            "left": latest.get("left"),
            "error": troubles.of_run(run.error) if status in ("failed", "stopped") else None,
            "settings": run_titles.settings_in_words(run.settings),
            "latest": {k: v for k, v in latest.items() if k not in ("share", "left")},
            "created": run.created,
            "stamp": stamp,
        }

    @staticmethod
    def _details(run: Run, curves: dict, classes: Sequence[str]) -> dict:
        """What is said of a run when it has changed: its curves and its result."""
        return {
            "curves": {k: v for k, v in curves.items() if k not in _BESIDE},
            "result": _result(run.result, run.settings.get("classes"), classes),
        }

    def _read_curves(self, id: str, stamp: str) -> dict[str, list]:
        """Thinned curves of a run as it was at this stamp: of each name its [seconds, value]."""
        return _thinned(self.queue.runs.metrics(id))

    def _colours(self, runs: list[Run]) -> dict[str, int]:
        """The number of each run's colour and dash, saved in its folder; a new run gets the lowest that is free."""
        with self._lock:
            found = {run.id: _colour(run) for run in runs}
            for run in reversed(runs):
                if found[run.id] is None:
                    used = list(found.values())
                    found[run.id] = next(n for n in count() if n not in used and n % COLOURS != BUNDLED)
                    _save_colour(run, found[run.id])
            return found

    # ------------------------------------------------------------------------------------- files

    def colour(self, id: str) -> int:
        """The colour of a run, of the ``COLOURS`` that the page has."""
        run = self.queue.get(id)
        saved = _colour(run)
        if saved is None:
            teacher = run.settings.get("teacher")
            saved = self._colours([one for one in self.queue.all() if one.settings.get("teacher") == teacher])[id]
        return saved % COLOURS

    def student_path(self, id: str) -> Path:
        """Where the student of a run lies, as far as it has learnt. FramiError for an unknown run."""
        return self.queue.get(id).folder / "student"

    def file(self, id: str, kind: str, who: Visitor = EVERYONE) -> tuple[str, bytes]:
        """Name and content of a run's student as a file. FramiError for a run that is not the visitor's, an unknown
        kind, where there is none yet, for eight bits that answer otherwise, or while too many others are exported."""
        run = self.owned.own(id, who)
        if kind not in dict(FILES) or not has_student(run):
            raise FramiError("this run has no student to download yet")
        name = _stem(run) + _ENDINGS[kind]
        if kind == "safetensors":
            return name, _zip(run.folder, _stem(run))
        with asked_by(who.owner, who.address):
            return name, self._exported(run.id, kind, checkpoints.read_card(self.student_path(id)).sha256)

    def _export(self, id: str, kind: str, sha256: str) -> bytes:
        source = self.student_path(id)
        if kind == "web":
            return shared().run("export-web", {"source": str(source), "name": f"{_stem(self.queue.get(id))}-web"})
        given = {"source": str(source), "input": "mel" if kind == "onnx-mel" else "waveform"}
        if kind == "onnx-int8":
            return shared().run("export-int8", given | {"bank": str(source.parent / "bank")})
        return shared().run("export-onnx", given)


def _stem(run: Run) -> str:
    """What the names of a run's files begin with."""
    return f"frami-{run.settings.get('teacher')}-{run.settings.get('student')}-{run.id}"


def _stamp(run: Run) -> str:
    """Changes when a run has got on."""
    return f"{run.updated:.3f} {run.status}"


def _budget(run: Run) -> float:
    """Seconds that a run may take."""
    budget = run.settings.get("budget")
    return float(budget) if isinstance(budget, int | float) else UNKNOWN


def _thinned(curves: dict) -> dict[str, list]:
    """Of each curve at most ``POINTS`` [seconds, value]."""
    return {
        name: [[round(seconds, 2), round(value, 5)] for _, seconds, value in _thin(points)]
        for name, points in curves.items()
    }


def _result(result: dict, learnt: Sequence[str] | None, classes: Sequence[str]) -> dict:
    """A run's result for the page: plain values, and the confusion matrix without its zeros, among all ``classes`` of
    the teacher, of which the student may have ``learnt`` some alone (None: all)."""
    value = {k: v for k, v in result.items() if isinstance(v, int | float | str)}
    if matrix := result.get("confusion"):
        value["accuracy_clips"] = sum(map(sum, matrix)) if result.get("confusion_of") == "real" else 0
    if matrix := result.get("confusion"):
        places = [k for k, name in enumerate(classes) if learnt is None or name in learnt]
        with suppress(ValueError):  # of a teacher that has other classes now
            value["confusion"] = page_values.sparse(matrix, places, len(classes))
    return value


def _thin(points: list[tuple]) -> list[tuple]:
    """At most ``POINTS`` of a curve, evenly spaced, the last one always among them."""
    step = -(-len(points) // POINTS)
    return points[::-1][:: step or 1][::-1]


def _colour(run: Run) -> int | None:
    try:
        return min(max(0, int(json.loads((run.folder / "colour").read_text()))), 10**6)
    except (OSError, ValueError, TypeError, OverflowError):
        return None


def _save_colour(run: Run, colour: int) -> None:
    if run.folder.is_dir():
        with suppress(OSError):
            (run.folder / "colour").write_text(str(colour))


def has_student(run: Run) -> bool:
    """Whether a run has come to its first checkpoint."""
    return checkpoints.exists(run.folder / "student")


def _zip(folder: Path, stem: str) -> bytes:
    """A student's weights and its card, as a ZIP archive without paths of this machine."""
    from frami.export import public

    out, card = io.BytesIO(), asdict(public(checkpoints.read_card(folder / "student")))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        file.write(folder / "student.safetensors", f"{stem}/student.safetensors")
        file.writestr(f"{stem}/student.json", json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return out.getvalue()


@lru_cache(maxsize=16)
def _bytes(name: str) -> int | None:
    """Size of a checkpoint's weights; None where it cannot be found."""
    try:
        return checkpoints.resolve(name).with_suffix(".safetensors").stat().st_size
    except (FramiError, OSError):
        return None


def bundled_students(name: str) -> list[Card]:
    """Cards of the students that come with the studio for a teacher."""
    return [card for card in checkpoints.bundled("student") if card.teacher == name and _bytes(card.name)]
