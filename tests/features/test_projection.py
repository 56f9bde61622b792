"""Maps of features: principal axes and UMAP."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from frami.errors import FramiError
from frami.features.projection import pca, umap_map
from tests.helpers.features import clips, normal, rotation


def test_pca_finds_the_axes():
    turned = rotation(5)
    x = normal(400, 5) * torch.tensor([5.0, 3, 1, 0.1, 0.1]) @ turned + 7
    found = pca(x, 3)
    assert found.axes.shape == (5, 3) and torch.allclose(found.mean, x.mean(0).float(), atol=1e-5)
    assert torch.allclose((found.axes.T @ turned.T.float()).abs()[:, :3], torch.eye(3), atol=0.05)
    variances = torch.linalg.eigvalsh(torch.cov(x.T)).flip(0)
    assert torch.allclose(found.share, (variances[:3] / variances.sum()).float(), atol=1e-5)
    assert bool((found.axes.gather(0, found.axes.abs().argmax(0)[None]) > 0).all())
    points = found(x)
    assert points.shape == (400, 3) and torch.allclose(points.mean(0), torch.zeros(3), atol=1e-4)
    assert torch.allclose(found(x[:2]), points[:2]), "new clips are laid on the same axes"
    assert torch.allclose(pca(-x, 3).axes, found.axes, atol=1e-4), "the sign does not hang on the clips' signs"
    with pytest.raises(FramiError, match="cannot be compared"):
        found(x[:, :3])


def test_pca_of_few_clips():
    assert pca(normal(1, 4))(normal(1, 4)).tolist() == [[0, 0]]
    two = pca(normal(2, 4))
    assert two.share.tolist() == pytest.approx([1, 0]) and two.axes[:, 1].tolist() == [0] * 4
    assert pca(normal(5, 1)).axes.tolist() == [[1, 0]]
    wide = pca(normal(5, 300), 2)
    assert torch.allclose(wide.axes.T @ wide.axes, torch.eye(2), atol=1e-5)


@pytest.mark.slow
def test_umap_keeps_clusters_apart_and_repeats_itself():
    x, labels = clips(60, 0, 0.2, classes=2)
    before = np.random.get_state()[1].copy()
    found = umap_map(x, seed=3)
    assert found.shape == (60, 2) and found.dtype == np.float32 and np.isfinite(found).all()
    assert np.array_equal(found, umap_map(x, seed=3)) and not np.array_equal(found, umap_map(x, seed=4))
    assert np.array_equal(before, np.random.get_state()[1]), "the global random numbers are left alone"
    own, other = found[labels == 0], found[labels == 1]
    assert np.linalg.norm(own.mean(0) - other.mean(0)) > 2 * own.std()
    assert sys.modules["umap.umap_"].smooth_knn_dist.stats.cache_path, "not compiled again in the next process"
    assert sys.modules["numba"].njit.__module__.startswith("numba"), "what others compile is as they ask for"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16])
def test_umap_of_few_clips(count):
    found = umap_map(normal(count, 6))
    assert found.shape == (count, 2) and np.isfinite(found).all()
    if count < 4:
        assert np.allclose(found, pca(normal(count, 6))(normal(count, 6)).numpy())
    assert np.isfinite(umap_map(torch.ones(count, 6))).all(), "copies are laid out too"
    assert np.isfinite(umap_map(normal(count, 1))).all()


@pytest.mark.slow
def test_umap_leaves_the_threads_as_they_were():
    """Numba sets the number for the OpenMP library that it shares with PyTorch, once in a process."""
    code = "import torch; from frami.features.projection import umap_map; umap_map(torch.randn(40, 5))"
    code += "; print(torch.get_num_threads())"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["1"], found.stderr


def test_umap_is_imported_when_it_is_needed():
    names = ("umap", "sklearn", "numba")
    code = f"import frami.features.projection, sys; print([name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
