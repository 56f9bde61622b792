"""Sounds of clips and the states of their optimisation, found by the page's id."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import soundfile
import torch
from torch import Tensor

from frami import answers, audio, banks, loudness
from frami.audio import MelSpec
from frami.banks import Bank
from frami.checkpoints import Checkpoint
from frami.errors import FramiError
from frami.hosting.owners import EVERYONE, Visitor
from frami.paths import home
from frami.studio.services import clip_ids, offers, page_values
from frami.studio.services.clip_ids import ClipId
from frami.studio.services.syntheses import Syntheses
from frami.workers.pool import asked_by, on_file, shared

#: Sounds of clips that form, and banks, that are kept to be given again.
_SOUNDS, _BANKS = 64, 8


@dataclass(frozen=True)
class ClipLookup:
    """Clips of the galleries below ``gallery`` (those in ``FRAMI_HOME/gallery`` stand beside them), of runs, and
    recordings, whose sound ``recorded`` gives. An id comes from the page: another raises FramiError."""

    runs: Syntheses
    gallery: Path
    load_teacher: Callable[[str], Checkpoint]
    recorded: Callable[[str], bytes] | None = None
    _state_sound: Callable[[ClipId], bytes] = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "_state_sound", lru_cache(maxsize=_SOUNDS)(self._synthesized_state))

    def gallery_of(self, teacher: str) -> Path:
        """Folder of a teacher's gallery."""
        bundled = self.gallery / teacher
        return bundled if bundled.is_dir() else home() / "gallery" / teacher

    def sound(self, id: str, who: Visitor = EVERYONE) -> bytes:
        """Bytes of a sound file. A clip without one is synthesized by a vocoder; one that still forms, as it is now.
        BusyError where the visitor waits for too many."""
        with asked_by(who.owner, who.address):
            clip = self._parsed(id, who)
            if clip.kind == "recording" and self.recorded is not None:
                return self.recorded(id)
            return self._sound(clip)

    def _sound(self, clip: ClipId) -> bytes:
        if clip.state is not None:
            return self._state_sound(clip)
        run = self.runs.get(clip.owner) if clip.kind == "run" else None
        if run is not None and clip.index >= run.saved:
            now, row = run.latest, clip.index - run.saved
            if now is None or row >= len(now.clips):
                raise FramiError("no such clip; reload the page")
            one = slice(row, row + 1)
            return wav(now.clips.mels[one], now.clips.lengths[one], run.teacher.spec, clip.vocoder)
        return sound(self._bank(clip), clip.index, clip.vocoder)

    def states(self, id: str, who: Visitor = EVERYONE) -> list[dict]:
        """Each saved state of a finished clip, drawn as a clip with the teacher's prediction.

        Empty where no states were saved. Raises FramiError for another id.
        """
        clip = self._parsed(id, who)
        if clip.state is not None or clip.vocoder is not None:
            raise FramiError("no such clip; reload the page")
        run = self.runs.get(clip.owner) if clip.kind == "run" else None
        if clip.kind == "recording" or (run is not None and clip.index >= run.saved):
            return []
        bank = self._bank(clip)
        settings, found = bank.manifest["settings"], bank.trajectory(clip.index)
        if found is None:
            return []
        steps, mels = found
        teacher = self.load_teacher(settings["teacher"])
        if list(teacher.classes) != bank.manifest["classes"]:
            return []
        mels = mels.reshape(len(steps), 1, *mels.shape[-2:]).float()
        with asked_by(who.owner, who.address):
            logits = _logits(*on_file(teacher).values(), teacher.card.sha256, mels.numpy().tobytes(), mels.shape)
        rows = []
        likeliest, own = logits.argmax(1), bank.target[clip.index].expand(len(steps))
        targets = likeliest if offers.untargeted(settings) else own
        predictions = answers.heard(logits, targets, teacher.multilabel).tolist()
        for k, (step, target, predicted) in enumerate(zip(steps, targets.tolist(), predictions, strict=True)):
            args = mels[k].reshape(mels.shape[-2:]), logits[k], target, predicted, teacher.classes, bank.spec
            rows.append(page_values.clip(f"{id}@{k}", *args, teacher.multilabel, step=step))
        return rows

    def _parsed(self, id: str, who: Visitor) -> ClipId:
        """A clip that this visitor may hear: no clip of somebody else's run."""
        clip = clip_ids.parse(id)
        if clip.kind == "run" and not self.runs.shown(clip.owner, who):
            raise FramiError("no such clip; reload the page")
        return clip

    def _synthesized_state(self, clip: ClipId) -> bytes:
        bank = self._bank(clip)
        found = bank.trajectory(clip.index)
        if found is None or clip.state >= len(found[0]):
            raise FramiError("no such clip; reload the page")
        mel = found[1][clip.state].reshape(1, 1, *found[1].shape[-2:])
        return wav(mel, torch.tensor([mel.shape[-1]]), bank.spec, clip.vocoder)

    def _bank(self, clip: ClipId) -> Bank:
        folders = {"gallery": self.gallery_of, "run": lambda id: self.runs.folder / id}
        if clip.kind not in folders:
            raise FramiError("no such clip; reload the page")
        try:
            bank = read(folders[clip.kind](clip.owner))
        except FramiError as error:
            raise FramiError("no such clip; reload the page") from error
        if clip.index >= len(bank):
            raise FramiError("no such clip; reload the page")
        return bank


def read(folder: Path) -> Bank:
    """The bank of a folder as it is now; it is read again when it has changed. Raises FramiError."""
    return _read(folder, *map(_changed, (folder / banks.MANIFEST, folder / banks.SHARDS)))


@lru_cache(maxsize=_BANKS)
def _read(folder: Path, manifest: int, shards: int) -> Bank:
    """The same of a bank whose manifest and shards were changed then."""
    return banks.load(folder)


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=_SOUNDS)
def _logits(teacher: str, device: str, sha256: str, mels: bytes, shape: tuple[int, ...]) -> Tensor:
    """A teacher's logits, Tensor[N, K], of float32 log-Mels Tensor[N, 1, F, T]; a worker finds them."""
    clips = torch.frombuffer(bytearray(mels), dtype=torch.float32).reshape(shape)
    return shared().run("sound-classify", {"teacher": teacher, "device": device, "mels": clips})


def sound(bank: Bank, index: int, vocoder: str | None = None) -> bytes:
    """A clip's sound file as bytes; synthesized where it has none, or one by another vocoder than this."""
    path = bank.sound(index)
    if path and path.is_file() and vocoder in (None, bank.manifest["vocoder"]):
        return path.read_bytes()
    return wav(*bank.batch([index])[:2], bank.spec, vocoder)


def wav(mels: Tensor, lengths: Tensor, spec: MelSpec, vocoder: str | None = None) -> bytes:
    """A clip, Tensor[1, 1, F, T], as a WAV file; a worker synthesizes it."""
    arguments = {"mels": mels, "lengths": lengths, "spec": spec.to_dict(), "name": offers.vocoder(vocoder)}
    return wav_file(shared().run("sound-vocode", arguments), spec.sample_rate)


def to_hear(content: bytes) -> bytes:
    """A sound file as the page plays it, a WAV file: made clips differ by 40 dB, so all are brought to one loudness."""
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return wav_file(loudness.levelled(torch.from_numpy(samples.mean(1)), rate), rate)


def to_save(content: bytes) -> bytes:
    """A sound file as a WAV file, as loud as it is."""
    samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    return wav_file(torch.from_numpy(samples.mean(1)), rate)


def wav_file(samples: Tensor, rate: int) -> bytes:
    """Samples Tensor[N] as a WAV file."""
    out = io.BytesIO()
    soundfile.write(out, audio.to_int16(samples), rate, format="WAV", subtype="PCM_16")
    return out.getvalue()
