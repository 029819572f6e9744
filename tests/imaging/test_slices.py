"""Project and back-project: adjoints, closed forms, and one result whichever code runs."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from covaria.imaging import slices, volumes
from covaria.imaging.plane import half_plane
from covaria.testing import assert_adjoint


def random_rotations(count: int, seed: int = 0) -> torch.Tensor:
    return torch.as_tensor(Rotation.random(count, rng=np.random.default_rng(seed)).as_matrix(), dtype=torch.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("radius", [6, 15])
def test_backproject_is_the_adjoint_of_project(channels, radius):
    generator = torch.Generator().manual_seed(0)
    plane = half_plane(32, radius)
    side = volumes.cube_side(radius)
    rotations = random_rotations(7)
    x = torch.randn((channels, side, side, side), generator=generator)
    modulation = torch.randn((7, len(plane)), generator=generator) * torch.as_tensor(np.sqrt(plane.weight))  # CTF
    y = torch.randn((7, len(plane), 2, channels), generator=generator)
    y[:, plane.shell == 0, 1] = 0  # a real image's mean is real

    def forward(x: torch.Tensor) -> torch.Tensor:
        return slices.project(volumes.to_padded(x), rotations, plane) * modulation[..., None, None]

    def adjoint(y: torch.Tensor) -> torch.Tensor:
        sums = torch.zeros(volumes.padded_shape(radius, 2 * channels))
        slices.backproject(sums, y, modulation, torch.zeros((7, len(plane), 0)), rotations, plane)
        return volumes.adjoint_from_padded(volumes.completed(sums, channels))

    assert_adjoint(forward, adjoint, x, y)


def test_projection_of_gaussian_blobs_against_the_closed_form():
    box, width = 32, 1.5
    rng = np.random.default_rng(3)
    centres = rng.uniform(-1, 1, (6, 3)) * box / 4 / np.sqrt(3)  # x, y, z within D/4
    axis = np.arange(box) - box // 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = sum(np.exp(-((x - c[0]) ** 2 + (y - c[1]) ** 2 + (z - c[2]) ** 2) / (2 * width**2)) for c in centres)
    plane = half_plane(box)
    rotations = random_rotations(8, 4)
    found = slices.project(volumes.to_padded(torch.as_tensor(volume[None], dtype=torch.float32)), rotations, plane)
    found = found[..., 0, 0].numpy() + 1j * found[..., 1, 0].numpy()
    k = np.stack([plane.kx, plane.ky], 1)
    true = np.zeros_like(found)
    for b, r in enumerate(rotations.numpy()):
        k3 = k @ r[:2]
        envelope = (2 * np.pi * width**2) ** 1.5 * np.exp(-2 * (np.pi * width / box) ** 2 * (k**2).sum(1))
        true[b] = envelope * np.exp(-2j * np.pi / box * (k3 @ centres.T)).sum(1)
    assert np.linalg.norm(found - true) / np.linalg.norm(true) < 3e-2


def test_coarse_cube_gives_the_same_slices():
    axis = torch.arange(32) - 16.0
    z, y, x = torch.meshgrid(axis, axis, axis, indexing="ij")
    full = (torch.exp(-((x - 3) ** 2 + (y + 2) ** 2 + z**2) / 18) - torch.exp(-(x**2 + y**2 + (z - 4) ** 2) / 18))[None]
    plane = half_plane(32, 5)
    rotations = random_rotations(4, 5)
    fine = slices.project(volumes.to_padded(full), rotations, plane)
    coarse = slices.project(volumes.to_padded(volumes.resize_fourier(full, volumes.cube_side(5))), rotations, plane)
    assert (fine - coarse).norm() / fine.norm() < 0.03


def test_plane_take_and_put_are_inverse():
    plane = half_plane(16)
    pixels = torch.randn((3, len(plane), 2), generator=torch.Generator().manual_seed(0))
    pixels[:, plane.shell == 0, 1] = 0
    torch.testing.assert_close(plane.take(plane.put(pixels)), pixels, rtol=1e-4, atol=1e-5)


def test_unit_density_keeps_the_number_of_samples():
    plane = half_plane(32)
    rotations = random_rotations(50, 6)
    weights = torch.as_tensor(plane.weight)[None, :, None].expand(50, -1, 1).contiguous()
    sums = torch.zeros(volumes.padded_shape(15, 1))
    slices.backproject(sums, torch.zeros((50, len(plane), 2, 0)), weights[..., 0], weights, rotations, plane)
    density = volumes.unit_density(volumes.completed(sums, 0)[..., 0])
    whole = 2 * density.sum() - density[..., 0].sum()
    assert whole == pytest.approx(50 * plane.weight.sum(), rel=1e-4)
