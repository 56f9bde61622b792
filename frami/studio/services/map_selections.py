"""Several clips of a feature map at once: how varied they are, and their sounds and table as one file."""

import csv
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field

import soundfile
import torch
from torch import Tensor

from frami.errors import FramiError
from frami.hosting.limits import NONE, Limits
from frami.hosting.owners import EVERYONE, Visitor
from frami.studio.services import clips, sent
from frami.studio.services.feature_maps import FeatureMaps, ShownMap
from frami.studio.services.map_layers import MapLayer
from frami.workers.pool import asked_by, shared

#: Clips of a selection whose variety is measured, and clips of one download on one's own machine, at most.
MOST_MEASURED, MOST_DOWNLOADED = 2_000, 200
#: Maps whose variety is kept.
_MAPS = 64
#: Columns of a download's table; coordinates are those of the projection as it is shown, which have no unit.
COLUMNS = (
    "file", "id", "target_class", "predicted_class", "confidence", "recipe", "kind", "origin",
    "pca_1", "pca_2", "umap_1", "umap_2", "without_sound",
)  # fmt: skip

#: Chosen clips of a layer, and the numbers of these among all points of the map.
Chosen = list[tuple[MapLayer, int, int]]


@dataclass(frozen=True)
class MapSelections:
    """Selections of the maps that a visitor sees. Methods raise FramiError for clips that are not on the map."""

    maps: FeatureMaps
    limits: Limits = NONE
    _whole: dict[tuple, tuple[float, float]] = field(default_factory=dict, repr=False)

    def measures(self, name: str, keys: Sequence[str], rows, who: Visitor = EVERYONE) -> dict:
        """How varied the chosen clips are: ``vendi``, ``distance`` (mean Euclidean distance of two clips), ``classes``
        (predicted ones), each beside that of the whole map, and ``words``, the same as a sentence.

        rows : of each layer's key the numbers of its clips.
        """
        shown = self.maps.shown(name, keys, who)
        chosen = _chosen(shown, rows)
        if len(chosen) > MOST_MEASURED:
            raise FramiError(f"{len(chosen)} clips are too many at once: select at most {MOST_MEASURED:,}")
        if len(chosen) < 2:
            raise FramiError("select at least two clips")
        features = torch.stack([one.layer.pooled[row] for one, row, _ in chosen])
        with asked_by(who.owner, who.address):
            (vendi, distance), (whole_vendi, whole_distance) = _variety(features), self._variety_of(shown)
        count = sum(len(one.layer) for one in shown.layers)
        classes = len({int(one.layer.predicted[row]) for one, row, _ in chosen})
        words = (
            f"They are as varied as {vendi:.1f} wholly different sounds (Vendi score; all {count:,} clips of "
            f"this map: {whole_vendi:.1f}). Two of them are {distance:.1f} apart in the teacher's feature space on "
            f"average (two of all: {whole_distance:.1f})."
        )
        return {"vendi": round(vendi, 2), "distance": round(distance, 2), "classes": classes, "words": words}

    def _variety_of(self, shown: ShownMap) -> tuple[float, float]:
        """The same two of a whole map, which are kept: every selection of it is compared with them."""
        key = tuple(one.layer.digest for one in shown.layers)
        if key not in self._whole:
            every = torch.cat([one.layer.pooled for one in shown.layers])
            some = torch.linspace(0, len(every) - 1, min(len(every), MOST_MEASURED)).round().long()
            self._whole[key] = _variety(every[some])
            for old in list(self._whole)[:-_MAPS]:
                self._whole.pop(old, None)
        return self._whole[key]

    def bundle(self, name: str, keys: Sequence[str], rows, who: Visitor = EVERYONE) -> tuple[str, bytes]:
        """Name and content of a ZIP archive: a WAV file of each chosen clip that has a sound, and ``clips.csv``
        of all, which says why one has none. LimitError for more clips than a hosted studio gives at once."""
        shown = self.maps.shown(name, keys, who)
        chosen = _chosen(shown, rows)
        if not chosen:
            raise FramiError("select some clips first")
        self.limits.check("selection", len(chosen))
        if len(chosen) > MOST_DOWNLOADED:
            raise FramiError(f"{len(chosen)} clips are too many for one file: select at most {MOST_DOWNLOADED}")
        stem, table, content = f"frami-{name}-selection", io.StringIO(), io.BytesIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
            for number, (one, row, place) in enumerate(chosen, 1):
                id = f"{one.prefix}/{row}"
                clip = one.show(row)
                silence = clip.get("soundless", "")
                file = "" if silence else f"{number:03d}-{one.layer.key}-{row}.wav"
                if file:
                    archive.writestr(f"{stem}/{file}", _as_wav(self.maps.sound(id, who)))
                umap = ["", ""] if shown.umap is None else _coordinates(shown.umap[place])
                kind = "real" if one.layer.real else "made"
                writer.writerow([
                    file, id, "" if clip.get("untargeted") else clip["target"], clip["predicted"], clip["confidence"],
                    one.layer.title, kind, clip.get("credit") or clip.get("origin", ""),
                    *_coordinates(shown.pca[place]), *umap, silence,
                ])  # fmt: skip
            archive.writestr(f"{stem}/clips.csv", table.getvalue())
        return f"{stem}.zip", content.getvalue()


def _variety(features: Tensor) -> tuple[float, float]:
    """Vendi score and mean distance of embeddings, Tensor[N, D], measured in a worker."""
    vendi, distance = shared().run("sound-variety", {"features": features})
    return vendi, distance


def _chosen(shown: ShownMap, rows) -> Chosen:
    """The clips that a page names, in the map's order. Raises FramiError."""
    given, found, start = sent.record(rows, "the selection"), [], 0
    if not set(given) <= {one.layer.key for one in shown.layers}:
        raise FramiError("the map has changed; select the clips again")
    for one in shown.layers:
        numbers = given.get(one.layer.key, [])
        if not isinstance(numbers, list):
            raise FramiError("the selection is not what the page sends")
        for row in numbers:
            sent.number(row, "a clip", 0, len(one.layer) - 1)
            if not isinstance(row, int):
                raise FramiError("no such clip; reload the page")
        found += [(one, row, start + row) for row in dict.fromkeys(numbers)]
        start += len(one.layer)
    return found


def _coordinates(point: Tensor) -> list[float]:
    return [round(x, 3) for x in point.tolist()]


def _as_wav(content: bytes) -> bytes:
    """A sound file as a WAV file, as loud as it is."""
    if content[:4] == b"RIFF":
        return content
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return clips.wav_file(torch.from_numpy(samples.mean(1)), rate)
