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
