"""Where the molecule is: solvent, dilated and focus masks (values 0..1, box (D, D, D))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covaria.errors import InvalidInput
from covaria.maps.fourier import FloatArray, resample_volume
from covaria.maps.volume import read_volume
from covaria.opening import ANYWHERE, Roots
from covaria.request.model import MaskWord

EDGE_PX = 3
UNSET = 1.0
"""Angstrom: what many programs leave in a header where nobody said a voxel size."""
ANOTHER = 0.05
"""Of the pixel size: masks that differ by more belong to another map, by less to another calibration."""


@dataclass(frozen=True)
class Masks:
    """`mask`: where the map is taken to be; `dilated_mask`: a wider one for residuals, noise and states."""

    mask: NDArray[np.float32]
    dilated_mask: NDArray[np.float32]


def margin_px(box: int) -> int:
    """How far masks reach beyond what they are made from."""
    return ceil(6 * box / 128)


def radius_px(box: int) -> NDArray[np.float32]:
    """Distance of each voxel from the origin at voxel D//2."""
    axis = (np.arange(box) - box // 2).astype(np.float32) ** 2
    result: NDArray[np.float32] = np.sqrt(axis[:, None, None] + axis[None, :, None] + axis[None, None, :])
    return result


def soft_edge(inside: NDArray[np.bool_], width_px: float = EDGE_PX) -> NDArray[np.float32]:
    """1 inside, falling to 0 over `width_px` voxels outside as half a cosine."""
    if inside.all():
        return np.ones(inside.shape, dtype=np.float32)
    distance = np.minimum(ndimage.distance_transform_edt(~inside), width_px)
    result: NDArray[np.float32] = (0.5 + 0.5 * np.cos(np.pi * distance / width_px)).astype(np.float32)
    return result


def extend(inside: NDArray[np.bool_], distance_px: float) -> NDArray[np.bool_]:
    """All voxels within a Euclidean distance of the set."""
    if distance_px <= 0:
        return inside
    return np.asarray(ndimage.distance_transform_edt(~inside) <= distance_px)


def sphere_mask(box: int) -> NDArray[np.float32]:
    """A ball of radius D//2 - 1 whose soft edge ends there."""
    return soft_edge(radius_px(box) <= box // 2 - 1 - EDGE_PX)


def otsu_threshold(values: NDArray[np.floating], bins: int = 256) -> float:
    """The threshold that splits values into the two classes with the largest variance between them (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=bins)
    middle = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1].astype(float)
    above = counts.sum() - below
    moment = np.cumsum(counts * middle)
    mean_below = moment[:-1] / np.maximum(below, 1)
    mean_above = (moment[-1] - moment[:-1]) / np.maximum(above, 1)
    return float(edges[1:-1][np.argmax(below * above * (mean_below - mean_above) ** 2)])


def with_margin(inside: NDArray[np.bool_]) -> Masks:
    """A soft mask of a set of voxels, and the same after one more margin."""
    return Masks(soft_edge(inside), soft_edge(extend(inside, margin_px(inside.shape[0]))))


def mask_from_halfmaps(half1: FloatArray, half2: FloatArray) -> Masks:
    """The largest connected body of density in the average of two half-maps (D, D, D), with a margin.

    Blur by max(2, D/64) voxels, Otsu's threshold inside the sphere, fill holes, keep the largest component, extend by
    ceil(6 D/128) voxels. Raises InvalidInput when the maps hold no density above the rest.
    """
    box = half1.shape[0]
    average = 0.5 * (half1.astype(np.float32) + half2.astype(np.float32))
    if not np.isfinite(average).all() or np.ptp(average) == 0:
        raise InvalidInput(
            "the half-maps are empty or hold values that are not numbers, so no mask can be made from them",
            hint="Look at output/volumes/mean.mrc; --mask sphere does without.",
        )
    blurred = ndimage.gaussian_filter(average, max(2.0, box / 64), mode="constant")
    sphere = radius_px(box) <= box // 2 - 1
    solid = ndimage.binary_fill_holes((blurred > otsu_threshold(blurred[sphere])) & sphere)
    labels, _ = ndimage.label(solid)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = labels == int(np.argmax(sizes))
    return with_margin(extend(body, margin_px(box)) & sphere)


def on_grid(
    volume: NDArray[np.float32], found_px: float, box: int, pixel_size_angstrom: float, file: Path
) -> FloatArray:
    """A mask file's values on our grid: Fourier resampling when it covers the same extent, padding or cropping when its
    voxels are ours. A header without a pixel size is taken to cover the same extent. Raises InvalidInput.
    """
    side = volume.shape[0]
    if side == box:
        if found_px not in (0.0, UNSET) and abs(found_px - pixel_size_angstrom) > ANOTHER * pixel_size_angstrom:
            raise InvalidInput(
                f"the mask's voxels are of {found_px:g} angstrom, the images' pixels of {pixel_size_angstrom:g}",
                file=file,
                hint="resample the mask, or correct the pixel size in its header (1 or 0: not said)",
            )
        return volume
    extent, ours = side * found_px, box * pixel_size_angstrom
    if side % 2 == 0 and (found_px == 0 or abs(extent - ours) <= 0.02 * ours):
        return resample_volume(volume, box)
    if abs(found_px - pixel_size_angstrom) <= 0.01 * pixel_size_angstrom:
        centred = np.zeros((box,) * 3, dtype=np.float32)
        shared = min(side, box)
        start, first = box // 2 - shared // 2, side // 2 - shared // 2
        here, there = slice(start, start + shared), slice(first, first + shared)
        centred[here, here, here] = volume[there, there, there]
        return centred
    raise InvalidInput(
        f"the mask covers {side} voxels of {found_px:g} angstrom ({extent:.1f} A), the images "
        f"{box} of {pixel_size_angstrom:g} ({ours:.1f} A)",
        file=file,
        hint="Resample the mask to the particles' extent, or correct the pixel size in its header.",
    )


def binary_from_file(
    path: str | Path, box: int, pixel_size_angstrom: float, dilate_iterations: int = 0, roots: Roots = ANYWHERE
) -> NDArray[np.bool_]:
    """Voxels where a mask file exceeds 0.5 on our grid, then dilated by one voxel `dilate_iterations` times.

    Raises MissingFile and InvalidInput (unreadable, other extent, nothing above 0.5).
    """
    file = Path(path)
    values, found_px = read_volume(file, roots)
    inside = np.asarray(on_grid(values, found_px, box, pixel_size_angstrom, file) > 0.5)
    if not inside.any():
        raise InvalidInput(
            f"no voxel of the mask exceeds 0.5 (largest value {values.max():g})",
            file=file,
            hint="A mask holds 1 inside and 0 outside.",
        )
    return ndimage.binary_dilation(inside, iterations=dilate_iterations) if dilate_iterations else inside


def mask_from_file(
    path: str | Path, box: int, pixel_size_angstrom: float, dilate_iterations: int = 0, roots: Roots = ANYWHERE
) -> Masks:
    """The user's mask: resampled if its box differs, cut at 0.5, dilated if asked, with a soft edge."""
    return with_margin(binary_from_file(path, box, pixel_size_angstrom, dilate_iterations, roots))


def read_mask(path: str | Path, box: int, pixel_size_angstrom: float, roots: Roots = ANYWHERE) -> NDArray[np.float32]:
    """A soft mask file as it is, on our grid, (D, D, D) within 0..1. Raises as `binary_from_file`."""
    binary_from_file(path, box, pixel_size_angstrom, roots=roots)
    values, found_px = read_volume(path, roots)
    clipped: NDArray[np.float32] = np.clip(on_grid(values, found_px, box, pixel_size_angstrom, Path(path)), 0, 1)
    return clipped


def load_focus_mask(
    path: str | Path, box: int, pixel_size_angstrom: float, roots: Roots = ANYWHERE
) -> NDArray[np.float32]:
    """The region where heterogeneity is looked for, prepared like a solvent mask file: (D, D, D)."""
    return soft_edge(binary_from_file(path, box, pixel_size_angstrom, roots=roots))


def joint_focus_mask(
    paths: Sequence[Path], box: int, pixel_size_angstrom: float, roots: Roots = ANYWHERE
) -> NDArray[np.float32]:
    """Several such regions as one: (D, D, D), the largest value of any."""
    joint: NDArray[np.float32] = np.max(
        [load_focus_mask(path, box, pixel_size_angstrom, roots) for path in paths], axis=0
    )
    return joint


def load_motion_weights(
    path: str | Path, box: int, pixel_size_angstrom: float, roots: Roots = ANYWHERE
) -> NDArray[np.float32]:
    """By how much each voxel's share in a component is scaled, on our grid: (D, D, D) within 0..1, as the file says.

    Raises MissingFile and InvalidInput (unreadable, other extent, values that are no weights).
    """
    file = Path(path)
    values, found_px = read_volume(file, roots)
    refuse_no_weights(values, file)
    clipped: NDArray[np.float32] = np.clip(on_grid(values, found_px, box, pixel_size_angstrom, file), 0, 1)
    return clipped


def refuse_no_weights(values: FloatArray, file: Path) -> None:
    """Raise InvalidInput where values are no weights from 0 to 1."""
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise InvalidInput(
            f"holds values from {values.min():g} to {values.max():g}: weights lie from 0 to 1",
            file=file, hint="1 where all motion counts, 0 where none does; `covaria mask --weight` writes such a file",
        )  # fmt: skip


def solvent_mask(
    kind: MaskWord | Path,
    half1: FloatArray,
    half2: FloatArray,
    pixel_size_angstrom: float,
    *,
    dilate_iterations: int = 0,
    roots: Roots = ANYWHERE,
) -> Masks:
    """The masks that `--mask KIND` asks for; a file is opened beneath `roots`."""
    box = half1.shape[0]
    if kind == "from_halfmaps":
        return mask_from_halfmaps(half1, half2)
    if kind == "sphere":
        return Masks(sphere_mask(box), sphere_mask(box))
    if kind == "none":
        return Masks(np.ones((box,) * 3, dtype=np.float32), np.ones((box,) * 3, dtype=np.float32))
    masks = mask_from_file(kind, box, pixel_size_angstrom, dilate_iterations, roots)
    if np.ptp(half1):
        refuse_elsewhere(masks.dilated_mask, mask_from_halfmaps(half1, half2).mask, Path(kind))
    return masks


def refuse_elsewhere(mask: FloatArray, particle: FloatArray, file: Path) -> None:
    """Raise InvalidInput where a mask (D, D, D) touches neither what another says the particle is nor the middle half.

    The particle may be found wrongly in noise; a mask near the centre of the box is believed.
    """
    box = mask.shape[0]
    if float(mask[np.maximum(particle > 0.5, radius_px(box) < box / 4)].max()) > 0.5:
        return
    here, there = (np.argwhere(values > 0.5).mean(axis=0).round().astype(int) for values in (mask, particle))
    raise InvalidInput(
        f"the mask does not touch the particle: its centre lies at voxel {here[::-1].tolist()} (x, y, z), that of the "
        f"particle at {there[::-1].tolist()}",
        file=file,
        hint="Check the origin of the map that the mask was made on.",
    )
