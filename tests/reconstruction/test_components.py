"""Principal components: the gradient is the likelihood's, EM climbs, and what it finds is what is there."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch

from covaria.estimation.components.confirmation import Significance, significant_components
from covaria.estimation.components.expectation_maximisation import em_step, fit_components, gradients, random_start
from covaria.estimation.components.latent_regression import regress_on_latents
from covaria.estimation.components.m_step import half_set_steps
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.imaging import volumes
from covaria_reconstruction.fitting import confirmed, full_size, joined


@pytest.mark.parametrize("pose_spread", [None, PoseSpread(0.5, 0.03)])
def test_gradient_is_that_of_the_likelihood(moving_mean, pose_spread):
    problem = replace(moving_mean.problem, contrast_sd=0.0, pose_spread=pose_spread)
    model = random_start(problem, 2, 6, seed=1)
    model = replace(model, components=model.components * 5)
    mask = np.ones_like(problem.mask_at(6))
    halves, _ = gradients(problem.sums(model), mask)
    side = volumes.cube_side(6)
    spectrum = sum(half.gradient.numpy() for half in halves) * side**3
    gradient = np.fft.fftshift(np.fft.irfftn(spectrum, s=(side,) * 3, axes=(1, 2, 3)), axes=(1, 2, 3))
    direction = random_start(problem, 2, 6, seed=2).components
    step = 0.05

    def likelihood(sign: float) -> float:
        moved = replace(model, components=model.components + sign * step * direction)
        return sum(float(one.scalars[0]) for one in problem.sums(moved))

    numeric = (likelihood(1) - likelihood(-1)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(numeric, rel=0.01)


def test_likelihood_never_falls(moving_mean):
    """The step itself, before anything is shrunk or rotated, of all images together."""
    problem = replace(moving_mean.problem, split=np.zeros(len(moving_mean.images), np.int64))
    model = random_start(problem, 3, 8, seed=0)
    mask = problem.mask_at(8)
    history = []
    for _ in range(8):
        pair = problem.sums(model)
        halves, second_moment = gradients((pair[0], pair[0]), mask)
        history.append(pair[0].gain)
        model = replace(model, components=half_set_steps(model.components, halves, second_moment, mask)[0].numpy())
    assert (np.diff(history) > -1e-4 * np.abs(history[-1])).all(), history
    assert history[-1] > history[0] + 100


@pytest.fixture(scope="module")
def fitted(moving_mean):
    return fit_components(moving_mean.problem, 4, seed=0).model


def on_box(model, box):
    return volumes.resize_fourier(torch.as_tensor(model.components), box).numpy()


def test_captures_what_the_true_latents_would(fitted, moving_mean):
    truth, problem = moving_mean.truth, moving_mean.problem
    found = on_box(fitted, truth.particles.box)
    values, _ = truth.components()
    latents = truth.coordinates()[:, :2] / np.sqrt(values[:2])
    best = regress_on_latents(problem, latents.astype(np.float32), truth.contrasts)
    for count in (1, 2):
        assert truth.captured(found, count) >= 0.95 * truth.captured(best, count)


def test_eigenvalues(fitted, moving_mean):
    found = full_size(moving_mean.problem, em_step(moving_mean.problem, fitted)).eigenvalues
    ratio = found[:2] / moving_mean.truth.components()[0][:2]
    assert (np.abs(ratio - 1) < 0.10).all(), ratio


def test_another_seed_finds_the_same_subspace(moving_mean):
    """Two components for a set of two: a third would fit noise, slowly and differently from each start."""
    models = [fit_components(moving_mean.problem, 2, seed=seed).model for seed in (0, 5)]
    a, b = (on_box(model, moving_mean.truth.particles.box).reshape(2, -1) for model in models)
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


def test_confirmed_components_join_a_coarser_fit(moving_mean):
    """The confirmed ones unchanged, the rest orthogonal to them and largest first."""
    problem = moving_mean.problem
    coarse = full_size(problem, fit_components(problem, 4, limit=8, last_steps=0))
    fine = full_size(problem, fit_components(problem, 2, last_steps=0))
    found = joined(fine, coarse)
    np.testing.assert_array_equal(found.eigenvolumes[:2], fine.eigenvolumes)
    flat = found.eigenvolumes.reshape(4, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(4), atol=1e-5)
    assert found.eigenvalues[2] >= found.eigenvalues[3] > 0
    np.testing.assert_allclose(0.5 * (found.half1 + found.half2), found.eigenvolumes, atol=1e-5)
    assert found.fsc.shape == coarse.fsc.shape


def test_what_is_not_confirmed_counts_next_to_nothing(moving_mean):
    coarse = full_size(moving_mean.problem, fit_components(moving_mean.problem, 4, limit=8, last_steps=0))
    start = moving_mean.problem.null_model(8)
    none = (start.components,) * 2
    found = confirmed(coarse, Significance(1, np.array([[9.0, 1, 0, 0], [7, 2, 1, 1]]), start, start, none, none))
    np.testing.assert_allclose(found.eigenvalues / coarse.eigenvalues, [1, 1e-3, 1e-3, 1e-3])
    assert int(found.confirmed) == 1
    assert found.z_score.tolist() == [7, 1, 0, 0]
