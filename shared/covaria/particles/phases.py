"""Phases that a microscope adds, as polynomials of the spatial frequency s = (x, y) in 1/angstrom.

Coefficients (..., T) belong to the monomials x^a y^b of `exponents`. An image is recorded as

    CTF(s) exp(i odd(s)) slice(s),   CTF = -sin(gamma + even(s))

    Zernike    sum c_i Z_i(s), Z = R_n^|m|(s) times cos(m angle), or sin(|m| angle) for negative m   RELION
    beam tilt  odd = -2 pi Cs lambda^2 s^2 (t . s), t in radians, Cs in angstrom                     RELION
Signs as RELION has them: tests/particles/test_relion_optics.py.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def exponents(count: int, *, odd: bool) -> list[tuple[int, int]]:
    """(a, b) of the first `count` monomials x^a y^b with a + b odd (1, 3 ..) or even (0, 2 ..)."""
    found: list[tuple[int, int]] = []
    order = 1 if odd else 0
    while len(found) < count:
        found += [(order - b, b) for b in range(order + 1)]
        order += 2
    return found[:count]


def monomials(x: Numbers, y: Numbers, count: int, *, odd: bool) -> Numbers:
    """(count, n) at points x, y (n,)."""
    return np.stack([x**a * y**b for a, b in exponents(count, odd=odd)])


def zernike_terms(count: int, *, odd: bool) -> list[tuple[int, int]]:
    """(m, n) of RELION's first `count` odd or even coefficients: n = 1, 3, 5.. or 0, 2, 4.., m = -n, -n + 2 .. n."""
    terms: list[tuple[int, int]] = []
    n = 1 if odd else 0
    while len(terms) < count:
        terms += [(m, n) for m in range(-n, n + 1, 2)]
        n += 2
    return terms[:count]


def of_zernike(coefficients: Numbers, *, odd: bool) -> Numbers:
    """RELION's odd or even coefficients (..., k) as a polynomial (..., T), T >= k."""
    return coefficients @ zernike_matrix(coefficients.shape[-1], odd=odd)


def to_zernike(polynomial: Numbers, *, odd: bool) -> Numbers:
    """RELION's coefficients (..., T) of a polynomial (..., T) of whole orders."""
    found: Numbers = polynomial @ np.linalg.inv(zernike_matrix(polynomial.shape[-1], odd=odd))
    return found


def of_beam_tilt(tilt_mrad: Numbers, voltage_kv: Numbers, spherical_aberration_mm: Numbers) -> Numbers:
    """RELION's beam tilt (N, 2) of a microscope (N,) as an odd polynomial (N, 6)."""
    volt = voltage_kv * 1e3
    wavelength2 = 12.2643247**2 / (volt * (1 + 0.978466e-6 * volt))
    x, y = (-2e-3 * np.pi * spherical_aberration_mm * 1e7 * wavelength2) * tilt_mrad.T
    return np.stack([0 * x, 0 * x, x, y, x, y], axis=1)


def added(first: Numbers | None, second: Numbers | None) -> Numbers | None:
    """The sum of two polynomials, the shorter one continued by zeros."""
    if first is None or second is None:
        return second if first is None else first
    if first.shape[-1] < second.shape[-1]:
        first, second = second, first
    total = first.copy()
    total[..., : second.shape[-1]] += second
    return total


def zernike_matrix(count: int, *, odd: bool) -> Numbers:
    """(count, T): each Zernike polynomial's coefficients; T = count where this ends a whole order."""
    terms = zernike_terms(count, odd=odd)
    highest = terms[-1][1]
    size = highest + 1
    half = size // 2
    listed = exponents(half * (half + 1) if odd else (half + 1) ** 2, odd=odd)
    grids = [_zernike(m, n, size) for m, n in terms]
    return np.array([[grid[place] for place in listed] for grid in grids])


def _zernike(m: int, n: int, size: int) -> Numbers:
    """grid[a, b]: the coefficient of x^a y^b in R_n^|m|(r) cos(m phi), or sin(|m| phi)."""
    angular = np.zeros((size, size))
    order = abs(m)
    for b in range(order + 1):  # (x + i y)^order
        value = comb(order, b) * 1j**b
        angular[order - b, b] = value.real if m >= 0 else value.imag
    total = np.zeros((size, size))
    for k in range((n - order) // 2 + 1):
        factor = (-1) ** k * comb(n - k, k) * comb(n - 2 * k, (n - order) // 2 - k)
        half = (n - order) // 2 - k
        for j in range(half + 1):  # (x^2 + y^2)^half
            shifted = np.zeros((size, size))
            a, b = 2 * (half - j), 2 * j
            shifted[a:, b:] = angular[: size - a, : size - b]
            total += factor * comb(half, j) * shifted
    return total
