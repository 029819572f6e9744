"""What the reconstruction found, for `covaria.findings`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from covaria.estimation.mean.model import MeanModel
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.estimation.refinement.rounds import Refined
from covaria.estimation.sensitivity.survey import Sensitivity
from covaria.findings import Component, Findings, PoseRefined
from covaria.imaging.images import Images
from covaria.imaging.recorded import contradictions
from covaria.maps import resolution_at
from covaria.particles.model import Particles
from covaria.results.sensitivity import motions_of
from covaria_reconstruction.components import Components
from covaria_reconstruction.parts import NO_PARTS, motion_by_part

UNEVEN = 1.5
"""Ratio of the half-sets' sizes above which a word is due."""
WIDE_CONTRAST = 0.5
LIKELY, WORTH_A_WORD = 0.5, 0.002
"""From which probability on an image is counted, and from which share of all images on they are spoken of."""
UNEVEN_NOISE = 6.0
"""Ratio of noise variances."""
AGREEING = 0.3
"""Mean FSC of the first shells below which the map is noise."""
COARSE_SHELL, WORTH_TELLING = 8, 0.05
"""Where views are looked at, and from which share of unseen places on a word is due."""
PLACES, MOST_AT_ONCE = 1000, 5000
WRONG_SHIFT_PIXELS, WRONG_ROTATION_DEG, WRONG_DEFOCUS_ANGSTROM = 0.3, 1.3, 200.0


def findings_of(
    particles: Particles,
    images: Images,
    mean: MeanModel,
    components: Components | None,
    refined: Refined | None = None,
    seen: Sensitivity | None = None,
    parts: Mapping[str, np.ndarray] = NO_PARTS,
) -> Findings:
    """The reconstruction's part: particles, resolution, confirmed components, what could have been, warnings."""
    confirmed = 0 if components is None else int(components.confirmed)
    found: tuple[Component, ...] = ()
    if components is not None and confirmed:
        variances = components.eigenvalues[:confirmed]
        scores = components.z_score[:confirmed]
        motion = motion_by_part(components, parts)
        found = tuple(
            Component(
                z_score=float(score),
                share=float(variance / variances.sum()),
                parts={one.part: one.share for one in motion if one.component == number},
            )
            for number, (score, variance) in enumerate(zip(scores, variances, strict=True))
        )
    return Findings(
        particles=particles.count // images.copies,
        used=len(images.leads) // images.copies,
        resolution_angstrom=resolution_at(mean.fsc, images.pixel_size_angstrom),
        tested=None if components is None else len(components.eigenvalues),
        components=found,
        sensitivity=() if seen is None else motions_of(seen),
        poses=_poses(refined),
        warnings=(*_warnings(images, mean), *contradictions(particles)),
    )


def _poses(refined: Refined | None) -> PoseRefined | None:
    if refined is None:
        return None
    before, left = PoseSpread(*refined.spread.tolist()), refined.left
    return PoseRefined(
        rounds=int(refined.rounds),
        shift_pixels_before=before.shift_pixels,
        shift_pixels=left.shift_pixels,
        rotation_deg_before=float(np.rad2deg(before.rotation_rad)),
        rotation_deg=float(np.rad2deg(left.rotation_rad)),
    )


def _warnings(images: Images, mean: MeanModel) -> list[str]:
    found = []
    sizes = np.bincount(images.half, minlength=2)
    if sizes.max() > UNEVEN * sizes.min():
        found.append(f"half-sets of {sizes[0]:,} and {sizes[1]:,} particles: the smaller one limits what is confirmed")
    if resolution_at(mean.fsc, images.pixel_size_angstrom) < 2.1 * images.pixel_size_angstrom:
        found.append(
            "the mean map's resolution is limited by the pixel size: images with a smaller one would show more"
        )
    if float(mean.contrast_sd) > WIDE_CONTRAST:
        percent = 100 * float(mean.contrast_sd)
        found.append(f"the contrast varies by {percent:.0f} % between particles: look for empty or bad images")
    if images.copies > 1 and np.array_equal(mean.component_mask, mean.dilated_mask):
        found.append(
            "a symmetric particle was searched without a focus mask: components mix what its units do. Give a "
            "--focus-mask of one asymmetric unit"
        )
    return [*found, *_about_views(images, mean), *_about_images(images, mean), *_about_poses(mean)]


def _about_views(images: Images, mean: MeanModel) -> list[str]:
    counted = images.rotations.cpu().numpy()[mean.noise.weight > LIKELY]
    unseen = unseen_share(counted, min(COARSE_SHELL, images.box // 2 - 1))
    if unseen < WORTH_TELLING:
        return []
    return [
        f"{100 * unseen:.0f} % of Fourier space (shell {min(COARSE_SHELL, images.box // 2 - 1)}) is not seen from any "
        "direction of view: maps are smeared, and motion along what is not seen is not found"
    ]


def unseen_share(rotations: np.ndarray, shell: int) -> float:
    """Share of a shell of Fourier space in which no slice lies, of images with these rotations (N, 3, 3).

    A slice is one frequency thick and holds what is perpendicular to the direction of view, the rotation's last row.
    """
    number = np.arange(PLACES) + 0.5
    height, turn = 1 - number / PLACES, np.pi * (1 + 5**0.5) * number  # half a sphere suffices: slices have both ends
    around = np.sqrt(1 - height**2)
    places = np.stack([around * np.cos(turn), around * np.sin(turn), height])
    seen = np.zeros(PLACES, bool)
    for first in range(0, len(rotations), MOST_AT_ONCE):
        views = rotations[first : first + MOST_AT_ONCE, 2]
        seen |= (np.abs(views @ places) < 0.5 / shell).any(0)
    return float(1 - seen.mean())


def _about_images(images: Images, mean: MeanModel) -> list[str]:
    found, total = [], len(images)
    for probability, words in (
        (mean.empty, "seem to hold no particle and count for nothing"),
        (mean.absent - mean.empty, "seem to hold a particle, but not at their pose, and count for nothing"),
        (mean.outlier.max(1), "have far too much power in a band of shells (dirt, an edge) and count for little there"),
    ):
        flagged = int((probability > LIKELY).sum())
        if flagged > WORTH_A_WORD * total:
            found.append(f"{flagged:,} images ({100 * flagged / total:.1f} %) {words}: see model/particles.parquet")
    height = images.ramps.height(images.box)
    if height:
        found.append(
            f"images rise by about {height:.2g} standard deviations of their noise from edge to edge: this ramp was "
            "taken off each"
        )
    low, high = np.quantile(mean.level, [0.05, 0.95])
    if high > UNEVEN_NOISE * low:
        found.append(f"the noise differs {high / low:.0f}-fold between images: were all normalised alike?")
    if mean.fsc[1:4].mean() < AGREEING:
        found.append("the half-maps do not agree at any resolution: images and poses do not hold one particle")
    return found


def _about_poses(mean: MeanModel) -> list[str]:
    shift, rotation = float(mean.pose_spread[0]), float(np.rad2deg(mean.pose_spread[1]))
    found = []
    if mean.pose_spread[2] > WRONG_DEFOCUS_ANGSTROM:
        found.append(f"defoci are off by about {float(mean.pose_spread[2]):.0f} angstrom, which was allowed for")
    if shift < WRONG_SHIFT_PIXELS and rotation < WRONG_ROTATION_DEG:
        return found
    return [
        *found,
        f"poses are off by about {shift:.2g} pixels and {rotation:.2g} degrees along each axis, which was allowed for: "
        "refined poses would show more",
    ]
