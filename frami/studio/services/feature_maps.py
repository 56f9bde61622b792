"""The studio's feature maps: what can be shown at once, and what is computed behind the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from torch import Tensor

from frami import banks, data
from frami.checkpoints import Checkpoint
from frami.data.catalogue import fold_kind
from frami.errors import FramiError
from frami.features import maps
from frami.features.gallery import EXPLORE
from frami.studio.services import clip_ids, offers, page_values
from frami.studio.services.background import Background
from frami.studio.services.clip_ids import ClipId
from frami.studio.services.jobs import Jobs
from frami.studio.services.map_layers import MapLayer, belongs, of_bank, of_recordings

REAL = "real"
#: Real clips on a map at most: more would hide the made ones.
MOST_REAL = 500


@dataclass
class FeatureMaps:
    """Maps of the ``teachers`` (their names), from bundled banks below ``folder``, a page's runs and recordings.

    A map is named by its teacher and the keys of its layers: a bundled recipe's name, ``run-ID``, or ``real``.
    """

    folder: Path
    jobs: Jobs
    load_teacher: Callable[[str], Checkpoint]
    teachers: Sequence[str]
    _work: Background = field(default_factory=lambda: Background("frami-map"))

    def __post_init__(self):
        self._bundled = lru_cache(maxsize=8)(self._read_bundled)
        self._run = lru_cache(maxsize=32)(self._read_run)
        self._projected = lru_cache(maxsize=16)(self._project)
        self._sound = lru_cache(maxsize=256)(self._read_sound)
        self.close = self._work.close

    # ------------------------------------------------------------------------------------- what there is

    def choices(self, name: str, runs: Sequence[str]) -> list[tuple[str, str]]:
        """(title, key) of each layer that can be shown for a teacher; ``runs`` are the visitor's, the latest first."""
        own = (self._of_run(self.load_teacher(name), clip_ids.layer_of_run(run)) for run in runs)
        found = [(one.layer.title, one.layer.key) for one in (*self._bundled(name)[0], *own) if one]
        return [*found, ("Recordings", REAL)] if self.has_recordings(name) else found

    def has_recordings(self, name: str) -> bool:
        """Whether the data set of a teacher is at hand."""
        try:
            data.locate(self.load_teacher(name).card.dataset)
        except FramiError:
            return False
        return True

    # ------------------------------------------------------------------------------------- the map

    def view(self, name: str, keys: Sequence[str], pending: str | None = "") -> dict:
        """A map as the page draws it, from what is ready; ``pending`` : what is still computed. FramiError for an
        unknown teacher."""
        teacher = self.load_teacher(self._known(name))
        shown = self._shown(teacher, keys)
        value = {
            "teacher": name,
            "title": teacher.card.title,
            "keys": list(keys),
            "stamp": self._stamp(name, keys),
            "classes": [page_values.name(label) for label in teacher.classes],
            "axis": page_values.axis(teacher.spec),
            "pending": pending,
            "trouble": self._work.trouble((REAL, name)) if REAL in keys else None,
            "layers": [],
        }
        if not shown:
            return value
        layout, here = self._layout(teacher, keys)
        rows, start = [], 0
        for one in layout:
            if one in shown:
                rows += range(start, start + len(one.layer))
                value["layers"].append(_columns(one))
            start += len(one.layer)
        return value | {
            "share": [round(share, 3) for share in here.share],
            "pca": _points(here.pca[rows]),
            "umap": None if here.umap is None else _points(here.umap[rows]),
            "table": self._table(teacher, [one for one in layout if one in shown]),
        }

    def more(self, name: str, keys: Sequence[str], stamp: str) -> dict:
        """The map when it has changed since ``stamp``, else what is computed for it (``{"pending"}``, None when it is
        whole). Starts what is missing."""
        teacher = self.load_teacher(self._known(name))
        task, work, words = next(self._missing(teacher, keys), (None, None, None))
        pending = f"{words}{self._work.start(task, work)}…" if task else None
        return {"pending": pending} if self._stamp(name, keys) == stamp else self.view(name, keys, pending)

    def _known(self, name: str) -> str:
        if name not in self.teachers:
            raise FramiError("no such teacher")
        return name

    def _shown(self, teacher: Checkpoint, keys: Sequence[str]) -> list[MapLayer]:
        """Those of these layers that are ready, in the order of the map."""
        bundled = [one for one in self._bundled(teacher.card.name)[0] if one.layer.key in keys]
        return bundled + self._extras(teacher, keys)

    def _extras(self, teacher: Checkpoint, keys: Sequence[str]) -> list[MapLayer]:
        """As ``_shown``, without the bundled ones."""
        runs = (self._of_run(teacher, key) for key in dict.fromkeys(keys))
        return [one for one in (*runs, self._real(teacher) if REAL in keys else None) if one is not None]

    def _real(self, teacher: Checkpoint) -> MapLayer | None:
        return self._work.result((REAL, teacher.card.name))

    def _layout(self, teacher: Checkpoint, keys: Sequence[str]) -> tuple[list[MapLayer], maps.Map]:
        """All bundled banks, and what else is shown, on one projection: hiding a bundled bank moves nothing."""
        name = teacher.card.name
        bundled, stored = self._bundled(name)
        extras = self._extras(teacher, keys)
        if not extras and stored is not None:
            return bundled, stored.map
        key = name, tuple(one.layer.key for one in extras)
        here = self._projected(*key)
        return [*bundled, *extras], maps.Map(here.pca, here.share, self._work.result(("umap", *key)))

    def _project(self, name: str, extras: tuple[str, ...]) -> maps.Map:
        return maps.project(self._layers(name, extras))

    def _layers(self, name: str, extras: tuple[str, ...]) -> list[maps.Layer]:
        teacher = self.load_teacher(name)
        return [one.layer for one in (*self._bundled(name)[0], *self._extras(teacher, extras))]

    def _table(self, teacher: Checkpoint, shown: Sequence[MapLayer]) -> dict:
        """The measures: of bundled banks as they were stored, of runs as far as they were computed."""
        stored = self._bundled(teacher.card.name)[1]
        measured = stored.measures if stored else {}
        known = {row["key"]: row for row in measured.get("rows", [])}
        rows, runs = [], []
        for one in shown:
            key, title = one.layer.key, one.layer.title
            if key == REAL:
                continue
            rows.append(
                {"title": title, "measures": known.get(key) or self._work.result(self._measuring(teacher, key))}
            )
            if key not in known:
                runs.append(title)
        if reference := measured.get("reference"):
            rows.append({"title": "real training clips", "measures": reference, "reference": True})
        return {"rows": rows, "note": self._note(teacher, measured, bool(runs))}

    def _note(self, teacher: Checkpoint, measured: dict, runs: bool) -> list[str]:
        """Where the figures of the table come from."""
        card, words = teacher.card, []
        held = f"{card.title}, {fold_kind(card.dataset)} {', '.join(measured.get('folds', []))}"
        if measured.get("real_clips"):
            words.append(
                f"The gallery was measured when it was made: {measured['samples']} clips of each recipe against "
                f"{measured['real_clips']} recordings that the teacher was not trained on ({held})."
            )
        elif measured:
            words.append(
                f"The gallery was measured when it was made, {measured['samples']} clips of each recipe; no recordings "
                "were at hand for coverage, density and the Fréchet distance."
            )
        if runs:
            real = self._real(teacher)
            beside = f"against {len(real.layer)} recordings" if real else "without recordings, as none are on the map"
            words.append(f"Your runs are measured here, all clips of each, {beside}.")
        return [
            *words,
            "Brackets: 95 % intervals. All but target accuracy depend on the number of clips: compare equal ones.",
        ]

    # ------------------------------------------------------------------------------------- what comes later

    def _measuring(self, teacher: Checkpoint, key: str) -> tuple:
        return "measures", teacher.card.name, key, self._real(teacher) is not None

    def _missing(self, teacher: Checkpoint, keys: Sequence[str]):
        """(task, its work, what the page says of it), the most wanted first."""
        name, ended = teacher.card.name, self._work.ended
        if REAL in keys and not ended((REAL, name)) and self.has_recordings(name):
            work = partial(self._read_recordings, teacher)
            yield (REAL, name), work, "Features of the recordings are being computed"
        bundled, stored = self._bundled(name)
        extras = tuple(one.layer.key for one in self._extras(teacher, keys))
        if (extras or stored is None) and (bundled or extras) and not ended(("umap", name, extras)):
            yield ("umap", name, extras), lambda _: maps.umap(self._layers(name, extras)), "UMAP is being computed"
        measured = [] if stored is None else [row["key"] for row in stored.measures["rows"]]
        real = self._real(teacher)
        for one in self._shown(teacher, keys):
            task = self._measuring(teacher, one.layer.key)
            if one.layer.key not in (REAL, *measured) and len(one.layer) > 1 and not ended(task):
                work = partial(_measures, one.layer, real and real.layer)
                yield task, work, f"{one.layer.title} is being measured"

    def _stamp(self, name: str, keys: Sequence[str]) -> str:
        """Changes when more of a map is ready."""
        teacher = self.load_teacher(self._known(name))
        shown = self._shown(teacher, keys)
        projected = bool(shown) and self._layout(teacher, keys)[1].umap is not None
        measured = sum(self._work.result(self._measuring(teacher, one.layer.key)) is not None for one in shown)
        return f"{len(shown)}-{projected}-{measured}-{self._work.ended((REAL, name))}"

    # ------------------------------------------------------------------------------------- one clip

    def clip(self, name: str, keys: Sequence[str], id: str) -> dict:
        """A clip as the page shows it, and its nearest among the layers shown. Raises FramiError."""
        shown = {one.layer.key: one for one in self._shown(self.load_teacher(self._known(name)), keys)}
        clip = clip_ids.parse(id)
        own = self._find(clip)
        if own.layer.key not in shown:
            raise FramiError("no such clip")
        nearest = maps.nearest([one.layer for one in shown.values()], own.layer.key, clip.index)
        near = [
            shown[layer.key].show(row) | {"layer": layer.key, "distance": round(distance, 2)}
            for layer, row, distance in nearest
        ]
        return {"clip": own.show(clip.index), "near": near}

    def sound(self, id: str) -> bytes:
        """Bytes of a clip's sound file: the recording itself, or the vocoder's. Raises FramiError."""
        return self._sound(clip_ids.parse(id))

    def _read_sound(self, clip: ClipId) -> bytes:
        return self._find(clip).sound(clip.index, clip.vocoder)

    def _find(self, clip: ClipId) -> MapLayer:
        """The layer that has this clip."""
        if clip.kind == "explore" and clip.owner in self.teachers and clip.state is None:
            for one in self._shown(self.load_teacher(clip.owner), [clip.layer]):
                if clip.index < len(one.layer):
                    return one
        raise FramiError("no such clip")

    # ------------------------------------------------------------------------------------- reading

    def _read_bundled(self, name: str) -> tuple[list[MapLayer], maps.Stored | None]:
        """Bundled banks of a teacher, and their precomputed map where it belongs to them."""
        folder, teacher, found = self.folder / name, self.load_teacher(name), []
        there = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        for key in sorted(there, key=lambda key: (key not in EXPLORE, EXPLORE.index(key) if key in EXPLORE else key)):
            try:
                bank = banks.load(folder / key)
            except FramiError:
                continue
            if belongs(bank, teacher):
                found.append(of_bank(bank, teacher, key, offers.title(key)))
        stored = maps.load(folder)
        return found, stored if stored and stored.fits([one.layer for one in found]) else None

    def _of_run(self, teacher: Checkpoint, key: str) -> MapLayer | None:
        """A visitor's run, once it has ended, if this teacher was its."""
        id = clip_ids.run_of_layer(key)
        job = self.jobs.get(id)
        return self._run(teacher.card.name, id) if id and (job is None or job.done) else None

    def _read_run(self, name: str, id: str) -> MapLayer | None:
        bank, teacher = self.jobs.bank(id), self.load_teacher(name)
        if bank is None or not belongs(bank, teacher):
            return None
        settings = bank.manifest["settings"]
        title = f"Your run · {offers.title(settings['recipe'])}, seed {settings['seed']}"
        return of_bank(bank, teacher, clip_ids.layer_of_run(id), title)

    def _read_recordings(self, teacher: Checkpoint, progress: Callable) -> MapLayer:
        return of_recordings(maps.recorded(teacher, most=MOST_REAL, progress=progress), teacher)


def _measures(made: maps.Layer, real: maps.Layer | None, progress: Callable) -> dict:
    return maps.measures(made, real)


def _columns(shown: MapLayer) -> dict:
    """A layer as plain lists."""
    layer = shown.layer
    return {
        "key": layer.key,
        "title": layer.title,
        "real": layer.real,
        "prefix": shown.prefix,
        "labels": shown.labels.tolist(),
        "predicted": layer.predicted.tolist(),
        "confidence": [round(p, 3) for p in shown.confidence.tolist()],
    }


def _points(points: Tensor) -> list[float]:
    return [round(x, 3) for x in points.flatten().tolist()]
