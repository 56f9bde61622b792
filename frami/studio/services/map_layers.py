"""Layers of a feature map: the clips of a bank, or recordings, each with what the page shows of it and its sound."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from frami import answers, audio, data
from frami.banks import Bank
from frami.checkpoints import Checkpoint
from frami.data import shipped
from frami.data.catalogue import fold_kind
from frami.data.recordings import look_up
from frami.errors import FramiError
from frami.features import maps
from frami.features.stored_recordings import StoredRecordings
from frami.inversion import Clips
from frami.studio.services import clip_ids, clips, offers, page_values
from frami.studio.services.recordings import Recordings, origin


@dataclass(frozen=True, eq=False)
class MapLayer:
    """A layer, and for its clip ``i`` what the page shows and its sound file's bytes by a vocoder (None: as it is
    stored).

    prefix : what the ids of its clips begin with; labels, confidence : Tensor[N], the class that a clip is shown under
    and the teacher's probability of it; clips : the made ones, None of recordings; mels : the log-Mels of all,
    Tensor[F, T] each, None for a clip without sound; soundless : numbers of those without.
    """

    layer: maps.Layer
    prefix: str
    labels: Tensor
    confidence: Tensor
    show: Callable[[int], dict]
    sound: Callable[[int, str | None], bytes]
    clips: Callable[[], Clips] | None = None
    mels: Callable[[], list[Tensor | None]] | None = None
    soundless: Callable[[], list[int]] = list


def of_bank(bank: Bank, teacher: Checkpoint, key: str, title: str) -> MapLayer:
    """A bank on a map. Without target classes, a clip is shown under the predicted one."""
    settings, prefix = bank.manifest["settings"], clip_ids.prefix("explore", teacher.card.name, key)
    untargeted, origin = offers.untargeted(settings), offers.origin(settings)

    def show(i: int) -> dict:
        return page_values.clips(bank.clips([i]), prefix, teacher.classes, bank.spec, origin, i, untargeted)[0]

    def sound(i: int, vocoder: str | None) -> bytes:
        return clips.sound(bank, i, vocoder)

    layer = maps.of_bank(key, title, bank)
    confidence = answers.probabilities(bank.logits, bank.multilabel).amax(1) if untargeted else bank.confidence

    def mels() -> list[Tensor]:
        made = bank.clips()
        return [mel[0, :, :length].float() for mel, length in zip(made.mels, made.lengths.tolist(), strict=True)]

    labels = bank.predicted if untargeted else bank.target
    return MapLayer(layer, prefix, labels, confidence, show, sound, bank.clips, mels)


def of_recordings(found: maps.Recorded, teacher: Checkpoint) -> MapLayer:
    """Real clips on a map; they sound as they were recorded."""
    layer, prefix = found.layer, clip_ids.prefix("explore", teacher.card.name, found.layer.key)
    recordings = [found.clips.clips[row] for row in found.rows]

    def credit(i: int) -> dict:
        row = shipped.recording(recordings[i])
        return {"credit": row.credit} if row else {}

    def show(i: int) -> dict:
        mel, classes = found.clips.clip(found.rows[i]), (int(layer.target[i]), int(layer.predicted[i]))
        origin = f"a recording, {teacher.card.title}, {fold_kind(teacher.card.dataset)} {recordings[i].fold}"
        more = {"origin": origin, "untargeted": False, "real": True, "multilabel": teacher.multilabel}
        more |= credit(i)
        return page_values.clip(f"{prefix}/{i}", mel, found.logits[i], *classes, teacher.classes, teacher.spec, **more)

    def sound(i: int, vocoder: str | None) -> bytes:
        rate = teacher.spec.sample_rate
        return clips.wav_file(data.sound(recordings[i], rate), rate)

    def mels() -> list[Tensor]:
        return [found.clips.clip(row).float() for row in found.rows]

    return MapLayer(layer, prefix, layer.target, layer.confidence, show, sound, mels=mels)


def of_stored(found: StoredRecordings, teacher: Checkpoint, recordings: Recordings) -> MapLayer:
    """Recordings of a stored map. They sound where they ship or their data set is at hand; others say why they do
    not."""
    layer, card, prefix = found.layer, teacher.card, clip_ids.prefix("explore", teacher.card.name, found.layer.key)
    rows = {Path(row.file).stem: row for row in shipped.listed(card.dataset, found.folds)}

    def file(i: int) -> Path | None:
        row = rows.get(found.names[i])
        return recordings.file(row) if row else _at_hand(card.dataset, found.names[i])

    def show(i: int) -> dict:
        row, path = rows.get(found.names[i]), file(i)
        where = origin(row, teacher) if row else f"{card.title}, {fold_kind(card.dataset)} {found.folds[i]} (held out)"
        more = {"origin": where, "untargeted": False, "real": True, "multilabel": teacher.multilabel}
        more |= {"credit": row.credit} if row else {"credit": f"{found.names[i]}; {_cited(card.dataset)}"}
        more |= {} if path else {"soundless": _soundless(card.dataset), "frames": int(found.frames[i])}
        classes = int(layer.target[i]), int(layer.predicted[i])
        mel = recordings.log_mel(path, card.name) if path else torch.zeros(0, 0)
        return page_values.clip(f"{prefix}/{i}", mel, found.logits[i], *classes, teacher.classes, teacher.spec, **more)

    def sound(i: int, vocoder: str | None) -> bytes:
        if not (path := file(i)):
            raise FramiError(_soundless(card.dataset))
        rate = teacher.spec.sample_rate
        return clips.wav_file(audio.load(path, rate), rate)

    def mels() -> list[Tensor | None]:
        paths = [file(i) for i in range(len(layer))]
        return [recordings.log_mel(path, card.name).float() if path else None for path in paths]

    def soundless() -> list[int]:
        return [i for i in range(len(layer)) if not file(i)]

    return MapLayer(layer, prefix, layer.target, layer.confidence, show, sound, mels=mels, soundless=soundless)


def _soundless(dataset: str) -> str:
    """Why a recording is a point and no sound."""
    known = data.info(dataset)
    return (
        f"This recording is a point without its sound: {known.title} is {known.licence}, and is not given on here; "
        "with the data set at hand it plays."
    )


def _cited(dataset: str) -> str:
    known = data.info(dataset)
    return f"{known.citation} ({known.licence})"


def _at_hand(dataset: str, name: str) -> Path | None:
    """The file of a clip of this name in a data set that is at hand."""
    try:
        return _files(dataset, str(data.locate(dataset))).get(name)
    except FramiError:
        return None


@lru_cache(maxsize=2)
def _files(dataset: str, root: str) -> dict[str, Path]:
    """Files of a data set by their names without ending."""
    listed = data.index(dataset, root)
    return {clip.stem.name: path for clip, path in zip(listed, look_up(listed), strict=True)
            if isinstance(path, Path)}  # fmt: skip
