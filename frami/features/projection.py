"""Maps of features to few dimensions: principal axes, and UMAP for pictures."""

import importlib
import threading
import warnings
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from frami.features.distances import matched, points


@dataclass(frozen=True)
class Projection:
    """A linear map to few dimensions. mean : Tensor[D]; axes : Tensor[D, dims]; share : Tensor[dims], each axis's part
    of the variance (0–1)."""

    mean: Tensor
    axes: Tensor
    share: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Tensor[N, D] → Tensor[N, dims]. Raises FramiError."""
        points, mean = matched(features, self.mean[None])
        return (points - mean).float() @ self.axes


def pca(features: Tensor, dims: int = 2) -> Projection:
    """Principal axes of Tensor[N, D], longest first; the largest component of each is positive.

    Where the clips span fewer than ``dims`` dimensions, the last axes are zero. Raises FramiError.
    """
    x = points(features)
    mean = x.mean(0)
    _, spread, axes = torch.linalg.svd(x - mean, full_matrices=False)
    count = min(dims, int((spread > 1e-10 * spread[0].clamp(min=1e-300)).sum()))
    longest = axes[:count].T
    found, share = x.new_zeros(x.shape[1], dims), x.new_zeros(dims)
    found[:, :count] = longest * longest.gather(0, longest.abs().argmax(0)[None]).sign()
    share[:count] = spread[:count].square() / spread.square().sum().clamp(min=1e-300)
    return Projection(mean.float(), found.float(), share.float())


def umap_map(features: Tensor, seed: int = 0) -> np.ndarray:
    """Map of the clips for a picture (UMAP, McInnes et al. 2018): Tensor[N, D] → array (N, 2), the same for a seed.

    It starts from ``pca``, and fewer than 4 clips, which have no neighbourhoods, stay there. The first call on a
    machine takes half a minute or more, as UMAP is compiled then; Numba keeps that on disk for other processes. Raises
    FramiError.
    """
    x = points(features)
    start = pca(features)(features).numpy()
    if len(x) < 4:
        return start
    umap = _umap()
    start = 10 * start / max(float(np.abs(start).max()), 1e-9)
    start += 1e-3 * np.random.default_rng(seed).standard_normal(start.shape, dtype=np.float32)  # no two at one place
    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mapper = umap.UMAP(n_neighbors=min(15, len(x) - 1), init=start, random_state=seed, n_jobs=1)
            return np.asarray(mapper.fit_transform(x.numpy()), dtype=np.float32)
    finally:
        torch.set_num_threads(threads)  # Numba's layer of OpenMP, which PyTorch shares, sets it to all cores


_importing = threading.Lock()


def _umap() -> ModuleType:
    """The library. Of its functions that Numba compiles, few ask for a place in its cache: while UMAP is imported,
    all do."""
    import numba

    with _importing:
        plain = numba.njit
        numba.njit = partial(plain, cache=True)
        try:
            return importlib.import_module("umap")
        finally:
            numba.njit = plain
