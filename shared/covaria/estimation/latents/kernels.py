"""What a CPU does for `posterior.grid_costs`: each image's marginal cost over a grid of contrasts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

Array = NDArray[Any]

FEW = 8
"""Pivots that are multiplied before their logarithm is taken."""


@njit(fastmath=True, nogil=True, inline="always")
def _tridiagonal(a: Array, first: Array, second: Array, diagonal: Array, beside: Array) -> None:
    """Householder's reduction of a symmetric matrix (n, n), which is used up: diagonal (n,), beside[i] at (i, i - 1).

    The two vectors are turned with it.
    """
    n = a.shape[0]
    v, w = np.zeros(n), np.zeros(n)
    for k in range(n - 2):
        diagonal[k] = a[k, k]
        rest = 0.0
        for i in range(k + 2, n):
            rest += a[i, k] * a[i, k]
        if rest < 1e-300:
            beside[k + 1] = a[k + 1, k]
            continue
        length = np.sqrt(rest + a[k + 1, k] * a[k + 1, k])
        beside[k + 1] = -length if a[k + 1, k] > 0 else length
        for i in range(k + 1, n):
            v[i] = a[i, k]
        v[k + 1] -= beside[k + 1]
        factor = 2.0 / (rest + v[k + 1] * v[k + 1])
        along = 0.0
        for i in range(k + 1, n):
            total = 0.0
            for j in range(k + 1, n):
                total += a[i, j] * v[j]
            w[i] = factor * total
            along += w[i] * v[i]
        for i in range(k + 1, n):
            w[i] -= 0.5 * factor * along * v[i]
        for i in range(k + 1, n):
            for j in range(k + 1, n):
                a[i, j] -= v[i] * w[j] + w[i] * v[j]
        one, two = 0.0, 0.0
        for i in range(k + 1, n):
            one += v[i] * first[i]
            two += v[i] * second[i]
        for i in range(k + 1, n):
            first[i] -= factor * one * v[i]
            second[i] -= factor * two * v[i]
    if n > 1:
        diagonal[n - 2], beside[n - 1] = a[n - 2, n - 2], a[n - 1, n - 2]
    diagonal[n - 1] = a[n - 1, n - 1]


@njit(parallel=True, fastmath=True, cache=True, nogil=True)
def costs(gram: Array, overlap: Array, energy: Array, grid: Array, out: Array) -> None:
    """out (b, m) = -2 log p(y | c) at every contrast of `grid` (m,): gram (b, n, n), overlap (b, n), energy (b,)."""
    n, m = gram.shape[1] - 1, grid.shape[0]
    for b in prange(gram.shape[0]):
        for i in range(m):
            out[b, i] = energy[b] - 2 * grid[i] * overlap[b, 0] + grid[i] * grid[i] * gram[b, 0, 0]
        if n == 0:
            continue
        a, y, mean = gram[b, 1:, 1:].copy(), overlap[b, 1:].copy(), gram[b, 1:, 0].copy()
        diagonal, beside = np.empty(n), np.zeros(n)
        _tridiagonal(a, y, mean, diagonal, beside)
        pivot, left, seen, product = np.ones(m), np.zeros(m), np.zeros(m), np.ones(m)
        for k in range(n):
            for i in range(m):
                c = grid[i]
                step = c * c * beside[k] / pivot[i]
                left[i] = y[k] - c * mean[k] - step * left[i]
                pivot[i] = 1 + c * c * diagonal[k] - step * c * c * beside[k]
                seen[i] += left[i] * left[i] / pivot[i]
                product[i] *= pivot[i]
            if k % FEW == FEW - 1 or k == n - 1:
                for i in range(m):
                    out[b, i] += np.log(product[i])
                    product[i] = 1.0
        for i in range(m):
            out[b, i] -= grid[i] * grid[i] * seen[i]
