"""What a network that is not ours takes."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Input:
    """What a module takes. ``channel`` : Tensor[B, 1, F, T], else Tensor[B, F, T]; ``time_first`` : the last two axes
    the other way round; ``shortest``, ``longest`` : frames (None: any); ``clips`` : fewest of a batch; ``fill`` :
    value that stands behind the end of a shorter clip (None: it begins again)."""

    channel: bool = True
    time_first: bool = False
    shortest: int = 1
    longest: int | None = None
    clips: int = 1
    fill: float | None = None

    def given(self, x: Tensor) -> Tensor:
        """Log-Mels Tensor[B, 1, F, T] in the form that the module takes."""
        x = x.transpose(2, 3) if self.time_first else x
        return x if self.channel else x[:, 0]
