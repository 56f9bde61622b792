"""The studio's feature maps: what can be shown at once, and what is computed behind the page."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from torch import Tensor, tensor

from frami import banks
from frami.checkpoints import Checkpoint
from frami.data.catalogue import in_words
from frami.errors import FramiError, sentence
from frami.features import judges, maps, stored_recordings
from frami.features.gallery import EXPLORE
from frami.features.maps import REAL
from frami.features.recordings import at_hand
from frami.hosting.owners import EVERYONE, Visitor
from frami.paths import home
from frami.studio.services import clip_ids, offers, page_values
from frami.studio.services.background import Background
from frami.studio.services.class_groups import of_teacher
from frami.studio.services.clip_ids import ClipId
from frami.studio.services.map_layers import MapLayer, of_bank, of_recordings, of_stored
from frami.studio.services.recordings import Recordings
from frami.studio.services.syntheses import Syntheses
from frami.workers.pool import BusyError, asked_by, on_file, shared

#: Real clips on a map at most: more would hide the made ones.
MOST_REAL = 500


@dataclass(frozen=True)
class _Choice:
    """Layers of a teacher's map with these keys, as far as they are ready: of the ``bundled`` ones (recordings last,
    where they lie on the stored map), which have a ``stored`` map with ``measured`` beside it, of ``runs``, and
    recordings that were ``read`` here."""

    teacher: Checkpoint
    keys: Sequence[str]
    bundled: list[MapLayer]
    stored: maps.Map | None
    measures: dict
    runs: list[MapLayer]
    read: MapLayer | None

    @property
    def real(self) -> MapLayer | None:
        """The recordings."""
        return next((one for one in self.bundled if one.layer.real), self.read)

    @property
    def extras(self) -> list[MapLayer]:
        beside = self.read if self.real is self.read and REAL in self.keys else None
        return [*self.runs, beside] if beside else self.runs

    @property
    def all(self) -> list[MapLayer]:
        """The layers of the projection, shown or not: hiding a bundled one moves no point."""
        return [*self.bundled, *self.extras]

    @property
    def shown(self) -> list[MapLayer]:
        return [one for one in self.all if one.layer.key in self.keys]

    @property
    def projection(self) -> tuple[str, tuple[str, ...]]:
        """Name of the projection: teacher and extras."""
        return self.teacher.card.name, tuple(one.layer.key for one in self.extras)

    @property
    def measured(self) -> dict[str, dict]:
        """Stored measures of the bundled layers by key."""
        return {row["key"]: row for row in self.measures.get("rows", [])}

    def measuring(self, one: MapLayer) -> tuple:
        """Name of the measuring of a layer, with or without recordings."""
        return "measures", self.teacher.card.name, one.layer.key, self.real is not None


@dataclass(frozen=True)
class ShownMap:
    """A map as it is seen: the ticked ``layers``, and where their clips lie, layer behind layer: pca, umap Tensor[N, 2]
    (``umap`` None until it is computed)."""

    teacher: Checkpoint
    layers: list[MapLayer]
    pca: Tensor
    umap: Tensor | None


@dataclass
class FeatureMaps:
    """Maps of the ``teachers`` (their names), from banks below ``folder`` or ``FRAMI_HOME/explore``, a page's runs and
    recordings.

    A map is named by its teacher and the keys of its layers: a bundled recipe's name, ``run-ID``, or ``real``. Methods
    raise FramiError for what there is not. recordings : those that ship; looked up here where none are given.
    """

    folder: Path
    runs: Syntheses
    load_teacher: Callable[[str], Checkpoint]
    teachers: Sequence[str]
    recordings: Recordings | None = None
    _work: Background = field(default_factory=lambda: Background("frami-map"))

    def __post_init__(self):
        self.recordings = self.recordings or Recordings(self.folder, self.load_teacher, self.teachers)
        self._bundled = lru_cache(maxsize=8)(self._read_bundled)
        self._run = lru_cache(maxsize=32)(self._read_run)
        self._projected = lru_cache(maxsize=16)(self._project)
        self._sound = lru_cache(maxsize=256)(self._read_sound)
        self.close = self._work.close

    @property
    def alive(self) -> bool:
        """Whether its worker lives."""
        return self._work.alive

    # ------------------------------------------------------------------------------------- what there is

    def choices(self, name: str, runs: Sequence[str], who: Visitor = EVERYONE) -> list[tuple[str, str]]:
        """(title, key) of each layer that can be shown for a teacher; ``runs`` are the visitor's, the latest first."""
        found = self._choose(name, self._allowed([clip_ids.layer_of_run(run) for run in runs], who))
        made = [one for one in (*found.bundled, *found.runs) if not one.layer.real]
        titles = [(one.layer.title, one.layer.key) for one in made]
        return [*titles, ("Recordings", REAL)] if found.real or self.has_recordings(name) else titles

    def has_recordings(self, name: str) -> bool:
        """Whether the data set of a teacher is at hand, or recordings of it ship."""
        return at_hand(self.load_teacher(name).card.dataset) or self.recordings.some(name)

    def _allowed(self, keys: Sequence[str], who: Visitor) -> list[str]:
        """These keys without those of others' runs."""
        runs = [clip_ids.run_of_layer(key) for key in keys]
        return [key for key, run in zip(keys, runs, strict=True) if run is None or self.runs.owned(run, who)]

    def _choose(self, name: str, keys: Sequence[str]) -> _Choice:
        if name not in self.teachers:
            raise FramiError("no such teacher; reload the page")
        runs = [one for key in dict.fromkeys(keys) if (one := self._of_run(name, key)) is not None]
        return _Choice(self.load_teacher(name), keys, *self._bundled(name), runs, self._work.result((REAL, name)))

    # ------------------------------------------------------------------------------------- the map

    def view(self, name: str, keys: Sequence[str], pending: str | None = "", who: Visitor = EVERYONE) -> dict:
        """A map as the page draws it, from what is ready; ``pending`` : what is still computed."""
        keys = self._allowed(keys, who)
        chosen = self._choose(name, keys)
        value = {
            "teacher": name,
            "title": chosen.teacher.card.title,
            "keys": list(keys),
            "stamp": self._stamp(chosen),
            "classes": [page_values.name(label) for label in chosen.teacher.classes],
            "categories": of_teacher(chosen.teacher.card),
            "axis": page_values.axis_of(chosen.teacher),
            "pending": pending,
            "trouble": self._trouble(chosen),
            "layers": [_columns(one) for one in chosen.shown],
            "making": offers.making(name, explore=True),
        }
        if not chosen.shown:
            return value
        here = self._map(chosen)
        rows = _rows_shown(chosen)
        return value | {
            "frame": {"pca": _ends(here.pca), "umap": None if here.umap is None else _ends(here.umap)},
            "share": [round(share, 3) for share in here.share],
            "pca": _points(here.pca[rows]),
            "umap": None if here.umap is None else _points(here.umap[rows]),
            "table": self._table(chosen),
        }

    def shown(self, name: str, keys: Sequence[str], who: Visitor = EVERYONE) -> ShownMap:
        """What of a teacher's map a visitor sees. FramiError where that is nothing."""
        chosen = self._choose(name, self._allowed(keys, who))
        if not chosen.shown:
            raise FramiError("nothing is on the map: tick a recipe above it")
        here, rows = self._map(chosen), _rows_shown(chosen)
        return ShownMap(chosen.teacher, chosen.shown, here.pca[rows], None if here.umap is None else here.umap[rows])

    def later(self, task: tuple, work: Callable, words: str, who: Visitor = EVERYONE) -> tuple[object, str | None]:
        """The result of a task, or None and what the page says meanwhile (or why there is none); it is begun where it
        has not been."""
        if self._work.ended(task):
            return self._work.result(task), self._work.trouble(task)
        return None, self._begin(task, work, words, who)

    def failed(self, task: tuple) -> bool:
        """Whether a task ended without a result."""
        return self._work.ended(task) and self._work.result(task) is None

    def more(self, name: str, keys: Sequence[str], stamp: str, who: Visitor = EVERYONE) -> dict:
        """The map when it has changed since ``stamp``, else what is computed for it (``{"pending"}``, None when it is
        whole). Starts what is missing."""
        keys = self._allowed(keys, who)
        task, work, words = next(self._missing(self._choose(name, keys)), (None, None, None))
        pending = self._begin(task, work, words, who) if task else None
        return (
            {"pending": pending}
            if self._stamp(self._choose(name, keys)) == stamp
            else self.view(name, keys, pending, who)
        )

    def _begin(self, task: tuple, work: Callable, words: str, who: Visitor) -> str:
        """Start what is missing, for which the page asks again until it is there; what the page says of it."""
        try:
            return f"{words}{self._work.start(task, work, who.owner or '', who.address)}…"
        except BusyError:
            return "Maps of other visitors are computed first…"

    def _map(self, chosen: _Choice) -> maps.Map:
        if chosen.stored is not None and not chosen.extras:
            return chosen.stored
        here = self._projected(*chosen.projection)
        return maps.Map(here.pca, here.share, self._work.result(("umap", *chosen.projection)))

    def _trouble(self, chosen: _Choice) -> str | None:
        """Why a part of the map is missing."""
        recordings = self._work.trouble((REAL, chosen.teacher.card.name)) if REAL in chosen.keys else None
        found = recordings or self._work.trouble(("umap", *chosen.projection))
        return found and sentence(found)

    def _project(self, name: str, extras: tuple[str, ...]) -> maps.Map:
        return maps.project([one.layer for one in self._choose(name, extras).all])

    def _table(self, chosen: _Choice) -> dict:
        """The measures: of bundled banks as they were stored, of runs as far as they were computed."""
        made, known = [one for one in chosen.shown if not one.layer.real], chosen.measured
        rows = [
            {
                "title": one.layer.title,
                "measures": known.get(one.layer.key) or self._work.result(chosen.measuring(one)),
            }
            for one in made
        ]
        real, beside = chosen.measures.get("recordings"), chosen.real is not chosen.read and REAL in chosen.keys
        for title, measures in (
            ("held-out recordings", beside and real),
            ("recordings it learnt from", chosen.measures.get("reference")),
        ):
            if measures:
                rows.append({"title": title, "measures": measures, "reference": True})
        return {"rows": rows, "note": _note(chosen, any(one.layer.key not in known for one in made))}

    # ------------------------------------------------------------------------------------- what comes later

    def _missing(self, chosen: _Choice):
        """(task, its work, what the page says of it), the most wanted first."""
        name, ended = chosen.teacher.card.name, self._work.ended
        if REAL in chosen.keys and chosen.real is None and not ended((REAL, name)) and self.has_recordings(name):
            yield (
                (REAL, name),
                partial(_read_recordings, chosen.teacher),
                "Features of the recordings are being computed",
            )
        task, layers = ("umap", *chosen.projection), [one.layer for one in chosen.all]
        if layers and (chosen.extras or chosen.stored is None) and not ended(task):
            yield task, partial(_umap, layers), "UMAP is being computed"
        for one in chosen.shown:
            task, measured = chosen.measuring(one), one is chosen.real or one.layer.key in chosen.measured
            if not measured and len(one.layer) > 1 and not ended(task):
                work = partial(_measures, chosen.teacher, one, chosen.real and chosen.real.layer)
                yield task, work, f"{one.layer.title} is being measured"

    def _stamp(self, chosen: _Choice) -> str:
        """Changes when more of a map is ready."""
        projected = bool(chosen.shown) and self._map(chosen).umap is not None
        measured = sum(self._work.result(chosen.measuring(one)) is not None for one in chosen.shown)
        recordings = self._work.ended((REAL, chosen.teacher.card.name))
        return f"{len(chosen.shown)}-{projected}-{measured}-{recordings}"

    # ------------------------------------------------------------------------------------- one clip

    def clip(self, name: str, keys: Sequence[str], id: str, who: Visitor = EVERYONE) -> dict:
        """A clip as the page shows it, and its nearest among the layers shown."""
        chosen = self._choose(name, self._allowed(keys, who))
        clip, shown = clip_ids.parse(id), {one.layer.key: one for one in chosen.shown}
        own = self._find(clip)
        if own.layer.key not in shown:
            raise FramiError("no such clip; reload the page")
        nearest = maps.nearest([one.layer for one in shown.values()], own.layer.key, clip.index)
        near = [
            shown[layer.key].show(row) | {"layer": layer.key, "distance": round(distance, 2)}
            for layer, row, distance in nearest
        ]
        return {"clip": own.show(clip.index), "near": near}

    def sound(self, id: str, who: Visitor = EVERYONE) -> bytes:
        """Bytes of a clip's sound file: the recording itself, or the vocoder's. BusyError where the visitor waits for
        too many."""
        clip = clip_ids.parse(id)
        if not self._allowed([clip.layer], who):
            raise FramiError("no such clip; reload the page")
        with asked_by(who.owner, who.address):
            return self._sound(clip)

    def _read_sound(self, clip: ClipId) -> bytes:
        return self._find(clip).sound(clip.index, clip.vocoder)

    def _find(self, clip: ClipId) -> MapLayer:
        """The layer that has this clip."""
        if clip.kind == "explore" and clip.state is None:
            for one in self._choose(clip.owner, [clip.layer]).shown:
                if clip.index < len(one.layer):
                    return one
        raise FramiError("no such clip; reload the page")

    # ------------------------------------------------------------------------------------- reading

    def _read_bundled(self, name: str) -> tuple[list[MapLayer], maps.Map | None, dict]:
        """Bundled banks of a teacher and recordings; their precomputed map, where it belongs to them, with what was
        measured."""
        folder, teacher, found = self.folder / name, self.load_teacher(name), []
        if not folder.is_dir():
            folder = home() / "explore" / name
        there = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
        for key in sorted(there, key=lambda key: (key not in EXPLORE, EXPLORE.index(key) if key in EXPLORE else key)):
            try:
                bank = banks.load(folder / key)
            except FramiError:
                continue
            if bank.made_from(teacher.card):
                made_by = bank.manifest["settings"].get("recipe", key)  # a bank of an earlier version may say another
                found.append(of_bank(bank, teacher, key, offers.title(made_by)))
        stored, real = maps.load(folder), stored_recordings.load(folder, teacher)
        layers = [one.layer for one in found]
        if stored and real and (here := stored.of([*layers, real.layer])):
            return [*found, of_stored(real, teacher, self.recordings)], here, stored.measures
        here = stored and stored.of(layers)
        return found, here, stored.measures if here else {}

    def _of_run(self, name: str, key: str) -> MapLayer | None:
        """A visitor's run, once it has ended, if this teacher was its."""
        id = clip_ids.run_of_layer(key)
        run = self.runs.get(id)
        return self._run(name, id) if id and (run is None or run.done) else None

    def _read_run(self, name: str, id: str) -> MapLayer | None:
        bank, teacher = self.runs.bank(id), self.load_teacher(name)
        if bank is None or not bank.made_from(teacher.card):
            return None
        settings = bank.manifest["settings"]
        title = f"Your run · {offers.title(settings['recipe'])}, seed {settings['seed']}"
        return of_bank(bank, teacher, clip_ids.layer_of_run(id), title)


def _umap(layers: Sequence[maps.Layer], progress: Callable) -> Tensor:
    return shared().run("map-umap", {"layers": layers})


def _read_recordings(teacher: Checkpoint, progress: Callable) -> MapLayer:
    """A worker decodes and embeds the recordings, those that ship where the data set is not at hand; what it stored is
    then read."""
    if at_hand(teacher.card.dataset):
        shared().run("map-recordings", on_file(teacher) | {"most": MOST_REAL}, lambda told: progress(*told))
        return of_recordings(maps.recorded(teacher, most=MOST_REAL), teacher)
    shared().run("map-shipped", on_file(teacher), lambda told: progress(*told))
    return of_recordings(maps.shipped(teacher), teacher)


def _measures(teacher: Checkpoint, made: MapLayer, real: maps.Layer | None, progress: Callable) -> dict:
    clips = made.clips() if made.clips and judges.known(teacher) else None
    layers = {"layer": made.layer, "clips": clips, "real": real}
    return shared().run("map-measures", on_file(teacher) | layers)


def _note(chosen: _Choice, runs: bool) -> list[str]:
    """Where the figures of the table come from; ``runs`` : there are runs among the layers."""
    card, words = chosen.teacher.card, []
    if measured := chosen.measures:
        words.append(f"The gallery was measured when it was made: {measured['samples']:,} clips of each recipe")
        if measured.get("real_clips"):
            held = f"{card.title}, {in_words(card.dataset, measured['folds'])}"
            words[0] += f" against {measured['real_clips']:,} recordings that the teacher was not trained on ({held})."
        else:
            words[0] += "; no recordings were at hand for coverage, density and the Fréchet distance."
        if says := measured.get("judge"):
            words.append(f"The judge: {says}.")
    if runs:
        beside = (
            f"against {len(chosen.real.layer):,} recordings" if chosen.real else "without recordings: none are shown"
        )
        words.append(f"Your runs are measured here, all clips of each, {beside}.")
    return [
        *words,
        "Brackets: 95% intervals. All but target accuracy depend on the number of clips: compare equal ones.",
    ]


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
        "soundless": shown.soundless(),
    }


def _rows_shown(chosen: _Choice) -> Tensor:
    """Which points of the projection are those of ticked layers, Tensor[N] of truth values."""
    return tensor([one.layer.key in chosen.keys for one in chosen.all for _ in range(len(one.layer))])


def _ends(points: Tensor) -> list[float]:
    """Left, right, low and high end of the whole projection: hiding a layer moves no point."""
    (left, low), (right, high) = points.amin(0).tolist(), points.amax(0).tolist()
    return [round(x, 3) for x in (left, right, low, high)]


def _points(points: Tensor) -> list[float]:
    return [round(x, 3) for x in points.flatten().tolist()]
