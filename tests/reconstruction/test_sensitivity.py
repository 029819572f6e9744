"""What a run could have seen: parts are cut and moved as asked, their energy is that of their slices, and the predicted
strength says what the held-out test confirms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from covaria.errors import InvalidInput
from covaria.estimation.linear_model import slices_of
from covaria.estimation.sensitivity.energies import EnergyRows
from covaria.estimation.sensitivity.motions import DIRECTIONS, cut, leaving, turning
from covaria.estimation.sensitivity.power import MIDDLE, Outlook, outlook
from covaria.estimation.sensitivity.survey import POPULATIONS, Sensitivity, sensitivity
from covaria.results.sensitivity import motions_of, read_sensitivity, write_sensitivity
from covaria.tree import Tree

SIDE = 32
PLACES = np.indices((SIDE,) * 3) - SIDE // 2
BALL = np.exp(-((PLACES**2).sum(0)) / 60.0) * ((PLACES**2).sum(0) < 110)
MASK = ((PLACES**2).sum(0) < 144).astype(float)


def centre_of(mass: np.ndarray) -> np.ndarray:
    return np.einsum("zyx,azyx->a", mass, PLACES) / mass.sum()


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3])
def test_a_part_has_its_share_of_the_mass_on_its_side(share):
    for direction in DIRECTIONS:
        part = cut(BALL, MASK, share, direction)
        mass = -leaving(BALL, part)
        assert mass.sum() / BALL.sum() == pytest.approx(share, abs=0.03)
        assert direction @ centre_of(mass) > direction @ part.joint > 0


@pytest.mark.parametrize("way", [0.5, 2.0])
def test_a_part_turns_until_its_centre_has_gone_its_way(way):
    part = cut(BALL, MASK, 0.3, DIRECTIONS[1])
    there = BALL * part.weight
    turned = turning(BALL, part, way) + there
    assert turned.sum() == pytest.approx(there.sum(), rel=0.02)
    before, after = centre_of(there), centre_of(turned)
    assert np.linalg.norm(after - before) == pytest.approx(way, rel=0.1)
    joint = part.joint
    assert np.linalg.norm(after - joint) == pytest.approx(np.linalg.norm(before - joint), rel=0.02), "it is rigid"


def test_energy_is_that_of_the_slices(rigid_mean):
    problem = replace(rigid_mean.problem, contrast_sd=0.0, pose_spread=None)
    part = cut(problem.mean.astype(float), rigid_mean.mean.mask, 0.15, DIRECTIONS[0])
    motion = leaving(problem.mean, part)[None].astype(np.float32)
    rows, model = EnergyRows(problem, motion, 8), problem.model(8, motion)
    some = np.arange(len(problem.images)) < 5
    batch = next(iter(problem.images.batches(some, problem.noise, radius=8)))
    found = rows.of(batch)["energy"][:, :, 0]
    slices = slices_of(batch, model.padded(problem.images.device))[:, :, 1]
    torch.testing.assert_close(found[:, -1], slices.square().sum(1), rtol=1e-4, atol=0)
    inner = slices.view(len(found), -1, 2).square().sum(2)[:, batch.plane.shell <= 4].sum(1)
    torch.testing.assert_close(found[:, 4], inner, rtol=1e-4, atol=0)


def test_what_contrast_and_poses_explain_is_no_motion(rigid_mean):
    """The mean itself, where contrasts vary without bound, and the mean moved a little, where shifts do."""
    problem, radius = rigid_mean.problem, 8
    shifted = np.roll(problem.mean, 1, 2) - problem.mean
    motions = np.stack([problem.mean, shifted]).astype(np.float32)

    def energy(problem):
        batch = next(iter(problem.images.batches(np.arange(len(problem.images)) < 20, problem.noise, radius=radius)))
        return EnergyRows(problem, motions, radius).of(batch)["energy"][:, -1].mean(0).numpy()

    exact = energy(replace(problem, contrast_sd=0.0, pose_spread=None))
    free = energy(replace(problem, contrast_sd=1e3, pose_spread=replace(problem.pose_spread, shift_pixels=10.0)))
    assert free[0] < 1e-3 * exact[0]
    assert free[1] < 0.3 * exact[1]


def test_overlap_and_score_are_those_of_the_theory():
    """Against draws: principal components of one half of a spiked Gaussian set, tested on the other."""
    rng = np.random.default_rng(0)
    count, numbers, energy, overlaps, scores = 400, 200, 2.0, [], []
    for _ in range(6):
        latent = rng.standard_normal((2, count, 1))
        first, second = rng.standard_normal((2, count, numbers)) + np.sqrt(energy) * latent * (np.arange(numbers) == 0)
        direction = np.linalg.svd(first, full_matrices=False)[2][0]
        held = energy * direction[0] ** 2
        gain = 0.5 * ((second @ direction) ** 2 * held / (1 + held) - np.log1p(held))
        overlaps.append(direction[0] ** 2)
        scores.append(gain.mean() / (gain.std() / np.sqrt(count)))
    found = outlook(np.full((1, 5), energy), count, numbers / (4 / 3 * np.pi * 4.5**3))
    assert found.overlap[0] == pytest.approx(np.mean(overlaps), rel=0.05)
    assert found.score[0] == pytest.approx(np.mean(scores), rel=0.1)


def test_a_motion_beneath_the_noise_is_not_found_and_more_images_find_more():
    energy = np.full((1, 9), 0.3)
    few, some, many = (outlook(energy, images, 0.2) for images in (100.0, 4000.0, 8000.0))
    assert few.overlap[0] == few.score[0] == 0
    assert 0 < some.overlap[0] < many.overlap[0] < 1 and 0 < some.score[0] < many.score[0]
    chances = Outlook(np.array([MIDDLE - 0.3, MIDDLE, MIDDLE + 0.3, 0.9]), np.array([9.0, 9, 9, 1])).probability
    assert chances == pytest.approx([0, 0.5, 1, 0.014], abs=0.01)


@pytest.fixture(scope="module")
def surveyed(rigid_mean) -> Sensitivity:
    return sensitivity(rigid_mean.problem, rigid_mean.mean.mask, 8.0, 15)


def test_more_mass_a_longer_way_and_more_particles_are_seen_better(surveyed):
    table = surveyed.score.reshape(3, -1, len(POPULATIONS))
    assert (np.diff(table, axis=2) >= 0).all(), "10, 30, 50 % of the particles"
    assert (np.diff(table, axis=0) >= 0).all(), "5, 15, 30 % of the mass"
    assert (np.diff(table[:, 1:5], axis=1) >= 0).all(), "2, 4, 6, 10 angstrom"
    assert table[2, 4, 2] > table[1, 4, 2] > 0
    assert ((surveyed.probability >= 0) & (surveyed.probability <= 1)).all()


def test_a_focus_mask_shows_motion_inside_it_alone(rigid_mean, surveyed):
    """Half of the box: what moves there has fewer numbers to be told from; where the map is empty, nothing moves."""
    problem = rigid_mean.problem
    half = problem.mask * (np.arange(32) >= 16)
    near = sensitivity(replace(problem, mask=half), rigid_mean.mean.mask, 8.0, 15)
    assert 0 < near.overlap.max() != surveyed.overlap.max()
    corner = np.zeros_like(problem.mask)
    corner[:4, :4, :4] = 1
    assert not sensitivity(replace(problem, mask=corner), rigid_mean.mean.mask, 8.0, 15).overlap.any()


def test_the_table_comes_back(surveyed, tmp_path):
    tree = Tree(tmp_path)
    tree.model.mkdir()
    write_sensitivity(tree, surveyed)
    table = read_sensitivity(tree)
    assert len(table) == surveyed.probability.size == len(motions_of(surveyed))
    np.testing.assert_allclose(table[:, 5], surveyed.probability.ravel(), atol=1e-4)
    tree.sensitivity.write_text("mass,way\n1,nix\n")
    with pytest.raises(InvalidInput, match="not a table of motions"):
        read_sensitivity(tree)
