"""Odd boxes: cropped to an even one about the same centre, with pixel size, origins and STAR that follow."""

from __future__ import annotations

import numpy as np
import pytest

from covaria.particles import read_particles
from covaria.particles.assemble import working_box
from covaria.particles.stacks.downsample import downsample_images
from covaria.request.model import IngestOptions


def blobs(box, pixel_size, places_angstrom, width_angstrom=8.0):
    """Gaussians at places (x, y) from the pixel box // 2, height 1."""
    y, x = (np.indices((box, box)) - box // 2) * pixel_size
    images = [np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * width_angstrom**2)) for a, b in places_angstrom]
    return np.array(images, dtype=np.float32)


@pytest.mark.parametrize(("box", "small"), [(65, 64), (65, 32), (33, 32), (129, 48), (64, 32)])
def test_blobs_stay_where_they_are_and_as_bright(box, small):
    pixel_size = 260 / box
    places = [(0.0, 0.0), (20.0, -31.0), (-44.5, 13.0)]
    found = downsample_images(blobs(box, pixel_size, places), small)
    expected = blobs(small, pixel_size * box / small, places)
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize(
    ("box", "downsample", "expected"),
    [(65, None, 64), (65, 256, 64), (257, 256, 256), (64, 48, 48), (64, None, 64), (33, 32, 32)],
)
def test_the_box_that_is_worked_on(box, downsample, expected):
    assert working_box(box, downsample) == expected


def test_an_odd_set_is_read(workshop):
    workshop.images = np.random.default_rng(0).normal(size=(6, 33, 33)).astype(np.float32)
    particles = read_particles(IngestOptions(particles=workshop.star(optics={"_rlnImageSize": "33"})))
    assert (particles.box, particles.pixel_size_angstrom) == (33, 1.5)
