"""Trilinear gather and scatter on a CPU: the two loops in which most of a run's time is spent.

A volume lies as [z, y, x, channel] float32 on a grid padded twofold (two cells for one frequency unit), z and y
centred, x >= 0 only. Channels are contiguous: one cache line brings all components of a voxel. A pixel whose x is
negative is read at its mate and conjugated, which flips the sign of the imaginary channels alone.

The scatter gives each thread a slab of z of equal expected load; threads share nothing and the result does not depend
on their number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import get_num_threads, njit, prange
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def gather(volume: Array, rotations: Array, kx: Array, ky: Array, n_complex: int, out: Array) -> None:
    """out[b, p, :] = trilinear value of `volume` at R_b^T (kx, ky, 0); volume (M, M, H, 2K), out (B, n, 2K)."""
    centre = volume.shape[0] // 2
    channels = volume.shape[3]
    for b in prange(rotations.shape[0]):
        r = rotations[b]
        for p in range(kx.shape[0]):
            qx = 2.0 * (kx[p] * r[0, 0] + ky[p] * r[1, 0])
            qy = 2.0 * (kx[p] * r[0, 1] + ky[p] * r[1, 1])
            qz = 2.0 * (kx[p] * r[0, 2] + ky[p] * r[1, 2])
            sign = 1.0
            if qx < 0.0:
                qx, qy, qz, sign = -qx, -qy, -qz, -1.0
            ix, iy, iz = int(np.floor(qx)), int(np.floor(qy)), int(np.floor(qz))
            fx, fy, fz = np.float32(qx - ix), np.float32(qy - iy), np.float32(qz - iz)
            iy += centre
            iz += centre
            w00 = (1 - fz) * (1 - fy)
            w01 = (1 - fz) * fy
            w10 = fz * (1 - fy)
            w11 = fz * fy
            gx = 1 - fx
            v00, v01, v10, v11 = volume[iz, iy], volume[iz, iy + 1], volume[iz + 1, iy], volume[iz + 1, iy + 1]
            for c in range(channels):
                out[b, p, c] = (
                    w00 * (gx * v00[ix, c] + fx * v00[ix + 1, c])
                    + w01 * (gx * v01[ix, c] + fx * v01[ix + 1, c])
                    + w10 * (gx * v10[ix, c] + fx * v10[ix + 1, c])
                    + w11 * (gx * v11[ix, c] + fx * v11[ix + 1, c])
                )
            if sign < 0:
                for c in range(n_complex, 2 * n_complex):
                    out[b, p, c] = -out[b, p, c]


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def scatter(sums: Array, rotations: Array, kx: Array, ky: Array, values: Array, weights: Array, slabs: Array) -> None:
    """Add to sums (M, M, H, 2K + L) the complex `values` (B, n, 2K) and the real `weights` (B, n, L), trilinearly."""
    centre = sums.shape[0] // 2
    n_values, n_weights = values.shape[2], weights.shape[2]
    n_complex = n_values // 2
    for s in prange(slabs.shape[0] - 1):
        low, high = slabs[s], slabs[s + 1]
        point = np.empty(n_values + n_weights, np.float32)
        for b in range(rotations.shape[0]):
            r = rotations[b]
            for p in range(kx.shape[0]):
                qx = 2.0 * (kx[p] * r[0, 0] + ky[p] * r[1, 0])
                qz = 2.0 * (kx[p] * r[0, 2] + ky[p] * r[1, 2])
                sign = 1.0
                if qx < 0.0:
                    qx, qz, sign = -qx, -qz, -1.0
                iz = int(np.floor(qz))
                if iz + 1 + centre < low or iz + centre >= high:
                    continue
                qy = sign * 2.0 * (kx[p] * r[0, 1] + ky[p] * r[1, 1])
                ix, iy = int(np.floor(qx)), int(np.floor(qy))
                fx, fy, fz = np.float32(qx - ix), np.float32(qy - iy), np.float32(qz - iz)
                iy += centre
                iz += centre
                for c in range(n_complex):
                    point[c] = values[b, p, c]
                if sign > 0:
                    for c in range(n_complex, n_values):
                        point[c] = values[b, p, c]
                else:
                    for c in range(n_complex, n_values):
                        point[c] = -values[b, p, c]
                for c in range(n_weights):
                    point[n_values + c] = weights[b, p, c]
                for dz in range(2):
                    if iz + dz < low or iz + dz >= high:
                        continue
                    wz = fz if dz else 1 - fz
                    for dy in range(2):
                        w = wz * (fy if dy else 1 - fy)
                        near = sums[iz + dz, iy + dy, ix]
                        far = sums[iz + dz, iy + dy, ix + 1]
                        w0, w1 = w * (1 - fx), w * fx
                        for c in range(n_values + n_weights):
                            near[c] += w0 * point[c]
                            far[c] += w1 * point[c]


def z_slabs(size: int) -> np.ndarray:
    """Slab borders in z for the threads at hand. Samples thin out as (limit - abs(z)): borders hold equal shares."""
    n = get_num_threads()
    centre = size // 2
    share = np.linspace(0, 1, n + 1)
    z = np.where(share <= 0.5, -1 + np.sqrt(2 * share), 1 - np.sqrt(np.maximum(2 - 2 * share, 0)))
    borders = np.rint(centre + z * centre).astype(np.int64)
    borders[0], borders[-1] = 0, size
    result: np.ndarray = borders
    return result
