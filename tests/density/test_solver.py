"""Known densities come back; the objective is what the docstring says."""

from __future__ import annotations

import numpy as np
import pytest
from latent_sets import observe, three_states, two_wells, weights_near

from covaria.estimation.density.blur import LatentGrid, build_blur
from covaria.estimation.density.choice import choose_alpha
from covaria.estimation.density.solver import _penalised, laplacian_eigenvalues, roughness, solve, solve_path
from covaria_density.stage import ALPHAS


def _solved(data, points, seed=0):
    dim = data.estimates.shape[1]
    grid = LatentGrid(np.array([[-2.2, 2.2]] * dim), points)
    blur = build_blur(grid, data.estimates, data.covariances, seed)
    choice = choose_alpha(blur, ALPHAS, seed)
    return grid, blur, choice, solve_path(grid, blur.observe(), ALPHAS)


@pytest.mark.parametrize("noise", [0.2, 0.6])
def test_state_weights_within_0_05_in_one_dimension(noise):
    """Proof 15: states 1 apart, errors up to 0.6 of that."""
    data = three_states(4000, noise, 1, seed=7)
    grid, _, choice, answers = _solved(data, 400)
    found = weights_near(answers[choice.knee].mass, [grid.axis(0)], data.centers)
    assert np.abs(found - data.weights).max() < 0.05


@pytest.mark.parametrize("noise", [0.3, 0.8])
def test_state_weights_within_0_05_in_two_dimensions(noise):
    data = three_states(3000, noise, 2, seed=8)
    grid, _, choice, answers = _solved(data, 40)
    found = weights_near(answers[choice.knee].mass, [grid.axis(0), grid.axis(1)], data.centers)
    assert np.abs(found - data.weights).max() < 0.05


def test_two_wells_are_separated_although_the_estimates_are_not():
    data = two_wells(4000, 0.8, 1, seed=9)
    counts = np.histogram(data.estimates, bins=np.linspace(-3, 3, 40))[0]
    assert counts[18:22].min() > 0.4 * counts.max()
    grid, _, choice, answers = _solved(data, 400)
    mass = answers[choice.knee].mass
    valley = mass[np.abs(grid.axis(0)) < 0.3].min()
    assert valley < 0.3 * mass[grid.axis(0) < 0].max() and valley < 0.15 * mass.max()


def test_gaussian_keeps_its_width():
    """Errors wider than the density: all but unpenalised, its width comes back unbiased (mean of four)."""
    widths = []
    for seed in range(10, 14):
        rng = np.random.default_rng(seed)
        data = observe(0.6 * rng.standard_normal((4000, 1)), 0.8, rng)
        grid = LatentGrid(np.array([[-2.2, 2.2]]), 100)
        observed = build_blur(grid, data.estimates, data.covariances, 0).observe()
        mass, axis = solve_path(grid, observed, ALPHAS[:7])[-1].mass, grid.axis(0)
        widths.append(np.sqrt(np.sum(mass * axis**2) - np.sum(mass * axis) ** 2))
    assert np.mean(widths) == pytest.approx(0.6, rel=0.04)


def test_alpha_orders_roughness_and_fit():
    data = two_wells(2000, 0.5, 1, seed=11)
    _, _, _, answers = _solved(data, 200)
    assert all(np.diff([answer.roughness for answer in answers]) > 0)
    assert all(np.diff([answer.log_likelihood for answer in answers]) > -0.01)
    for answer in answers:
        assert answer.mass.min() >= 0 and answer.mass.sum() == pytest.approx(1)


def test_gradient_of_the_penalised_objective():
    rng = np.random.default_rng(12)
    data = three_states(300, 0.5, 2, seed=12)
    grid = LatentGrid(np.array([[-2.2, 2.2]] * 2), 14)
    observed = build_blur(grid, data.estimates, data.covariances, 0).observe()
    stiffness = laplacian_eigenvalues(grid)
    root, direction = 0.5 + rng.random(grid.shape), rng.standard_normal(grid.shape)

    def value(u):
        return _penalised(observed, 1e-2, stiffness, u, observed.particles)

    numeric = (value(root + 1e-5 * direction)[0] - value(root - 1e-5 * direction)[0]) / 2e-5
    assert np.sum(value(root)[1] * direction) == pytest.approx(numeric, rel=1e-5)


def test_roughness_is_the_fisher_information():
    """Of a Gaussian of standard deviation s it is 1 / s^2 in each axis."""
    grid = LatentGrid(np.array([[-1.0, 1.0]] * 2), 200)
    one = np.exp(-0.5 * (grid.axis(0) / 0.15) ** 2)
    mass = np.outer(one, one)
    assert roughness(mass / mass.sum(), laplacian_eigenvalues(grid)) == pytest.approx(2 / 0.15**2, rel=0.02)


def test_the_start_does_not_matter():
    """The problem is convex in p: a rough start ends where the smooth one does."""
    data = two_wells(2000, 0.5, 1, seed=13)
    grid = LatentGrid(np.array([[-2.2, 2.2]]), 100)
    observed = build_blur(grid, data.estimates, data.covariances, 0).observe()
    rough = np.random.default_rng(0).random(100) ** 2
    first, second = (solve(grid, observed, 1e-4, start) for start in (np.ones(100), rough))
    assert first.log_likelihood == pytest.approx(second.log_likelihood, abs=0.05)
    assert 0.5 * np.abs(first.mass - second.mass).sum() < 0.01
