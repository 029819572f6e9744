"""Views within some degrees of one direction: what gridding leaves alike in every image is no motion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from microscope import Microscope, Specimen, write_set

from covaria.estimation.components.confirmation import significant_components
from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.mean.correction import correction_of
from covaria.estimation.mean.model import MeanModel, estimate_mean_model
from covaria.imaging.images import read_images
from covaria.particles import read_particles
from covaria.request.model import IngestOptions, ReconstructionOptions
from covaria.running.passes import Pass
from covaria.testing import MemoryContext
from covaria_reconstruction.fitting import problem_of

COUNT, BOX, PIXEL, WIDTH, SEED = 400, 32, 4.0, 6.0, 10
MOVES = np.array([20.0, 20, 20])
OPTICS = Microscope(BOX, PIXEL)


@dataclass
class TopViews:
    """Nine blobs, one of which is elsewhere in every second image, seen within some ten degrees of the z axis."""

    problem: Problem
    mean: MeanModel

    @staticmethod
    def drawn(folder: Path) -> TopViews:
        rng = np.random.default_rng(SEED)
        places = rng.normal(size=(9, 3)) * 4 * PIXEL
        specimen = replace(Specimen.drawn(COUNT, SEED), places=places, weights=np.ones(9), width=WIDTH)
        angles = specimen.angles.copy()
        angles[:, 1] = np.abs(rng.normal(size=COUNT)) * 10
        specimen = replace(specimen, angles=np.round(angles, 4), origins=np.zeros((COUNT, 2)))
        moved = replace(specimen, places=places + np.where(np.arange(9) == 0, 1, 0)[:, None] * MOVES)
        images = np.where((np.arange(COUNT) // 2 % 2)[:, None, None], moved.images(OPTICS), specimen.images(OPTICS))
        images = (images + 1.5 * images.std() * rng.normal(size=images.shape)).astype(np.float32)
        star = write_set(folder, [(specimen, OPTICS, images)])
        found, passes = read_images(read_particles(IngestOptions(particles=star))), Pass(MemoryContext())
        mean = estimate_mean_model(found, ReconstructionOptions(), passes)
        return TopViews(problem_of(found.signed(float(mean.data_sign)), mean, passes), mean)


@pytest.fixture(scope="module")
def top(tmp_path_factory) -> TopViews:
    return TopViews.drawn(tmp_path_factory.mktemp("top"))


def test_only_the_motion_is_confirmed(top):
    gridded = replace(top.problem, mean=top.problem.mean - top.mean.correction)
    counts = [significant_components(problem, 4, 15, seed=0).count for problem in (top.problem, gridded)]
    assert counts == [1, 2], "the second of the gridded mean is what that mean lacks"


def test_what_is_left_after_it_is_small(top):
    images, mean, passes = top.problem.images, top.mean, Pass(MemoryContext())
    again = correction_of(images, mean.noise, mean.residual_mean, mean.contrasts, mean.dilated_mask, passes)
    first, second = (float(np.linalg.norm(one)) for one in (mean.correction, again.volume))
    assert first > 0.05 * np.linalg.norm(mean.residual_mean)
    assert second < 0.25 * first
