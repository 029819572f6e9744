"""Spoils an experiment: what its images will truly show, and what its files will say of them.

Each nuisance is drawn from a generator of its own: to turn one on changes neither the others nor the clean experiment.
The truth's volumes and the scale of the signal are those of the clean experiment with the same seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from covaria.simulation import optics
from covaria.simulation.backgrounds import BLOB_REACH, EDGE_REACH
from covaria.simulation.experiment import Experiment
from covaria.simulation.image_truth import ImageTruth, unspoiled
from covaria.simulation.nuisances import Nuisances

PREFERRED_VIEWS = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
"""Directions of view, in the particle's frame, that a thin film of ice favours: along z and along x."""
PREFERRED_VIEW_RADIUS_DEG = 30.0


@dataclass(frozen=True)
class Spoiled:
    """shown: what the images are made of; stated: what the files say; truth: what is kept of the difference."""

    shown: Experiment
    stated: Experiment
    truth: ImageTruth


def spoil(clean: Experiment, nuisances: Nuisances, box: int, seed: np.random.SeedSequence) -> Spoiled:
    """The experiment with these nuisances, for images of `box` pixels."""
    n = len(clean)
    (kinds, views, poses, defocus, edges, blobs, ramps, noise, scale, magnification) = (
        np.random.default_rng(child) for child in seed.spawn(10)
    )
    empty, carbon_edge, blob, bad_pose = _kinds(n, nuisances, kinds)
    shown = replace(
        _seen_from_few_sides(clean, nuisances.kept_view_share, views),
        contrast=np.where(empty, 0.0, clean.contrast),
        magnification=_by_micrograph(clean.micrograph, nuisances.magnification_sd, magnification),
    )
    ctf = shown.ctf
    angle, ramp_angle = edges.uniform(0, 360, n), ramps.uniform(0, 360, n)
    offset = edges.uniform(-EDGE_REACH * box, EDGE_REACH * box, n)
    place = blobs.uniform(-BLOB_REACH * box, BLOB_REACH * box, (n, 2))
    truth = replace(
        unspoiled(
            shown.angles_deg,
            shown.translations,
            np.stack([ctf.defocus_u_angstrom, ctf.defocus_v_angstrom], axis=1),
            shown.micrograph,
        ),
        empty=empty,
        carbon_edge=carbon_edge,
        blob=blob,
        bad_pose=bad_pose,
        noise_level=_by_micrograph(clean.micrograph, nuisances.micrograph_noise_sd, noise),
        scale=np.exp(nuisances.scale_sd * scale.standard_normal(n)),
        magnification=shown.magnification,
        edge_angle_deg=np.where(carbon_edge, angle, np.nan),
        edge_offset_pixels=np.where(carbon_edge, offset, np.nan),
        blob_x_pixels=np.where(blob, place[:, 0], np.nan),
        blob_y_pixels=np.where(blob, place[:, 1], np.nan),
        gradient_angle_deg=np.where(nuisances.gradient_height > 0, ramp_angle, np.nan),
    )
    stated = _with_wrong_defocus(_with_wrong_poses(shown, nuisances, bad_pose, poses), nuisances, defocus)
    return Spoiled(shown, stated, truth)


def _kinds(count: int, nuisances: Nuisances, rng: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Which images are empty, cross a carbon edge, hold a blob, have a bad pose: disjoint, exact to an image."""
    shares = (nuisances.empty_share, nuisances.carbon_edge_share, nuisances.blob_share, nuisances.bad_pose_share)
    place = rng.permutation(count)
    ends = np.rint(np.cumsum(shares) * count)
    return [(place >= first) & (place < end) for first, end in zip([0, *ends[:-1]], ends, strict=True)]


def _seen_from_few_sides(clean: Experiment, kept: float, rng: np.random.Generator) -> Experiment:
    """Orientations outside the preferred views are drawn anew, but for the share that is kept, until none is left."""
    angles, rows = clean.angles_deg.copy(), np.arange(len(clean))
    while len(rows):
        view = optics.rotation_matrices(angles[rows])[:, 2]
        preferred = (view @ PREFERRED_VIEWS.T >= np.cos(np.deg2rad(PREFERRED_VIEW_RADIUS_DEG))).any(axis=1)
        rows = rows[~preferred & (rng.random(len(rows)) >= kept)]
        angles[rows] = optics.draw_angles(len(rows), rng)
    return replace(clean, angles_deg=angles, rotations=optics.rotation_matrices(angles))


def _by_micrograph(micrograph: NDArray[np.int64], sd: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A lognormal factor for each micrograph, median 1, given to its images."""
    factors: NDArray[np.float64] = np.exp(sd * rng.standard_normal(micrograph.max() + 1))
    return factors[micrograph]


def _with_wrong_poses(
    shown: Experiment, nuisances: Nuisances, bad: NDArray[np.bool_], rng: np.random.Generator
) -> Experiment:
    n, angles = len(shown), shown.angles_deg
    turn = Rotation.from_rotvec(rng.normal(0, nuisances.rotation_error_deg, (n, 3)), degrees=True).as_matrix()
    if nuisances.rotation_error_deg:
        angles = optics.euler_angles(turn @ shown.rotations)
    moved = np.round(shown.translations + rng.normal(0, nuisances.shift_error_pixels, (n, 2)), 4)
    random_angles, of_another = optics.draw_angles(n, rng), shown.translations[rng.integers(n, size=n)]
    angles = np.where(bad[:, None], random_angles, angles)
    return replace(
        shown,
        angles_deg=angles,
        rotations=optics.rotation_matrices(angles),
        translations=np.where(bad[:, None], of_another, moved),
    )


def _with_wrong_defocus(shown: Experiment, nuisances: Nuisances, rng: np.random.Generator) -> Experiment:
    error = rng.normal(0, nuisances.defocus_error_angstrom, len(shown))
    ctf = replace(
        shown.ctf,
        defocus_u_angstrom=np.round(shown.ctf.defocus_u_angstrom + error, 2),
        defocus_v_angstrom=np.round(shown.ctf.defocus_v_angstrom + error, 2),
    )
    return replace(shown, ctf=ctf)
