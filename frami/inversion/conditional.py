"""Generators that are told the target classes: by an embedding that is learnt, or by fixed ones and a noisy layer."""

import torch
from torch import Tensor, nn

from frami.audio import MelSpec
from frami.inversion.generator import Generator


class SumGenerator(Generator):
    """Takes noise to which a learnt embedding of the clip's class is added (the generator "sum" of MAD, Do et al.,
    NeurIPS 2022)."""

    def __init__(self, spec: MelSpec, classes: int, **choices):
        super().__init__(spec, **choices)
        self.embedding = nn.Parameter(torch.randn(classes, self.latent))
        self.register_buffer("labels", None, persistent=False)

    def aim(self, labels: Tensor) -> None:
        """Make clips of these classes from now on: Tensor[B], or more than are drawn at once."""
        self.labels = _written(self.labels, labels)

    def forward(self, z: Tensor, frames: int) -> Tensor:
        """z : Tensor[B, latent, ceil(frames / 8)]. Returns log-Mels Tensor[B, 1, F, frames]."""
        return super().forward((z + self.embedding[self.labels][:, :, None]) / 2**0.5, frames)


class NoisyLayerGenerator(Generator):
    """Takes a constant embedding of the clip's class through a *noisy layer*, a linear one with weights that are drawn
    anew for every batch and then optimised like latents (NAYER, Tran et al., CVPR 2024).

    Clips of one class differ because each goes through another layer; clips of different classes share one. ``codes`` :
    Tensor[K, R], the embeddings (see ``class_codes``).
    """

    def __init__(self, spec: MelSpec, codes: Tensor, **choices):
        super().__init__(spec, **choices)
        self.register_buffer("codes", codes.detach().float().cpu().clone(), persistent=False)
        self.register_buffer("given", None, persistent=False)
        self.register_buffer("layers", None, persistent=False)

    def aim(self, labels: Tensor) -> None:
        """Make clips of these classes from now on, Tensor[B]."""
        same = labels[:, None] == labels
        self.given = _written(self.given, self.codes[labels])
        self.layers = _written(self.layers, same.tril(-1).sum(1))  # earlier clips of the same class

    def noise(self, clips: int, frames: int, rng: torch.Generator) -> Tensor:
        """Weights of as many layers as there are clips, Tensor[clips, R, latent, ceil(frames / 8)]."""
        drawn = super().noise(clips * self.codes.shape[1], frames, rng)
        return drawn.unflatten(0, (clips, -1))

    def forward(self, z: Tensor, frames: int) -> Tensor:
        """z : as of ``noise``. Returns log-Mels Tensor[B, 1, F, frames]."""
        return super().forward(torch.einsum("br,brls->bls", self.given, z[self.layers]), frames)


def _written(old: Tensor | None, new: Tensor) -> Tensor:
    """New values in the memory of the old ones, which a recorded step reads, where they are as large."""
    return new.clone() if old is None or old.shape != new.shape else old.copy_(new)


def class_codes(model: nn.Module, classes: int) -> Tensor:
    """A constant embedding for each class, Tensor[K, R], of unit mean square length and of mean zero.

    The rows of the model's own linear ``classifier``, each of length one, in an orthonormal basis of what they span
    (random weights behind them are distributed alike in any basis); orthogonal ones for a model without such rows.
    """
    weight = getattr(getattr(model, "classifier", None), "weight", None)
    if weight is None or weight.dim() != 2 or len(weight) != classes:
        weight = torch.eye(classes)
    rows = nn.functional.normalize(weight.detach().double().cpu(), dim=1)
    if classes > 1:
        rows = rows - rows.mean(0)
    left, sizes, _ = torch.linalg.svd(rows, full_matrices=False)
    used = sizes > 1e-6 * sizes[0]
    codes = left[:, used] * sizes[used]
    return (codes / codes.square().sum(1).mean().sqrt()).float()
