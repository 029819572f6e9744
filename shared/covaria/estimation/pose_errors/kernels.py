"""What a CPU does for `columns.slices_with_errors`: slices, pose errors, CTF and the image itself, image by image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from covaria.imaging.kernels import locate, read

Array = NDArray[Any]
TURN = np.float32(2 * np.pi)


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def slices(
    volumes: Array, rotations: Array, kx: Array, ky: Array, ctf: Array, pixels: Array, scale: Array, out: Array
) -> None:
    """out (b, n, 2, 1+p+K+1) = CTF times the slices of mean, p errors and components; then the image's own pixels.

    volumes (M, M, H, 2C): real parts, then imaginary parts, of mean, components and, where there are errors, moments;
    scale (p,) of the errors, none or five
    """
    flat = volumes.reshape(-1)
    channels, width, n, errors = volumes.shape[3], out.shape[3], kx.shape[0], scale.shape[0]
    imaginary, count = channels // 2, width - 2 - errors
    for b in prange(rotations.shape[0]):
        at, part, seen = np.empty(n, np.int64), np.empty((4, n), np.float32), np.empty((n, channels), np.float32)
        locate(rotations[b], kx, ky, volumes.shape, at, part)
        read(flat, volumes.shape, at, part, ctf[b], seen)
        source, to = seen.reshape(-1), out[b].reshape(-1)
        for p in range(n):
            re, im, i, j, sign = 2 * p * width, (2 * p + 1) * width, p * channels, p * channels + imaginary, part[3, p]
            to[re], to[im] = source[i], sign * source[j]
            for k in range(count):
                to[re + 1 + errors + k] = source[i + 1 + k]
            for k in range(count):
                to[im + 1 + errors + k] = sign * source[j + 1 + k]
            to[re + width - 1], to[im + width - 1] = pixels[b, p, 0], pixels[b, p, 1]
        if errors:
            r = rotations[b]
            for p in range(n):
                re, im, i, sign = 2 * p * width, (2 * p + 1) * width, p * channels + 1 + count, part[3, p]
                j = i + imaginary
                x, y = TURN * np.float32(kx[p]), TURN * np.float32(ky[p])
                ax, ay, az = source[i], source[i + 1], source[i + 2]
                bx, by, bz = sign * source[j], sign * source[j + 1], sign * source[j + 2]
                dx, dy = scale[0] * x, scale[1] * y
                ux, uy, zx, zy = scale[3] * x, scale[2] * y, scale[4] * x, scale[4] * y
                tx, ty, tz = zy * r[0, 0] - zx * r[1, 0], zy * r[0, 1] - zx * r[1, 1], zy * r[0, 2] - zx * r[1, 2]
                gz_re, gz_im = r[2, 0] * ax + r[2, 1] * ay + r[2, 2] * az, r[2, 0] * bx + r[2, 1] * by + r[2, 2] * bz
                to[re + 1], to[im + 1] = -dx * to[im], dx * to[re]
                to[re + 2], to[im + 2] = -dy * to[im], dy * to[re]
                to[re + 3], to[im + 3] = -uy * gz_im, uy * gz_re
                to[re + 4], to[im + 4] = ux * gz_im, -ux * gz_re
                to[re + 5], to[im + 5] = tx * bx + ty * by + tz * bz, -(tx * ax + ty * ay + tz * az)
