"""The blur is the particles' own likelihood, whatever grid it is computed on."""

from __future__ import annotations

import numpy as np
import pytest
from latent_sets import observe

from covaria.estimation.density.blur import BACKGROUND, SAMPLES_PER_SIGMA, LatentGrid, build_blur, classify


def _exact_expected(grid, covariance, mass, at):
    axes = [grid.axis(number) for number in range(grid.dim)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, grid.dim)
    steps = at[:, None, :] - points
    exponent = -0.5 * np.einsum("mgi,ij,mgj->mg", steps, np.linalg.inv(covariance), steps)
    return np.exp(exponent) @ mass.ravel() / np.sqrt(np.linalg.det(2 * np.pi * covariance))


@pytest.mark.parametrize(("dim", "points"), [(1, 200), (2, 48), (3, 16)])
@pytest.mark.parametrize("noise", [0.3, 1.0, 6.0])
def test_kernel_equals_the_gaussian_sum(dim, points, noise):
    rng = np.random.default_rng(dim)
    grid = LatentGrid(np.array([[-1.0, 1.5]] * dim), points)
    skew = np.eye(dim) + 0.3 * rng.standard_normal((dim, dim))
    covariance = noise**2 * skew @ skew.T
    kernel = build_blur(grid, np.zeros((50, dim)), np.repeat(covariance[None], 50, axis=0), 0).kernels[0]
    mass = np.exp(-4 * sum(axis**2 for axis in np.meshgrid(*[grid.axis(a) for a in range(dim)], indexing="ij")))
    mass /= mass.sum()
    expected = kernel.expected(mass) / kernel.step.prod()
    places = np.stack(np.unravel_index(rng.integers(0, expected.size, 300), expected.shape), axis=1)
    # Widened by half a grid cell (the grid's own resolution) and by the bins' triangle, as the counted particles are.
    widened = covariance + np.diag((0.5 * grid.spacing) ** 2 + kernel.step**2 / 6)
    exact = _exact_expected(grid, widened, mass, kernel.start + places * kernel.step)
    assert np.abs(expected[tuple(places.T)] - exact).max() < 0.03 * expected.max()
    assert expected.sum() * kernel.step.prod() == pytest.approx(1, abs=1e-9)


def test_transposed_is_the_transpose():
    rng = np.random.default_rng(0)
    grid = LatentGrid(np.array([[-1.0, 1.0], [-2.0, 2.0]]), 20)
    data = observe(rng.standard_normal((100, 2)), 0.5, rng)
    for kernel in build_blur(grid, data.estimates, data.covariances, 0).kernels:
        x, y = rng.random(grid.shape), rng.random(kernel.shape)
        assert np.sum(kernel.expected(x) * y) == pytest.approx(np.sum(x * kernel.transposed(y)), rel=1e-10)


def test_likelihood_on_fine_bins_is_that_of_the_particles(monkeypatch):
    monkeypatch.setitem(SAMPLES_PER_SIGMA, 1, 12.0)
    rng = np.random.default_rng(3)
    grid = LatentGrid(np.array([[-2.0, 2.0]]), 120)
    variance = rng.choice([0.1, 0.25, 0.6], (1500, 1))
    estimates = 0.5 * rng.standard_normal((1500, 1)) + np.sqrt(variance) * rng.standard_normal((1500, 1))
    blur = build_blur(grid, estimates, variance[:, None], 0)
    axis = grid.axis(0)
    gaussians = np.exp(-0.5 * (estimates - axis) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
    spread = np.array([1 / (len(kernel.binning[0]) * kernel.step[0]) for kernel in blur.kernels])[blur.labels]
    exact, found = [], []
    for width in (0.3, 0.9):
        mass = np.exp(-0.5 * (axis / width) ** 2)
        mass /= mass.sum()
        exact.append(np.log((1 - BACKGROUND) * gaussians @ mass + BACKGROUND * spread).sum())
        found.append(blur.observe().log_likelihood(mass)[0])
    assert found[0] - found[1] == pytest.approx(exact[0] - exact[1], abs=0.02 * abs(exact[0] - exact[1]) + 0.5)


def test_gradient_of_the_likelihood():
    rng = np.random.default_rng(4)
    grid = LatentGrid(np.array([[-2.0, 2.0], [-2.0, 2.0]]), 12)
    data = observe(rng.standard_normal((300, 2)), 0.5, rng)
    observed = build_blur(grid, data.estimates, data.covariances, 0).observe()
    mass = rng.random(grid.shape)
    mass /= mass.sum()
    direction = rng.standard_normal(grid.shape) * mass
    _, gradient = observed.log_likelihood(mass)
    step = 1e-5
    numeric = (
        observed.log_likelihood(mass + step * direction)[0] - observed.log_likelihood(mass - step * direction)[0]
    ) / (2 * step)
    assert np.sum(gradient * direction) == pytest.approx(numeric, rel=1e-5)


def test_every_particle_is_counted_once_and_far_ones_are_not():
    rng = np.random.default_rng(5)
    grid = LatentGrid(np.array([[-2.0, 2.0]]), 100)
    data = observe(rng.standard_normal((400, 1)) * 0.5, 0.3, rng)
    blur = build_blur(grid, data.estimates, data.covariances, 0)
    assert blur.observe().particles == pytest.approx(400)
    far = build_blur(grid, np.vstack([data.estimates[:-1], [[90.0]]]), data.covariances, 0)
    assert far.observe().particles == pytest.approx(399)
    weights = rng.integers(0, 3, 400).astype(float)
    assert blur.observe(weights).particles == pytest.approx(weights.sum())


def test_classes_separate_wide_from_narrow():
    covariances = np.array([np.eye(2) * s for s in [0.01] * 50 + [4.0] * 50])
    labels = classify(covariances, 2, 0)
    assert len(set(labels[:50])) == len(set(labels[50:])) == 1 and labels[0] != labels[-1]
