"""One posterior for all asymmetric units of an image, against the same Gaussian model as one large problem."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from covaria.estimation.latents.copies import alone, of_images, of_rows, second_moment
from covaria.estimation.latents.posterior import ImageStatistics, posterior, statistics
from covaria.imaging.images import Batch
from covaria.imaging.plane import half_plane
from covaria.testing.adjoint import assert_adjoint

UNITS, IMAGES, PIXELS, ERRORS, COMPONENTS, SD = 3, 2, 20, 5, 2, 0.2


def batch_of(ramp: bool, copies: int = UNITS) -> Batch:
    nothing = torch.zeros(copies * IMAGES, PIXELS)
    angle = torch.tensor(np.random.default_rng(1).uniform(-3, 3, (UNITS * IMAGES, PIXELS)))
    angle[:IMAGES] = 0
    turned = torch.polar(torch.ones_like(angle), angle) if ramp else None
    index = np.arange(copies * IMAGES)
    return Batch(index, nothing, nothing, nothing, nothing, half_plane(16), copies=copies, ramp=turned)


@pytest.mark.parametrize("ramp", [False, True])
def test_rows_of_images_and_images_of_rows_are_adjoint(ramp):
    rng, batch = np.random.default_rng(0), batch_of(ramp)
    slices = torch.tensor(rng.normal(size=(UNITS * IMAGES, 2 * PIXELS, COMPONENTS)))
    others = torch.zeros((UNITS * IMAGES, 2 * PIXELS, 1))
    values = torch.tensor(rng.normal(size=(IMAGES, 2 * PIXELS, COMPONENTS * UNITS)))
    assert_adjoint(
        lambda x: of_images(torch.cat([others, x, others], 2), batch, 0)[:, :, 1:-1],
        lambda y: of_rows(y.view(IMAGES, PIXELS, 2, -1), batch).flatten(1, 2),
        slices, values, 1e-12,
    )  # fmt: skip


def test_a_component_of_every_unit_follows_another():
    """Columns: mean, errors, component 0 of units 0, 1, 2, component 1 of units 0, 1, 2, the image."""
    rows = torch.arange(UNITS * IMAGES, dtype=torch.float64)
    columns = torch.arange(1 + ERRORS + COMPONENTS + 1, dtype=torch.float64)
    slices = (100 * rows[:, None, None] + columns).expand(-1, 2 * PIXELS, -1).clone()
    found = of_images(slices, batch_of(False), ERRORS)[1, 0]
    units = [100 * (1 + IMAGES * unit) + 1 + ERRORS + k for k in range(COMPONENTS) for unit in range(UNITS)]
    assert found.tolist() == [*(100 + columns[: 1 + ERRORS]).tolist(), *units, 100 + float(columns[-1])]


def problem():
    """Slices of the mean, K components of G units, and pixels: (IMAGES, 2n, 1 + K G), (IMAGES, 2n)."""
    rng = np.random.default_rng(3)
    slices = 0.3 * rng.normal(size=(IMAGES, 2 * PIXELS, 1 + COMPONENTS * UNITS))
    pixels = slices[:, :, 0] + rng.normal(size=(IMAGES, 2 * PIXELS))
    return slices, pixels


def test_all_units_as_one_large_problem():
    slices, pixels = problem()
    stats = statistics(torch.tensor(np.concatenate([slices, pixels[..., None]], 2)))
    found = posterior(stats, SD, torch.full((IMAGES,), 1.1, dtype=torch.float64))
    for number in range(IMAGES):
        design = slices[number] * np.r_[SD, np.full(COMPONENTS * UNITS, 1.1)]
        rest = pixels[number] - slices[number, :, 0]
        whole = np.eye(len(rest)) + design @ design.T
        evidence = -0.5 * (rest @ np.linalg.solve(whole, rest) + np.linalg.slogdet(whole)[1])
        assert float(found.log_likelihood[number]) == pytest.approx(evidence, rel=1e-9)
        covariance = np.linalg.inv(design.T @ design + np.eye(design.shape[1]))
        np.testing.assert_allclose(found.mean[number], covariance @ design.T @ rest, atol=1e-9)
        np.testing.assert_allclose(found.covariance[number], covariance, atol=1e-9)


def test_what_is_said_of_one_unit_has_the_others_integrated_out():
    """Inner products under noise of covariance 1 + c^2 sum over other units' slices, written out."""
    slices, pixels = problem()
    stats = statistics(torch.tensor(np.concatenate([slices, pixels[..., None]], 2)))
    deviations, contrast = np.array([0.7, 1.6]), 0.9
    found = alone(stats, torch.tensor(deviations), torch.full((IMAGES,), contrast, dtype=torch.float64), UNITS)
    for unit in range(UNITS):
        for number in range(IMAGES):
            of_units = slices[number, :, 1:].reshape(-1, COMPONENTS, UNITS)
            others = (contrast * deviations[:, None] * np.delete(of_units, unit, 2)).reshape(len(of_units), -1)
            inverse = np.linalg.inv(np.eye(len(others)) + others @ others.T)
            own = np.column_stack([slices[number, :, 0], of_units[:, :, unit]])
            row = unit * IMAGES + number
            np.testing.assert_allclose(found.gram[row], own.T @ inverse @ own, atol=1e-9)
            np.testing.assert_allclose(found.overlap[row], own.T @ inverse @ pixels[number], atol=1e-9)
            assert float(found.energy[row]) == pytest.approx(pixels[number] @ inverse @ pixels[number], rel=1e-9)


def test_one_unit_is_what_there_was_before():
    stats = ImageStatistics(torch.eye(3)[None], torch.ones(1, 3), torch.ones(1))
    assert alone(stats, torch.ones(2), torch.ones(1), 1) is stats
    values = torch.zeros(2, 3, 2, 1)
    assert of_rows(values, batch_of(False, 1)) is values


def test_the_second_moment_is_that_of_a_unit_on_average():
    rng = np.random.default_rng(5)
    mean = torch.tensor(rng.normal(size=(4, COMPONENTS * UNITS)))
    root = rng.normal(size=(4, COMPONENTS * UNITS, 9))
    covariance = torch.tensor(root @ root.swapaxes(1, 2))
    found = second_moment(mean, covariance, UNITS)
    expected = np.zeros((4, COMPONENTS, COMPONENTS))
    for unit in range(UNITS):
        own = [k * UNITS + unit for k in range(COMPONENTS)]
        expected += (
            covariance.numpy()[:, own][:, :, own] + mean[:, own, None].numpy() * mean[:, None, own].numpy()
        ) / UNITS
    np.testing.assert_allclose(found, expected, atol=1e-12)
