"""What is written is what is read, and what is broken is named."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile
from covaria.trajectory import DensityGrid, read_density, write_density
from covaria.tree import AnalysisTree, DensityTree, atomic
from covaria.tree.artifacts import (
    KMeansResult,
    TrajectoryEndpoints,
    read_endpoints,
    read_kmeans,
    write_endpoints,
    write_kmeans,
)

CENTERS = np.array([[0.5, -1.0], [2.0, 3.0], [1.0, 1.0]])
LABELS = np.array([0, -1, 2, 1, 1])


def test_clusters_come_back_and_are_what_the_format_says(tmp_path: Path) -> None:
    tree = AnalysisTree(tmp_path)
    write_kmeans(tree, KMeansResult(CENTERS, LABELS))
    found = read_kmeans(tree)
    np.testing.assert_array_equal(found.centers, CENTERS)
    np.testing.assert_array_equal(found.labels, LABELS)
    stored = pickle.loads(tree.kmeans_result.read_bytes())
    assert set(stored) == {"centers", "labels"}
    assert stored["labels"].dtype == np.int64
    np.testing.assert_array_equal(np.loadtxt(tree.centers_txt, ndmin=2), CENTERS)


def test_endpoints_come_back_and_are_what_the_format_says(tmp_path: Path) -> None:
    tree = AnalysisTree(tmp_path)
    for pairs in (((0, 2), (1, 2)), ()):
        write_endpoints(tree, TrajectoryEndpoints(CENTERS, pairs))
        found = read_endpoints(tree)
        np.testing.assert_array_equal(found.centers, CENTERS)
        assert found.pairs == pairs
        stored = pickle.loads(tree.trajectory_endpoints.read_bytes())
        assert stored == {"centers": CENTERS.tolist(), "pairs": [list(pair) for pair in pairs]}


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_a_density_comes_back_and_is_what_the_format_says(tmp_path: Path, dim: int) -> None:
    values = np.random.default_rng(dim).random((5,) * dim)
    grid = DensityGrid(values, np.stack([np.full(dim, -1.0), np.arange(1.0, dim + 1)], 1))
    path = DensityTree(tmp_path).knee
    write_density(path, grid, 1e-3)
    found = read_density(path)
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.bounds, grid.bounds)
    stored = pickle.loads(path.read_bytes())
    assert set(stored) == {"density", "latent_space_bounds", "alpha"}
    assert stored["alpha"] == 1e-3


@pytest.mark.parametrize(
    "stored",
    [
        [], {"centers": CENTERS}, {"centers": CENTERS, "labels": LABELS + 1}, {"centers": CENTERS[0], "labels": LABELS},
        {"centers": CENTERS, "labels": LABELS.astype(float)}, {"centers": CENTERS, "labels": LABELS - 1},
    ],
)  # fmt: skip
def test_broken_clusters_are_named(tmp_path: Path, stored: object) -> None:
    tree = AnalysisTree(tmp_path)
    with pytest.raises(MissingFile, match=r"kmeans_result\.pkl"):
        read_kmeans(tree)
    atomic.write_pickle(tree.kmeans_result, stored)
    with pytest.raises(InvalidInput, match=r"kmeans_result\.pkl"):
        read_kmeans(tree)


@pytest.mark.parametrize(
    "stored", [None, {"pairs": []}, {"centers": [[1.0]], "pairs": [[0, 1]]}, {"centers": [[1.0]], "pairs": [0]},
               {"centers": "x", "pairs": []}, {"centers": [[1.0]], "pairs": [[0, -1]]}],
)  # fmt: skip
def test_broken_endpoints_are_named(tmp_path: Path, stored: object) -> None:
    tree = AnalysisTree(tmp_path)
    atomic.write_pickle(tree.trajectory_endpoints, stored)
    with pytest.raises(InvalidInput, match=r"trajectory_endpoints\.pkl"):
        read_endpoints(tree)
