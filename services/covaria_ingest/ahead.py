"""What a later stage would refuse, looked at before the first pass over the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from covaria.errors import InvalidInput
from covaria.maps.masks import binary_from_file, load_motion_weights, refuse_elsewhere, sphere_mask
from covaria.opening import Roots
from covaria.particles import Particles
from covaria.particles.halves import LEAST_IMAGES
from covaria.particles.symmetry import copies_of
from covaria.request.model import ReconstructionOptions, Request

MOST_COORDINATES = 300
"""Of one image: the inner products of their slices grow with the square."""


def refuse_small_half_set(particles: Particles) -> None:
    """Raise InvalidInput where the input's own half-sets leave one too small, although there are particles enough."""
    sizes = np.bincount(particles.half_set[particles.used].astype(np.int64) + 1, minlength=3)[1:]
    if sizes.all() and sizes.min() < LEAST_IMAGES and sizes.sum() >= 2 * LEAST_IMAGES:
        raise InvalidInput(
            f"half-sets of {sizes.tolist()} images; each needs at least {LEAST_IMAGES}",
            file=particles.source,
            hint="give other half-sets with --halfsets, or more particles",
        )


def refuse_many_coordinates(request: Request) -> None:
    """Raise InvalidInput where an image would have more coordinates, of all its units, than one posterior can hold."""
    copies, zdim = copies_of(request.ingest), max(4, *request.reconstruction.zdim)
    if copies > 1 and copies * zdim > MOST_COORDINATES and not request.reconstruction.only_mean:
        most = ",".join(str(number) for number in (1, 2, 4, 10) if number * copies <= MOST_COORDINATES)
        raise InvalidInput(
            f"{copies} asymmetric units of {zdim} coordinates each: at most {MOST_COORDINATES} together",
            file=request.ingest.particles,
            hint=f"give --zdim {most}" if most else "give fewer units",
        )


def refuse_useless_masks(options: ReconstructionOptions, box: int, pixel_size_angstrom: float, roots: Roots) -> None:
    """Raise InvalidInput for mask files that cannot serve images of this box and pixel size.

    A mask must be on their grid, hold something inside the ball that all views see, and a focus mask something of the
    solvent mask. Weights of motion lie from 0 to 1 and leave something there.
    """
    inside = sphere_mask(box)
    for path in (options.mask, *options.focus_files):
        if isinstance(path, Path):
            mask = binary_from_file(path, box, pixel_size_angstrom, roots=roots).astype(np.float32)
            refuse_elsewhere(mask, inside, path)
            inside = mask if path == options.mask else inside
    if options.motion_weights is not None:
        path = options.motion_weights
        weights = load_motion_weights(path, box, pixel_size_angstrom, roots)
        if not (weights * inside).any():
            raise InvalidInput("no motion inside the mask has any weight", file=path, hint="1 where all motion counts")
