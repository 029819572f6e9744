"""Junk by what the other half-set's model knows of an image: sets with planted junk, and a clean one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from covaria.estimation.linear_model import LinearModel
from covaria.estimation.mean.model import estimate_mean_model
from covaria.estimation.reliability.evidence import Evidence, evidence_of, junk_probability, junk_share
from covaria.imaging.images import Images
from covaria.request.model import ReconstructionOptions
from covaria.running.passes import Pass
from covaria.simulation.dataset import SimulationOptions
from covaria.simulation.ensemble import BUILT_IN
from covaria.simulation.nuisances import Nuisances
from covaria.testing import MemoryContext, TruthSet

EMPTY, BAD_POSE = 8, 11
"""Columns of gt/images.txt."""


def found_in(folder: Path, nuisances: Nuisances) -> tuple[Images, Evidence, NDArray[np.float64]]:
    """The evidence of 700 images under the half-sets' own means; P(empty) beside it."""
    options = SimulationOptions(
        n_images=700, box=32, pixel_size_angstrom=8.0, atom_sigma_angstrom=5.0, snr=0.12, seed=6, nuisances=nuisances
    )
    images = TruthSet.simulated(folder, BUILT_IN["homogeneous"](1), options).images()
    passes = Pass(MemoryContext())
    mean = estimate_mean_model(images, ReconstructionOptions(), passes)
    images = images.signed(float(mean.data_sign))
    none = np.zeros((0, *mean.mask.shape), np.float32)
    first, second = (
        LinearModel(half * mean.dilated_mask, none, images.scale, float(mean.contrast_sd))
        for half in mean.regularised_halves
    )
    return images, evidence_of(images, mean.noise, (first, second), np.zeros(0), passes), mean.empty


def test_what_the_other_half_set_does_not_know_is_junk(tmp_path: Path) -> None:
    images, found, empty = found_in(tmp_path, Nuisances(empty_share=0.08, bad_pose_share=0.12))
    planted = np.loadtxt(tmp_path / "gt" / "images.txt")[images.rows]
    junk = (planted[:, EMPTY] > 0) | (planted[:, BAD_POSE] > 0)
    flagged = found.junk > 0.5
    precision, recall = (flagged & junk).sum() / flagged.sum(), (flagged & junk).sum() / junk.sum()
    by_contrast = ((empty > 0.5) & junk).sum() / junk.sum()
    print(
        f"precision {precision:.3f}, recall {recall:.3f}, by contrast alone {by_contrast:.3f}, share {found.share:.3f}"
    )
    assert precision > 0.88
    assert recall > max(0.84, by_contrast + 0.03)
    assert precision == pytest.approx(found.junk[flagged].mean(), abs=0.07), "it is as sure as it may be"
    assert found.share == pytest.approx(junk.mean(), abs=0.03)
    leverage = found.own - found.other
    assert leverage[~junk].mean() > leverage[junk].mean() > -1, "its own half-set has fitted an image's noise"


def test_a_clean_set_has_no_junk(tmp_path: Path) -> None:
    _, found, _ = found_in(tmp_path, Nuisances())
    assert found.share == 0 == found.junk.max()
    assert (found.other > 0).mean() > 0.95


def test_the_share_is_that_of_the_planted_and_is_calibrated() -> None:
    """Evidence of energy 9: N(4.5, 9) of the molecule, N(-4.5, 9) of junk."""
    rng = np.random.default_rng(0)
    junk = rng.random(20_000) < 0.1
    evidence = rng.normal(np.where(junk, -4.5, 4.5), 3.0)
    share = junk_share(evidence)
    assert share == pytest.approx(0.1, abs=0.01)
    probability = junk_probability(evidence, share)
    for low, high in ((0.05, 0.3), (0.3, 0.7), (0.7, 0.95)):
        within = (probability > low) & (probability < high)
        assert junk[within].mean() == pytest.approx(probability[within].mean(), abs=0.06)
    assert junk_share(evidence[~junk]) == 0
    assert not junk_probability(evidence, 0.0).any()
