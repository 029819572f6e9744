"""Shrinkage keeps what the half-sets agree on, where they agree, and is a linear gain between 0 and 1."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from covaria.estimation.components.shrinkage import shrunk
from covaria.maps import fsc

SIDE = 48


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A small moving part inside a wide mask: signal, two noisy halves, mask."""
    rng = np.random.default_rng(3)
    axis = np.arange(SIDE) - SIDE // 2
    distance = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    mask = np.clip(18.0 - distance, 0, 1)
    place = np.exp(-0.5 * ((axis[:, None, None] - 6) ** 2 + axis[:, None] ** 2 + (axis + 4) ** 2) / 3.0**2)
    signal = place * gaussian_filter(rng.standard_normal((SIDE,) * 3), 1.5) * 40
    halves = np.stack([signal + gaussian_filter(rng.standard_normal((SIDE,) * 3), 1.0) * 4 for _ in range(2)]) * mask
    return signal * mask, halves, mask


def _shrunk(halves: np.ndarray, mask: np.ndarray) -> np.ndarray:
    found = shrunk(torch.as_tensor(halves[:, None], dtype=torch.float32), torch.as_tensor(mask, dtype=torch.float32))
    return found[:, 0].numpy()


def test_nearer_to_the_signal_than_a_radial_wiener_filter(scene):
    signal, halves, mask = scene
    average = halves.mean(0)
    curve = np.clip(fsc(halves[0], halves[1]), 0, 1)
    axes = np.fft.fftfreq(SIDE) * SIDE
    radius = np.rint(np.sqrt(axes[:, None, None] ** 2 + axes[:, None] ** 2 + axes**2)).astype(int)
    gain = np.append(2 * curve / (1 + curve), np.zeros(SIDE))[radius]
    radial = np.fft.ifftn(np.fft.fftn(average) * gain).real * mask
    errors = [((v - signal) ** 2).sum() / (signal**2).sum() for v in (average, radial, _shrunk(halves, mask).mean(0))]
    assert errors[2] < 0.7 * errors[1] < 0.7 * errors[0], errors


def test_power_is_about_that_of_the_signal(scene):
    """Eigenvalues are powers: what is lost to shrinkage is small where most of the signal is above the noise."""
    signal, halves, mask = scene
    found = _shrunk(halves, mask).mean(0)
    assert 0.75 < (found**2).sum() / (signal**2).sum() < 1.1


def test_noise_alone_all_but_vanishes(scene):
    _, _, mask = scene
    rng = np.random.default_rng(4)
    halves = rng.standard_normal((2, SIDE, SIDE, SIDE)) * mask
    kept = (_shrunk(halves, mask).mean(0) ** 2).sum() / (halves.mean(0) ** 2).sum()
    assert 0 < kept < 0.05


def test_equal_halves_stay(scene):
    _, halves, mask = scene
    smooth = gaussian_filter(halves[0], 2.0) * mask
    found = _shrunk(np.stack([smooth, smooth]), mask)
    np.testing.assert_allclose(found[0], found[1])
    assert np.corrcoef(found[0].ravel(), smooth.ravel())[0, 1] > 0.99


def test_scale_and_sign_go_through(scene):
    _, halves, mask = scene
    np.testing.assert_allclose(_shrunk(-3 * halves, mask), -3 * _shrunk(halves, mask), rtol=1e-3, atol=1e-4)
