"""A bank that was read: all clips in memory, without padding."""

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from frami import locks
from frami.audio import MelSpec
from frami.banks import shards
from frami.banks.folder import (
    MANIFEST,
    NEW,
    BankError,
    entries,
    finish_replacement,
    read_manifest,
    read_shards,
    shard_path,
)
from frami.banks.shards import Damaged, Shard
from frami.checkpoints import Card
from frami.inversion import Clips


@dataclass
class Bank(Shard):
    """A bank in memory: its shards as one.

    frames : float16 where every shard is, else float32; damaged : shards that were left out, with the reason; starts :
    number of the first clip and file of each shard. The manifest lists exactly the clips that are here, in their order.
    """

    folder: Path
    manifest: dict
    damaged: list[str]
    starts: list[tuple[int, Path]]

    @property
    def spec(self) -> MelSpec:
        return MelSpec.from_dict(self.manifest["mel_spec"])

    @property
    def multilabel(self) -> bool:
        """Whether its teacher's classes are independent of each other."""
        return self.manifest.get("multilabel") is True

    @property
    def seconds(self) -> float:
        """Time that the making took, by the manifest."""
        return self.manifest["seconds"]

    @property
    def target_accuracy(self) -> float:
        """Share that the teacher classifies as the target class."""
        return float((self.target == self.predicted).float().mean())

    def made_from(self, card: Card) -> bool:
        """Whether it was made from the weights of this card, as far as is known: early banks of the gallery do not name
        theirs."""
        settings = self.manifest["settings"]
        weights = settings.get("teacher_sha256") in (None, card.sha256)
        return weights and settings.get("teacher") == card.name and self.manifest["classes"] == list(card.classes)

    def sound(self, index: int) -> Path | None:
        """Sound file of a clip; None in a bank without sounds."""
        name = self.manifest["clips"][index]["file"]
        return None if name is None else self.folder / name

    def batch(self, indices: Sequence[int] | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-Mels Tensor[B, 1, F, T] in float32 (silence behind each end), lengths Tensor[B], target classes
        Tensor[B]."""
        indices = indices if isinstance(indices, Tensor) else torch.tensor(list(indices), dtype=torch.long)
        return *shards.padded(self.frames, self.offsets, indices, self.spec.floor), self.target[indices]

    def clips(self, indices: Sequence[int] | Tensor | None = None) -> Clips:
        """These clips (None: all), padded to the longest of them."""
        indices = torch.arange(len(self)) if indices is None else torch.as_tensor(indices)
        mels, lengths, target = self.batch(indices)
        rest = {name: getattr(self, name)[indices] for name in ("predicted", "confidence", "logits", "pooled")}
        return Clips(mels=mels, lengths=lengths, target=target, **rest, multilabel=self.multilabel)

    def trajectory(self, index: int) -> tuple[list[int], Tensor] | None:
        """How a clip formed, read from its shard: steps, and log-Mels Tensor[S, F, T]; None where it was not stored.

        Raises BankError when the shard has been damaged.
        """
        first, path = self.starts[bisect_right(self.starts, index, key=lambda start: start[0]) - 1]
        try:
            found = shards.read_trajectory(path, index - first, self.spec)
        except Damaged as error:
            raise BankError(f"{path}: the trajectory is damaged ({error})") from error
        return found and (found[0], found[1][..., : int(self.lengths[index])])


def load(folder: str | Path) -> Bank:
    """Read a bank, finished or not. A damaged or missing shard is named in ``damaged`` and left out.

    Raises BankError when there is no bank, its manifest is damaged or no shard is whole, naming the file.
    """
    folder = Path(folder)
    if (folder / NEW / MANIFEST).exists():
        with suppress(locks.InUseError, OSError), locks.folder(folder):  # else another process does it now
            finish_replacement(folder)
    manifest = read_manifest(folder)
    whole, damaged = read_shards(folder, manifest)
    if not whole:
        raise BankError(f"{folder} holds no clips: {'; '.join(damaged.values()) or 'no batch was finished yet'}")
    listed, starts = [], []
    for number, shard in whole.items():
        starts.append((len(listed), shard_path(folder, number)))
        listed += entries(shard, shard.first, manifest)
    tensors = {name: torch.cat([getattr(shard, name) for shard in whole.values()]) for name in shards.CLIPS}
    bank = Bank(0, **tensors, folder=folder, manifest=manifest, damaged=list(damaged.values()), starts=starts)
    bank.manifest = manifest | {"target_accuracy": round(bank.target_accuracy, 4), "clips": listed}
    return bank
