"""Trilinear gather and scatter on a CPU: the two loops in which most of a run's time is spent.

A volume lies as [z, y, x, channel] float32 on a grid padded twofold (two cells for one frequency unit), z and y
centred, x >= 0 only. Channels are contiguous: the eight corners of a pixel are four runs of memory. A pixel whose x is
negative is read at its mate and conjugated, which flips the sign of the imaginary channels alone.

An image's places are found first, all together; its corners are then asked for AHEAD of their use, because pixels of
one image never share a voxel and memory is far away.

The scatter gives each thread a slab of z of equal expected load; threads share nothing and the result does not depend
on their number.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir
import numpy as np
from numba import get_num_threads, int32, njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

Array = NDArray[Any]

AHEAD = 8
"""Pixels; four cache lines or more each."""
LINE = 16
"""float32 numbers in a cache line."""
ONE, TWO = np.float32(1), np.float32(2)


def _prefetch_typed(typing_context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of array[index]; nothing happens where it lies outside."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        pointer = builder.bitcast(builder.gep(source.data, [arguments[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        find: Any = cgutils.get_or_insert_function
        prefetch = find(builder.module, kind, "llvm.prefetch.p0")
        builder.call(prefetch, [pointer, ir.Constant(word, 0), ir.Constant(word, 3), ir.Constant(word, 1)])
        return context.get_dummy_value()

    return types.void(array, index), generate


_prefetch: Any = intrinsic(_prefetch_typed)


@njit(inline="always")
def _ask_for(flat: Array, at: int, row: int, slab: int, channels: int) -> None:
    """The four runs of two voxels that begin at `at`."""
    for k in range(0, 2 * channels, LINE):
        _prefetch(flat, at + k)
        _prefetch(flat, at + row + k)
        _prefetch(flat, at + slab + k)
        _prefetch(flat, at + slab + row + k)


@njit(fastmath=True, nogil=True, inline="always")
def locate(rotation: Array, kx: Array, ky: Array, shape: Any, at: Array, part: Array) -> None:
    """Of each pixel: the flat index `at` (n,) of its lowest corner; `part` (4, n): x, y, z within its cell, sign."""
    size, columns, channels = shape[1], shape[2], shape[3]
    centre = size // 2
    r = rotation
    for p in range(kx.shape[0]):
        x, y = TWO * np.float32(kx[p]), TWO * np.float32(ky[p])
        qx, qy, qz = x * r[0, 0] + y * r[1, 0], x * r[0, 1] + y * r[1, 1], x * r[0, 2] + y * r[1, 2]
        sign = -ONE if qx < 0 else ONE
        qx, qy, qz = sign * qx, sign * qy, sign * qz
        ix, iy, iz = int32(np.floor(qx)), int32(np.floor(qy)), int32(np.floor(qz))
        part[0, p], part[1, p], part[2, p] = qx - np.float32(ix), qy - np.float32(iy), qz - np.float32(iz)
        part[3, p] = sign
        at[p] = (((np.int64(iz) + centre) * size + iy + centre) * columns + ix) * channels


@njit(fastmath=True, nogil=True, inline="always")
def read(flat: Array, shape: Any, at: Array, part: Array, gain: Array, out: Array) -> None:
    """out (n, C) = trilinear values at places found by `locate`, times `gain` (n,); not yet conjugated at mates."""
    channels = shape[3]
    row = shape[2] * channels
    slab = shape[1] * row
    last = at.shape[0] - 1
    for p in range(at.shape[0]):
        _ask_for(flat, at[min(p + AHEAD, last)], row, slab, channels)
        i, fx, fy, fz, g = at[p], part[0, p], part[1, p], part[2, p], gain[p]
        gx = ONE - fx
        w00, w01, w10, w11 = g * (ONE - fz) * (ONE - fy), g * (ONE - fz) * fy, g * fz * (ONE - fy), g * fz * fy
        v00, v01 = flat[i : i + 2 * channels], flat[i + row : i + row + 2 * channels]
        i += slab
        v10, v11 = flat[i : i + 2 * channels], flat[i + row : i + row + 2 * channels]
        to = out[p]
        for c in range(channels):
            f = c + channels
            near = w00 * v00[c] + w01 * v01[c] + w10 * v10[c] + w11 * v11[c]
            far = w00 * v00[f] + w01 * v01[f] + w10 * v10[f] + w11 * v11[f]
            to[c] = gx * near + fx * far


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def gather(volume: Array, rotations: Array, kx: Array, ky: Array, n_complex: int, out: Array) -> None:
    """out[b, p, :] = trilinear value of `volume` at R_b^T (kx, ky, 0); volume (M, M, H, C), out (B, n, C)."""
    flat = volume.reshape(-1)
    n = kx.shape[0]
    for b in prange(rotations.shape[0]):
        at, part, gain = np.empty(n, np.int64), np.empty((4, n), np.float32), np.ones(n, np.float32)
        locate(rotations[b], kx, ky, volume.shape, at, part)
        read(flat, volume.shape, at, part, gain, out[b])
        for p in range(n):
            if part[3, p] < 0:
                for c in range(n_complex, 2 * n_complex):
                    out[b, p, c] = -out[b, p, c]


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def scatter(
    sums: Array, rotations: Array, kx: Array, ky: Array, values: Array, gain: Array, weights: Array, slabs: Array
) -> None:
    """Add to sums (M, M, H, 2K + L) the complex `values` (B, n, 2K) times `gain` (B, n) and the real `weights`
    (B, n, L), trilinearly."""
    flat = sums.reshape(-1)
    channels = sums.shape[3]
    row = sums.shape[2] * channels
    slab = sums.shape[1] * row
    n, n_values, n_weights = kx.shape[0], values.shape[2], weights.shape[2]
    n_complex = n_values // 2
    for s in prange(slabs.shape[0] - 1):
        low, high = slabs[s] * slab, slabs[s + 1] * slab
        at, part = np.empty(n, np.int64), np.empty((4, n), np.float32)
        point = np.empty(2 * channels, np.float32)
        for b in range(rotations.shape[0]):
            locate(rotations[b], kx, ky, sums.shape, at, part)
            for p in range(n):
                i = at[p]
                if i + slab < low or i >= high:
                    continue
                _ask_for(flat, at[min(p + AHEAD, n - 1)], row, slab, channels)
                fx, fy, fz, g = part[0, p], part[1, p], part[2, p], gain[b, p]
                conjugated = g * part[3, p]
                for c in range(n_complex):
                    point[c] = g * values[b, p, c]
                for c in range(n_complex, n_values):
                    point[c] = conjugated * values[b, p, c]
                for c in range(n_weights):
                    point[n_values + c] = weights[b, p, c]
                for c in range(channels):
                    point[channels + c] = fx * point[c]
                    point[c] = (ONE - fx) * point[c]
                if i >= low:
                    _add(flat[i : i + 2 * channels], (ONE - fz) * (ONE - fy), point)
                    _add(flat[i + row : i + row + 2 * channels], (ONE - fz) * fy, point)
                i += slab
                if i >= low and i < high:
                    _add(flat[i : i + 2 * channels], fz * (ONE - fy), point)
                    _add(flat[i + row : i + row + 2 * channels], fz * fy, point)


@njit(fastmath=True, nogil=True, inline="always")
def _add(run: Array, weight: float, point: Array) -> None:
    for c in range(point.shape[0]):
        run[c] += weight * point[c]


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
