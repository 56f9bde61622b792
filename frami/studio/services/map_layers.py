"""Where the clips of a map come from: a bank or recordings; what the page shows of each, and its sound."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import soundfile
from torch import Tensor, tensor

from frami import audio, data
from frami.banks import Bank
from frami.checkpoints import Checkpoint
from frami.data.catalogue import fold_kind
from frami.features import maps
from frami.inversion import Clips
from frami.studio.services import clips, offers, page_values


@dataclass(frozen=True, eq=False)
class Source:
    """A layer of a map, and where its clips come from: what the page shows of clip ``i``, and its sound file's bytes
    by the vocoder of a name (None: as it is stored).

    prefix : what the ids of its clips begin with; labels, sure : Tensor[N], the class that a clip goes by and how sure
    the teacher is of it.
    """

    layer: maps.Layer
    prefix: str
    labels: Tensor
    sure: Tensor
    show: Callable[[int], dict]
    sound: Callable[[int, str | None], bytes]


def belongs(bank: Bank, teacher: Checkpoint) -> bool:
    """Whether a bank was made from these weights, as far as it says."""
    settings = bank.manifest["settings"]
    same = settings.get("teacher_sha256", teacher.card.sha256) == teacher.card.sha256
    return same and settings["teacher"] == teacher.card.name and list(teacher.classes) == bank.manifest["classes"]


def of_bank(bank: Bank, teacher: Checkpoint, key: str, title: str, prefix: str) -> Source:
    """A bank on a map. Where no class could be asked for, a clip goes by the one that is heard."""
    untargeted = offers.untargeted(bank.manifest["settings"])
    origin = offers.origin(bank.manifest["settings"])

    def show(i: int) -> dict:
        return page_values.clips(bank.clips([i]), prefix, teacher.classes, bank.spec, origin, i, untargeted)[0]

    def sound(i: int, voice: str | None) -> bytes:
        return clips.sound(bank, i, voice)

    layer = maps.of_bank(key, title, bank)
    sure = bank.logits.softmax(1).amax(1) if untargeted else bank.confidence
    return Source(layer, prefix, bank.predicted if untargeted else bank.target, sure, show, sound)


def of_recordings(found: maps.Recorded, teacher: Checkpoint, prefix: str) -> Source:
    """Real clips on a map; they sound as they were recorded."""
    layer, clips = found.layer, found.clips

    def show(i: int) -> dict:
        mel = clips.clip(found.rows[i])[None, None]
        one = slice(i, i + 1)
        made = Clips(
            mel, tensor([mel.shape[-1]]), layer.target[one], layer.predicted[one], layer.confidence[one],
            found.logits[one], layer.pooled[one],
        )  # fmt: skip
        kind = fold_kind(teacher.card.dataset)
        origin = f"a recording, {teacher.card.title}, {kind} {clips.clips[found.rows[i]].fold}"
        return page_values.clips(made, prefix, teacher.classes, teacher.spec, origin, i)[0] | {"real": True}

    def sound(i: int, voice: str | None) -> bytes:
        rate, out = teacher.spec.sample_rate, io.BytesIO()
        samples = audio.load(data.find([clips.clips[found.rows[i]]])[0], rate)
        soundfile.write(out, audio.to_int16(samples), rate, format="WAV", subtype="PCM_16")
        return out.getvalue()

    return Source(layer, prefix, layer.target, layer.confidence, show, sound)
