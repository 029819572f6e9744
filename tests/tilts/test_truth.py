"""A tilt series says more of its particles than single images of the same dose: simulated geometry, dose and bend."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from covaria.estimation.latents.embedding import embed
from covaria.estimation.mean.model import estimate_mean_model
from covaria.imaging.images import read_images
from covaria.particles import read_particles
from covaria.request.model import IngestOptions, ReconstructionOptions
from covaria.running.passes import Pass
from covaria.testing import MemoryContext
from covaria_reconstruction.fitting import find_components, problem_of
from covaria_reconstruction.stage import embedding_rows_of, judged_anew

NOISE = 1.0


def found(star):
    """The first coordinate (P,) at each particle's first image, and how many components are confirmed."""
    images, passes = read_images(read_particles(IngestOptions(particles=star))), Pass(MemoryContext())
    mean = estimate_mean_model(images, ReconstructionOptions(), passes)
    images = images.signed(float(mean.data_sign))
    components = find_components(problem_of(images, mean, passes), 2, 0)
    mean = judged_anew(mean, components)
    rows = embedding_rows_of(images, mean, components, passes)
    result = embed(rows.statistics, components.eigenvalues, 1, float(mean.contrast_sd), mean.noise.weight)
    return result.regularised.take(images.leads).coordinates[:, 0], int(components.confirmed)


def rank_correlation(coordinates, bend):
    return abs(spearmanr(coordinates, bend).statistic)


@pytest.mark.slow
def test_tilts_against_single_images_of_the_same_dose(simulate_series, tmp_path):
    angles = np.array([0.0, 15.0, -15.0, 30.0, -30.0, 45.0, -45.0])
    tilts = simulate_series(tmp_path / "tilts", 120, angles, NOISE)
    single = simulate_series(tmp_path / "single", 120, angles[:1], NOISE / np.sqrt(len(angles)), damped=False)
    together, confirmed = found(tilts.star)
    alone, _ = found(single.star)
    assert confirmed >= 1
    assert rank_correlation(together, tilts.bend) >= rank_correlation(alone, single.bend) > 0.9
