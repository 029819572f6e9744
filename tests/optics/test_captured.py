"""What an aberration costs once it is read: the components of an aberrated set are as good as the plain set's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from microscope import Microscope, Specimen, radial, write_set

from covaria.estimation.mean.model import estimate_mean_model
from covaria.imaging.images import read_images
from covaria.particles import read_particles
from covaria.request.model import IngestOptions, ReconstructionOptions
from covaria.running.passes import Pass
from covaria.testing import MemoryContext
from covaria_reconstruction.fitting import find_components, problem_of

pytestmark = pytest.mark.slow
COUNT, NOISE, BOX, PIXEL, WIDTH = 600, 1.5, 32, 5.0, 6.0
# Linear and constant parts cancel: an image whose content an aberration moves out of its box has lost it.
ODD = {(-1, 1): -1400.0, (1, 1): 1200.0, (-3, 3): 900.0, (-1, 3): -700.0, (1, 3): 600.0, (3, 3): 500.0}
EVEN = {(0, 0): 0.3, (-2, 2): 6000.0, (0, 2): -9000.0, (2, 2): 4500.0, (-4, 4): 4000.0, (-2, 4): 2000.0,
        (0, 4): -3000.0, (2, 4): 1500.0, (4, 4): 2500.0}  # fmt: skip
MATRIX = ((1.03, 0.02), (0.01, 0.98))
SAID = (
    *((f"MagMat{i}{j}", str(MATRIX[i][j])) for i in (0, 1) for j in (0, 1)),
    ("OddZernike", "[" + ",".join(map(str, ODD.values())) + "]"),
    ("EvenZernike", "[" + ",".join(map(str, EVEN.values())) + "]"),
)
PLAIN = Microscope(BOX, PIXEL)
ABERRATED = Microscope(BOX, PIXEL, matrix=MATRIX, odd=radial(ODD), even=radial(EVEN), columns=SAID)
OTHER_PIXEL = Microscope(BOX, PIXEL * 1.24 / 1.25)


class Bending:
    """A body of blobs with an arm that swings, another way in each image."""

    def __init__(self) -> None:
        rng = np.random.default_rng(11)
        self.bend, self.body = rng.normal(size=COUNT), rng.normal(0, 12, (8, 3))
        self.views = replace(Specimen.drawn(COUNT, seed=3), weights=np.r_[np.ones(8), 1.6 * np.ones(3)], width=WIDTH)

    def at(self, bend: float) -> Specimen:
        arm = np.array([[30.0, 5, 0], [38, 8, 4], [34, 0, -5]]) + bend * np.array([0, 11.0, 6.0])
        return replace(self.views, places=np.concatenate([self.body, arm]))

    def images(self, optics: Microscope, rows: range) -> np.ndarray:
        noise = np.random.default_rng(5).normal(size=(COUNT, optics.box, optics.box))[rows.start : rows.stop]
        clean = [self.at(self.bend[row]).take(slice(row, row + 1)).images(optics)[0] for row in rows]
        return (np.array(clean) + NOISE * noise).astype(np.float32)

    def captured(self, star) -> float:
        """Variance of the motion inside the two components that are found, over the best possible."""
        images, passes = read_images(read_particles(IngestOptions(particles=star))), Pass(MemoryContext())
        mean = estimate_mean_model(images, ReconstructionOptions(), passes)
        images = images.signed(float(mean.data_sign))
        found = find_components(problem_of(images, mean, passes), 2, 0).eigenvolumes[:2].reshape(2, -1)
        quantiles = np.quantile(self.bend, (np.arange(31) + 0.5) / 31)
        shape = images.box, images.pixel_size_angstrom
        volumes = np.stack([self.at(bend).volume(*shape) for bend in quantiles]).reshape(31, -1)
        _, size, axes = np.linalg.svd(volumes - volumes.mean(0), full_matrices=False)
        inside = ((axes @ np.linalg.qr(found.T)[0]) ** 2).sum(1)
        return float((size**2 * inside).sum() / (size[:2] ** 2).sum())


@pytest.fixture(scope="module")
def bending() -> Bending:
    return Bending()


@pytest.fixture(scope="module")
def plain(bending, tmp_path_factory) -> float:
    images = bending.images(PLAIN, range(COUNT))
    return bending.captured(write_set(tmp_path_factory.mktemp("plain"), [(bending.views, PLAIN, images)]))


def test_every_aberration_at_once(bending, plain, tmp_path):
    star = write_set(tmp_path, [(bending.views, ABERRATED, bending.images(ABERRATED, range(COUNT)))])
    assert plain > 0.9
    assert abs(bending.captured(star) - plain) < 0.005


def test_half_of_another_pixel_size(bending, plain, tmp_path):
    halves = (PLAIN, range(COUNT // 2)), (OTHER_PIXEL, range(COUNT // 2, COUNT))
    groups = [(bending.views.take(slice(rows.start, rows.stop)), optics, bending.images(optics, rows))
              for optics, rows in halves]  # fmt: skip
    assert abs(bending.captured(write_set(tmp_path, groups)) - plain) < 0.003
