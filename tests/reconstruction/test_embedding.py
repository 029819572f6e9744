"""Latent coordinates and contrasts, with the truth's own mean, components, noise and contrasts."""

import numpy as np
import pytest
import torch

from covaria.estimation.latents.embedding import _solve, embed, embedding_statistics
from covaria.estimation.linear_model import LinearModel
from covaria.imaging.noise import Noise
from covaria.running.passes import Pass
from covaria.testing import MemoryContext


@pytest.fixture(scope="module")
def true_statistics(moving):
    images = moving.images()
    box = moving.particles.box
    spectrum = np.interp(np.arange(box // 2), np.arange(len(moving.noise)), moving.noise) / images.scale**2
    noise = Noise(spectrum, np.ones(images.groups))
    values, eigenvolumes = moving.components()
    mean = moving.mean.astype(np.float32)
    model = LinearModel(mean, eigenvolumes[:2].astype(np.float32), 1.0)
    return values, embedding_statistics(images, noise, model, Pass(MemoryContext()))


def test_precision_is_calibrated(moving, true_statistics):
    """(z^ - z)^T precision_noreg (z^ - z) averages q."""
    values, stats = true_statistics
    contrasts = torch.as_tensor(moving.contrasts)
    _, _, free, _, fisher = _solve(stats_as_double(stats), contrasts, torch.as_tensor(values[:2]))
    error = free.numpy() - moving.coordinates()[:, :2]
    squared = np.einsum("bk,bkl,bl->b", error, fisher.numpy(), error)
    assert squared.mean() == pytest.approx(2, rel=0.05)


def test_coordinates_follow_the_truth(moving, true_statistics):
    values, stats = true_statistics
    found = embed(stats, values, 2, contrast_sd=0.15).regularised
    true = moving.coordinates()[:, :2]
    for k in range(2):
        assert np.corrcoef(found.coordinates[:, k], true[:, k])[0, 1] > 0.9
    assert np.corrcoef(found.contrasts, moving.contrasts)[0, 1] > 0.7
    assert found.contrasts.mean() == pytest.approx(1, abs=1e-5)


def test_precision_of_the_regularised_estimate(true_statistics):
    values, stats = true_statistics
    found = embed(stats, values, 2, contrast_sd=0.15)
    h = found.unregularised.precision[0].astype(np.float64)
    regularised = h + np.diag(1 / values[:2])
    np.testing.assert_allclose(found.regularised.precision[0], regularised @ np.linalg.inv(h) @ regularised, rtol=1e-3)


def test_smaller_dimension_uses_the_leading_block(true_statistics):
    values, stats = true_statistics
    one, two = (embed(stats, values, q, contrast_sd=0.0).unregularised for q in (1, 2))
    np.testing.assert_allclose(one.precision[:, 0, 0], two.precision[:, 0, 0], rtol=1e-5)


def stats_as_double(stats):
    from covaria.estimation.latents.posterior import ImageStatistics

    return ImageStatistics(stats.gram.double(), stats.overlap.double(), stats.energy.double())
