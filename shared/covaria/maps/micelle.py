"""Where the micelle or nanodisc around a membrane protein lies, from the mean map.

A micelle is in every particle and nowhere the same, so that its mean is a smooth shell whose density lies between that
of the solvent and that of the protein. Two thresholds part the blurred map in three classes (Otsu's criterion for more
than two; Otsu 1979). The middle class is the micelle, and the flank of the protein, where density falls from the one
to the other: what is thinner than a micelle can be is taken away by an opening with a ball.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from covaria.errors import InvalidInput
from covaria.maps.masks import extend, radius_px

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32

BINS = 128
LEAST_SHARE = 0.1
"""Of all that is denser than solvent."""


def middle_shell(
    density: Float32[np.ndarray, "z y x"], blur_px: float, thickness_px: float
) -> Bool[np.ndarray, "z y x"]:
    """Voxels of middle density in parts at least `thickness_px` thick. Raises InvalidInput where there are none."""
    from skimage.filters import threshold_multiotsu

    blurred = ndimage.gaussian_filter(density, blur_px, mode="constant")
    sphere = radius_px(len(density)) <= len(density) // 2 - 1
    low, high = threshold_multiotsu(blurred[sphere], classes=3, nbins=BINS)  # type: ignore[no-untyped-call]
    middle = (blurred > low) & (blurred <= high) & sphere
    radius = thickness_px / 2
    deep = np.asarray(ndimage.distance_transform_edt(middle) > radius)
    found = extend(deep, radius) & middle if deep.any() else deep
    share = found.sum() / max(int((sphere & (blurred > low)).sum()), 1)
    if share < LEAST_SHARE:
        raise InvalidInput(
            f"no shell of middle density ({low:.3g} to {high:.3g} when blurred by {blur_px:g} voxels) is "
            f"{thickness_px:.1f} voxels thick: {100 * share:.1f} % of what is denser than solvent",
            hint="give a thinner --micelle, or draw the mask by --threshold",
        )
    return np.asarray(found)
