"""The M-step in torch against plain numpy."""

import numpy as np
import torch

from covaria.estimation.components.m_step import _Shells, correlations, principal_axes
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


def test_the_axis_of_a_single_component_is_a_tensor_like_any_other():
    torch.testing.assert_close(torch.as_tensor(principal_axes(torch.ones(1, 4, 4, 4))).abs(), torch.ones(1, 1).double())


def test_principal_axes_are_orthogonal_and_largest_first():
    volumes = torch.as_tensor(np.random.default_rng(0).normal(size=(3, 8, 8, 8)).astype(np.float32))
    volumes[2] += 3 * volumes[0]
    turned = (torch.as_tensor(principal_axes(volumes)) @ volumes.flatten(1).double()).numpy()
    gram = turned @ turned.T
    np.testing.assert_allclose(gram - np.diag(np.diag(gram)), 0, atol=1e-6 * gram.max())
    assert (np.diff(np.diag(gram)) < 0).all()
