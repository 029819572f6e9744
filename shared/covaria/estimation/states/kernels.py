"""What a CPU does for `estimates.residual_map`: two walks over the padded grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(fastmath=True, cache=True, nogil=True)
def quotient(sums: Array, shells: Array, count: int, last: int, ridge: float, out: Array) -> None:
    """out (n, 2) = numerator / (weight + ridge x its shell's mean) of sums (n, 3), whose points lie in `shells` (n,) of
    `count`; zero beyond shell `last` and where nothing was seen."""
    total, points = np.zeros(count), np.zeros(count)
    for i in range(shells.shape[0]):
        total[shells[i]] += sums[i, 2]
        points[shells[i]] += 1
    floor = (ridge * total / np.maximum(points, 1)).astype(np.float32)
    for i in range(shells.shape[0]):
        shell = shells[i]
        weight = sums[i, 2] + floor[shell]
        inverse = np.float32(1) / weight if shell <= last and weight > 0 else np.float32(0)
        out[i, 0] = sums[i, 0] * inverse
        out[i, 1] = sums[i, 1] * inverse
