"""A teacher on its way to workers, which may have no folder in common with who sends it."""

import hashlib
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from frami import checkpoints, weights
from frami.checkpoints import Checkpoint
from frami.device import pick


@dataclass(frozen=True)
class SentTeacher:
    """The files of a checkpoint. name : of both, without ending."""

    name: str
    weights: bytes
    card: bytes

    @classmethod
    def of(cls, path: str | Path) -> "SentTeacher":
        """Of a name or a path, as of ``checkpoints.load``. CheckpointError."""
        path = checkpoints.resolve(path)
        checkpoints.read_card(path)
        return cls(Path(path).name, *(file.read_bytes() for file in weights.paths(path)))

    @classmethod
    def saved(cls, teacher: Checkpoint) -> "SentTeacher":
        """Of one that was loaded, wherever its files are."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "teacher"
            checkpoints.save(path, teacher.model, teacher.card)
            return cls("teacher", *(file.read_bytes() for file in weights.paths(path)))

    def load(self, device: str) -> Checkpoint:
        """The teacher, on a device as of ``pick``; a process that asks again gets the same."""
        return _loaded(hashlib.sha256(self.weights + self.card).hexdigest(), self, device)

    def __hash__(self) -> int:
        return hash((self.name, len(self.weights), len(self.card)))


@lru_cache(maxsize=4)
def _loaded(_: str, sent: SentTeacher, device: str) -> Checkpoint:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / sent.name
        for file, content in zip(weights.paths(path), (sent.weights, sent.card), strict=True):
            file.write_bytes(content)
        return checkpoints.load(path, pick(device))
