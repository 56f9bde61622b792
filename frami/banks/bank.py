"""A bank that was read: all clips in memory, without padding."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frami.audio import MelSpec
from frami.banks import shards
from frami.banks.folder import BankError, entries, read_manifest, read_shards, settle, shard_path
from frami.banks.shards import Damaged
from frami.checkpoints import Card
from frami.inversion import Clips

_TENSORS = ("frames", "lengths", "target", "predicted", "confidence", "logits", "pooled")


@dataclass
class Bank:
    """A bank in memory.

    frames : Tensor[sum of lengths, F], float16 where every shard is, else float32, one clip behind the other; offsets :
    Tensor[N + 1], where each clip begins and the last ends; target, predicted, confidence, logits, pooled : as in
    ``Clips``; damaged : shards that were left out, with the reason; parts : number of the first clip and file of each
    shard.
    The manifest lists exactly the clips that are here, in their order.
    """

    folder: Path
    manifest: dict
    frames: Tensor
    offsets: Tensor
    target: Tensor
    predicted: Tensor
    confidence: Tensor
    logits: Tensor
    pooled: Tensor
    damaged: list[str]
    parts: list[tuple[int, Path]]

    def __len__(self) -> int:
        return len(self.target)

    @property
    def spec(self) -> MelSpec:
        return MelSpec.from_dict(self.manifest["mel_spec"])

    @property
    def lengths(self) -> Tensor:
        """Frames of each clip, Tensor[N]."""
        return self.offsets.diff()

    @property
    def seconds(self) -> float:
        """Time that the making took, as the manifest has it."""
        return self.manifest["seconds"]

    @property
    def target_accuracy(self) -> float:
        """Share that the teacher hears as the class asked for."""
        return float((self.target == self.predicted).float().mean())

    def made_from(self, card: Card) -> bool:
        """Whether it was made from the weights of this card, as far as it says: early banks of the gallery do not."""
        settings = self.manifest["settings"]
        weights = settings.get("teacher_sha256") in (None, card.sha256)
        return weights and settings["teacher"] == card.name and self.manifest["classes"] == list(card.classes)

    def sound(self, index: int) -> Path | None:
        """Sound file of a clip; None in a bank without sounds."""
        name = self.manifest["clips"][index]["file"]
        return None if name is None else self.folder / name

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-Mels Tensor[B, 1, F, T] in float32 (silence behind each end), lengths Tensor[B], asked Tensor[B]."""
        indices = indices if isinstance(indices, Tensor) else torch.tensor(list(indices), dtype=torch.long)
        return *shards.padded(self.frames, self.offsets, indices, self.spec.floor), self.target[indices]

    def clips(self, indices: Sequence[int] | Tensor | None = None) -> Clips:
        """These clips (None: all), padded to the longest of them."""
        indices = torch.arange(len(self)) if indices is None else torch.as_tensor(indices)
        mels, lengths, target = self.batch(indices)
        rest = {name: getattr(self, name)[indices] for name in ("predicted", "confidence", "logits", "pooled")}
        return Clips(mels=mels, lengths=lengths, target=target, **rest)

    def trajectory(self, index: int) -> tuple[list[int], Tensor] | None:
        """How a clip came to be, read from its shard: steps, and log-Mels Tensor[S, F, T]; None where it was not kept.

        Raises BankError when the shard has been damaged.
        """
        length = int(self.lengths[index])
        first, path = self.parts[bisect_right(self.parts, index, key=lambda part: part[0]) - 1]
        try:
            found = shards.read_trajectory(path, index - first, self.spec)
        except Damaged as error:
            raise BankError(f"{path}: the trajectory is damaged ({error})") from error
        return found and (found[0], found[1][..., :length])


def load(folder: str | Path) -> Bank:
    """Read a bank, finished or not. A damaged or missing shard is named in ``damaged`` and left out.

    Raises BankError when there is no bank, its manifest is damaged or no shard is whole, naming the file.
    """
    folder = Path(folder)
    settle(folder)
    manifest = read_manifest(folder)
    whole, damaged = read_shards(folder, manifest)
    if not whole:
        raise BankError(f"{folder} holds no clips: {'; '.join(damaged.values()) or 'no batch was finished yet'}")
    tensors = {name: torch.cat([getattr(shard, name) for shard in whole.values()]) for name in _TENSORS}
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), tensors.pop("lengths").cumsum(0)])
    listed, parts = [], []
    for number, shard in whole.items():
        parts.append((len(listed), shard_path(folder, number)))
        listed += entries(shard, shard.first, manifest)
    bank = Bank(folder, manifest, **tensors, offsets=offsets, damaged=list(damaged.values()), parts=parts)
    bank.manifest = manifest | {"target_accuracy": round(bank.target_accuracy, 4), "clips": listed}
    return bank
