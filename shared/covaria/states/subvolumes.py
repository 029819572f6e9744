"""A state's choice of neighbourhoods as a table: subvolumes by shells, as scripts written for RECOVAR read it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covaria.estimation.states.selection import N_SELECTION_BANDS
from covaria.maps.filtering import report_positions
from covaria.maps.local import radial_bands

INSIDE = 0.5


@dataclass(frozen=True)
class Subvolumes:
    """owner (D, D, D) each voxel's subvolume, -1 outside the mask; places (S, 3) in `chosen_bandwidth.npy`."""

    owner: NDArray[np.float32]
    places: NDArray[np.int64]


def subvolumes(mask: NDArray[np.floating]) -> Subvolumes:
    """Those that own a voxel inside the mask (D, D, D): each voxel belongs to the nearest place of the lattice."""
    box = len(mask)
    positions = report_positions(box)
    nearest = np.abs(np.arange(box)[:, None] - positions).argmin(1)
    count = len(positions)
    flat = (nearest[:, None, None] * count + nearest[None, :, None]) * count + nearest[None, None, :]
    inside = mask > INSIDE
    held, number = np.unique(flat[inside], return_inverse=True)
    owner = np.full(mask.shape, -1, np.float32)
    owner[inside] = number
    return Subvolumes(owner, np.stack(np.unravel_index(held, (count,) * 3), 1).astype(np.int64))


def choice_by_shell(strongest: NDArray[np.int8], places: NDArray[np.int64], box: int) -> NDArray[np.int8]:
    """The heaviest candidate of each subvolume and shell, (S, D // 2), from those of bands and places (B, p, p, p)."""
    centres = np.array([band.centre for band in radial_bands(box, "cpu", N_SELECTION_BANDS)])
    band_of_shell = np.abs(np.arange(box // 2)[:, None] - centres).argmin(1)
    by_band = strongest[:, places[:, 0], places[:, 1], places[:, 2]]
    result: NDArray[np.int8] = by_band[band_of_shell].T.copy()
    return result
