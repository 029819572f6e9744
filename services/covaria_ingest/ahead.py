"""What a later stage would refuse, looked at before the first pass over the images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from covaria.maps.masks import binary_from_file, refuse_elsewhere, sphere_mask
from covaria.opening import Roots
from covaria.request.model import ReconstructionOptions


def refuse_useless_masks(options: ReconstructionOptions, box: int, pixel_size_angstrom: float, roots: Roots) -> None:
    """Raise InvalidInput for mask files that cannot serve images of this box and pixel size.

    A mask must be on their grid, hold something inside the ball that all views see, and a focus mask something of the
    solvent mask.
    """
    inside = sphere_mask(box)
    for path in (options.mask, options.focus_mask):
        if isinstance(path, Path):
            mask = binary_from_file(path, box, pixel_size_angstrom, roots=roots).astype(np.float32)
            refuse_elsewhere(mask, inside, path)
            inside = mask
