"""One box and one pixel size for all rows in use: their own where these agree, else a grid onto which all are brought.

The grid is as long as the shortest image and as fine as the coarsest, so that every image is known in all of it; what
lies farther out in a longer image is cropped. A recorded image shows at k the slice at M k (RELION's magnification
matrix M, 1 where there is none), hence its value for the grid's frequency k is read at M^-1 k.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles.metadata import Metadata, Shifts
from covaria.particles.stacks.resampling import Resampling

SAME = 1e-4
APART = 1.2
"""Pixel sizes and box lengths in angstrom may differ by this factor, as RELION lets optics groups differ."""
LARGEST_MAGNIFICATION = 0.2
MAX_BOX = 65536


def settled(metadata: Metadata, used: NDArray[np.bool_]) -> Metadata:
    """The one box and the one pixel size of the rows in use. Raises InvalidInput where they make no sense."""
    _refuse_senseless(metadata, metadata.pixel_sizes_angstrom, "pixel_size_angstrom", "pixel size", used)
    _refuse_senseless(metadata, metadata.boxes, "box", "box", used)
    boxes, pixel_sizes = metadata.boxes, metadata.pixel_sizes_angstrom
    if boxes is not None:
        _refuse_broken_boxes(metadata, boxes, used)
    mixed = [values is not None and _differ(values[used]) for values in (boxes, pixel_sizes)]
    if not any(mixed) and metadata.magnification is None:
        box, pixel_size = (None if v is None or not used.any() else float(v[used][0]) for v in (boxes, pixel_sizes))
        return replace(metadata, pixel_size_angstrom=pixel_size, box=None if box is None else round(box))
    for values, name in ((boxes, "box"), (pixel_sizes, "pixel_size_angstrom")):
        if values is None:
            raise InvalidInput(
                "images of different pixel sizes, boxes or magnifications need both, box and pixel size, in the file",
                file=metadata.source,
                column=metadata.named(name),
                hint="add the column",
            )
    assert boxes is not None and pixel_sizes is not None
    return _on_common_grid(metadata, boxes, pixel_sizes, used)


def _on_common_grid(
    metadata: Metadata, boxes: NDArray[np.float64], pixel_sizes: NDArray[np.float64], used: NDArray[np.bool_]
) -> Metadata:
    kinds, of_row = _kinds(metadata, boxes, pixel_sizes)
    needed = np.unique(of_row[used])
    box, pixel, matrix = kinds[:, 0], kinds[:, 1], kinds[:, 2:].reshape(-1, 2, 2)
    length = box * pixel
    _refuse_apart(metadata, pixel_sizes, "pixel_size_angstrom", "pixel sizes", used)
    _refuse_apart(metadata, boxes * pixel_sizes, "box", "box lengths in angstrom", used)
    _refuse_magnified(metadata, used)
    with np.errstate(invalid="ignore"):  # a kind that no row in use has may be anything
        fits = (box > 0) & (np.abs(pixel / pixel[needed[0]] - 1) < APART - 1 + SAME)
        fits &= np.linalg.norm(matrix - np.eye(2), axis=(1, 2)) <= LARGEST_MAGNIFICATION
    fits[needed] = True
    box, pixel = np.where(fits, box, 2.0), np.where(fits, pixel, 1.0)
    inverse = np.linalg.inv(np.where(fits[:, None, None], matrix, np.eye(2)))
    stretched = pixel * np.linalg.norm(inverse, ord=2, axis=(1, 2))
    shortest = needed[np.argmin(length[needed])]
    extent = float(length[shortest])
    # The Nyquist frequency itself is never used: shell side / 2 - 1 is to lie below every image's own.
    side = 2 * (math.ceil((extent / stretched[needed].max() + 2) * (1 - 1e-9) / 2) - 1)
    common = extent / side
    resampling = Resampling(
        box=side,
        kind=np.where(fits, np.arange(len(kinds)), -1)[of_row],
        recorded=box.astype(np.int64),
        cropped=np.minimum(box, np.rint(extent / pixel)).astype(np.int64),
        matrix=inverse * (pixel / extent)[:, None, None],
        scale=(pixel / common) ** 2,
    )
    settled_on = replace(metadata, box=side, pixel_size_angstrom=common, resampling=resampling)
    shifts = None if metadata.shifts is None else common_shifts(settled_on, metadata.shifts)
    return replace(settled_on, shifts=shifts).with_notes(_note(metadata, kinds[needed], side, common))


def common_shifts(metadata: Metadata, shifts: Shifts) -> Shifts:
    """Origins of the recorded images as those of images on the common grid, in angstrom: M^-T origin."""
    grid = metadata.resampling
    if grid is None or metadata.boxes is None or metadata.pixel_sizes_angstrom is None:
        return shifts
    unit = {"pixel": metadata.pixel_sizes_angstrom, "box": metadata.boxes * metadata.pixel_sizes_angstrom}
    values = shifts.values * unit.get(shifts.unit, np.ones(metadata.count))[:, None]
    if metadata.magnification is not None and metadata.pixel_size_angstrom is not None:
        length = grid.box * metadata.pixel_size_angstrom / metadata.pixel_sizes_angstrom
        inverse = grid.matrix[grid.kind] * length[:, None, None]
        values = np.where(grid.kind[:, None] < 0, np.nan, np.einsum("nji,nj->ni", inverse, values))
    return Shifts(values, "angstrom")


def recorded_shifts(metadata: Metadata, angstrom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Origins (N, 2) on the common grid as those of the recorded images, in angstrom: M^T origin."""
    if metadata.magnification is None:
        return angstrom
    moved: NDArray[np.float64] = np.einsum("nji,nj->ni", metadata.magnification, angstrom)
    return moved


def _kinds(
    metadata: Metadata, boxes: NDArray[np.float64], pixel_sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(K, 6) box, pixel size and magnification matrix of each kind, and the kind of each row."""
    matrix = metadata.magnification
    if matrix is None:
        matrix = np.broadcast_to(np.eye(2), (metadata.count, 2, 2))
    columns = [boxes, pixel_sizes, *matrix.reshape(-1, 4).T]
    code = np.zeros(metadata.count, dtype=np.int64)
    for column in columns:
        values, of_row = np.unique(column, return_inverse=True)
        code = np.unique(code * len(values) + of_row.reshape(-1), return_inverse=True)[1].reshape(-1)
    first = np.unique(code, return_index=True)[1]
    return np.stack([column[first] for column in columns], axis=1), code


def _note(metadata: Metadata, kinds: NDArray[np.float64], side: int, common: float) -> str:
    sizes = sorted({(round(box), round(pixel, 4)) for box, pixel in kinds[:, :2].tolist()})
    listed = ", ".join(f"{box} x {pixel:g}" for box, pixel in sizes[:4]) + (", ..." if len(sizes) > 4 else "")
    magnified = f", magnified by {metadata.named('magnification')}," if metadata.magnification is not None else ""
    return (
        f"images of {listed} angstrom{magnified} are brought onto one grid of {side} pixels of {common:.5g} angstrom "
        "when they are read"
    )


def _differ(values: NDArray[np.float64]) -> bool:
    return len(values) > 0 and bool(np.ptp(values) > SAME * values[0])


def _refuse_senseless(
    metadata: Metadata, values: NDArray[np.float64] | None, field_name: str, what: str, used: NDArray[np.bool_]
) -> None:
    if values is None:
        return
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)) & used)
    if len(wrong):
        raise InvalidInput(
            f"the {what} must be positive, found {values[wrong[0]]:g}",
            file=metadata.source,
            row=int(wrong[0]) + 1,
            column=metadata.named(field_name),
            hint="correct it",
        )


def _refuse_broken_boxes(metadata: Metadata, boxes: NDArray[np.float64], used: NDArray[np.bool_]) -> None:
    wrong = np.flatnonzero(((boxes != np.rint(boxes)) | (boxes >= MAX_BOX)) & used)
    if len(wrong):
        raise InvalidInput(
            f"an image size of {boxes[wrong[0]]:g} pixels makes no sense",
            file=metadata.source,
            row=int(wrong[0]) + 1,
            column=metadata.named("box"),
            hint="correct it",
        )


def _refuse_apart(
    metadata: Metadata, values: NDArray[np.float64], field_name: str, what: str, used: NDArray[np.bool_]
) -> None:
    """Raise InvalidInput where values of rows in use differ by more than `APART`."""
    rows = np.flatnonzero(used)
    low, high = rows[np.argmin(values[used])], rows[np.argmax(values[used])]
    if values[high] <= APART * (1 + SAME) * values[low]:
        return
    found = []
    for row in sorted((int(low), int(high))):
        group = "" if metadata.optics_group is None else metadata.optics_names[metadata.optics_group[row]]
        found.append(f"row {row + 1}{f' (optics group {group})' if group else ''} has {values[row]:g}")
    raise InvalidInput(
        f"{what} may differ by {APART - 1:.0%}, but {'; '.join(found)}",
        file=metadata.source,
        column=metadata.named(field_name),
        hint="rescale to closer pixel sizes and boxes (RELION: extract again; cryoSPARC: downsample), or leave the "
        "others out with --ind",
    )


def _refuse_magnified(metadata: Metadata, used: NDArray[np.bool_]) -> None:
    if metadata.magnification is None:
        return
    with np.errstate(over="ignore"):  # then infinite, and too large
        deviation = np.linalg.norm(metadata.magnification - np.eye(2), axis=(1, 2))
    wrong = np.flatnonzero(~(deviation <= LARGEST_MAGNIFICATION) & used)
    if len(wrong):
        row = int(wrong[0])
        raise InvalidInput(
            f"a magnification of {metadata.magnification[row].ravel().tolist()}: no microscope is this far off",
            file=metadata.source,
            row=row + 1,
            column=metadata.named("magnification"),
            hint="correct it, or leave these rows out with --ind",
        )
