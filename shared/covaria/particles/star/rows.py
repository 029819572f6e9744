"""What single columns say of each row: its half-set, and what its grey levels are divided by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.particles.metadata import RowCheck

LEAST_NORM, MOST_NORM = 1e-9, 1e9


def half_sets(
    subset: NDArray[np.float64] | None, source: Path, column: str
) -> tuple[NDArray[np.int8] | None, list[RowCheck]]:
    """(N,) 0 or 1, -1 where the file says neither, and the check that refuses that."""
    if subset is None:
        return None, []
    known = (subset == 1) | (subset == 2)
    hint = "correct it, remove the column, or give --halfsets"
    check = RowCheck(~known, source, column, "a half-set is neither 1 nor 2", hint)
    return np.where(known, subset - 1, -1).astype(np.int8), [check]


def norm_gain(
    norm: NDArray[np.float64] | None, source: Path, column: str
) -> tuple[NDArray[np.float32] | None, list[RowCheck]]:
    """RELION divides an image by its norm correction and multiplies by the average; ours is the median."""
    if norm is None:
        return None, []
    usable = (norm > LEAST_NORM) & (norm < MOST_NORM)
    check = RowCheck(
        ~usable, source, column, lambda row: f"a normalisation of {norm[row]:g}", "correct it, or remove the column"
    )
    if not usable.any():  # written by a program that does not know it
        return None, []
    if np.ptp(norm[usable]) == 0:
        return None, [check]
    return (np.median(norm[usable]) / np.where(usable, norm, 1.0)).astype(np.float32), [check]
