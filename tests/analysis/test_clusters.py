"""Clusters, their order, and which centres trajectories join."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.plots.latent import plot_scatter_with_centers
from covaria.results.confirmed import ConfirmedLatents
from covaria_analysis.clusters import find_clusters, leaf_order
from covaria_analysis.endpoints import choose_endpoints
from covaria_analysis.flat_map import embed_flat


def _latents(points):
    zdim = points.shape[1]
    used = np.isfinite(points).all(axis=1)
    return ConfirmedLatents(points, np.ones(zdim), zdim, np.where(used, 1.0, np.nan), used)


@pytest.fixture(name="four")
def four_fixture():
    """Four tight groups of 100, 200, 300 and 400 particles, every tenth row excluded."""
    rng = np.random.default_rng(0)
    places = np.array([[0.0, 0.0], [10, 0], [11, 1], [30, 5]])
    state = np.repeat(np.arange(4), [100, 200, 300, 400])[rng.permutation(1000)]
    points = places[state] + 0.1 * rng.standard_normal((1000, 2))
    points[::10] = np.nan
    return _latents(points), places, state


def test_groups_are_found_and_labelled(four):
    latents, places, state = four
    found = find_clusters(latents, 4, seed=3)
    assert np.allclose(found.centers, places, atol=0.05), "neighbours side by side, smallest first coordinate first"
    assert (found.labels[::10] == -1).all()
    assert (found.labels[latents.rows] == state[latents.rows]).all() and found.labels.dtype == np.int64


def test_the_seed_decides_everything(four):
    first, second = (find_clusters(four[0], 7, seed=5) for _ in range(2))
    assert np.array_equal(first.centers, second.centers) and np.array_equal(first.labels, second.labels)


def test_centres_of_the_version_before_keep_their_numbers(four):
    latents, places, state = four
    order = np.array([2, 0, 3, 1])
    found = find_clusters(latents, 4, seed=0, start=places[order] + 0.3)
    assert np.allclose(found.centers, places[order], atol=0.05)
    assert (order[found.labels[latents.rows]] == state[latents.rows]).all()


def test_nearest_rows_are_used_particles(four):
    latents, _, _ = four
    found = find_clusters(latents, 4, seed=0)
    rows = found.nearest_rows(latents)
    assert latents.used[rows].all() and (found.labels[rows] == np.arange(4)).all()


def test_more_clusters_than_particles_is_refused(four):
    with pytest.raises(InvalidInput, match="2000 clusters of 900 particles"):
        find_clusters(four[0], 2000, seed=0)


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_leaf_order_follows_a_line(count):
    centers = np.random.default_rng(count).permutation(np.arange(count, dtype=float))[:, None] * [1.0, 0.3]
    assert np.array_equal(centers[leaf_order(centers)][:, 0], np.arange(count))


def test_farthest_pair_comes_first():
    centers = np.array([[0.0, 0], [1, 0], [10, 0], [5, 9], [5, -1]])
    assert choose_endpoints(centers, 1) == [(0, 3)]


def test_half_are_far_pairs_and_the_rest_extremes():
    rng = np.random.default_rng(1)
    centers = rng.standard_normal((12, 3)) * [10, 3, 1]
    pairs = choose_endpoints(centers, 4)
    assert len(set(pairs)) == 4 and all(first < second for first, second in pairs)
    extremes = {tuple(sorted((int(column.argmin()), int(column.argmax())))) for column in centers.T}
    assert set(pairs[2:]) <= extremes


@pytest.mark.parametrize(("centers", "asked", "found"), [(1, 3, 0), (2, 3, 1), (3, 99, 3), (5, 0, 0), (5, 10, 10)])
def test_never_more_pairs_than_there_are(centers, asked, found):
    places = np.random.default_rng(2).standard_normal((centers, 2))
    pairs = choose_endpoints(places, asked)
    assert len(pairs) == len(set(pairs)) == found


def test_umap_needs_particles():
    assert embed_flat(_latents(np.random.default_rng(0).standard_normal((14, 3))), 0) is None


def test_umap_keeps_groups_apart(four):
    latents, _, state = four
    third = np.where(latents.used, 0.1 * np.random.default_rng(1).standard_normal(1000), np.nan)
    flat = embed_flat(_latents(np.column_stack([latents.coordinates, third])), 0)
    assert flat.shape == (1000, 2) and np.isnan(flat[::10]).all() and np.isfinite(flat[latents.rows]).all()
    centers = np.array([np.nanmean(flat[state == number], axis=0) for number in (0, 3)])
    spread = max(np.nanstd(flat[state == number], axis=0).max() for number in (0, 3))
    assert np.linalg.norm(centers[0] - centers[1]) > 2 * spread


@pytest.mark.parametrize("components", [1, 2])
def test_no_umap_of_what_a_density_shows(components):
    assert embed_flat(_latents(np.random.default_rng(0).standard_normal((60, components))), 0) is None


def test_a_particle_alone_is_a_cluster_of_one(four, tmp_path):
    """It is counted, found again and drawn; nothing divides by its spread."""
    latents = four[0]
    points = np.vstack([latents.coordinates, [[90.0, -80.0]]])
    found = find_clusters(_latents(points), 5, seed=3)
    used = np.isfinite(points).all(axis=1)
    lone = int(found.labels[-1])
    assert found.counts[lone] == 1 and found.counts.sum() == used.sum()
    assert np.allclose(found.centers[lone], [90, -80])
    assert found.nearest_rows(_latents(points))[lone] == len(points) - 1
    sheet = plot_scatter_with_centers(
        tmp_path / "clusters.png", points[used], found.centers, title="t", x_label="x", y_label="y",
        populations=found.counts / found.counts.sum(), labels=found.labels[used],
    )  # fmt: skip
    assert sheet is not None and (tmp_path / "clusters.png").stat().st_size > 1000
