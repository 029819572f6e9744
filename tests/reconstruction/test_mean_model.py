"""Mean map, data sign, noise spectrum and first contrasts against a simulated set's truth."""

import numpy as np
import pytest

from covaria.estimation.mean.contrasts import first_contrasts
from covaria.estimation.mean.model import estimate_mean_model
from covaria.maps import fsc
from covaria.request.model import ReconstructionOptions
from covaria.running.passes import Pass
from covaria.testing import MemoryContext


def test_mean_agrees_with_the_truth_as_its_halves_predict(moving_mean):
    halves = moving_mean.mean.halves
    half_fsc = np.clip(fsc(*halves), 0, 1)
    predicted = np.sqrt(2 * half_fsc / (1 + half_fsc))
    found = fsc(halves.mean(0), moving_mean.truth.mean)
    strong = predicted > 0.5
    assert np.abs(found - predicted)[strong][1:].mean() < 0.02


def test_mean_has_the_scale_of_the_truth(moving_mean):
    found = moving_mean.mean.residual_mean * moving_mean.images.scale
    true = moving_mean.truth.mean
    assert (found * true).sum() / (true * true).sum() == pytest.approx(1, abs=0.05)


def test_noise_spectrum(plenty_mean):
    solved = plenty_mean
    shells = solved.images.box // 2 - 1
    ratio = solved.mean.spectrum[:shells] * solved.images.scale**2 / solved.truth.noise[:shells]
    error = np.abs(ratio - 1)
    assert np.median(error) < 0.01
    assert error[1:].max() < 0.05


def test_contrast_correlates_with_the_truth(moving_mean):
    assert np.corrcoef(moving_mean.mean.contrasts, moving_mean.truth.contrasts)[0, 1] > 0.7
    assert moving_mean.mean.contrasts.mean() == pytest.approx(1, abs=1e-5)


def test_inverted_stack_gives_the_same_map_with_the_sign_flipped(moving, moving_mean):
    stack = moving.particles.images
    images = moving.with_pixels(-stack.read(np.arange(len(stack)))).images()
    found = estimate_mean_model(images, ReconstructionOptions(), Pass(MemoryContext()))
    assert float(found.data_sign) == -moving_mean.images.sign
    np.testing.assert_allclose(found.regularised, moving_mean.mean.regularised, rtol=0, atol=1e-5)


def test_contrasts_say_how_faint_the_mean_is(moving_mean):
    """A mean whose slices are too faint by a factor gives the same contrasts, and the factor."""
    images, mean = moving_mean.images, moving_mean.mean
    trust, passes = np.ones(len(images)), Pass(MemoryContext())
    whole, faint = (
        first_contrasts(images, mean.noise, scale * mean.residual_mean, trust, passes, fitted=True)
        for scale in (1, 0.6)
    )
    np.testing.assert_allclose(faint.contrasts, whole.contrasts, atol=1e-3)
    assert float(whole.level) == pytest.approx(1, abs=0.02)
    assert float(faint.level) == pytest.approx(float(whole.level) / 0.6, rel=1e-3)
    np.testing.assert_allclose(faint.pose_spread, whole.pose_spread, rtol=1e-2)
