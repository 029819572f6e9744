"""Sets of several pixel sizes, boxes and magnifications: each image as if it had been recorded on the common grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from microscope import Microscope, Specimen, write_set

from covaria.errors import InvalidInput
from covaria.imaging.images import read_images
from covaria.particles import read_particles
from covaria.particles.stacks.resampling import transform
from covaria.particles.store import load, save
from covaria.request.model import IngestOptions

MATRIX = ((1.03, 0.04), (-0.01, 0.98))
MAGNIFIED = tuple((f"MagMat{i}{j}", str(MATRIX[i][j])) for i in (0, 1) for j in (0, 1))
PLAIN = (("MagMat00", "1"), ("MagMat01", "0"), ("MagMat10", "0"), ("MagMat11", "1"))


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    return Specimen.drawn(8, spread=8.0)


def of(particles):
    """Pixels (N, n) in grey levels, in row order, and their radius in 1/angstrom."""
    images = read_images(particles)
    pixels = images.store.take(np.argsort(images.mine), len(images.plane), images.device)
    radius = np.hypot(images.plane.kx, images.plane.ky) / (images.box * images.pixel_size_angstrom)
    return torch.view_as_complex(pixels).numpy() * images.scale, radius, images


def expected_on(specimen, particles, tmp_path):
    """The same specimen recorded on the particles' own grid."""
    optics = Microscope(particles.box, particles.pixel_size_angstrom)
    star = write_set(tmp_path / "plain", [(specimen, optics, specimen.images(optics))])
    return of(read_particles(IngestOptions(particles=star)))[0]


def off(found, expected, inside):
    return float(np.linalg.norm((found - expected)[:, inside]) / np.linalg.norm(expected[:, inside]))


def test_the_transform_is_the_direct_sum():
    rng = np.random.default_rng(0)
    for size, box in ((33, 32), (64, 60)):
        images = rng.normal(size=(2, size, size)).astype(np.float32)
        matrix = np.array([[1.02, 0.03], [-0.01, 0.97]]) / (1.01 * size)
        x, half = np.arange(size) - size // 2, box // 2
        ky, kx = np.meshgrid(np.arange(1 - half, half), np.arange(half), indexing="ij")
        f = np.stack([kx, ky], -1) @ matrix.T
        waves = [np.exp(-2j * np.pi * f[..., axis, None] * x) for axis in (0, 1)]
        direct = np.einsum("byx,rcx,rcy->brc", images, *waves) * (1 - 2 * ((kx + ky) % 2))
        found = transform(images, box, tuple(matrix.ravel()))
        found = np.concatenate([found[:, half + 1 :, :half], found[:, :half, :half]], axis=1)
        np.testing.assert_allclose(found, direct, atol=2e-4 * direct.std())


MIXES = {
    "pixel sizes": (Microscope(64, 2.0), Microscope(64, 1.98)),
    "boxes": (Microscope(64, 2.0), Microscope(72, 2.0)),
    "both": (Microscope(64, 2.0), Microscope(76, 1.7)),
    "odd and even": (Microscope(65, 2.0), Microscope(64, 2.0)),
    "20 %": (Microscope(64, 2.0), Microscope(64, 1.68)),
    "magnified": (Microscope(64, 2.0, matrix=MATRIX, columns=MAGNIFIED), Microscope(64, 2.0, columns=PLAIN)),
    "magnified and smaller": (
        Microscope(66, 1.9, matrix=MATRIX, columns=MAGNIFIED), Microscope(64, 2.0, columns=PLAIN),
    ),
}  # fmt: skip


@pytest.mark.parametrize("mix", MIXES)
def test_images_come_onto_one_grid(specimen, tmp_path, mix):
    parts = [specimen.take(slice(0, 4)), specimen.take(slice(4, 8))]
    star = write_set(tmp_path / "set", [(s, o, s.images(o)) for s, o in zip(parts, MIXES[mix], strict=True)])
    particles = read_particles(IngestOptions(particles=star))
    lengths = [optics.box * optics.pixel_size for optics in MIXES[mix]]
    assert particles.box % 2 == 0
    highest = (particles.box / 2 - 1) / (particles.box * particles.pixel_size_angstrom)
    assert highest < 0.5 / max(optics.pixel_size for optics in MIXES[mix])
    assert particles.box * particles.pixel_size_angstrom == pytest.approx(min(lengths))
    found, radius, _ = of(particles)
    expected = expected_on(specimen, particles, tmp_path)
    # Cropped by 20 %, an image loses what the CTF spread beyond.
    assert off(found, expected, radius < np.inf) < (0.03 if mix == "20 %" else 0.01)
    assert any("onto one grid" in note for note in particles.notes)


def test_without_it_they_would_not(specimen, tmp_path):
    for optics in (Microscope(64, 1.98), Microscope(64, 2.0, matrix=MATRIX)):
        unsaid = Microscope(64, 2.0)
        star = write_set(tmp_path / "set", [(specimen, unsaid, specimen.images(optics))])
        found, radius, _ = of(read_particles(IngestOptions(particles=star)))
        assert (
            off(found, expected_on(specimen, read_particles(IngestOptions(particles=star)), tmp_path), radius > 0)
            > 0.02
        )


def test_noise_stays_white(tmp_path):
    """As bright as cropping makes it, the same in all directions and hardly shared by neighbours."""
    few = Specimen.drawn(40)
    rng = np.random.default_rng(3)
    groups = [(few, optics, rng.normal(size=(40, optics.box, optics.box)).astype(np.float32))
              for optics in (Microscope(64, 2.0), Microscope(68, 1.96))]  # fmt: skip
    particles = read_particles(IngestOptions(particles=write_set(tmp_path, groups)))
    found = of(particles)[0][40:]
    inner = np.abs(found[:, 1:]) ** 2
    ratio = (1.96 / particles.pixel_size_angstrom) ** 2
    assert inner.mean() == pytest.approx(ratio * particles.box**2, rel=0.02)
    pixels = particles.images.read(np.arange(40, 80))
    spectrum = np.fft.fft2(pixels)
    shared = np.mean(spectrum[:, 2:20, 2:20] * spectrum[:, 2:20, 3:21].conj()).real / np.mean(
        np.abs(spectrum[:, 2:20, 2:20]) ** 2
    )
    assert abs(shared) < 0.05


def test_the_grid_is_kept_between_stages(specimen, tmp_path):
    parts = [specimen.take(slice(0, 4)), specimen.take(slice(4, 8))]
    star = write_set(tmp_path, [(s, o, s.images(o)) for s, o in zip(parts, MIXES["both"], strict=True)])
    particles = read_particles(IngestOptions(particles=star))
    (tmp_path / ".covaria").mkdir()
    save(tmp_path / ".covaria" / "particles.npz", particles)
    again = load(tmp_path / ".covaria" / "particles.npz")
    np.testing.assert_array_equal(again.images.read(np.arange(8)), particles.images.read(np.arange(8)))
    turned = particles.images.take(np.array([7, 0]))
    np.testing.assert_array_equal(turned.read(np.arange(2)), particles.images.read(np.array([7, 0])))


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (Microscope(64, 1.5), r"(?s)pixel sizes may differ by 20%.*row 1 \(optics group 1\) has 2; row 5 .* has 1.5"),
        (Microscope(90, 2.0), r"(?s)box lengths in angstrom may differ.*has 180"),
        (Microscope(64, 2.0, columns=(("MagMat00", "1.5"),)), r"(?s)row 5, column _rlnMagMat00.*no microscope"),
    ],
)  # fmt: skip
def test_what_lies_too_far_apart_is_refused(specimen, tmp_path, other, found):
    first = Microscope(64, 2.0, columns=PLAIN)
    parts = [specimen.take(slice(0, 4)), specimen.take(slice(4, 8))]
    said = Microscope(other.box, other.pixel_size, columns=tuple((dict(PLAIN) | dict(other.columns)).items()))
    star = write_set(tmp_path, [(parts[0], first, parts[0].images(first)), (parts[1], said, parts[1].images(said))])
    with pytest.raises(InvalidInput, match=found):
        read_particles(IngestOptions(particles=star))
    np.save(tmp_path / "good.npy", np.arange(4))
    assert read_particles(IngestOptions(particles=star, ind=tmp_path / "good.npy")).box == 64


def test_a_box_that_contradicts_its_stack_is_refused(specimen, tmp_path):
    parts = [specimen.take(slice(0, 4)), specimen.take(slice(4, 8))]
    said, real = Microscope(68, 2.0), Microscope(64, 2.0)
    groups = [(parts[0], Microscope(64, 1.99), parts[0].images(real)), (parts[1], said, parts[1].images(real))]
    with pytest.raises(InvalidInput, match=r"row 5, column _rlnImageSize.*68 x 68.*64 x 64"):
        read_particles(IngestOptions(particles=write_set(tmp_path, groups)))
