"""Recordings on a stored map: what a teacher makes of them, so that they are there at once and need no data set.

``recordings.safetensors`` beside ``map.json`` holds embeddings, logits and classes, and no sound. They are of the
recordings that ship, or, where a licence forbids to give the sounds on, of others that the teacher did not learn from.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import safetensors.torch
import torch
from pydantic import BaseModel, Field
from torch import Tensor

from frami import answers, files, schema, weights
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.features import diversity
from frami.features.embeddings import embed
from frami.features.maps import Layer, real_layer
from frami.features.recordings import choose, ship

FILE = "recordings.safetensors"
FORMAT = 1
#: Clips of a teacher whose recordings do not ship; clips and bytes of a file that is read at most.
_COUNT, _MOST, _LARGEST = 100, 10_000, 2**26
_WHAT = "file of recordings' features"


class _About(BaseModel):
    """The text in the file."""

    format: Literal[1]
    teacher_sha256: schema.Line
    dataset: schema.Line
    names: Annotated[list[schema.Line], Field(max_length=_MOST)]
    folds: Annotated[list[schema.Line], Field(max_length=_MOST)]


@dataclass(frozen=True, eq=False)
class StoredRecordings:
    """Recordings of a map, with the teacher's logits Tensor[N, K], frames Tensor[N] of each, the name that its file has
    in the data set, and its fold."""

    layer: Layer
    logits: Tensor
    frames: Tensor
    dataset: str
    names: list[str]
    folds: list[str]


def make(
    teacher: Checkpoint,
    data_folder: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> StoredRecordings:
    """Recordings for a teacher's map: those that ship, else a hundred held-out ones of its data
    set. ``progress(done, total)`` counts clips. Raises FramiError, DataError where neither is here."""
    found = ship(teacher.card, teacher.spec)
    clips, origin = found or choose(teacher.card, None, "test", data_folder, teacher.spec, progress)
    if origin.trained:
        raise FramiError(f"'{teacher.card.name}' was trained on some of these recordings")
    rows = list(range(len(clips)))
    if found is None:
        rows = sorted(diversity.in_turns(clips.labels, min(_COUNT, len(clips))).tolist())
    clips = clips.take(rows)
    heard = embed(teacher, clips, progress=progress)
    pooled = heard.pooled.half().float()  # as it is stored
    layer = real_layer(pooled, heard.labels, heard.predicted, heard.confidence)
    frames = torch.tensor([len(one) for one in clips.frames])
    names, folds = [clip.stem.name for clip in clips.clips], [clip.fold for clip in clips.clips]
    return StoredRecordings(layer, heard.logits, frames, origin.dataset, names, folds)


def save(folder: Path, teacher: Checkpoint, found: StoredRecordings) -> None:
    """Write them to a map's folder."""
    about = _About(
        format=FORMAT, teacher_sha256=teacher.card.sha256, dataset=found.dataset, names=found.names, folds=found.folds
    )
    tensors = {
        "pooled": found.layer.pooled.half(), "logits": found.logits, "labels": found.layer.target.int(),
        "frames": found.frames.int(),
    }  # fmt: skip
    texts = {"recordings": json.dumps(about.model_dump(), ensure_ascii=False)}
    plain = {name: value.contiguous() for name, value in tensors.items()}
    files.write(folder / FILE, safetensors.torch.save(plain, texts))


def load(folder: Path, teacher: Checkpoint) -> StoredRecordings | None:
    """Those of a map's folder; None where there are none, of another teacher, or none that can be read."""
    path = folder / FILE
    try:
        if path.stat().st_size > _LARGEST:
            return None
        header = weights.stored(path, _WHAT, FramiError)
        about = schema.held(_About, files.as_value(header.texts["recordings"]))
        count, kinds = len(about.names), len(teacher.classes)
        shapes = {name: header.shapes[name] for name in ("pooled", "logits", "labels", "frames")}
        if about.teacher_sha256 != teacher.card.sha256 or about.dataset != teacher.card.dataset or not count:
            return None
        if len(shapes["pooled"]) != 2 or shapes["pooled"][0] != count or shapes["logits"] != (count, kinds):
            return None
        if {len(about.folds), *shapes["labels"], *shapes["frames"]} != {count}:
            return None
        tensors = weights.load(path, "", _WHAT, FramiError)
    except (OSError, ValueError, KeyError, FramiError):
        return None
    labels, logits, pooled = tensors["labels"].long(), tensors["logits"].float(), tensors["pooled"].float()
    if not (logits.isfinite().all() and pooled.isfinite().all() and labels.min() >= 0 and labels.max() < kinds):
        return None
    predicted = answers.heard(logits, labels, teacher.multilabel)
    layer = real_layer(pooled, labels, predicted, answers.confidence(logits, labels, teacher.multilabel))
    return StoredRecordings(layer, logits, tensors["frames"].long(), about.dataset, about.names, about.folds)
