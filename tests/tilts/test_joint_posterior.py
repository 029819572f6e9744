"""One posterior for all tilts of a particle, against the same Gaussian model written out as one large problem."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from covaria.estimation.latents.posterior import ImageStatistics, posterior
from covaria.estimation.latents.tilts import posterior_of

ERRORS, COMPONENTS, SD = 5, 3, 0.2


def drawn(images, errors=ERRORS, seed=0):
    """Slices (b, n, 1+p+q) and pixels (b, n) of images with unit noise, and their inner products."""
    rng = np.random.default_rng(seed)
    slices = rng.normal(size=(images, 40, 1 + errors + COMPONENTS)) * 0.3
    pixels = slices[:, :, 0] + rng.normal(size=(images, 40))
    stats = ImageStatistics(
        torch.tensor(np.einsum("bnk,bnl->bkl", slices, slices)),
        torch.tensor(np.einsum("bnk,bn->bk", slices, pixels)),
        torch.tensor((pixels**2).sum(1)),
        errors,
    )
    return slices, pixels, stats


@pytest.mark.parametrize("errors", [0, ERRORS])
def test_a_particle_of_one_image_is_that_image(errors):
    stats = drawn(6, errors)[2]
    contrast = torch.linspace(0.8, 1.2, 6, dtype=torch.float64)
    alone, joint = posterior(stats, SD, contrast), posterior_of(stats, SD, torch.arange(6), contrast)
    for name in ("weights", "mean", "covariance", "log_likelihood"):
        torch.testing.assert_close(getattr(joint, name), getattr(alone, name))


def test_all_images_of_a_particle_as_one_large_problem():
    """Unknowns (a, z, e_1 .. e_T) of T images stacked: posterior by an inverse, evidence by a determinant."""
    slices, pixels, stats = drawn(7)
    particle = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    contrast = torch.tensor([1.1] * 3 + [0.9] * 4, dtype=torch.float64)
    found = posterior_of(stats, SD, particle, contrast)
    for number, rows in enumerate((range(3), range(3, 7))):
        c, count = float(contrast[rows[0]]), len(rows)
        shared = 1 + COMPONENTS
        design = np.zeros((count, 40, shared + ERRORS * count))
        for place, row in enumerate(rows):
            design[place, :, 0] = SD * slices[row, :, 0]
            design[place, :, 1:shared] = c * slices[row, :, 1 + ERRORS :]
            own = slice(shared + ERRORS * place, shared + ERRORS * (place + 1))
            design[place, :, own] = c * slices[row, :, 1 : 1 + ERRORS]
        flat = design.reshape(-1, design.shape[2])
        rest = (pixels[list(rows)] - slices[list(rows), :, 0]).ravel()
        precision = flat.T @ flat + np.eye(flat.shape[1])
        covariance = np.linalg.inv(precision)
        mean = covariance @ flat.T @ rest
        whole = np.eye(len(rest)) + flat @ flat.T
        evidence = -0.5 * (rest @ np.linalg.solve(whole, rest) + np.linalg.slogdet(whole)[1])
        assert float(found.log_likelihood[list(rows)].sum()) == pytest.approx(evidence, rel=1e-9), number
        for place, row in enumerate(rows):
            own = np.r_[0, shared + ERRORS * place : shared + ERRORS * (place + 1), 1:shared]
            np.testing.assert_allclose(found.mean[row], mean[own], atol=1e-9)
            np.testing.assert_allclose(found.covariance[row], covariance[np.ix_(own, own)], atol=1e-9)


def test_one_contrast_for_all_images_of_a_particle():
    stats = drawn(6)[2]
    found = posterior_of(stats, SD, torch.tensor([0, 0, 1, 1, 1, 2]))
    contrast = found.weights[:, -1].numpy()
    assert contrast[0] == contrast[1] and contrast[2] == contrast[3] == contrast[4]
    assert len(np.unique(contrast)) == 3
