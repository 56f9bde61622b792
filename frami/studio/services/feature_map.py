"""The studio's maps: what can be shown at once, and what a worker computes behind it. No Gradio, no mathematics."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from frami import banks, data
from frami.checkpoints import Checkpoint
from frami.data.catalogue import fold_kind
from frami.errors import FramiError
from frami.features import maps
from frami.features.gallery import EXPLORE
from frami.studio.services import offers, page_values
from frami.studio.services.clips import voiced
from frami.studio.services.jobs import Jobs
from frami.studio.services.map_layers import Source, belongs, of_bank, of_recordings

REAL = "real"
#: Real clips on a map at most: more would hide the made ones.
MOST_REAL = 500
_RUN = re.compile(r"run-([0-9a-f]{12})")
_KEPT = 64


@dataclass
class _Task:
    """Something that the worker does once."""

    future: Future
    progress: str = ""


@dataclass
class Atlas:
    """Maps of the ``teachers`` (their names), from bundled banks below ``folder``, a page's runs and recordings.

    A map is asked for by teacher and the keys of its layers: a bundled recipe's name, ``run-ID``, or ``real``.
    """

    folder: Path
    jobs: Jobs
    load_teacher: Callable[[str], Checkpoint]
    teachers: Sequence[str]
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "frami-map"))
    _tasks: OrderedDict = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self):
        self._bundled = lru_cache(maxsize=8)(self._read_bundled)
        self._run = lru_cache(maxsize=32)(self._read_run)
        self._projected = lru_cache(maxsize=16)(self._project)
        self.sound = lru_cache(maxsize=256)(self._sound)

    def close(self) -> None:
        """Begin nothing more."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------------------------- what there is

    def choices(self, name: str, runs: Sequence[str]) -> list[tuple[str, str]]:
        """(title, key) of each layer that can be shown for a teacher; ``runs`` are the visitor's, the latest first."""
        teacher = self.load_teacher(name)
        found = [(source.layer.title, source.layer.key) for source in self._bundled(name)[0]]
        for run in runs:
            source = self._of_run(teacher, f"run-{run}")
            if source is not None:
                found.append((source.layer.title, source.layer.key))
        if self.has_recordings(name):
            found.append(("Recordings", REAL))
        return found

    def has_recordings(self, name: str) -> bool:
        """Whether the data set of a teacher is at hand."""
        try:
            data.locate(self.load_teacher(name).card.dataset)
        except FramiError:
            return False
        return True

    # ------------------------------------------------------------------------------------- the map

    def view(self, name: str, keys: Sequence[str]) -> dict:
        """A map as the page draws it, from what is ready. Raises FramiError for an unknown teacher."""
        return self._view(name, keys, "")

    def more(self, name: str, keys: Sequence[str], stamp: str) -> dict:
        """The map when it has changed since ``stamp``, else what is at work on it (``{"pending"}``, None when it is
        whole). Starts what is missing."""
        teacher = self.load_teacher(self._known(name))
        pending = None
        for task, run, words in self._missing(teacher, keys):
            pending = words(self._start(task, run))
            break
        now = self._stamp(name, keys)
        return {"pending": pending} if now == stamp else self._view(name, keys, pending)

    def _view(self, name: str, keys: Sequence[str], pending: str | None) -> dict:
        teacher = self.load_teacher(self._known(name))
        shown = self._sources(teacher, keys)
        value = {
            "teacher": name,
            "title": teacher.card.title,
            "keys": list(keys),
            "stamp": self._stamp(name, keys),
            "classes": [page_values.name(label) for label in teacher.classes],
            "axis": page_values.axis(teacher.spec),
            "pending": pending,
            "trouble": self._trouble(("real", name)) if REAL in keys else None,
            "layers": [],
        }
        if not shown:
            return value
        layout, here = self._layout(teacher, keys)
        rows, start = [], 0
        for source in layout:
            if source in shown:
                rows += range(start, start + len(source.layer))
                value["layers"].append(_columns(source))
            start += len(source.layer)
        return value | {
            "share": [round(share, 3) for share in here.share],
            "pca": _points(here.pca[rows]),
            "umap": None if here.umap is None else _points(here.umap[rows]),
            "table": self._table(teacher, [source for source in layout if source in shown]),
        }

    def _known(self, name: str) -> str:
        if name not in self.teachers:
            raise FramiError("no such teacher")
        return name

    def _sources(self, teacher: Checkpoint, keys: Sequence[str]) -> list[Source]:
        """Those of the layers asked for that are ready, in the order of the map."""
        bundled = [source for source in self._bundled(teacher.card.name)[0] if source.layer.key in keys]
        return bundled + self._extras(teacher, keys)

    def _extras(self, teacher: Checkpoint, keys: Sequence[str]) -> list[Source]:
        runs = (self._of_run(teacher, key) for key in dict.fromkeys(keys))
        real = [self._done(("real", teacher.card.name))] if REAL in keys else []
        return [source for source in (*runs, *real) if source is not None]

    def _layout(self, teacher: Checkpoint, keys: Sequence[str]) -> tuple[list[Source], maps.Map]:
        """All bundled banks, and what else is shown, on one projection: hiding a bundled bank moves nothing."""
        name = teacher.card.name
        bundled, stored = self._bundled(name)
        extras = self._extras(teacher, keys)
        sources = [*bundled, *extras]
        if not extras and stored is not None:
            return sources, stored.map
        key = name, tuple(source.layer.key for source in extras)
        here = self._projected(*key)
        umap = self._done(("umap", *key))
        return sources, maps.Map(here.pca, here.share, umap)

    def _project(self, name: str, extras: tuple[str, ...]) -> maps.Map:
        return maps.project(self._layers(name, extras))

    def _layers(self, name: str, extras: tuple[str, ...]) -> list[maps.Layer]:
        teacher = self.load_teacher(name)
        return [source.layer for source in (*self._bundled(name)[0], *self._extras(teacher, extras))]

    def _table(self, teacher: Checkpoint, shown: Sequence[Source]) -> dict:
        """The measures: of bundled banks as they were stored, of others as far as they were computed."""
        _, stored = self._bundled(teacher.card.name)
        measured = stored.measures if stored else {}
        known = {row["key"]: row for row in measured.get("rows", [])}
        rows = []
        for source in shown:
            key = source.layer.key
            row = known.get(key) or (None if key == REAL else self._done(self._measuring(teacher, key)))
            if key != REAL:
                rows.append({"title": source.layer.title, "measures": row, "own": key not in known})
        reference = measured.get("reference")
        if reference:
            rows.append({"title": "real training clips", "measures": reference, "reference": True})
        return {"rows": rows, "note": self._note(teacher, measured, [row["title"] for row in rows if row.get("own")])}

    def _note(self, teacher: Checkpoint, measured: dict, runs: list[str]) -> list[str]:
        """Where the figures of the table come from."""
        who = fold_kind(teacher.card.dataset)
        words, held = [], f"{teacher.card.title}, {who} {', '.join(measured.get('folds', []))}"
        if measured.get("real_clips"):
            words.append(
                f"The gallery was measured when it was made: {measured['samples']} clips of each recipe beside "
                f"{measured['real_clips']} recordings that the teacher was not trained on "
                f"({held})."
            )
        elif measured:
            words.append(
                f"The gallery was measured when it was made, {measured['samples']} clips of each recipe; no recordings "
                "were at hand for coverage, density and the Fréchet distance."
            )
        if runs:
            real = self._done(("real", teacher.card.name))
            beside = f"beside {len(real.layer)} recordings" if real else "without recordings, as none are on the map"
            words.append(f"Your runs are measured here, all clips of each, {beside}.")
        words.append("Brackets: 95 % intervals. All but “as asked” depend on the number of clips: compare equal ones.")
        return words

    # ------------------------------------------------------------------------------------- what comes later

    def _measuring(self, teacher: Checkpoint, key: str) -> tuple:
        real = self._done(("real", teacher.card.name))
        return "measures", teacher.card.name, key, real is not None

    def _missing(self, teacher: Checkpoint, keys: Sequence[str]):
        """(task, what it does, what the page says of it), the most wanted first."""
        name = teacher.card.name
        if REAL in keys and not self._finished(("real", name)) and self.has_recordings(name):
            yield (
                ("real", name),
                lambda report: self._read_recordings(teacher, report),
                lambda text: f"The teacher listens to real recordings{text}…",
            )
        bundled, stored = self._bundled(name)
        extras = tuple(source.layer.key for source in self._extras(teacher, keys))
        if (extras or stored is None) and (bundled or extras) and not self._finished(("umap", name, extras)):
            yield (
                ("umap", name, extras),
                lambda report: maps.umap(self._layers(name, extras)),
                lambda text: "UMAP is being computed…",
            )
        measured = [] if stored is None else [row["key"] for row in stored.measures["rows"]]
        for source in self._sources(teacher, keys):
            task = self._measuring(teacher, source.layer.key)
            if source.layer.key not in (REAL, *measured) and len(source.layer) > 1 and not self._finished(task):
                real = self._done(("real", name))
                yield (
                    task,
                    lambda report, made=source.layer, real=real: maps.measures(made, real and real.layer),
                    lambda text, title=source.layer.title: f"{title} is being measured…",
                )

    def _start(self, key: tuple, run: Callable) -> str:
        """Have the worker do something, once; returns how far it is."""
        with self._lock:
            task = self._tasks.get(key)
            if task is None:
                task = self._tasks[key] = _Task(Future())
                progress = lambda done, total: setattr(task, "progress", f", {done} of {total}")  # noqa: E731
                task.future = self._worker.submit(run, progress)
                while len(self._tasks) > _KEPT:
                    self._tasks.popitem(last=False)
        return task.progress

    def _finished(self, key: tuple) -> bool:
        task = self._tasks.get(key)
        return task is not None and task.future.done()

    def _done(self, key: tuple):
        """Result of a task; None while there is none, or when it failed."""
        task = self._tasks.get(key)
        if task is None or not task.future.done() or task.future.cancelled() or task.future.exception():
            return None
        return task.future.result()

    def _trouble(self, key: tuple) -> str | None:
        """Why a task failed."""
        task = self._tasks.get(key)
        failed = task is not None and task.future.done() and not task.future.cancelled() and task.future.exception()
        return str(failed) if failed else None

    def _stamp(self, name: str, keys: Sequence[str]) -> str:
        """Changes when more of a map is ready."""
        teacher = self.load_teacher(self._known(name))
        sources = self._sources(teacher, keys)
        here = self._layout(teacher, keys)[1] if sources else None
        measured = sum(self._done(self._measuring(teacher, source.layer.key)) is not None for source in sources)
        ready = here is not None and here.umap is not None
        return f"{len(sources)}-{ready}-{measured}-{self._finished(('real', name))}"

    # ------------------------------------------------------------------------------------- one clip

    def clip(self, name: str, keys: Sequence[str], id: str) -> dict:
        """A clip as the page shows it, and its nearest among the layers shown. Raises FramiError."""
        sources = {source.layer.key: source for source in self._sources(self.load_teacher(self._known(name)), keys)}
        source, row = self._find(id)
        layers = [one.layer for one in sources.values()]
        if source.layer.key not in sources:
            raise FramiError("no such clip")
        near = [
            sources[layer.key].show(i) | {"layer": layer.key, "distance": round(distance, 2)}
            for layer, i, distance in maps.nearest(layers, source.layer.key, row)
        ]
        return {"clip": source.show(row), "near": near}

    def _sound(self, id: str) -> bytes:
        """Bytes of a clip's sound file: the recording itself, or the vocoder's. Raises FramiError."""
        plain, voice = voiced(id)
        source, row = self._find(plain)
        return source.sound(row, voice)

    def _find(self, id: str) -> tuple[Source, int]:
        """The layer and row of a clip's id, which comes from the page."""
        prefix, _, row = id.rpartition("/") if isinstance(id, str) else ("", "", "")
        kind, _, rest = prefix.partition("/")
        name, _, key = rest.partition("/")
        if not re.fullmatch(r"\d{1,5}", row) or kind != "explore" or name not in self.teachers:
            raise FramiError("no such clip")
        for source in self._sources(self.load_teacher(name), [key]):
            if source.prefix == prefix and int(row) < len(source.layer):
                return source, int(row)
        raise FramiError("no such clip")

    # ------------------------------------------------------------------------------------- reading

    def _read_bundled(self, name: str) -> tuple[list[Source], maps.Stored | None]:
        """Bundled banks of a teacher, and their precomputed map where it belongs to them."""
        folder, teacher, found = self.folder / name, self.load_teacher(name), []
        there = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        for key in sorted(there, key=lambda key: (key not in EXPLORE, EXPLORE.index(key) if key in EXPLORE else key)):
            try:
                bank = banks.load(folder / key)
            except FramiError:
                continue
            if belongs(bank, teacher):
                found.append(of_bank(bank, teacher, key, offers.title(key), f"explore/{name}/{key}"))
        stored = maps.load(folder)
        return found, stored if stored and stored.fits([source.layer for source in found]) else None

    def _of_run(self, teacher: Checkpoint, key: str) -> Source | None:
        """A visitor's run, once it has ended, if this teacher was its."""
        match = _RUN.fullmatch(key)
        job = self.jobs.get(match[1]) if match else None
        return self._run(teacher.card.name, match[1]) if match and (job is None or job.done) else None

    def _read_run(self, name: str, id: str) -> Source | None:
        bank, teacher = self.jobs.bank(id), self.load_teacher(name)
        if bank is None or not belongs(bank, teacher):
            return None
        recipe, key = offers.title(bank.manifest["settings"]["recipe"]), f"run-{id}"
        title = f"Your run · {recipe}, seed {bank.manifest['settings']['seed']}"
        return of_bank(bank, teacher, key, title, f"explore/{name}/{key}")

    def _read_recordings(self, teacher: Checkpoint, report) -> Source:
        found = maps.recorded(teacher, most=MOST_REAL, progress=report)
        return of_recordings(found, teacher, f"explore/{teacher.card.name}/{REAL}")


def _columns(source: Source) -> dict:
    """A layer as plain lists."""
    layer = source.layer
    return {
        "key": layer.key,
        "title": layer.title,
        "real": layer.real,
        "prefix": source.prefix,
        "labels": source.labels.tolist(),
        "predicted": layer.predicted.tolist(),
        "sure": [round(p, 3) for p in source.sure.tolist()],
    }


def _points(points: Tensor) -> list[float]:
    return [round(x, 3) for x in points.flatten().tolist()]
