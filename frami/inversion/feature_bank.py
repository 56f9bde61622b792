"""Ring buffer of features of what was made so far: the negatives of the contrastive term."""

import torch
from torch import Tensor


class FeatureBank:
    """The newest ``capacity`` rows and their classes, on one device, without gradients.

    Features, not projections: rows that an older projection head had projected would not be comparable.
    """

    def __init__(self, capacity: int = 2048):
        self.capacity = capacity
        self._rows: Tensor | None = None
        self._labels: Tensor | None = None
        self._next = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, rows: Tensor, labels: Tensor) -> None:
        """Add rows Tensor[N, D] of classes Tensor[N], replacing the oldest when full."""
        rows, labels = rows.detach().float()[-self.capacity :], labels[-self.capacity :]
        if self._rows is None:
            self._rows = rows.new_zeros(self.capacity, rows.shape[1])
            self._labels = labels.new_zeros(self.capacity)
        at = (self._next + torch.arange(len(rows), device=rows.device)) % self.capacity
        self._rows[at], self._labels[at] = rows, labels
        self._next = (self._next + len(rows)) % self.capacity
        self._count = min(self.capacity, self._count + len(rows))

    def rows(self) -> Tensor | None:
        """All rows, Tensor[len, D] (in no particular order), or None while empty."""
        return None if self._rows is None else self._rows[: self._count]

    def labels(self) -> Tensor | None:
        """Classes of ``rows``, Tensor[len]."""
        return None if self._labels is None else self._labels[: self._count]

    def sample(self, most: int, rng: torch.Generator) -> tuple[Tensor, Tensor] | None:
        """At most ``most`` rows and their classes, drawn without repetition; None while empty."""
        if self._rows is None:
            return None
        if self._count <= most:
            return self.rows(), self.labels()
        chosen = torch.randperm(self._count, generator=rng)[:most].to(self._rows.device)
        return self._rows[chosen], self._labels[chosen]

    def state_dict(self) -> dict:
        """All of it, on the CPU."""
        if self._rows is None:
            return {"next": 0}
        return {"next": self._next, "rows": self.rows().cpu(), "labels": self.labels().cpu()}

    def load_state_dict(self, state: dict, device: torch.device) -> None:
        """Inverse of ``state_dict``, for one of the same capacity; what it held before is gone."""
        self._rows = self._labels = None
        self._next = self._count = 0
        if "rows" in state:
            self.push(state["rows"].to(device), state["labels"].to(device))
            self._next = state["next"]
