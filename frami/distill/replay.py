"""Which clips a training step takes: all alike, or rather those on which the student was furthest off."""

import torch
from torch import Tensor

from frami import answers

#: Exponent of a priority, and what is added to it so that no clip is given up (Schaul et al., ICLR 2016).
EXPONENT, LEAST = 0.6, 1e-3


class Priorities:
    """How far off the student was when it last saw each clip; one that it has not seen counts as the furthest.

    Replay by priority as in SSD-KD (Liu et al., CVPR 2024), with the proportional priorities of Schaul et al. (ICLR
    2016); their importance weights are left out, since most objectives compare batches. ``values`` : Tensor[N].
    """

    def __init__(self, device: torch.device | str = "cpu"):
        self.values = torch.zeros(0, device=device)

    def weights(self, clips: int) -> Tensor:
        """Chance of each of so many clips to be drawn, Tensor[N], up to a factor."""
        if new := clips - len(self.values):
            most = self.values.max() if len(self.values) else torch.ones((), device=self.values.device)
            self.values = torch.cat([self.values, most.expand(new)])
        return (self.values + LEAST) ** EXPONENT

    def update(self, rows: Tensor, errors: Tensor) -> None:
        """Note errors Tensor[B] of the clips of these rows, Tensor[B]."""
        self.values[rows.to(self.values.device)] = errors.float()


def draw(clips: int, count: int, rng: torch.Generator, weights: Tensor | None = None) -> Tensor:
    """Rows of ``count`` out of so many clips, with repetition, Tensor[count]; ``weights`` : Tensor[clips], their
    chances up to a factor, on whose device the rows are then; None where all are alike."""
    if weights is None:
        return torch.randint(clips, (count,), generator=rng)
    below = weights.double().cumsum(0)
    at = torch.rand(count, generator=rng, dtype=torch.double).to(below.device) * below[-1]
    return torch.searchsorted(below, at, right=True).clamp(max=clips - 1)


@torch.no_grad()
def divergence(teacher: Tensor, student: Tensor, multilabel: bool = False) -> Tensor:
    """Kullback-Leibler divergence of each clip's answers, logits Tensor[B, K] both. Returns Tensor[B]."""
    return answers.divergences(*(answers.log_probabilities(logits, multilabel) for logits in (teacher, student)))
