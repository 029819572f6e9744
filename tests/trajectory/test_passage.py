"""Barriers, who passes, and where volumes lie along a path, against closed forms."""

from __future__ import annotations

import json
from math import pi

import numpy as np
import pytest

from covaria.trajectory import DensityGrid, find_trajectory, lift_point, passage_along


def wells(weight: float, sigma: float, points: int = 1201) -> DensityGrid:
    """Two Gaussian wells at -1 and 1."""
    z = np.linspace(-3, 3, points)
    rho = weight * np.exp(-0.5 * ((z + 1) / sigma) ** 2) + (1 - weight) * np.exp(-0.5 * ((z - 1) / sigma) ** 2)
    return DensityGrid(rho / (rho.sum() * (z[1] - z[0])), np.array([[-3.0, 3.0]]))


def test_the_barrier_is_that_of_the_density_and_says_who_passes() -> None:
    grid, particles, sd = wells(0.3, 0.35), 10_000, 0.2
    line = np.linspace(-1, 1, 401)[:, None]
    found = passage_along(line, grid, particles, np.array([[sd**2]]))
    rho = grid.at(line)
    assert found.barrier_kt == pytest.approx((np.log(rho[0] / rho.min()), np.log(rho[-1] / rho.min())), abs=1e-6)
    assert found.highest == int(rho.argmin())
    assert found.expected == pytest.approx(particles * rho * 2 * sd)
    assert found.passes
    few = passage_along(line, grid, 40, np.array([[sd**2]]))
    assert not few.passes and "no particle is surely seen" in few.words()
    assert json.loads(json.dumps(found.as_json()))["barrier_at"] == found.highest


def test_the_ball_is_that_of_the_density_s_dimensions() -> None:
    flat = DensityGrid(np.ones((11, 11)), np.array([[0.0, 1.0], [0.0, 1.0]]))
    error = np.diag([0.01, 0.04])
    found = passage_along(np.array([[0.5, 0.5], [0.6, 0.5]]), flat, 1000, error)
    density = 1000 / (121 * 0.01)
    assert found.expected == pytest.approx(density * pi * 0.1 * 0.2)
    assert found.energy_kt == pytest.approx(0)


def test_emptiness_has_no_number() -> None:
    grid = DensityGrid(np.array([1.0, 0, 0, 0, 1.0]), np.array([[0.0, 4.0]]))
    told = passage_along(np.linspace(0, 4, 9)[:, None], grid, 1000, np.eye(1)).as_json()
    assert told["energy_kt"][4] is None and told["barrier_kt"]["from_start"] is None and told["passes"] is False


def test_volumes_at_equal_population_share_the_particles() -> None:
    grid = wells(0.3, 0.35)
    latents = np.random.default_rng(0).normal(size=(500, 1))
    path = find_trajectory(grid, [-2.0], [2.0], latents)
    targets = path.targets(6, "population")
    assert targets[[0, -1], 0].tolist() == [-2.0, 2.0]
    fine = np.linspace(-2, 2, 20001)
    mass = np.cumsum(grid.at(fine[:, None]))
    shares = np.diff(np.interp(targets[:, 0], fine, mass / mass[-1]))
    assert shares == pytest.approx(0.2, abs=0.01)
    assert np.diff(path.targets(6)[:, 0]) == pytest.approx(0.8, abs=1e-6)


def test_a_peak_lies_where_its_particles_do_in_the_other_coordinates() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=4000)
    latents = np.stack([first, 2 * first + 0.05 * rng.normal(size=4000)], 1)
    assert lift_point([0.7], latents) == pytest.approx([0.7, 1.4], abs=0.05)
    assert lift_point([0.7, 3.0], latents).tolist() == [0.7, 3.0]
