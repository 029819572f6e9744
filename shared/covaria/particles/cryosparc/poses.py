"""cryoSPARC's tables with other poses: every field but pose and shift as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from covaria.particles.cryosparc.alignments import MULTIPLE
from covaria.particles.cryosparc.subset import CsRows


def with_poses(
    source: CsRows,
    prefix: str,
    class_of_row: NDArray[np.int64] | None,
    rows: NDArray[np.int64],
    rotations: NDArray[np.float64],
    shifts_pixels: NDArray[np.float64],
    pixel_sizes_angstrom: NDArray[np.float64],
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """The main table and the passthrough tables; `rows` (n,) of the main one have rotations (n, 3, 3) and shifts (n, 2)
    in the images' pixels (n,), in the alignment `prefix` that the run took, of each row's class where it took several.
    """
    tables = [np.array(table) for table in (source.main, *source.others)]
    poses = Rotation.from_matrix(rotations.transpose(0, 2, 1)).as_rotvec()
    numbers = np.zeros(len(rows), np.int64) if class_of_row is None else class_of_row[rows]
    for number in np.unique(numbers).tolist():
        mine = numbers == number
        name = prefix if class_of_row is None or prefix == MULTIPLE else f"alignments_class_{number}"
        place = next(k for k, table in enumerate(tables) if f"{name}/pose" in (table.dtype.names or ()))
        table = tables[place] = _with_shift(tables[place], name)
        at = rows[mine] if place == 0 else _rows_of(table, tables[0]["uid"][rows[mine]])
        inside = (at, number) if prefix == MULTIPLE else (at,)
        table[f"{name}/pose"][inside] = poses[mine]
        column = f"{name}/psize_A"
        own = table[column] if column in (table.dtype.names or ()) else None
        scale = np.ones(int(mine.sum())) if own is None else pixel_sizes_angstrom[mine] / own[inside[: own.ndim]]
        table[f"{name}/shift"][inside] = shifts_pixels[mine] * scale[:, None]
    return tables[0], tables[1:]


def _with_shift(table: NDArray[Any], name: str) -> NDArray[Any]:
    """The table with a column of shifts, 0, where it has none beside its poses."""
    column = f"{name}/shift"
    if column in (table.dtype.names or ()):
        return table
    pose = table.dtype[f"{name}/pose"]
    added = (column, pose.base, (*pose.shape[:-1], 2))
    wider = np.zeros(len(table), [*((field, table.dtype[field]) for field in table.dtype.names or ()), added])
    for field in table.dtype.names or ():
        wider[field] = table[field]
    return wider


def _rows_of(table: NDArray[Any], uids: NDArray[Any]) -> NDArray[np.int64]:
    """Where the particles with these uids stand in a passthrough table."""
    order = np.argsort(table["uid"], kind="stable")
    found: NDArray[np.int64] = order[np.searchsorted(table["uid"][order], uids)]
    return found
