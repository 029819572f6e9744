"""Principal components: the gradient is the likelihood's, EM climbs, and what it finds is what is there."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch

from covaria.imaging import volumes
from covaria_reconstruction.components import Prior, ascend
from covaria_reconstruction.expectation_maximisation import (
    em_step,
    fit_components,
    gradients,
    prior_energy,
    random_start,
)
from covaria_reconstruction.latent_regression import regress_on_latents
from covaria_reconstruction.significance import significant_components
from covaria_reconstruction.stage import last_step


def captured(found: np.ndarray, truth, count: int) -> float:
    """Variance of the true components captured by the first `count` found ones, over the best possible."""
    values, true = truth.components()
    q = np.linalg.qr(found[:count].reshape(count, -1).T)[0]
    inside = ((true.reshape(len(true), -1) @ q) ** 2).sum(1)
    return float((values * inside).sum() / values[:count].sum())


def test_gradient_is_that_of_the_likelihood(moving_mean):
    problem = replace(moving_mean.problem, contrast_sd=0.0)
    model = random_start(problem, 2, 6, seed=1)
    model = replace(model, components=model.components * 5)
    mask = np.ones_like(problem.mask_at(6))
    halves, _ = gradients(problem.sums(model), mask)
    side = volumes.cube_side(6)
    spectrum = sum(half.gradient for half in halves) * side**3
    gradient = np.fft.fftshift(np.fft.irfftn(spectrum, s=(side,) * 3, axes=(1, 2, 3)), axes=(1, 2, 3))
    direction = random_start(problem, 2, 6, seed=2).components
    step = 0.05

    def likelihood(sign: float) -> float:
        moved = replace(model, components=model.components + sign * step * direction)
        return sum(float(one.scalars[0]) for one in problem.sums(moved))

    numeric = (likelihood(1) - likelihood(-1)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=0.01)


def test_penalised_likelihood_never_falls(moving_mean):
    problem = moving_mean.problem
    model = random_start(problem, 3, 8, seed=0)
    mask = problem.mask_at(8)
    prior = None
    history = []
    for _ in range(8):
        pair = problem.sums(model)
        halves, second_moment = gradients(pair, mask)
        if prior is None:
            prior = Prior(np.full((3, 9), 30.0))
        history.append(pair[0].gain + pair[1].gain - 0.5 * prior_energy(model.components, prior))
        model = replace(model, components=ascend(model.components, halves, second_moment, prior, mask))
    assert (np.diff(history) > -1e-4 * np.abs(history[-1])).all(), history
    assert history[-1] > history[0] + 100


@pytest.fixture(scope="module")
def fitted(moving_mean):
    return fit_components(moving_mean.problem, 4, seed=0)


def full_size(model, box):
    return volumes.resize_fourier(torch.as_tensor(model.components), box).numpy()


def test_captures_what_the_true_latents_would(fitted, moving_mean):
    truth, problem = moving_mean.truth, moving_mean.problem
    found = full_size(fitted[0], truth.particles.box)
    values, _ = truth.components()
    latents = truth.coordinates()[:, :2] / np.sqrt(values[:2])
    best = regress_on_latents(problem, latents.astype(np.float32), truth.contrasts)
    for count in (1, 2):
        assert captured(found, truth, count) >= 0.95 * captured(best, truth, count)


def test_eigenvalues(fitted, moving_mean):
    found = last_step(moving_mean.problem, fitted[0], lambda *a: None).eigenvalues
    ratio = found[:2] / moving_mean.truth.components()[0][:2]
    assert (np.abs(ratio - 1) < 0.10).all(), ratio


def test_another_seed_finds_the_same_subspace(moving_mean):
    """Two components for a set of two: a third would fit noise, slowly and differently from each start."""
    models = [fit_components(moving_mean.problem, 2, seed=seed)[0] for seed in (0, 5)]
    a, b = (full_size(model, moving_mean.truth.particles.box).reshape(2, -1) for model in models)
    angles = scipy.linalg.subspace_angles(a.T, b.T)
    assert np.cos(angles).min() > 0.999


def test_finds_both_components_significant(moving_mean):
    found = significant_components(moving_mean.problem, 4, 15, seed=0)
    assert found.count == 2, found.z_score


def test_finds_nothing_where_nothing_moves(rigid_mean):
    found = significant_components(rigid_mean.problem, 4, 15, seed=0)
    assert found.count == 0, found.z_score


def test_likelihood_of_a_step_is_that_of_the_next(moving_mean):
    problem = moving_mean.problem
    model = random_start(problem, 2, 8, seed=3)
    first = em_step(problem, model)
    again = em_step(problem, model)
    assert first.gain == pytest.approx(again.gain, rel=1e-5)
    assert em_step(problem, first.model).gain > first.gain


def test_every_level_keeps_the_whole_mean(moving_mean):
    """A model taken to a finer level has the mean's finer shells, not an upsampled coarse mean."""
    problem = moving_mean.problem
    coarse = problem.model(6, np.zeros((1, *problem.mean.shape), np.float32))
    fine = problem.model(12, coarse.components)
    np.testing.assert_allclose(fine.mean, problem.null_model(12).mean)
    assert fine.components.shape[-1] == fine.mean.shape[-1]
