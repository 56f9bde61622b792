"""Maps of a teacher's feature space: made and real clips as points, the nearest of each, and how rich each bank is.

Features are the teacher's embeddings. The precomputed part of a map is ``map.json``; recordings on it have their
features beside it (``stored_recordings``).
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from frami import files, schema
from frami.banks import Bank
from frami.checkpoints import Checkpoint
from frami.data import LogMels
from frami.errors import FramiError
from frami.features import diversity, projection
from frami.features.embeddings import Embedded, embed, recordings
from frami.features.recordings import ship
from frami.paths import home

FORMAT = 1
FILE = "map.json"
#: Key of the layer of recordings.
REAL = "real"
#: Bytes of a map's file, and clips of a bank on it, at most.
_LARGEST, _CLIPS = 2**26, 10**6


@dataclass(frozen=True, eq=False)
class Layer:
    """Clips of one bank, or real ones, as points of a map.

    pooled : Tensor[N, D]; target, predicted : Tensor[N] class indices (``target`` is what a real clip is); confidence :
    Tensor[N], the teacher's probability of that class.
    """

    key: str
    title: str
    pooled: Tensor
    target: Tensor
    predicted: Tensor
    confidence: Tensor
    real: bool = False

    def __len__(self) -> int:
        return len(self.target)

    @property
    def digest(self) -> str:
        """Checksum of the features."""
        return f"{zlib.crc32(self.pooled.contiguous().numpy()):08x}"


def of_bank(key: str, title: str, bank: Bank) -> Layer:
    """A bank's clips as points."""
    return Layer(key, title, bank.pooled.float(), bank.target, bank.predicted, bank.confidence)


@dataclass(frozen=True)
class Map:
    """Where the clips lie, layer behind layer: pca, umap : Tensor[N, 2] (``umap`` None until it is computed); share :
    part of the variance (0–1) that each axis of ``pca`` shows."""

    pca: Tensor
    share: tuple[float, float]
    umap: Tensor | None = None


def project(layers: Sequence[Layer]) -> Map:
    """One PCA for all layers. Raises FramiError."""
    features = _joined(layers)
    found = projection.pca(features)
    return Map(found(features), tuple(found.share.tolist()))


def umap(layers: Sequence[Layer], seed: int = 0) -> Tensor:
    """One UMAP for all layers, Tensor[N, 2]. The first call on a machine takes long: see ``projection.umap_map``."""
    return torch.from_numpy(projection.umap_map(_joined(layers), seed)).float()


def _joined(layers: Sequence[Layer]) -> Tensor:
    if not sum(map(len, layers)):
        raise FramiError("there is no clip to put on a map")
    return torch.cat([layer.pooled for layer in layers])


def nearest(
    layers: Sequence[Layer], key: str, row: int, made: int = 3, real: int = 2
) -> list[tuple[Layer, int, float]]:
    """The nearest ``made`` and ``real`` clips to one, itself left out: layer, row and Euclidean distance, made first.

    Where no layer is real, that many more made ones. Raises FramiError when there is no such clip.
    """
    own = next((layer for layer in layers if layer.key == key), None)
    if own is None or not 0 <= row < len(own):
        raise FramiError("no such clip")
    if not any(layer.real for layer in layers):
        made, real = made + real, 0
    found = []
    for is_real, count in ((False, made), (True, real)):
        some = [layer for layer in layers if layer.real == is_real and len(layer)]
        if some and count:
            rows = [(layer, i) for layer in some for i in range(len(layer))]
            distances = (_joined(some) - own.pooled[row]).norm(dim=1)
            order = distances.argsort()[: count + 1].tolist()
            found += [(*rows[i], float(distances[i])) for i in order if rows[i] != (own, row)][:count]
    return found


def measures(layer: Layer, real: Layer | None = None, *, count: int | None = None, seed: int = 0) -> dict:
    """``diversity.summary`` of a layer's first ``count`` clips, as plain numbers; ``intervals`` too.

    ``real`` : what to measure beside; left out where it has too few clips. Raises FramiError.
    """
    count = min(count or len(layer), len(layer))
    beside = (real.pooled, real.target) if real is not None and len(real) > diversity.K else ()
    own = layer.pooled[:count], layer.target[:count], layer.predicted[:count], layer.confidence[:count]
    return {"key": layer.key} | diversity.summary(*own, *beside, seed=seed)


# --------------------------------------------------------------------------------------------- real clips


@dataclass(frozen=True)
class Recorded:
    """Real clips on a map: their layer, the teacher's logits Tensor[N, K], and which of ``clips`` they are."""

    layer: Layer
    logits: Tensor
    clips: LogMels
    rows: list[int]


def recorded(
    teacher: Checkpoint,
    *,
    split: str = "test",
    most: int | None = None,
    data_folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Recorded:
    """Real clips of the teacher's data set, classes in turn where there are more than ``most``.

    Their embeddings are stored in ``FRAMI_HOME``. ``progress(done, total)`` counts clips. Raises FramiError (DataError
    where the recordings are not here).
    """
    clips = recordings(teacher, None, split, data_folder, progress)
    return _recorded(teacher, clips, most, progress)


def shipped(teacher: Checkpoint, progress: Callable[[int, int], None] | None = None) -> Recorded | None:
    """The same of the recordings that ship of what the teacher did not learn from; None where none do."""
    found = ship(teacher.card, teacher.spec)
    return found and _recorded(teacher, found[0], None, progress)


def _recorded(
    teacher: Checkpoint, clips: LogMels, most: int | None, progress: Callable[[int, int], None] | None
) -> Recorded:
    rows = sorted(diversity.in_turns(clips.labels, min(most or len(clips), len(clips))).tolist())
    name = json.dumps([FORMAT, teacher.card.sha256, teacher.spec.to_dict(), [clips.clips[i].key for i in rows]])
    store = home() / "cache" / "features" / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.safetensors"
    try:
        found = Embedded(**load_file(store), multilabel=teacher.multilabel)
    except (OSError, SafetensorError):
        found = embed(teacher, clips, rows, progress=progress)
        # A disk that refuses costs the next start the time, no more.
        with suppress(OSError, SafetensorError), files.replacing(store, long=True) as temporary:
            tensors = {name: value for name, value in vars(found).items() if isinstance(value, Tensor)}
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
    return Recorded(
        real_layer(found.pooled, found.labels, found.predicted, found.confidence), found.logits, clips, rows
    )


def real_layer(pooled: Tensor, labels: Tensor, predicted: Tensor, confidence: Tensor) -> Layer:
    """Recordings as a layer, from tensors as of ``Layer``."""
    return Layer(REAL, "Recordings", pooled, labels, predicted, confidence, real=True)


# --------------------------------------------------------------------------------------------- precomputed


@dataclass(frozen=True)
class Stored:
    """The precomputed part: checksum and number of clips of each bank by its key, their map, and what was measured.

    ``measures`` : ``{"samples", "k", "dataset", "folds", "real_clips", "judge", "rows", "reference"}``; of maps from
    before there were judges, rows have none of ``diversity.JUDGED``.
    """

    digests: dict[str, str]
    map: Map
    measures: dict

    def of(self, layers: Sequence[Layer]) -> Map | None:
        """Where these layers lie, in the order of the map: all of it, or all but the recordings. None where it was
        computed from others."""
        given = [(layer.key, layer.digest) for layer in layers]
        if given == list(self.digests.items()):
            return self.map
        if given != [(key, digest) for key, digest in self.digests.items() if key != REAL]:
            return None
        made = sum(map(len, layers))  # recordings are behind
        return Map(self.map.pca[:made], self.map.share, self.map.umap[:made])


class _Bank(BaseModel):
    key: schema.Line
    clips: Annotated[int, schema.whole(0, _CLIPS)]
    digest: schema.Line


_Finite = Annotated[float, schema.number(-1e9, 1e9)]
_Points = list[tuple[_Finite, _Finite]]


class _File(BaseModel):
    """Types of a map's file."""

    banks: list[_Bank]
    share: tuple[_Finite, _Finite]
    pca: _Points
    umap: _Points
    measures: dict


def save(folder: Path, layers: Sequence[Layer], measured: dict) -> Stored:
    """Compute the map of these layers, recordings last, and write it, with what was measured, to ``folder``."""
    here = project(layers)
    stored = Stored({layer.key: layer.digest for layer in layers}, Map(here.pca, here.share, umap(layers)), measured)
    value = {
        "format": FORMAT,
        "banks": [{"key": layer.key, "clips": len(layer), "digest": layer.digest} for layer in layers],
        "share": [round(share, 4) for share in here.share],
        "pca": _rounded(stored.map.pca),
        "umap": _rounded(stored.map.umap),
        "measures": measured,
    }
    files.write_json(folder / FILE, value, indent=None)
    return stored


def save_measures(folder: Path, measured: dict) -> None:
    """Replace what was measured of a map that is there; its coordinates stay."""
    value = files.read_json(folder / FILE) | {"measures": measured}
    files.write_json(folder / FILE, value, indent=None)


def load(folder: Path) -> Stored | None:
    """The precomputed part; None where there is none, or none that can be read."""
    try:
        value = files.read_json(folder / FILE, _LARGEST)
        if value["format"] != FORMAT:
            return None
        schema.held(_File, value)
        clips = sum(bank["clips"] for bank in value["banks"])
        pca, points = (torch.tensor(value[name], dtype=torch.float32).reshape(clips, 2) for name in ("pca", "umap"))
        digests = {bank["key"]: bank["digest"] for bank in value["banks"]}
        return Stored(digests, Map(pca, tuple(value["share"]), points), value["measures"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _rounded(points: Tensor) -> list[list[float]]:
    return [[round(x, 3), round(y, 3)] for x, y in points.tolist()]
