"""Sounds and states of clips, found by the page's id: ``gallery/NAME/3``, ``run/ID/3``, the state ``run/ID/3@2``.

``~`` and a vocoder's name behind an id ask for the sound that this one makes: ``run/ID/3~griffin-lim``.
"""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from frami import audio, banks, vocoder
from frami.audio import MelSpec
from frami.banks import Bank
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.inversion import Clips
from frami.studio.services import offers, page_values
from frami.studio.services.jobs import Jobs

#: Vocoders that the page may ask for, by their names for people.
VOICES = {"frami": "FRAMI", "griffin-lim": "Griffin-Lim"}
_ID = re.compile(r"(gallery|run)/([a-z0-9_.-]{1,64})/(\d{1,4})(?:@(\d{1,2}))?")
_SOUNDS = 64


@dataclass(frozen=True)
class Reader:
    """Finds what belongs to a clip's id, which comes from the page: anything else raises FramiError.

    Called, it gives the sound file's bytes. A clip that has no sound file, is still forming, or is asked for as it was
    on its way, is vocoded.
    """

    jobs: Jobs
    gallery: Path
    load_teacher: Callable[[str], Checkpoint]
    _state_sound: Callable[[str], bytes] = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_state_sound", lru_cache(maxsize=_SOUNDS)(self._vocoded_state))

    def __call__(self, id: str) -> bytes:
        plain, voice = voiced(id)
        kind, owner, index, state = _parts(plain)
        if state is not None:
            return self._state_sound(id)
        job = self.jobs.get(owner) if kind == "run" else None
        made = 0 if job is None or job.manifest is None else len(job.manifest["clips"])
        if job is not None and index >= made:
            now = job.latest
            if now is None or index - made >= len(now.clips):
                raise FramiError("no such clip")
            clips, row = now.clips, index - made
            return wav(clips.mels[row : row + 1], clips.lengths[row : row + 1], job.teacher.spec, voice)
        return sound(self._bank(kind, owner, index), index, voice)

    def states(self, id: str) -> list[dict]:
        """How a finished clip came to be: each kept state drawn as a clip, with the teacher's answer to it.

        Empty where no states were kept. Raises FramiError for another id.
        """
        kind, owner, index, state = _parts(id)
        if state is not None:
            raise FramiError("no such clip")
        job = self.jobs.get(owner) if kind == "run" else None
        if job is not None and (job.manifest is None or index >= len(job.manifest["clips"])):
            return []
        bank = self._bank(kind, owner, index)
        found = bank.trajectory(index)
        if found is None:
            return []
        steps, mels = found[0], found[1].reshape(len(found[0]), 1, *found[1].shape[-2:])
        teacher = self.load_teacher(bank.manifest["settings"]["teacher"])
        if list(teacher.classes) != bank.manifest["classes"]:
            return []
        made = _predicted(teacher, mels, int(bank.target[index]))
        rows = page_values.clips(
            made, "", teacher.classes, bank.spec, "", untargeted=offers.untargeted(bank.manifest["settings"])
        )
        return [row | {"id": f"{id}@{k}", "step": step} for k, (row, step) in enumerate(zip(rows, steps, strict=True))]

    def _vocoded_state(self, id: str) -> bytes:
        plain, voice = voiced(id)
        kind, owner, index, state = _parts(plain)
        bank = self._bank(kind, owner, index)
        found = bank.trajectory(index)
        if found is None or state >= len(found[0]):
            raise FramiError("no such clip")
        mel = found[1][state].reshape(1, 1, *found[1].shape[-2:])
        return wav(mel, torch.tensor([mel.shape[-1]]), bank.spec, voice)

    def _bank(self, kind: str, owner: str, index: int) -> Bank:
        bank = banks.load((self.gallery if kind == "gallery" else self.jobs.folder) / owner)
        if index >= len(bank):
            raise FramiError("no such clip")
        return bank


def voiced(id: str) -> tuple[str, str | None]:
    """An id without the vocoder that is asked for, and that; FramiError for one that the page does not offer."""
    plain, mark, voice = id.partition("~") if isinstance(id, str) else ("", "", "")
    if mark and voice not in VOICES:
        raise FramiError("no such vocoder")
    return plain, voice or None


def sound(bank: Bank, index: int, voice: str | None = None) -> bytes:
    """A clip's sound file as bytes; vocoded where it has none, or one by another vocoder than ``voice``."""
    path = bank.sound(index)
    if path and path.is_file() and voice in (None, bank.manifest["vocoder"]):
        return path.read_bytes()
    return wav(*bank.batch([index])[:2], bank.spec, voice)


def _parts(id: str) -> tuple[str, str, int, int | None]:
    match = _ID.fullmatch(id) if isinstance(id, str) else None
    if not match or ".." in id:
        raise FramiError("no such clip")
    return match[1], match[2], int(match[3]), None if match[4] is None else int(match[4])


@torch.inference_mode()
def _predicted(teacher: Checkpoint, mels: Tensor, target: int) -> Clips:
    """States of one clip, Tensor[S, 1, F, T], as clips."""
    device = next(teacher.model.parameters()).device
    out = teacher.model(mels.to(device))
    logits, labels = out.logits.float().cpu(), torch.full((len(mels),), target)
    return Clips(
        mels=mels,
        lengths=torch.full((len(mels),), mels.shape[-1]),
        target=labels,
        predicted=logits.argmax(1),
        confidence=logits.softmax(1)[:, target],
        logits=logits,
        pooled=out.pooled.float().cpu(),
    )


def wav(mels: Tensor, lengths: Tensor, spec: MelSpec, voice: str | None = None) -> bytes:
    """A clip, Tensor[1, 1, F, T], as a WAV file, by the vocoder of this name or the usual one."""
    speak = vocoder.get(None if voice == "frami" else voice, spec)
    out = io.BytesIO()
    soundfile.write(out, audio.to_int16(speak(mels, lengths)[0]), spec.sample_rate, format="WAV", subtype="PCM_16")
    return out.getvalue()
