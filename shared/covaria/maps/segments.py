"""A mask cut into parts: watershed of the density inside it, blurred until it has no more summits than parts wanted.

The number of summits falls as the blur grows, and what is then one part is one at that scale (scale-space filtering as
Segger does; Pintilie et al. 2010).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Int64

FIRST_BLUR_PX, GROWTH = 1.0, 1.15


def segments(
    density: Float32[np.ndarray, "z y x"], inside: Bool[np.ndarray, "z y x"], most: int
) -> Int64[np.ndarray, "z y x"]:
    """Parts 0, 1 ... of the voxels `inside`, at most `most`, the largest first; -1 outside."""
    from skimage.segmentation import watershed

    blur_px = FIRST_BLUR_PX
    blurred, marks, number = _summits(density, inside, blur_px)
    while number > most:
        blur_px *= GROWTH
        blurred, marks, number = _summits(density, inside, blur_px)
    if not number:  # the only summit left lies outside
        return np.where(inside, 0, -1)
    parts = np.asarray(watershed(-blurred, marks, mask=inside), dtype=np.int64)  # type: ignore[no-untyped-call]
    nearest = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    parts = np.where(inside, parts[tuple(nearest)], 0)  # bodies of their own without a summit
    sizes = np.bincount(parts.ravel(), minlength=number + 1)[1:]
    found = np.full(inside.shape, -1, dtype=np.int64)
    for place, part in enumerate(np.argsort(-sizes, kind="stable")):
        found[parts == part + 1] = place
    return found


def _summits(
    density: NDArray[np.float32], inside: NDArray[np.bool_], blur_px: float
) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
    """The blurred density, its summits inside numbered from 1, and how many they are."""
    blurred = ndimage.gaussian_filter(density, blur_px, mode="constant")
    summits = (ndimage.maximum_filter(blurred, 3) == blurred) & inside
    marks, number = ndimage.label(summits, np.ones((3, 3, 3)))
    return blurred, np.asarray(marks, np.int64), int(number)
