"""The five slices of a pose error against finite differences; their spread from data that was drawn with it; what an
image says about its contrast whatever its error, against an integral over many shifts."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from covaria.estimation.pose_errors.columns import COUNT, moments, plain_slices_with_errors, slices_with_errors
from covaria.estimation.pose_errors.evidence import PoseIntegrated, Shifts, with_unit_errors
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.imaging import volumes
from covaria.imaging.images import Batch
from covaria.imaging.noise import Noise
from covaria.imaging.plane import half_plane

BOX, RADIUS, WIDTH = 48, 15, 2.0
CENTRES = np.random.default_rng(0).uniform(-6, 6, (8, 3))  # x, y, z
CONTRASTS = np.array([0.5, 1.0, 1.5])
STEPS = np.linspace(-4, 4, 61)
MANY = 6


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


@pytest.mark.parametrize(("sd", "points"), [(0.05, 1), (0.7, 21), (2.0, 81)])
def test_evidence_is_the_integral_over_the_shifts(sd, points):
    rng, plane = np.random.default_rng(3), half_plane(BOX, RADIUS)
    rotations = Rotation.random(MANY, rng=rng).as_matrix()
    shifts = sd * rng.normal(size=(MANY, 2))
    clean = np.stack([exact_slice(r, s) for r, s in zip(rotations, shifts, strict=True)])
    level = 4 / np.sqrt((np.abs(clean[0]) ** 2).sum())  # contrasts are known to a quarter
    noise = rng.normal(size=clean.shape) + 1j * rng.normal(size=clean.shape)
    images = level * clean + noise
    expected = np.stack([_integral(level, r, y, sd) for r, y in zip(rotations, images, strict=True)])
    pixels = torch.as_tensor(np.stack([images.real, images.imag], -1), dtype=torch.float32)
    batch = Batch(
        np.arange(MANY),
        pixels,
        torch.full(pixels.shape[:2], float(level)),
        torch.as_tensor(rotations, dtype=torch.float32),
        torch.ones(MANY),
        plane,
    )
    mean = with_unit_errors(blobs(), 1.0)
    rows = PoseIntegrated(mean, Noise.white(BOX, 1), PoseSpread(sd, 1e-6), CONTRASTS, torch.device("cpu"))
    found = rows.of(batch)["evidence"].numpy()
    np.testing.assert_allclose(found, expected, atol=0.5)
    assert len(Shifts.of(PoseSpread(sd, 1e-6)).points) == points


def _integral(level: float, rotation: np.ndarray, image: np.ndarray, sd: float) -> np.ndarray:
    """log of the mean of p(y | c, shift) / p(y | 0) over shifts of N(0, sd^2) along both axes."""
    x, y = (axis.ravel() for axis in np.meshgrid(STEPS, STEPS))
    plane, still = half_plane(BOX, RADIUS), level * exact_slice(rotation, np.zeros(2))
    ramps = np.exp(2j * np.pi * sd / BOX * (np.outer(x, plane.kx) + np.outer(y, plane.ky)))
    overlap, energy = ((ramps * still).conj() @ image).real, (np.abs(still) ** 2).sum()
    weights = np.exp(-0.5 * (x**2 + y**2))
    logs = CONTRASTS * overlap[:, None] - 0.5 * CONTRASTS**2 * energy
    highest = logs.max(0)
    result: np.ndarray = highest + np.log(weights @ np.exp(logs - highest) / weights.sum())
    return result


def test_an_error_of_the_defocus_is_one_more_column(sliced):
    _, rotations, plane, padded = sliced
    ctf, slope = torch.rand(4, len(plane)), torch.rand(4, len(plane))
    pixels = torch.randn(4, len(plane), 2)
    scale = torch.tensor([0.5, 0.5, 0.1, 0.1, 0.1, 300.0])
    poses = slices_with_errors(padded, rotations, plane, ctf, pixels, scale[:COUNT])
    both = slices_with_errors(padded, rotations, plane, ctf, pixels, scale, slope)
    still = slices_with_errors(padded, rotations, plane, torch.ones_like(ctf), pixels, scale[:COUNT])[..., 0]
    torch.testing.assert_close(both[..., 1 + COUNT], 300 * slope[..., None] * still)
    torch.testing.assert_close(both[..., [0, 1, 2, 3, 4, 5, 7, 8]], poses)
    with pytest.raises(ValueError, match="slope of the CTF"):
        slices_with_errors(padded, rotations, plane, ctf, pixels, scale)
