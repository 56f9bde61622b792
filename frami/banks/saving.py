"""A finished batch on its way to the disk: its shard, and a sound file for each clip."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from frami import audio, files
from frami.audio import MelSpec
from frami.banks import shards
from frami.banks.folder import BankError, entries, shard_path
from frami.inversion import Clips, Trajectory
from frami.vocoder import Vocoder

#: The teacher's predictions: ``predict(mels Tensor[B, 1, F, T], lengths Tensor[B])`` gives classes, Tensor[B].
Predict = Callable[[Tensor, Tensor], Tensor]


def predictor(model: nn.Module) -> Predict:
    """The ``predict`` of a classifier, for ``create``."""
    device = next(model.parameters()).device

    @torch.inference_mode()
    def predict(mels: Tensor, lengths: Tensor) -> Tensor:
        return model(mels.to(device), lengths.to(device)).logits.argmax(1).cpu()

    return predict


class Saving:
    """Writes the batches of a bank. head : what its manifest says but for the clips; vocoder, predict : as of
    ``create``."""

    def __init__(self, head: dict, vocoder: Vocoder | None, predict: Predict | None):
        self._head, self._vocoder, self._predict = head, vocoder, predict
        self._spec = MelSpec.from_dict(head["mel_spec"])

    def save(self, at: Path, number: int, first: int, clips: Clips, trajectory: Trajectory | None = None) -> list[dict]:
        """Write a batch into the folder ``at``, its shard last, and return its rows of the manifest.

        number : of the batch; first : of its first clip. Raises BankError when a clip is not finite, OSError and
        AudioError when the disk refuses.
        """
        full = shards.flat(clips)
        if not all(map(shards.finite, (full, clips.confidence, clips.logits, clips.pooled))):
            raise BankError(f"{at}: a clip of batch {number + 1} is not finite; try other settings")
        content = shards.pack(clips, self._stored(full, clips), first, self._spec, trajectory)
        listed = entries(clips, first, self._head)
        sounds = self._vocoder(clips.mels, clips.lengths) if self._vocoder else [None] * len(clips)
        for entry, sound in zip(listed, sounds, strict=True):
            if sound is not None:
                path = at / entry["file"]
                files.write(path, audio.encoded(path, sound, self._spec.sample_rate))
        files.write(shard_path(at, number), content)
        return listed

    def _stored(self, full: Tensor, clips: Clips) -> Tensor:
        """Frames in half precision, or as they are where that would change a prediction."""
        half = full.half()
        if not shards.finite(half):
            return full
        if self._predict is None:
            return half

        def predicted(frames: Tensor) -> Tensor:
            rows = torch.arange(len(clips))
            return self._predict(*shards.padded(frames, shards.offsets(clips.lengths), rows, self._spec.floor))

        found = predicted(half)
        return half if torch.equal(found, clips.predicted) or torch.equal(found, predicted(full)) else full


def refused(folder: Path, error: Exception) -> BankError:
    """What to raise where the disk has refused to take a part of a bank; FullError is raised where it is full."""
    try:
        files.raise_full(folder, error)
        return BankError(f"{folder}: the bank cannot be written ({error})")
    finally:
        del error  # as in ``raise_full``
