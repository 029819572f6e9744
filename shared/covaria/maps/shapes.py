"""Sets of voxels from maps and atoms, and how sets are joined: what `covaria mask` is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covaria.errors import InvalidInput
from covaria.maps.masks import extend, otsu_threshold, radius_px, soft_edge

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64

FEWEST_INSIDE = 0.5
"""Of the atoms, inside the box: with fewer the model belongs to another map."""


def above(
    density: Float32[np.ndarray, "z y x"], blur_px: float, threshold: float | None = None, *, largest: bool = True
) -> tuple[Bool[np.ndarray, "z y x"], float]:
    """Voxels of the blurred map above a threshold (default: Otsu's, inside the sphere), holes filled; the threshold.

    largest: of separate bodies only the largest. Raises InvalidInput where nothing, or everything, is above it.
    """
    blurred = ndimage.gaussian_filter(density, blur_px, mode="constant") if blur_px > 0 else density
    if threshold is None:
        threshold = otsu_threshold(blurred[radius_px(len(density)) <= len(density) // 2 - 1])
    inside = np.asarray(ndimage.binary_fill_holes(blurred > threshold))
    if not inside.any() or inside.all():
        what = "nothing" if not inside.any() else "everything"
        raise InvalidInput(
            f"{what} lies above {threshold:g}: the map goes from {blurred.min():.3g} to {blurred.max():.3g} "
            f"when blurred by {blur_px:g} voxels",
            hint="give --threshold",
        )
    return (_largest(inside) if largest else inside), threshold


def around(
    positions_px: Float64[np.ndarray, "atom 3"], radius_px: float, box: int
) -> Bool[np.ndarray, "{box} {box} {box}"]:
    """Voxels whose centre lies within a radius of an atom; positions x, y, z in voxels.

    Raises InvalidInput where most atoms lie outside the box.
    """
    from scipy.spatial import cKDTree

    rounded = np.rint(positions_px).astype(np.int64)
    within = ((rounded >= 0) & (rounded < box)).all(axis=1)
    if within.mean() < FEWEST_INSIDE:
        center = positions_px.mean(axis=0).round().astype(int).tolist()
        raise InvalidInput(
            f"{int((~within).sum())} of {len(within)} atoms lie outside the map's {box} voxels; their centre is at "
            f"voxel {center} (x, y, z)",
            hint="fit the model into this map and save it relative to the map",
        )
    occupied = np.zeros((box,) * 3, dtype=bool)
    occupied[tuple(rounded[within].T[::-1])] = True
    distance = ndimage.distance_transform_edt(~occupied)
    inside = distance <= radius_px - 1  # rounding moved an atom by less than a voxel
    near = np.argwhere((distance <= radius_px + 1) & ~inside)
    apart, _ = cKDTree(positions_px).query(near[:, ::-1], distance_upper_bound=radius_px)
    inside[tuple(near[np.isfinite(apart)].T)] = True
    return np.asarray(inside)


def grown(inside: Bool[np.ndarray, "z y x"], distance_px: float) -> Bool[np.ndarray, "z y x"]:
    """Extended by a distance, or shrunk by a negative one."""
    return extend(inside, distance_px) if distance_px >= 0 else ~extend(~inside, -distance_px)


def softened(inside: Bool[np.ndarray, "z y x"], width_px: float) -> NDArray[np.float32]:
    """1 inside, falling to 0 over a width outside; hard where the width is 0."""
    return soft_edge(inside, width_px) if width_px > 0 else inside.astype(np.float32)


def _largest(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(inside)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(np.argmax(sizes)))
