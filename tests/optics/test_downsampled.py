"""A smaller set written from any mix is a plain one that says the same: pixel size, box, magnification, origins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from microscope import Microscope, Specimen, radial, write_set

from covaria.imaging.images import read_images
from covaria.particles import read_particles
from covaria.particles.shrink import shrink
from covaria.request.model import IngestOptions
from covaria.selection.refined import Moves, PosedSource
from covaria.tree import RefinedFiles

ODD = {(-1, 1): 1.0, (1, 1): 2.0, (-3, 3): 60.0, (-1, 3): -50.0, (1, 3): 40.0, (3, 3): 30.0}
MATRIX = ((1.03, 0.04), (-0.01, 0.98))
SAID = (
    *((f"MagMat{i}{j}", str(MATRIX[i][j])) for i in (0, 1) for j in (0, 1)),
    ("OddZernike", "[" + ",".join(map(str, ODD.values())) + "]"),
)


def of(star):
    """Pixels (N, n) in grey levels and CTFs, in row order."""
    particles = read_particles(IngestOptions(particles=star))
    images = read_images(particles)
    pixels = images.store.take(np.argsort(images.mine), len(images.plane), images.device) * images.scale
    return torch.view_as_complex(pixels), images.ctf.evaluate(np.arange(len(images)), images.plane), particles


def test_a_relion_mix_becomes_a_plain_set(tmp_path):
    specimen = Specimen.drawn(6, spread=8.0)
    kinds = (Microscope(66, 1.9, matrix=MATRIX, odd=radial(ODD), columns=SAID),
             Microscope(64, 2.0, columns=tuple((label, "[0]" if "Zer" in label else str(int(label[-1] == label[-2])))
                                               for label, _ in SAID)))  # fmt: skip
    parts = [specimen.take(slice(0, 3)), specimen.take(slice(3, 6))]
    star = write_set(tmp_path / "mix", [(s, o, s.images(o)) for s, o in zip(parts, kinds, strict=True)])
    done = shrink(IngestOptions(particles=star), 40, tmp_path / "small", progress=lambda *_: None)
    found, ctf, particles = of(done.star)
    assert (particles.box, particles.images.resampling) == (40, None)
    plain = Microscope(40, particles.pixel_size_angstrom)
    fine = Microscope(160, particles.pixel_size_angstrom / 4)
    images = cropped(specimen.images(fine), 40)
    expected, expected_ctf, _ = of(write_set(tmp_path / "plain", [(specimen, plain, images)]))
    assert torch.linalg.norm(found - expected) < 0.01 * torch.linalg.norm(expected)
    torch.testing.assert_close(ctf, expected_ctf, atol=2e-3, rtol=0)


def cropped(images, box):
    """By their Fourier transform, in numpy."""
    size, half = images.shape[-1], box // 2
    whole = np.fft.fftshift(np.fft.fft2(images), axes=(1, 2))
    inner = slice(size // 2 - half, size // 2 + half)
    part = whole[:, inner, inner] * (box / size) ** 2
    return np.fft.ifft2(np.fft.ifftshift(part, axes=(1, 2))).real.astype(np.float32)


@pytest.mark.parametrize("tilt", [(3e4, -1e4)])
def test_cryosparcs_beam_tilt_is_written_as_relions(workshop_of_cs, tmp_path, tilt):
    source = workshop_of_cs({"ctf/tilt_A": np.tile(np.array(tilt, "f4"), (6, 1))})
    before = read_particles(IngestOptions(particles=source)).ctf.odd_phase
    done = shrink(IngestOptions(particles=source), 24, tmp_path / "small", progress=lambda *_: None)
    after = read_particles(IngestOptions(particles=done.star)).ctf.odd_phase
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6 * np.abs(before).max())


def test_poses_go_back_as_those_of_the_recorded_images(tmp_path):
    """Not moved, the origins of a magnified mix are written as they were read; moved by M^-T d, they change by d."""
    specimen = Specimen.drawn(6, spread=8.0)
    said = SAID[:4]
    neutral = tuple((label, str(int(label[-1] == label[-2]))) for label, _ in said)
    kinds = (Microscope(66, 1.9, matrix=MATRIX, columns=said), Microscope(64, 2.0, columns=neutral))
    parts = [specimen.take(slice(0, 3)), specimen.take(slice(3, 6))]
    star = write_set(tmp_path / "mix", [(s, o, s.images(o)) for s, o in zip(parts, kinds, strict=True)])
    source = PosedSource.read(IngestOptions(particles=star))
    moved = np.linalg.solve(np.array(MATRIX).T, [1.0, -2.0])
    rows, shifts = np.arange(3), np.stack([moved, 0 * moved, moved])
    extent = source.metadata.box * source.metadata.pixel_size_angstrom
    source.write(Moves(rows, np.zeros((3, 3)), shifts), extent, RefinedFiles(tmp_path))
    text = (tmp_path / "refined_particles.star").read_text().splitlines()
    found = np.array([line.split()[5:7] for line in text if "@g" in line], float)
    np.testing.assert_allclose(found - specimen.origins, [[1, -2], [0, 0], [1, -2], [0, 0], [0, 0], [0, 0]], atol=2e-6)
