"""The inner loop of the non-uniform FFT, compiled."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True, fastmath=True)
def gather(
    grid: NDArray[np.complex64], points: NDArray[np.float64], width: int, shape: float
) -> NDArray[np.complex64]:  # pragma: no cover - compiled
    """Interpolate `grid` [z, y, x] at `points` (P, 3) given as x, y, z in grid units: (P,) complex64."""
    count, size = points.shape[0], grid.shape[0]
    out = np.empty(count, np.complex64)
    weight = np.empty((3, width))
    first = np.empty(3, np.int64)
    for p in range(count):
        for axis in range(3):
            q = points[p, axis]
            start = int(np.ceil(q - width / 2))
            first[axis] = start
            for j in range(width):
                t = 2 * (start + j - q) / width
                weight[axis, j] = np.exp(shape * (np.sqrt(max(0.0, 1 - t * t)) - 1))
        total = 0j
        for a in range(width):
            z = (first[2] + a) % size
            for b in range(width):
                y = (first[1] + b) % size
                line = 0j
                for c in range(width):
                    line += grid[z, y, (first[0] + c) % size] * weight[0, c]
                total += line * (weight[2, a] * weight[1, b])
        out[p] = total
    return out
