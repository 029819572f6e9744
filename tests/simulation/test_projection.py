"""Slices against direct sums, closed forms and finufft."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.simulation.atoms import Atoms
from covaria.simulation.optics import draw_angles, rotation_matrices
from covaria.simulation.projection import AtomSlices, VolumeSlices, centre_signs, frequencies

BOX, PIXEL, SIGMA = 32, 3.0, 4.0


@pytest.fixture
def atoms() -> Atoms:
    rng = np.random.default_rng(1)
    return Atoms(rng.normal(0, 10, (40, 3)), rng.uniform(1, 2, 40))


def _rotations(count: int) -> np.ndarray:
    return rotation_matrices(draw_angles(count, np.random.default_rng(2)))


def _direct(atoms: Atoms, k: np.ndarray) -> np.ndarray:
    """F at integer frequencies k (..., 3), the definition itself."""
    length = BOX * PIXEL
    phase = np.exp(-2j * np.pi / length * (k @ atoms.positions_angstrom.T))
    return (phase * atoms.weights).sum(-1) * np.exp(-2 * (np.pi * SIGMA / length) ** 2 * (k**2).sum(-1))


def test_slices_equal_the_direct_sum(atoms: Atoms) -> None:
    kx, ky, inside = frequencies(BOX)
    plane = np.stack(np.broadcast_arrays(kx, ky[:, None], np.zeros(())), axis=-1)
    for rotation in _rotations(3):
        found = AtomSlices(atoms, BOX, PIXEL, SIGMA).project(rotation[None])[0]
        expected = _direct(atoms, plane @ rotation) * inside
        np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())


def test_volume_equals_the_direct_sum(atoms: Atoms) -> None:
    volume = AtomSlices(atoms, BOX, PIXEL, SIGMA).volume()
    spectrum = np.fft.rfftn(volume) * centre_signs(BOX, 3)
    kx, k, _ = frequencies(BOX)
    grid = np.stack(np.broadcast_arrays(kx, k[:, None], k[:, None, None]), axis=-1)
    inside = np.rint(np.sqrt((grid**2).sum(-1))) <= BOX // 2 - 1
    expected = _direct(atoms, grid) * inside
    np.testing.assert_allclose(spectrum, expected, atol=3e-6 * np.abs(expected).max())


def test_a_point_lies_where_the_conventions_say() -> None:
    """An atom at x appears at pixel D//2 + (R x) / pixel size; the array is [z, y, x]."""
    place = np.array([[9.0, -6.0, 12.0]])
    source = AtomSlices(Atoms(place, np.ones(1)), BOX, PIXEL, 5.0)
    volume = source.volume()
    z, y, x = np.unravel_index(volume.argmax(), volume.shape)
    assert (x, y, z) == (BOX // 2 + 3, BOX // 2 - 2, BOX // 2 + 4)
    for rotation in _rotations(5):
        spectrum = source.project(rotation[None])[0] * centre_signs(BOX, 2)
        image = np.fft.irfft2(spectrum, s=(BOX, BOX))
        offsets = np.arange(BOX) - BOX // 2
        centre = np.array([(image.sum(0) * offsets).sum(), (image.sum(1) * offsets).sum()]) / image.sum()
        np.testing.assert_allclose(centre, (rotation @ place[0])[:2] / PIXEL, atol=0.01)


def test_identity_projection_is_the_sum_along_z(atoms: Atoms) -> None:
    source = AtomSlices(atoms, BOX, PIXEL, SIGMA)
    image = np.fft.irfft2(source.project(np.eye(3)[None])[0] * centre_signs(BOX, 2), s=(BOX, BOX))
    np.testing.assert_allclose(image, source.volume().sum(0), atol=2e-5 * image.max())


def test_volume_slices_equal_atom_slices(atoms: Atoms) -> None:
    """A voxel volume is slices of its own transform: the reference is finufft at 1e-10."""
    finufft = pytest.importorskip("finufft")
    volume = AtomSlices(atoms, BOX, PIXEL, SIGMA).volume()
    rotations = _rotations(2)
    found = VolumeSlices(volume).project(rotations)
    kx, ky, inside = frequencies(BOX)
    rows, columns = np.nonzero(inside)
    for slice_, rotation in zip(found, rotations, strict=True):
        points = 2 * np.pi / BOX * (np.stack([kx[columns], ky[rows]], 1) @ rotation[:2])
        x, y, z = np.ascontiguousarray(points.T)
        expected = finufft.nufft3d2(z, y, x, volume.astype(complex), eps=1e-10, isign=-1)
        np.testing.assert_allclose(slice_[rows, columns], expected, atol=3e-6 * np.abs(expected).max())
        assert np.all(slice_[~inside] == 0)
