"""The five slices of a pose error against finite differences; their spread from data that was drawn with it."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from covaria.estimation.pose_errors.columns import COUNT, moments, plain_slices_with_errors, slices_with_errors
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.imaging import volumes
from covaria.imaging.plane import half_plane

BOX, RADIUS, WIDTH = 48, 15, 2.0
CENTRES = np.random.default_rng(0).uniform(-6, 6, (8, 3))  # x, y, z


def blobs() -> np.ndarray:
    """Gaussian blobs on the cube of RADIUS, voxels of BOX / side pixels: DFT coefficients are those of the full box."""
    side = volumes.cube_side(RADIUS)
    axis = (np.arange(side) - side // 2) * (BOX / side)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    volume = sum(np.exp(-((x - c[0]) ** 2 + (y - c[1]) ** 2 + (z - c[2]) ** 2) / (2 * WIDTH**2)) for c in CENTRES)
    return (volume * (BOX / side) ** 3).astype(np.float32)


def exact_slice(rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """In closed form: what an image holds whose translation lacks `shift` pixels."""
    plane = half_plane(BOX, RADIUS)
    k = np.stack([plane.kx, plane.ky, 0 * plane.kx], 1) @ rotation
    envelope = (2 * np.pi * WIDTH**2) ** 1.5 * np.exp(-2 * (np.pi * WIDTH / BOX) ** 2 * (k**2).sum(1))
    phases = sum(np.exp(-2j * np.pi / BOX * (k @ c)) for c in CENTRES)
    return envelope * phases * np.exp(2j * np.pi / BOX * (plane.kx * shift[0] + plane.ky * shift[1]))


@pytest.fixture(scope="module")
def sliced():
    rotations = Rotation.random(4, rng=np.random.default_rng(1)).as_matrix()
    mean = blobs()
    plane, single = half_plane(BOX, RADIUS), torch.as_tensor(rotations, dtype=torch.float32)
    padded = volumes.to_padded(torch.as_tensor(np.concatenate([mean[None], 2 * mean[None], moments(mean)])))
    return rotations, single, plane, padded


def test_each_column_is_the_derivative_of_the_slice(sliced):
    rotations, single, plane, padded = sliced
    ones, nothing = torch.ones(4, len(plane)), torch.zeros(4, len(plane), 2)
    columns = slices_with_errors(padded, single, plane, ones, nothing, torch.ones(COUNT)).numpy()
    step = 1e-4
    for b, rotation in enumerate(rotations):
        for j in range(COUNT):
            error = np.zeros(5)
            error[j] = step
            up, down = (exact_slice(Rotation.from_rotvec(e[2:]).as_matrix() @ rotation, e[:2]) for e in (error, -error))
            true = (up - down) / (2 * step)
            column = columns[b, :, 0, 1 + j] + 1j * columns[b, :, 1, 1 + j]
            product = (column.conj() * true).real.sum()
            assert product / (abs(true) ** 2).sum() == pytest.approx(1, abs=0.02)
            assert product / np.sqrt((abs(true) ** 2).sum() * (abs(column) ** 2).sum()) > 0.998


@pytest.mark.parametrize("errors", [0, COUNT])
def test_the_cpu_loop_equals_plain_torch(sliced, errors):
    _, single, plane, padded = sliced
    generator = torch.Generator().manual_seed(0)
    ctf = torch.randn((4, len(plane)), generator=generator)
    pixels = torch.randn((4, len(plane), 2), generator=generator)
    scale = torch.tensor([0.5, 0.5, 0.02, 0.02, 0.02])[:errors]
    fast = slices_with_errors(padded, single, plane, ctf, pixels, scale)
    assert fast.shape[-1] == 1 + errors + (1 if errors else 4) + 1
    plain = plain_slices_with_errors(padded, single, plane, ctf, pixels, scale)
    torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("shift", "rotation_deg"), [(0.8, 2.0), (0.3, 0.7), (0.02, 0.02)])
def test_the_spread_is_that_of_the_data(shift, rotation_deg):
    rng = np.random.default_rng(2)
    count, sd = 3000, np.array([shift] * 2 + [np.deg2rad(rotation_deg)] * 3)
    size = np.array([6.0, 2.0, 2.0, 60, 60, 60])  # as strong as what an image says of them
    root = rng.normal(size=(6, 12)) * size[:, None] / np.sqrt(12)
    gram = np.broadcast_to(root @ root.T, (count, 6, 6))
    contrast = rng.normal(1, 0.1, count)
    true = np.concatenate([contrast[:, None], contrast[:, None] * sd * rng.normal(size=(count, 5))], 1)
    overlap = (true @ root + rng.normal(size=(count, 12))) @ root.T
    found = PoseSpread.fitted(gram, overlap, np.ones(count), 0.1, np.ones(count))
    if rotation_deg > 0.1:
        assert found.shift_pixels == pytest.approx(shift, rel=0.1)
        assert found.rotation_rad == pytest.approx(np.deg2rad(rotation_deg), rel=0.1)
    else:
        assert found.shift_pixels < 0.1
        assert found.rotation_rad < np.deg2rad(0.3)
