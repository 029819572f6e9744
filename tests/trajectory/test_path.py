"""Paths keep to high density and never cost more than the straight line."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.trajectory import DensityGrid, estimate_density, find_path, find_trajectory, lift_path, path_cost, resample
from covaria.trajectory.path import FLOOR


def _grid(function, dim, points, half_width=2.0):
    axes = [np.linspace(-half_width, half_width, points)] * dim
    return DensityGrid(function(*np.meshgrid(*axes, indexing="ij")), np.array([[-half_width, half_width]] * dim))


def _ring(x, y, *rest):
    return np.exp(-((np.hypot(x, y) - 1) ** 2 + sum(z**2 for z in rest)) / 0.02)


def _two_wells(x, y, *rest):
    others = sum(z**2 for z in rest)
    return sum(np.exp(-((x - a) ** 2 + (y - 0.4 * a) ** 2 + others) / 0.1) for a in (-1.0, 1.0))


@pytest.mark.parametrize(("dim", "points"), [(2, 128), (3, 40), (4, 20)])
def test_path_follows_the_ring(dim, points):
    """Proof 16."""
    start, end = np.zeros(dim), np.zeros(dim)
    start[0], end[0], end[1] = 1.0, -1.0, 0.05
    found = find_path(_grid(_ring, dim, points), start, end)
    assert found.cost < 0.2 * found.straight_cost
    assert np.abs(np.hypot(found.points[:, 0], found.points[:, 1]) - 1).max() < 0.15
    assert np.allclose(found.points[[0, -1]], [start, end])


@pytest.mark.parametrize(("dim", "points"), [(1, 200), (2, 96), (3, 32)])
@pytest.mark.parametrize("seed", range(4))
def test_never_dearer_than_the_straight_line(dim, points, seed):
    """Proof 16: two wells, any two ends; where the straight line is best it is found."""
    grid = _grid(_two_wells, max(dim, 2), points)
    if dim == 1:
        grid = DensityGrid(grid.values.sum(axis=1), grid.bounds[:1])
    ends = np.random.default_rng(seed).uniform(-1.5, 1.5, (2, dim))
    found = find_path(grid, *ends)
    assert found.cost <= found.straight_cost
    assert found.straight_cost == pytest.approx(path_cost(grid, ends))
    assert path_cost(grid, found.points) == pytest.approx(found.cost, rel=0.02)


def test_uniform_density_gives_the_straight_line():
    found = find_path(_grid(lambda x, y: np.ones_like(x), 2, 50), [-1.3, -0.7], [1.1, 1.6])
    assert found.cost == pytest.approx(np.hypot(2.4, 2.3) / (1 + FLOOR), rel=1e-6)
    middle = find_path(_grid(lambda x, y: np.ones_like(x), 2, 50), [-1, -1], [1, 1]).points[100]
    assert np.allclose(middle, 0, atol=0.02)


def test_relaxing_beats_the_grid_in_an_oblique_valley():
    grid = _grid(lambda x, y: np.exp(-((y - 0.37 * x) ** 2) / 0.05), 2, 40)
    found = find_path(grid, [-1.5, -0.555], [1.5, 0.555])
    assert np.abs(found.points[:, 1] - 0.37 * found.points[:, 0]).max() < 0.03


def test_ends_beyond_the_grid_are_reached():
    found = find_path(_grid(_two_wells, 2, 64), [-3.0, 0.0], [2.5, 2.5])
    assert np.allclose(found.points[[0, -1]], [[-3.0, 0.0], [2.5, 2.5]]) and np.isfinite(found.cost)


def test_same_start_and_end():
    found = find_path(_grid(_two_wells, 2, 64), [0.3, 0.1], [0.3, 0.1])
    assert found.cost == 0 and np.allclose(found.points, [0.3, 0.1])


def test_resample_is_even():
    line = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0]])
    even = resample(line, 5)
    assert np.allclose(even, [[0, 0], [1, 0], [2, 0], [3, 0], [3, 1]])


def _curve(count, noise, seed=0):
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1, 1, count)
    curve = np.stack([2 * t, 1.5 * t**2, t**3, 0.5 * np.sin(3 * t)], axis=1)
    return curve + noise * rng.standard_normal(curve.shape)


def test_remaining_coordinates_follow_the_particles():
    latents = _curve(3000, 0.05)
    latents[::20] = np.nan
    density = estimate_density(latents, 2)
    start, end = np.array([-1.8, 1.215, -0.729, -0.214]), np.array([1.8, 1.215, 0.729, 0.214])
    trajectory = find_trajectory(density, start, end, latents)
    t = trajectory.points[:, 0] / 2
    assert np.abs(trajectory.points[:, 1] - 1.5 * t**2).max() < 0.15
    assert np.abs(trajectory.points[:, 2] - t**3).max() < 0.15
    assert np.abs(trajectory.points[:, 3] - 0.5 * np.sin(3 * t)).max() < 0.15
    assert np.allclose(trajectory.points[[0, -1]], [start, end])


def test_targets_are_evenly_spaced_with_both_ends():
    latents = _curve(2000, 0.05)
    trajectory = find_trajectory(estimate_density(latents, 2), latents[0], latents[1], latents)
    targets = trajectory.targets(6)
    assert targets.shape == (6, 4) and np.allclose(targets[[0, -1]], latents[:2])
    along = np.linalg.norm(np.diff(trajectory.points, axis=0), axis=1)
    assert along.max() < 1.05 * along.min()
    document = trajectory.as_json(6)
    assert np.shape(document["path"]) == (200, 4) and np.shape(document["path_subsampled"]) == (6, 4)
    assert len(document["density"]) == 200 and len(document["density_subsampled"]) == 6
    assert document["cost"] <= document["straight_line_cost"]


def test_lifting_nothing_changes_nothing():
    line = np.random.default_rng(0).random((10, 2))
    assert np.array_equal(lift_path(line, line[0], line[-1], np.zeros((5, 2))), line)


def test_density_with_more_dimensions_than_the_latents_is_summed():
    grid = _grid(_two_wells, 3, 24)
    trajectory = find_trajectory(grid, [-1.0, -0.4], [1.0, 0.4], np.zeros((5, 2)))
    assert trajectory.density.dim == 2 and trajectory.points.shape == (200, 2)
