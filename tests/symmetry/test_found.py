"""What is found of units that move each on their own, and what is not invented by showing an image four times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from covaria.estimation.components.confirmation import GainRows
from covaria.estimation.components.expectation_maximisation import Problem, fit_components
from covaria.estimation.latents.embedding import embed
from covaria.estimation.mean.model import estimate_mean_model
from covaria.imaging.images import read_images
from covaria.imaging.noise import Noise
from covaria.maps import fsc, read_volume
from covaria.particles import read_particles
from covaria.request.model import IngestOptions, ReconstructionOptions
from covaria.running.passes import Pass
from covaria.testing import MemoryContext
from covaria_reconstruction.fitting import find_components, full_size, problem_of
from covaria_reconstruction.stage import embedding_rows_of, judged_anew

BOX = 32
AXIS = np.arange(BOX) - BOX // 2
BESIDE = np.clip(1.5 * (AXIS - np.abs(AXIS[:, None])), 0, 1) + np.zeros((BOX, 1, 1))
"""The quarter about +x."""


def images_of(folder, **options):
    return read_images(read_particles(IngestOptions(particles=folder / "particles.star", **options)))


def truth_of(folder):
    volumes = np.stack([read_volume(path)[0] for path in sorted((folder / "gt").glob("vol*.mrc"))])
    labels = np.loadtxt(folder / "gt" / "labels.txt", dtype=int)
    share = np.bincount(labels, minlength=len(volumes)) / len(labels)
    return volumes, labels, share


def settled(images, passes):
    mean = estimate_mean_model(images, ReconstructionOptions(), passes)
    return images.signed(float(mean.data_sign)), mean


def captured(eigenvolume, volumes, share, mask):
    root = ((volumes - np.tensordot(share, volumes, 1)) * (mask > 0)).reshape(len(volumes), -1) * np.sqrt(share)[
        :, None
    ]
    return float(
        ((root @ (eigenvolume.ravel() / np.linalg.norm(eigenvolume))) ** 2).sum()
        / np.linalg.eigvalsh(root @ root.T)[-1]
    )


def test_one_units_motion_is_found_in_its_own_quarter(make_set):
    """Of 100 images with four arms each; the coordinates are those of the arms, copy by copy."""
    folder = make_set(n_images=100, snr=4.0, symmetry="C4")
    volumes, labels, share = truth_of(folder)
    passes = Pass(MemoryContext())
    images, mean = settled(images_of(folder, symmetry="C4"), passes)
    mean = replace(mean, component_mask=(mean.dilated_mask * BESIDE).astype(np.float32))
    problem = replace(problem_of(images, mean, passes), pose_spread=None)
    start = problem.model(8, np.zeros((1, BOX, BOX, BOX), np.float32))
    rng = np.random.default_rng(0)
    start = replace(start, components=(rng.normal(size=start.mean.shape)[None] * problem.mask_at(8)).astype(np.float32))
    start = replace(start, components=start.components * np.float32(0.1 * start.mean.std()))
    components = full_size(problem, fit_components(problem, 1, start=start, limit=8, last_steps=4))
    mask = problem.mask
    assert captured(components.eigenvolumes[0], volumes, share, mask) > 0.7
    rows = embedding_rows_of(images, mean, components, passes)
    found = embed(rows.statistics, components.eigenvalues, 1, float(mean.contrast_sd)).regularised.coordinates[:, 0]
    assert abs(spearmanr(found, labels).statistic) > 0.8


def test_showing_an_image_four_times_makes_it_no_surer(make_set):
    """Held-out gains of motions that are not there: mean 0 and spread 1 by image; by row they spread twice as far.

    The motions are symmetric, so that all copies of an image say the same; also of a set expanded by another program.
    """
    folder = make_set("homogeneous", 1, n_images=200, snr=1e-8, symmetry="C4", contrast_sd=0.0)
    particles = read_particles(IngestOptions(particles=folder / "particles.star", symmetry="C4"))
    joint, apart = read_images(particles), read_images(replace(particles, copies=1))
    power = np.loadtxt(folder / "gt" / "noise_variance.txt")[: BOX // 2] / joint.scale**2
    nothing, noise = np.zeros((BOX,) * 3, np.float32), Noise(power, np.ones(1))
    rng, scores = np.random.default_rng(0), []
    for _ in range(12):
        one = rng.normal(size=(18, 18, 18)) * np.exp(-np.linalg.norm(np.indices((18,) * 3) - 9, axis=0) / 5)
        one[1:, 1:, 1:] = sum(np.rot90(one[1:, 1:, 1:], turns, axes=(1, 2)) for turns in range(4))
        one[0] = one[:, 0] = one[:, :, 0] = 0
        found = []
        for images in (joint, apart):
            problem = Problem(images, Pass(MemoryContext()), noise, nothing, nothing + 1, 0.0, images.half)
            model = replace(problem.null_model(8), components=(3e-4 * one[None]).astype(np.float32))
            gain = problem.passes.rows(images, GainRows(problem, model))["gain"][:, 0].astype(float)
            found.append(z_score(np.bincount(images.units, gain)))
        scores.append([*found, z_score(gain)])
    joint_spread, unit_spread, row_spread = np.sqrt(np.mean(np.square(scores), 0))
    assert joint_spread < 1.6 and unit_spread < 1.6
    assert row_spread == pytest.approx(2 * unit_spread, rel=0.1)


def z_score(gain):
    return gain.mean() / gain.std() * np.sqrt(len(gain))


@pytest.mark.slow
def test_a_rigid_particle_stays_rigid_and_arms_are_confirmed(make_set):
    """600 images at SNR 0.3, four coordinates: nothing of a rigid C4, one motion of one with four arms."""
    confirmed = {}
    for states in ("homogeneous", "curved"):
        folder = make_set(states, 6, n_images=600, snr=0.3, symmetry="C4")
        passes = Pass(MemoryContext())
        images, mean = settled(images_of(folder, symmetry="C4"), passes)
        mean = replace(mean, component_mask=(mean.dilated_mask * BESIDE).astype(np.float32))
        problem = problem_of(images, mean, passes)
        components = find_components(problem, 4, 0)
        confirmed[states] = int(components.confirmed)
        if states == "curved":
            volumes, labels, share = truth_of(folder)
            assert captured(components.eigenvolumes[0], volumes, share, problem.mask) > 0.8
            rows = embedding_rows_of(images, judged_anew(mean, components), components, passes)
            found = embed(rows.statistics, components.eigenvalues, 1, float(mean.contrast_sd))
            assert abs(spearmanr(found.regularised.coordinates[:, 0], labels).statistic) > 0.65
    assert confirmed == {"homogeneous": 0, "curved": 1}


@pytest.mark.slow
def test_units_of_a_filament_move_each_on_their_own(make_set):
    """400 segments, three units each, a mask around the middle one: its swing and no other."""
    folder = make_set("curved", 3, n_images=400, snr=3.0, helix=(30.0, 50.0))
    options = {"helical_rise": 30.0, "helical_twist": 50.0, "helical_units": 3}
    passes = Pass(MemoryContext())
    images, mean = settled(images_of(folder, **options), passes)
    x, y, z = AXIS, AXIS[:, None], AXIS[:, None, None]
    around = ((x - 8) ** 2 / 64 + y**2 / 30 + z**2 / 25 < 1).astype(np.float32)
    mean = replace(mean, component_mask=(mean.dilated_mask * around).astype(np.float32))
    components = find_components(problem_of(images, mean, passes), 4, 0)
    assert int(components.confirmed) == 1
    rows = embedding_rows_of(images, judged_anew(mean, components), components, passes)
    found = embed(rows.statistics, components.eigenvalues, 1, float(mean.contrast_sd)).regularised.coordinates[:, 0]
    labels = np.loadtxt(folder / "gt" / "labels.txt", dtype=int)
    assert abs(spearmanr(found[: len(labels)], labels).statistic) > 0.85


def test_a_helix_is_averaged_over_its_units(make_set):
    """The mean of three units' copies is nearer the truth than that of the segments as they are, in the middle."""
    folder = make_set("homogeneous", 1, n_images=60, snr=0.1, helix=(30.0, 50.0))
    truth, _, _ = truth_of(folder)
    middle = (np.abs(AXIS)[:, None, None] < 8) * np.ones((BOX,) * 3, np.float32)
    curves = []
    for options in ({}, {"helical_rise": 30.0, "helical_twist": 50.0, "helical_units": 3}):
        _, mean = settled(images_of(folder, **options), Pass(MemoryContext()))
        curves.append(fsc(mean.halves.mean(0), truth[0], middle)[1:12].mean())
    wrong = {"helical_rise": 30.0, "helical_twist": -50.0, "helical_units": 3}
    _, mean = settled(images_of(folder, **wrong), Pass(MemoryContext()))
    curves.append(fsc(mean.halves.mean(0), truth[0], middle)[1:12].mean())
    assert curves[1] > curves[0] + 0.03 and curves[1] > curves[2] + 0.1, curves
