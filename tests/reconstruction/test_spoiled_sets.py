"""Sets spoiled as real ones are: bad images weigh nothing, pose errors are no motion, what is rare is no outlier."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from covaria.estimation.components.confirmation import significant_components
from covaria.estimation.latents.embedding import embed
from covaria.estimation.refinement.rounds import Refined, images_at
from covaria.imaging.images import read_images
from covaria.imaging.noise import Noise
from covaria.particles.rotations import matrices_from_euler
from covaria.request.model import ReconstructionOptions
from covaria.simulation import ensemble
from covaria.simulation.image_truth import read_image_truth
from covaria.simulation.nuisances import Nuisances
from covaria_reconstruction.fitting import find_components
from covaria_reconstruction.poses import refine_poses
from covaria_reconstruction.stage import embedding_rows_of

JUNK = Nuisances(empty_share=0.12, carbon_edge_share=0.04, blob_share=0.04)
WRONG_POSES = Nuisances(rotation_error_deg=2.5, shift_error_pixels=0.7)


@pytest.fixture(scope="module")
def junk(solved_set):
    return solved_set(ensemble.discrete(3), nuisances=JUNK, n_images=1000, snr=0.3)


@pytest.fixture(scope="module")
def wrong_poses(solved_set):
    """Nothing moves; 2.5 degrees and 0.7 of a pixel (of 8 A)."""
    return solved_set(ensemble.homogeneous(1), nuisances=WRONG_POSES, n_images=1000, snr=0.3)


def flags(found: np.ndarray, planted: np.ndarray) -> tuple[float, float]:
    """Precision and recall."""
    both = (found & planted).sum()
    return both / found.sum(), both / planted.sum()


def test_bad_images_are_flagged(junk):
    truth = read_image_truth(junk.truth.folder)
    precision, recall = flags(junk.mean.outlier.max(1) > 0.5, truth.carbon_edge | truth.blob)
    assert precision >= 0.95
    assert recall >= 0.95
    precision, recall = flags(junk.mean.empty > 0.5, truth.empty)
    assert precision >= 0.95
    assert recall >= 0.95


@pytest.fixture(scope="module")
def sloped(solved_set):
    """A ramp of grey in every image, twice the noise from edge to edge."""
    return solved_set(ensemble.discrete(3), nuisances=Nuisances(gradient_height=2.0), n_images=1000, snr=0.3)


@pytest.mark.parametrize("name", ["junk", "sloped"])
def test_what_spoils_images_harms_nothing(name, moving_mean, request):
    sets = (request.getfixturevalue(name), moving_mean)
    found = [find_components(solved.problem, 4, seed=0) for solved in sets]
    spoiled, clean = (solved.truth.captured(one.eigenvolumes, 2) for one, solved in zip(found, sets, strict=True))
    assert [int(one.confirmed) for one in found] == [2, 2]
    assert spoiled > clean - 0.02


def test_pose_errors_alone_confirm_nothing(wrong_poses):
    problem = wrong_poses.problem
    told = significant_components(problem, 4, 15, seed=0)
    assert told.count == 0
    trusting = significant_components(replace(problem, pose_spread=None), 4, 15, seed=0)
    assert trusting.count > 0


def test_the_size_of_pose_errors_is_found(wrong_poses, rigid_mean):
    shift, rotation = wrong_poses.mean.pose_spread[:2]
    assert shift == pytest.approx(0.7, rel=0.25)
    assert np.rad2deg(rotation) == pytest.approx(2.5, rel=0.35)
    assert rigid_mean.mean.pose_spread[0] < 0.15


def test_each_image_tells_its_own_pose_error(wrong_poses):
    found = find_components(wrong_poses.problem, 4, seed=0)
    rows = embedding_rows_of(wrong_poses.images, wrong_poses.mean, found, wrong_poses.problem.passes)
    truth, particles = read_image_truth(wrong_poses.truth.folder), wrong_poses.truth.particles
    missing = np.stack([truth.x_pixels, truth.y_pixels], 1) - particles.translations
    error = rows.pose_mean[:, :2] - missing
    assert error.std() < 0.5 * missing.std()
    # to first order only, and about a mean that the errors have blurred: posteriors are too sure of themselves
    assert (error**2).mean() < 2.5 * (rows.pose_sd[:, :2] ** 2).mean()


def test_a_rare_state_is_no_outlier(solved_set):
    """One image in eight shows another shape, at a ratio of signal to noise at which every image shouts it."""
    both = ensemble.discrete(3)
    rare = replace(both, probabilities=np.array([7 / 8, 0.0, 1 / 8]))
    solved = solved_set(rare, n_images=1000, snr=1.0)
    found = find_components(solved.problem, 4, seed=0)
    assert int(found.confirmed) >= 1
    assert (found.outlier.max(1) > 0.5).sum() <= 2
    assert solved.truth.captured(found.eigenvolumes, 1) > 0.9


def test_noise_that_differs_between_images_is_found(solved_set):
    solved = solved_set(ensemble.discrete(3), nuisances=Nuisances(micrograph_noise_sd=0.35), n_images=1000, snr=0.3)
    true = 2 * np.log(read_image_truth(solved.truth.folder).noise_level)
    found = np.log(solved.mean.level)
    assert np.std(found - true) < 0.15
    assert np.corrcoef(found, true)[0, 1] > 0.97


def test_contrasts_have_mean_one_over_the_images_that_count(junk):
    found = find_components(junk.problem, 4, seed=0)
    rows = embedding_rows_of(junk.images, junk.mean, found, junk.problem.passes)
    weight = junk.mean.noise.weight
    latents = embed(rows.statistics, found.eigenvalues, 2, float(junk.mean.contrast_sd), weight).regularised
    assert np.average(latents.contrasts, weights=weight) == pytest.approx(1, abs=1e-3)
    good = read_image_truth(junk.truth.folder).good
    assert np.corrcoef(latents.contrasts[good], junk.truth.contrasts[good])[0, 1] > 0.7


def test_half_of_the_images_scaled_by_four(moving, solve_set):
    """Grey levels differ fourfold, and with them noise and contrast: half of the images are not junk to the others."""
    scaled = moving.particles.images.read(np.arange(len(moving.particles)))
    scaled[::2] *= 4
    solved = solve_set(moving.with_pixels(scaled))
    assert np.median(solved.mean.level[::2]) / np.median(solved.mean.level[1::2]) == pytest.approx(16, rel=0.1)
    assert (solved.mean.outlier.max(1) > 0.5).sum() <= 5
    assert (solved.mean.empty > 0.5).sum() <= 5
    assert int(find_components(solved.problem, 4, seed=0).confirmed) == 2


def refined(solved) -> Refined:
    box, count = solved.images.box, len(solved.images)
    own = (np.zeros((0, box, box, box), np.float32),) * 2
    return refine_poses(solved.problem, solved.mean, own, 1, count)


def pose_errors(solved, moved: np.ndarray) -> np.ndarray:
    """Root mean square of what moved poses lack along an axis: shift in pixels, rotation in degrees."""
    truth, particles = read_image_truth(solved.truth.folder), solved.truth.particles
    shift = np.stack([truth.x_pixels, truth.y_pixels], 1) - particles.translations - moved[:, :2]
    true = matrices_from_euler(np.stack([truth.rot_deg, truth.tilt_deg, truth.psi_deg], 1))
    now = Rotation.from_rotvec(moved[:, 2:]).as_matrix() @ particles.rotations
    turn = Rotation.from_matrix(true @ now.transpose(0, 2, 1)).as_rotvec(degrees=True)
    return np.sqrt([(shift**2).mean(), (turn**2).mean()])


def test_wrong_poses_are_refined(wrong_poses):
    found = refined(wrong_poses)
    before = pose_errors(wrong_poses, np.zeros_like(found.moved))
    after = pose_errors(wrong_poses, found.moved)
    assert int(found.rounds) >= 1
    assert after[0] < 0.6 * before[0]
    assert after[1] < 0.9 * before[1]
    assert found.left.shift_pixels == pytest.approx(after[0], rel=0.6)


def test_good_poses_are_left_alone(rigid_mean):
    found = refined(rigid_mean)
    assert np.sqrt((found.moved[:, :2] ** 2).mean()) < 0.05
    assert np.rad2deg(np.sqrt((found.moved[:, 2:] ** 2).mean())) < 0.5


def test_symmetry_copies_move_alike(wrong_poses):
    problem, half = wrong_poses.problem, len(wrong_poses.images) // 2
    own = (np.zeros((0, *wrong_poses.mean.mask.shape), np.float32),) * 2
    found = refine_poses(problem, wrong_poses.mean, own, 2, 2 * half)
    np.testing.assert_allclose(found.moved[:half], found.moved[half:])


def test_images_at_other_poses_are_those_read_with_them(moving):
    images, rng = moving.images(), np.random.default_rng(0)
    moved = rng.normal(size=(len(images), 5)) * [0.5, 0.5, 0.05, 0.05, 0.05]
    turned = Rotation.from_rotvec(moved[:, 2:]).as_matrix() @ moving.particles.rotations
    read = read_images(
        replace(moving.particles, rotations=turned, translations=moving.particles.translations + moved[:, :2])
    )
    every, noise = np.ones(len(images), bool), Noise.white(images.box, images.groups)
    ours = {int(b.index[k]): b.pixels[k] for b in images_at(images, moved).batches(every, noise) for k in range(9)}
    theirs = {int(k): batch for batch in read.batches(every, noise) for k in batch.index}
    for index, pixels in list(ours.items())[:20]:
        batch = theirs[index]
        torch.testing.assert_close(pixels, batch.pixels[batch.index == index][0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(images_at(images, moved).rotations, read.rotations)


def test_a_particle_at_a_wrong_pose_is_not_empty(wrong_poses, solved_set):
    assert (wrong_poses.mean.empty > 0.5).sum() <= 2
    nuisances = replace(WRONG_POSES, empty_share=0.12)
    both = solved_set(ensemble.homogeneous(1), nuisances=nuisances, n_images=1000, snr=0.2)
    precision, recall = flags(both.mean.empty > 0.5, read_image_truth(both.truth.folder).empty)
    assert precision >= 0.95
    assert recall >= 0.95


@pytest.mark.parametrize("error", [0, 1000])
def test_errors_of_the_defocus_are_found(solved_set, error):
    solved = solved_set(
        ensemble.homogeneous(1), nuisances=Nuisances(defocus_error_angstrom=error), n_images=600, snr=2.0,
        options=ReconstructionOptions(defocus_errors=True),
    )  # fmt: skip
    found = float(solved.mean.pose_spread[2])
    assert found < 300 if error == 0 else found == pytest.approx(error, rel=0.25)
