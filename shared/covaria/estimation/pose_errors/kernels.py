"""The loop of `columns.with_errors` on a CPU: one read and one write of every slice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Array = NDArray[Any]
TURN = np.float32(2 * np.pi)


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def expand(found: Array, rotations: Array, kx: Array, ky: Array, ctf: Array, scale: Array, out: Array) -> None:
    """out (b, n, 2, 1+5+K) = CTF times (mean, five errors, components); found (b, n, 2, 1+K+3): mean, components,
    moments. scale (5,) of the errors."""
    count = found.shape[3] - 4
    for b in prange(found.shape[0]):
        r = rotations[b]
        for p in range(found.shape[1]):
            c = ctf[b, p]
            x, y = TURN * kx[p], TURN * ky[p]
            for part in range(2):
                other, sign = 1 - part, np.float32(1.0 if part else -1.0)  # i (re, im) = (-im, re)
                source = found[b, p, other]
                s = sign * c * source[0]
                mx, my, mz = source[count + 1], source[count + 2], source[count + 3]
                gx = -sign * c * (r[0, 0] * mx + r[0, 1] * my + r[0, 2] * mz)
                gy = -sign * c * (r[1, 0] * mx + r[1, 1] * my + r[1, 2] * mz)
                gz = -sign * c * (r[2, 0] * mx + r[2, 1] * my + r[2, 2] * mz)
                to = out[b, p, part]
                to[0] = c * found[b, p, part, 0]
                to[1] = scale[0] * x * s
                to[2] = scale[1] * y * s
                to[3] = -scale[2] * y * gz
                to[4] = scale[3] * x * gz
                to[5] = scale[4] * (y * gx - x * gy)
                for k in range(count):
                    to[6 + k] = c * found[b, p, part, 1 + k]
