"""Layers of a feature map: the clips of a bank, or recordings, each with what the page shows of it and its sound."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from frami import answers, data
from frami.banks import Bank
from frami.checkpoints import Checkpoint
from frami.data.catalogue import fold_kind
from frami.features import maps
from frami.inversion import Clips
from frami.studio.services import clip_ids, clips, offers, page_values


@dataclass(frozen=True, eq=False)
class MapLayer:
    """A layer, and for its clip ``i`` what the page shows and its sound file's bytes by a vocoder (None: as it is
    stored).

    prefix : what the ids of its clips begin with; labels, confidence : Tensor[N], the class that a clip is shown under
    and the teacher's probability of it; clips : the made ones, None of recordings; mels : the log-Mels of all,
    Tensor[F, T] each.
    """

    layer: maps.Layer
    prefix: str
    labels: Tensor
    confidence: Tensor
    show: Callable[[int], dict]
    sound: Callable[[int, str | None], bytes]
    clips: Callable[[], Clips] | None = None
    mels: Callable[[], list[Tensor]] | None = None


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

    def show(i: int) -> dict:
        mel, classes = found.clips.clip(found.rows[i]), (int(layer.target[i]), int(layer.predicted[i]))
        origin = f"a recording, {teacher.card.title}, {fold_kind(teacher.card.dataset)} {recordings[i].fold}"
        more = {"origin": origin, "untargeted": False, "real": True, "multilabel": teacher.multilabel}
        return page_values.clip(f"{prefix}/{i}", mel, found.logits[i], *classes, teacher.classes, teacher.spec, **more)

    def sound(i: int, vocoder: str | None) -> bytes:
        rate = teacher.spec.sample_rate
        return clips.wav_file(data.sound(recordings[i], rate), rate)

    def mels() -> list[Tensor]:
        return [found.clips.clip(row).float() for row in found.rows]

    return MapLayer(layer, prefix, layer.target, layer.confidence, show, sound, mels=mels)
