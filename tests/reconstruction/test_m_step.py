"""The M-step in torch against plain numpy."""

import numpy as np
import torch

from covaria.estimation.components.m_step import (
    Gradient,
    _dft,
    _inverse_dft,
    _Shells,
    correlations,
    half_set_steps,
    principal_axes,
    seen_through,
)
from covaria.maps import fsc
from covaria.maps.fourier import shell_average


def test_correlations_and_shells_are_those_of_maps():
    pair = np.random.default_rng(0).normal(size=(2, 3, 12, 12, 12)).astype(np.float32)
    pair[1] += pair[0]
    found = correlations(torch.as_tensor(pair)).numpy()
    np.testing.assert_allclose(found, [fsc(*both) for both in zip(*pair, strict=True)], atol=1e-5)
    assert (correlations(torch.zeros(2, 1, 12, 12, 12)) == 0).all()
    power = np.abs(np.fft.rfftn(pair[0, 0])) ** 2
    shells = _Shells(12, torch.device("cpu"))
    means = shells.means(torch.as_tensor(power)[None])
    np.testing.assert_allclose(means[0].numpy(), shell_average(power, 12))
    assert shells.spread(means)[0, 0, 0, 3] == means[0, 3].float()


def test_one_view_pulls_nothing_up_that_it_does_not_see():
    """All that is known lies on the plane kz = 0: steps end there, monotonically, and leave nothing elsewhere."""
    side, rng = 16, np.random.default_rng(0)
    axis = np.arange(side) - side // 2
    mask = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 < 36).astype(np.float32)
    density = torch.zeros(side, side, side // 2 + 1)
    density[0] = 50
    true = _dft(torch.as_tensor(rng.normal(size=(1, side, side, side)) * mask, dtype=torch.float32))
    found, misfits = np.zeros((1, side, side, side), np.float32), []
    for _ in range(12):
        left = density * (true - _dft(torch.as_tensor(found)))
        misfits.append(float((left.abs() ** 2).sum()))
        inside = _dft(_inverse_dft(left, side) * torch.as_tensor(mask))
        half = Gradient(inside, density)
        found = half_set_steps(found, (half, half), np.eye(1), mask)[0].numpy()
    assert np.all(np.diff(misfits) < 0)
    assert misfits[-1] < 0.1 * misfits[0]
    assert (found**2).sum() < 1.1 * float(torch.fft.irfftn(true, s=(side,) * 3).square().sum())


def test_even_views_are_weighed_as_they_are():
    mask = torch.zeros(16, 16, 16)
    mask[4:12, 4:12, 4:12] = 1
    torch.testing.assert_close(seen_through(mask, torch.full((16, 16, 9), 7.0)), torch.full((16, 16, 9), 7.0))


def test_the_axis_of_a_single_component_is_a_tensor_like_any_other():
    torch.testing.assert_close(torch.as_tensor(principal_axes(torch.ones(1, 4, 4, 4))).abs(), torch.ones(1, 1).double())


def test_principal_axes_are_orthogonal_and_largest_first():
    volumes = torch.as_tensor(np.random.default_rng(0).normal(size=(3, 8, 8, 8)).astype(np.float32))
    volumes[2] += 3 * volumes[0]
    turned = (torch.as_tensor(principal_axes(volumes)) @ volumes.flatten(1).double()).numpy()
    gram = turned @ turned.T
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-6 * gram.max())
    assert (np.diff(np.diag(gram)) < 0).all()
