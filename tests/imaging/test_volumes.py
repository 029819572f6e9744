"""Padded grids by matrices against fast Fourier transforms of the whole padded cube."""

import numpy as np
import pytest
import torch

from covaria.imaging import volumes


def response(side: int) -> np.ndarray:
    axis = np.sinc((np.arange(side) - side // 2) / (2 * side)) ** 2
    return axis[:, None, None] * axis[:, None] * axis


@pytest.mark.parametrize("side", [12, 22])
def test_padded_grid_is_the_transform_of_the_padded_cube(side):
    cubes = np.random.default_rng(0).normal(size=(2, side, side, side)).astype(np.float32)
    padded = volumes.to_padded(torch.as_tensor(cubes)).numpy()
    low = side - side // 2
    for k, cube in enumerate(cubes):
        whole = np.zeros((2 * side,) * 3)
        whole[(slice(low, low + side),) * 3] = cube / response(side)
        true = np.fft.fftshift(np.fft.rfftn(np.fft.ifftshift(whole))[..., :side], (0, 1))
        np.testing.assert_allclose(padded[..., k] + 1j * padded[..., 2 + k], true, atol=1e-5 * abs(true).max())
        spectrum = np.concatenate([np.fft.ifftshift(true, (0, 1)), np.zeros((2 * side, 2 * side, 1))], -1)
        back = np.fft.fftshift(np.fft.irfftn(spectrum, s=(2 * side,) * 3, axes=(0, 1, 2)))
        found = volumes.from_padded(torch.as_tensor(padded))[k].numpy()
        back = back[(slice(low, low + side),) * 3]
        np.testing.assert_allclose(found, back, atol=1e-5 * abs(back).max())
