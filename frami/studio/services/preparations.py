"""What a studio prepares behind the page: data sets that are fetched, teachers that are trained or imported, galleries.

Each piece is done by worker processes while a thread here waits for it: it goes on when the page is closed. A training
that the studio's end cut off is listed again by the next one, and goes on from its last epoch with Resume.
"""

import json
import re
import secrets
import threading
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from frami import checkpoints, curve, files
from frami.data.catalogue import DATASETS
from frami.data.matching import shortened
from frami.errors import FramiError
from frami.hosting import owners
from frami.hosting.limits import LIFTING, NONE, Limits
from frami.hosting.mode import hosted
from frami.hosting.owners import EVERYONE, Visitor
from frami.models import ARCHITECTURES, DEFAULT
from frami.paths import home
from frami.studio.services import data_sets, troubles
from frami.workers.pool import asked_by, shared

#: Each kind of work: the limit that it counts against where strangers share the studio.
KINDS = {"train": "trainings", "gallery": "trainings", "import": "imports", "download": "downloads"}
#: Pieces of work that wait or go on at once, and that are listed at most.
MOST, LISTED = 8, 24
#: Signs of a name, epochs, points of a curve at most.
NAME, EPOCHS, POINTS = 40, 1000, 200
#: States from which nothing goes on by itself.
OVER = ("finished", "stopped", "failed")
#: What a repository of the Hub is named by, with a revision or without.
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?", re.ASCII)
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]*")
_GONE = "this is not there any more; reload the page"


@dataclass
class Work:
    """A piece of work. ``steps`` : its jobs in their order, each as of ``pool.run``; ``owner`` : as of ``Visitor``."""

    kind: str
    name: str
    title: str
    steps: list[tuple[str, dict]]
    owner: str | None = None
    address: str | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    status: str = "waiting"
    now: dict = field(default_factory=dict)
    curve: list[dict] = field(default_factory=list)
    note: str = ""
    error: str | None = None


class Preparations:
    """``device`` : that teachers are trained on; ``limits`` : that hold here; ``run`` : does a job, as ``pool.run``."""

    def __init__(self, device: str = "cpu", limits: Limits = NONE, run: Callable | None = None):
        self._device, self.limits = device, limits
        self._run = run or (lambda *job, **more: shared().run(*job, **more))
        self._works: dict[str, Work] = {}
        self._closing = False
        self._lock = threading.Lock()

    def begin(self) -> "Preparations":
        """List the trainings that an earlier studio did not finish."""
        for path in sorted(_requests().glob("*.json")):
            with suppress(FramiError, OSError, ValueError, TypeError, KeyError):
                said = json.loads(files.read_text(path, 2**16))
                dataset, settings, owner = said["dataset"], _settings(**said["settings"]), said.get("owner") or None
                work = Work("train", _slug(path.stem), f"Teacher {path.stem}", [], owner, status="stopped")
                work.steps = [self._training(path.stem, data_sets.trainable(dataset), settings)]
                work.curve = _curve(path.stem)
                work.note = "cut off when the studio ended"
                self._works[work.id] = work
        return self

    def close(self) -> None:
        """Begin nothing more. A training at work is not stopped, which would make a teacher of what it has learnt: it
        ends with its worker, is saved after each epoch, and is listed again by the next studio."""
        self._closing = True

    def allowed(self, kind: str) -> bool:
        """Whether this kind of work may be begun here at all."""
        return self.limits.of(KINDS[kind]) >= 1

    # ------------------------------------------------------------------------------------- what the page shows

    def value(self, who: Visitor = EVERYONE) -> list[dict]:
        """A visitor's work as the page draws it, the latest first."""
        return [_row(work) for work in reversed(list(self._works.values())) if _owns(who, work)]

    def going(self, kind: str, name: str) -> bool:
        """Whether somebody's work of this kind and name waits or goes on."""
        return any(w.kind == kind and w.name == name and w.status not in OVER for w in list(self._works.values()))

    @property
    def busy(self) -> bool:
        """Whether something waits or goes on that computes."""
        return any(work.kind != "download" and work.status not in OVER for work in list(self._works.values()))

    # ------------------------------------------------------------------------------------- what it can be asked for

    def download(self, name: str, who: Visitor = EVERYONE) -> str:
        """Fetch a data set of the catalogue; the id of the work."""
        if name not in DATASETS:
            raise FramiError("no such data set; reload the page")
        info = DATASETS[name]
        return self._start(Work("download", name, info.title, [("data-download", {"name": name})]), who)

    def train(
        self, name: str, dataset: str | None, archive: str | None, size: str, epochs: int | None, who=EVERYONE
    ) -> str:
        """Train a teacher of this name on recordings that are here (``dataset``, as of ``data_sets.trainable``), or on
        those of an uploaded ZIP archive. FramiError for what cannot be."""
        self._check("train", who)
        name, settings = _new_name(name), _settings(size, epochs)
        steps = []
        if archive and dataset:
            raise FramiError("choose the archive or recordings that are here, not both")
        if archive:
            folder = data_sets.own_folder() / name
            if folder.exists():
                raise FramiError(f"recordings named {name} are here already; choose another name for these")
            steps.append(("data-unpack", {"archive": archive, "folder": str(folder)}))
            path = str(folder)
        elif dataset:
            path = data_sets.trainable(dataset)
        else:
            raise FramiError("choose recordings that are here, or a ZIP archive of your own")
        work = Work("train", name, f"Teacher {name}", [*steps, self._training(name, path, settings)])
        return self._start(work, who)

    def import_teacher(self, name: str, source: str, uploads: Sequence[str], who: Visitor = EVERYONE) -> str:
        """Import a teacher from the Hub or a folder of this machine (``source``), or from two uploaded files."""
        self._check("import", who)
        source = source.strip()
        if bool(source) == bool(uploads):
            raise FramiError("give either the name of a repository or two files, not both")
        if hosted() and source and (Path(source).exists() or not _REPOSITORY.fullmatch(source)):
            raise FramiError("name a repository of the Hub, OWNER/NAME")
        usual = source.rstrip("/").rpartition("/")[2].partition("@")[0] if source else ""
        name = _new_name(name or usual)
        arguments = {"source": source, "files": list(uploads), "out": str(_folder() / name)}
        return self._start(Work("import", name, f"Teacher {name}", [("import-teacher", arguments)]), who)

    def gallery(self, teacher: str, who: Visitor = EVERYONE) -> str:
        """Make the gallery of a teacher that is here."""
        if not checkpoints.exists(checkpoints.resolve(teacher)):
            raise FramiError("no such teacher; reload the page")
        job = ("gallery-make", {"teacher": teacher, "device": self._device})
        return self._start(Work("gallery", teacher, f"Gallery of {teacher}", [job]), who)

    def stop(self, id: str, who: Visitor = EVERYONE) -> None:
        """End a piece of work: a training keeps its best epoch, a download what was fetched."""
        work = self._own(id, who)
        if work.status not in OVER:
            work.status = "stopping"

    def resume(self, id: str, who: Visitor = EVERYONE) -> None:
        """Go on with what was stopped or failed."""
        work = self._own(id, who)
        if work.status not in ("stopped", "failed") or not work.steps:
            raise FramiError("only work that was stopped or has failed can be resumed")
        self._start(Work(work.kind, work.name, work.title, work.steps, id=work.id, curve=work.curve), who, work)

    def remove(self, id: str, who: Visitor = EVERYONE) -> None:
        """Take what has ended from the list, and what an unfinished training left from the disk."""
        with self._lock:
            work = self._own(id, who)
            if work.status not in OVER:
                raise FramiError("stop this before you remove it")
            del self._works[work.id]
            if work.kind == "train" and not self.going("train", work.name):
                _forget(work.name, unfinished=True)

    # ------------------------------------------------------------------------------------- at work

    def _own(self, id: str, who: Visitor) -> Work:
        work = self._works.get(id)
        if work is None or not _owns(who, work):
            raise FramiError(_GONE)
        return work

    def _check(self, kind: str, who: Visitor) -> None:
        """Refuse one more of this kind where it may not be."""
        owners.check(who)
        if self._closing:
            raise FramiError("the studio is ending: begin this again when it is back")
        going = [work for work in list(self._works.values()) if work.status not in OVER]
        limit = KINDS[kind]
        if self.limits.of(limit) < 1:
            raise FramiError(f"{_OFF[kind]} on this shared page. {LIFTING}")
        self.limits.check(limit, 1 + sum(KINDS[work.kind] == limit for work in going))
        if len(going) >= MOST:
            raise FramiError(f"{MOST} pieces of work wait or go on already; wait for one to end, or stop one")

    def _start(self, work: Work, who: Visitor, before: Work | None = None) -> str:
        """Begin a piece of work; its id. before : what it goes on with, whose place in the list it takes."""
        with self._lock:
            if before is not None and self._works.get(before.id) is not before:
                raise FramiError(_GONE)
            self._check(work.kind, who)
            if self.going(work.kind, work.name):
                raise FramiError(f"{work.title} is being made already: see the list below")
            work.owner, work.address = who.owner, who.address
            self._works = {id: one for id, one in self._works.items() if id != work.id} | {work.id: work}
            over = [one for one in self._works.values() if one.status in OVER]
            for old in over[: max(0, len(self._works) - LISTED)]:
                del self._works[old.id]
        threading.Thread(target=self._do, args=(work,), name=f"frami-{work.kind}", daemon=True).start()
        return work.id

    def _training(self, name: str, dataset: str, settings: dict) -> tuple[str, dict]:
        arguments = {"dataset": dataset, "out": str(_folder() / name), "device": self._device, "settings": settings}
        return "train-teacher", arguments

    def _do(self, work: Work) -> None:
        def told(value: dict) -> None:
            if work.status == "waiting":
                work.status = "running"
            if (epoch := value.get("epoch")) is not None:
                if not work.curve and epoch["epoch"] > 1:
                    work.curve = _curve(work.name)
                work.curve = [row for row in work.curve if row["epoch"] < epoch["epoch"]] + [epoch]
                left = (epoch["epochs"] - epoch["epoch"]) * epoch["seconds"] / epoch["epoch"]
                value = {"stage": "training", "done": epoch["epoch"], "total": epoch["epochs"], "left": left}
            work.now = value

        try:
            for job, arguments in work.steps:
                if self._closing:
                    raise FramiError("the studio ended")
                if job == "train-teacher":
                    _remember(work)
                with asked_by(work.owner, work.address):
                    found = self._run(job, arguments, told=told, stopped=lambda: work.status == "stopping")
                work.note = _said(job, found, work)
                if job == "data-unpack":  # what is unpacked is not unpacked again by Resume
                    work.steps = work.steps[1:]
                data_sets.forget()
            if work.kind == "train":
                _forget(work.name)
            work.status = "finished"
        except Exception as error:
            work.error = troubles.in_words(error)
            work.status = "stopped" if work.status == "stopping" else "failed"
        finally:
            work.now = {}


#: What is said where a kind of work is off.
_OFF = {
    "train": "No teachers are trained",
    "gallery": "No galleries are made",
    "import": "No teachers are imported",
    "download": "No data sets are downloaded",
}


def _owns(who: Visitor, work: Work) -> bool:
    return work.owner == who.owner and (who.owner != "" or not hosted())


def _row(work: Work) -> dict:
    """A piece of work as the page draws it."""
    step = max(1, -(-len(work.curve) // POINTS))
    rows = work.curve[::-1][::step][::-1]
    points = {
        what: [[row["epoch"], round(row[key], 4)] for row in rows if row.get(key) is not None]
        for what, key in (("loss", "loss"), ("training", "accuracy"), ("held out", "validation"))
    }
    best = curve.best_epoch(work.curve)
    return {
        "id": work.id,
        "kind": work.kind,
        "name": work.name,
        "title": work.title,
        "status": work.status,
        "stage": work.now.get("stage", ""),
        "done": work.now.get("done", 0),
        "total": work.now.get("total"),
        "left": work.now.get("left"),
        "epochs": work.curve[-1]["epochs"] if work.curve else 0,
        "curve": {what: some for what, some in points.items() if some},
        "best": next((row["validation"] for row in work.curve if row["epoch"] == best), None),
        "note": work.note,
        "error": troubles.of_run(work.error),
        "resumes": bool(work.steps) and work.status in ("stopped", "failed"),
    }


def _said(job: str, found: dict, work: Work) -> str:
    """What came out of a job, in a line."""
    if job == "data-unpack":
        bad = found["unusable"]
        words = f"{found['clips']:,} recordings of {found['classes']} classes"
        return words + (f"; {_files(bad)} could not be used: {'; '.join(found['named'])}" if bad else "")
    if job == "train-teacher":
        last = work.curve[-1] if work.curve else None
        short = last and last["epoch"] < last["epochs"]
        skipped = f"; {_files(found['skipped'])} could not be used" if found["skipped"] else ""
        return (
            f"{found['accuracy']:.1%} of {found['clips']:,} held-out recordings are classified correctly{skipped}"
            + (f"; stopped after epoch {last['epoch']} of {last['epochs']}" if short else "")
        )
    if job == "import-teacher":
        return "; ".join([f"{found['classes']} classes", *found["notes"]])
    return ""


def _files(count: int) -> str:
    return f"{count:,} file{'s' * (count != 1)}"


def _slug(text: str) -> str:
    """A name of small letters, digits and dashes. FramiError where nothing is left."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:NAME].strip("-")
    if not _SLUG.fullmatch(name):
        raise FramiError("give the teacher a name of letters and digits")
    return name


def _new_name(text: str) -> str:
    """The name of a new teacher, which no network here has."""
    name = _slug(text)
    if any(checkpoints.exists(folder / name) for folder in checkpoints.folders()):
        raise FramiError(f"a network named {name} is here already; choose another name")
    return name


def _settings(size: str = "base", epochs: int | None = None) -> dict:
    """Settings of a training, checked."""
    sizes = ARCHITECTURES[DEFAULT].sizes
    if size not in sizes:
        raise FramiError(f"the size is one of: {shortened(tuple(sizes), len(sizes))}")
    if epochs in (None, 0) and not isinstance(epochs, bool):
        return {"size": size}
    if isinstance(epochs, bool) or not float(epochs).is_integer() or not 1 <= epochs <= EPOCHS:
        raise FramiError(f"the epochs are a whole number from 1 to {EPOCHS}")
    return {"size": size, "epochs": int(epochs)}


def _folder() -> Path:
    """Where teachers of the studio's own lie."""
    return home() / "checkpoints"


def _requests() -> Path:
    """Where it is noted which trainings were begun."""
    return home() / "trainings"


def _remember(work: Work) -> None:
    _, arguments = work.steps[-1]
    said = {name: arguments[name] for name in ("dataset", "settings")} | {"owner": work.owner}
    with suppress(OSError):  # a full disk ends the training itself, in words
        _requests().mkdir(parents=True, exist_ok=True)
        files.write(_requests() / f"{work.name}.json", json.dumps(said))


def _forget(name: str, unfinished: bool = False) -> None:
    """Remove the note of a training; ``unfinished`` : and what it has saved so far."""
    with suppress(OSError):
        (_requests() / f"{name}.json").unlink(missing_ok=True)
        if unfinished and not checkpoints.exists(_folder() / name):
            for ending in (".training", ".curve.csv"):
                (_folder() / f"{name}{ending}").unlink(missing_ok=True)


def _curve(name: str) -> list[dict]:
    """The learning curve that a training has written so far."""
    with suppress(FramiError):
        return curve.read_curve(_folder() / f"{name}.curve.csv")
    return []
