"""The CTF against an independent implementation, and its sign."""

import numpy as np
import pytest
import torch
import torch_ctf

from covaria.imaging.ctf import CtfTable, wavelength_angstrom
from covaria.imaging.plane import half_plane
from covaria.particles.model import ContrastTransfer


def table(pixel_size: float, box: int, **changes: float) -> CtfTable:
    values = dict(u=15000.0, v=13000.0, angle=np.deg2rad(35.0), kv=300.0, cs=2.7, w=0.1, phase=0.0) | changes
    return CtfTable(ContrastTransfer(*(np.array([value]) for value in values.values())), pixel_size, box)


@pytest.mark.parametrize("phase_deg", [0.0, 90.0])
def test_equals_torch_ctf(phase_deg):
    box, pixel_size = 128, 1.5
    plane = half_plane(box)
    found = table(pixel_size, box, phase=np.deg2rad(phase_deg)).evaluate(np.array([0]), plane)[0]
    oracle = torch_ctf.calculate_ctf_2d(
        defocus=1.4,
        astigmatism=0.1,
        astigmatism_angle=35.0,
        voltage=300.0,
        spherical_aberration=2.7,
        amplitude_contrast=0.1,
        phase_shift=phase_deg,
        pixel_size=pixel_size,
        image_shape=(box, box),
        rfft=True,
        fftshift=False,
    )
    oracle = torch.as_tensor(oracle).reshape(box, box // 2 + 1)[plane.ky % box, plane.kx]
    assert (found - oracle).abs().max() < 2e-3


def test_is_plus_amplitude_contrast_at_zero_frequency():
    plane = half_plane(16)
    found = table(2.0, 16, w=0.07).evaluate(np.array([0]), plane)[0]
    assert found[plane.shell == 0].item() == pytest.approx(0.07, abs=1e-6)


def test_wavelength_at_300_kv():
    assert wavelength_angstrom(np.array(300.0)) == pytest.approx(0.0196876, abs=1e-7)


def test_scale_and_b_factor_multiply_each_images_ctf():
    """scale x exp(-B s^2 / 4), as RELION's damping; an image with 1 and 0 is as without."""
    box, pixel_size = 64, 1.5
    plane = half_plane(box)
    values = (15000.0, 13000.0, 0.6, 300.0, 2.7, 0.1, 0.0)
    columns = [np.full(3, value) for value in values]
    b_factor, scale = np.array([0.0, 80.0, -20.0]), np.array([1.0, 0.7, 1.2])
    damped = CtfTable(ContrastTransfer(*columns, b_factor, scale), pixel_size, box).evaluate(np.arange(3), plane)
    bare = CtfTable(ContrastTransfer(*columns), pixel_size, box).evaluate(np.arange(3), plane)
    s2 = (plane.kx.astype(float) ** 2 + plane.ky.astype(float) ** 2) / (box * pixel_size) ** 2
    expected = bare.numpy() * scale[:, None] * np.exp(-b_factor[:, None] * s2 / 4)
    np.testing.assert_allclose(damped.numpy(), expected, rtol=2e-5, atol=1e-6)
    np.testing.assert_array_equal(damped[0].numpy(), bare[0].numpy())


def test_the_slope_is_that_of_finite_differences():
    rows, plane, step = np.array([0]), half_plane(32), 2.0
    up, down = (table(4.0, 32, u=15000.0 + change, v=13000.0 + change) for change in (step, -step))
    expected = (up.evaluate(rows, plane).double() - down.evaluate(rows, plane).double()) / (2 * step)
    found = table(4.0, 32).slope(rows, plane).double()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-3)
