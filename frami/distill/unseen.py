"""Clips that a student does not learn from: how often it predicts what its teacher predicts for them."""

from pathlib import Path

import torch
from torch import Tensor

from frami import banks, train
from frami.banks import Bank
from frami.checkpoints import Checkpoint
from frami.distill.augment import ReplayBuffer
from frami.errors import FramiError
from frami.models import Classifier
from frami.paths import ASSETS, home

#: Clips set apart that are enough to measure on; of fewer, clips that ship with a teacher take their place.
ENOUGH = 50
#: Folder of the clips that ship with teachers, and their recipes, those first of which fewest students learn.
_FOLDER, _RECIPES = "explore", ("cmi", "dafl", "frami")


class Unseen:
    """Made clips to compare a student with its teacher on.

    ``own`` : set apart from those that it learns from; ``spare`` : made by another recipe, used where ``own`` are fewer
    than ``ENOUGH``. The teacher's predictions are computed once.
    """

    def __init__(self, teacher: Checkpoint, frames: int, spare: Bank | None = None):
        self._teacher = teacher
        self.own = ReplayBuffer(teacher.spec, frames, teacher.device)
        self._spare = ReplayBuffer(teacher.spec, int(spare.lengths.max()) if spare else 1, teacher.device)
        if spare is not None:
            self._spare.add(*spare.batch(range(len(spare))))
        self._known: tuple[ReplayBuffer, int, Tensor] | None = None

    @property
    def clips(self) -> ReplayBuffer:
        """Those that are compared."""
        return self.own if len(self.own) >= ENOUGH or len(self.own) >= len(self._spare) else self._spare

    @torch.no_grad()
    def confusion(self, student: Classifier) -> Tensor:
        """Clips of which the teacher predicts class i and the student class j, Tensor[K, K] (zeros without clips)."""
        student.eval()
        return train.confusion(self.prepare(), _predicted(student, self.clips), len(self._teacher.classes))

    @torch.no_grad()
    def prepare(self) -> Tensor:
        """What the teacher predicts, Tensor[N]; computed when it is not known yet."""
        clips = self.clips
        if self._known is None or self._known[0] is not clips or self._known[1] != len(clips):
            self._known = clips, len(clips), _predicted(self._teacher.model, clips)
        return self._known[2]


def _predicted(model, clips: ReplayBuffer, batch: int = 128) -> Tensor:
    """The most probable class of each clip, Tensor[N], on the CPU."""
    found = [torch.zeros(0, dtype=torch.long)]
    for rows in torch.arange(len(clips)).split(batch):
        mels, lengths, _ = clips.take(rows, torch.zeros(len(rows)))
        found.append(model(mels, lengths).logits.argmax(1).cpu())
    return torch.cat(found)


def agreement(confusion: Tensor) -> float:
    """Share of the clips of which both predict the same class; NaN without any. confusion : Tensor[K, K]."""
    return float(confusion.diagonal().sum() / confusion.sum())


def _manifest(folder: str | Path) -> bytes | None:
    """Content of a bank's manifest; None where it cannot be read."""
    try:
        return (Path(folder) / banks.MANIFEST).read_bytes()
    except OSError:
        return None


def shipped_clips(teacher: Checkpoint, learnt: str | Path | None = None, recipe: str | None = None) -> Bank | None:
    """Clips that ship with a teacher (``assets/explore``, or ``FRAMI_HOME/explore``), made by another recipe than
    ``recipe``, in another folder than ``learnt``; None where there are none of its present weights and classes."""
    parents, learnt = (ASSETS / _FOLDER, home() / _FOLDER), _manifest(learnt) if learnt is not None else None
    for folder in (parent / teacher.card.name / name for name in _RECIPES for parent in parents):
        if folder.name == recipe or not (folder / banks.MANIFEST).is_file():
            continue
        if learnt is not None and _manifest(folder) == learnt:  # the same, or a copy
            continue
        try:
            bank = banks.load(folder)
        except FramiError:
            continue
        own = bank.manifest["settings"].get("teacher_sha256") == teacher.card.sha256
        if own and len(bank) and bank.spec == teacher.spec and bank.manifest["classes"] == list(teacher.classes):
            return bank
    return None
