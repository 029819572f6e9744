"""What the reconstruction found, for `covaria.findings`."""

from __future__ import annotations

import numpy as np

from covaria.estimation.mean.model import MeanModel
from covaria.findings import Component, Findings
from covaria.imaging.images import Images
from covaria.maps import resolution_at
from covaria.particles.model import Particles
from covaria_reconstruction.results import Components

UNEVEN = 1.5
"""Ratio of the half-sets' sizes above which a word is due."""
WIDE_CONTRAST = 0.5


def findings_of(
    particles: Particles, images: Images, mean: MeanModel, components: Components | None, notes: tuple[str, ...] = ()
) -> Findings:
    """The reconstruction's part: particles, resolution, confirmed components, what deserves a warning."""
    confirmed = 0 if components is None else int(components.significant)
    found: tuple[Component, ...] = ()
    if components is not None and confirmed:
        variances = components.eigenvalues[:confirmed]
        scores = components.z_score[:confirmed]
        found = tuple(
            Component(z_score=float(score), share=float(variance / variances.sum()))
            for score, variance in zip(scores, variances, strict=True)
        )
    return Findings(
        particles=len(particles),
        used=len(images),
        resolution_angstrom=resolution_at(mean.fsc, images.pixel_size_angstrom),
        tested=None if components is None else len(components.eigenvalues),
        components=found,
        warnings=(*_warnings(images, mean), *notes),
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
    return found
