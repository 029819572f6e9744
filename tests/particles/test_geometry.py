"""Rotation, origin and CTF conventions against images that RELION made (science.md, row 2).

The forward model here is the textbook one, evaluated exactly (direct sums or a non-uniform FFT): nothing of the
package's own projector takes part, so that the readers alone are judged.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from covaria.particles import read_particles
from covaria.particles.read import read_metadata
from covaria.particles.rotations import euler_from_matrices, matrices_from_euler, matrices_from_rotation_vectors
from covaria.particles.stacks.locate import locate_stacks
from covaria.request.model import IngestOptions


def plane(box: int) -> tuple[np.ndarray, np.ndarray]:
    """kx, ky in radians a pixel, zero in the middle."""
    k = np.fft.fftshift(np.fft.fftfreq(box)) * 2 * np.pi
    ky, kx = np.meshgrid(k, k, indexing="ij")
    return kx, ky


def centred_ifft(transform: np.ndarray) -> np.ndarray:
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(transform))).real


def crop_volume(volume: np.ndarray, box: int) -> np.ndarray:
    size = volume.shape[0]
    transform = np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(volume)))
    first = size // 2 - box // 2
    transform = transform[(slice(first, first + box),) * 3]
    return np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(transform))).real * (box / size) ** 3


@pytest.mark.parametrize("kind", ["centered", "shifted"])
def test_aspire_images_are_projections_of_the_ribosome(shared_data, kind):
    finufft = pytest.importorskip("finufft")
    star = shared_data("aspire", f"rln_proj_64_{kind}.star")
    options = IngestOptions(particles=star)
    described = read_metadata(options)
    metadata = described.metadata
    stacks = locate_stacks(metadata, described.used, options)
    images = stacks.images(64).read(np.arange(metadata.count))
    origins = metadata.shifts.pixels(64, metadata.pixel_size_angstrom)
    volume = crop_volume(np.load(shared_data("aspire", "clean70SRibosome_vol.npy")), 64)
    kx, ky = plane(64)
    for rotation, origin, image in zip(metadata.rotations, origins, images, strict=True):
        points = np.stack([kx.ravel(), ky.ravel(), np.zeros(kx.size)], axis=1) @ rotation
        z, y, x = (np.ascontiguousarray(points[:, axis]) for axis in (2, 1, 0))
        content = np.ascontiguousarray(volume.astype(np.complex128))
        slice_ = finufft.nufft3d2(z, y, x, content, isign=-1, eps=1e-9).reshape(64, 64)
        expected = centred_ifft(slice_ * np.exp(1j * (kx * origin[0] + ky * origin[1])))
        assert np.linalg.norm(expected - image) < 0.04 * np.linalg.norm(image)


def test_the_point_mass_is_where_relion_put_it(shared_data, tmp_path):
    """A point at [z, y, x] = [32, 32, 49], projected by relion_project with CTF, lies at R x - origin."""
    text = shared_data("simplecryoem", "pyem_onerow.star").read_text()
    (tmp_path / "one.star").write_text(text.replace("pyem.mrc", "stack.mrcs"))
    (tmp_path / "stack.mrcs").write_bytes(shared_data("simplecryoem", "relion_proj_star_pfac2.mrcs").read_bytes())
    particles = read_particles(IngestOptions(particles=tmp_path / "one.star"))
    image = particles.images.read(np.array([0]))[0]
    kx, ky = plane(64)
    transfer = relion_ctf(particles, kx, ky) * (np.hypot(kx, ky) < np.pi)  # RELION leaves the corners empty
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image)))
    steps = np.arange(-1.5, 1.5001, 0.05)
    expected = (particles.rotations[0] @ np.array([49.0 - 32, 0, 0]))[:2] - particles.translations[0]
    likeness = np.array(
        [
            [
                np.sum(spectrum * transfer * np.exp(1j * (kx * (expected[0] + dx) + ky * (expected[1] + dy)))).real
                for dx in steps
            ]
            for dy in steps
        ]
    )
    row, column = np.unravel_index(likeness.argmax(), likeness.shape)
    assert np.hypot(steps[row], steps[column]) < 0.3
    correlation = likeness.max() / (np.linalg.norm(spectrum) * np.linalg.norm(transfer))
    assert correlation > 0.99  # with the CTF's sign and astigmatism right, the image IS the transfer function
    untouched = np.sum(spectrum * np.exp(1j * (kx * expected[0] + ky * expected[1]))).real
    assert untouched / (np.linalg.norm(spectrum) * np.sqrt(transfer.size)) < 0.8 * correlation


def relion_ctf(particles, kx, ky):
    """RELION's sign: + amplitude contrast at zero frequency."""
    ctf = particles.ctf
    volt = ctf.voltage_kv[0] * 1e3
    wavelength = 12.2643247 / np.sqrt(volt * (1 + 0.978466e-6 * volt))
    frequency = np.hypot(kx, ky) / (2 * np.pi * particles.pixel_size_angstrom)
    angle = np.arctan2(ky, kx) - ctf.defocus_angle_rad[0]
    u, v = ctf.defocus_u_angstrom[0], ctf.defocus_v_angstrom[0]
    defocus = 0.5 * (u + v + (u - v) * np.cos(2 * angle))
    cs = ctf.spherical_aberration_mm[0] * 1e7
    gamma = np.pi * wavelength * frequency**2 * (0.5 * cs * wavelength**2 * frequency**2 - defocus)
    contrast = ctf.amplitude_contrast[0]
    return -(np.sqrt(1 - contrast**2) * np.sin(gamma) - contrast * np.cos(gamma))


def test_euler_angles_are_scipys_zyz():
    angles = np.random.default_rng(1).uniform(-180, 180, (50, 3))
    ours = matrices_from_euler(angles)
    theirs = Rotation.from_euler("ZYZ", angles, degrees=True).as_matrix().transpose(0, 2, 1)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("tilt", [0.0, 1e-13, 30.0, 179.0, 180.0])
def test_angles_come_back(tilt):
    rng = np.random.default_rng(2)
    angles = np.stack([rng.uniform(-180, 180, 40), np.full(40, tilt), rng.uniform(-180, 180, 40)], axis=1)
    rotations = matrices_from_euler(angles)
    np.testing.assert_allclose(matrices_from_euler(euler_from_matrices(rotations)), rotations, atol=1e-8)


def test_rotation_vectors_are_scipys_transposed():
    vectors = np.random.default_rng(3).normal(size=(50, 3)) * 2
    vectors[0] = 0
    theirs = Rotation.from_rotvec(vectors).as_matrix().transpose(0, 2, 1)
    np.testing.assert_allclose(matrices_from_rotation_vectors(vectors), theirs, atol=1e-12)
