"""What a microscope adds to a CTF and the image model leaves out: how far the phase is off, and where it matters.

An image is off by a phase phi(s) that grows with frequency. Up to pi/4 at the Nyquist frequency of the box used, a map
loses less than 30 % of its amplitude in the last shell and little before; that is noted. Beyond, it is refused.

    trefoil         2 pi/3 lambda^2 s^3 A                        cryoSPARC's trefoil_A
    tetrafoil       pi/2 lambda^3 s^4 A                          as spherical aberration (Rohou and Grigorieff, eq. 4)
    image shift     2 pi (d . s)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import NDArray

HARMFUL_RAD = pi / 4
DIRECTIONS = 48
RADII = (0.25, 0.5, 0.75, 1.0)

Phase = Callable[["Waves", NDArray[np.float64]], NDArray[np.float64]]
"""(frequencies (p, 2) in 1/angstrom) and coefficients (u, k) -> radians (u, p)."""


@dataclass(frozen=True)
class Waves:
    """Electrons of u entries, wavelength and Cs in angstrom (u, 1), at frequencies x and y (1, p) in 1/angstrom."""

    wavelength: NDArray[np.float64]
    spherical_aberration: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    @property
    def s2(self) -> NDArray[np.float64]:
        return self.x**2 + self.y**2


@dataclass(frozen=True)
class Aberration:
    """A column with values (G, k), which of them belongs to each row (N,), and what phase they make."""

    column: str
    values: NDArray[np.float64]
    of_row: NDArray[np.int64]
    phase: Phase

    def worst(
        self,
        voltage_kv: NDArray[np.float64],
        spherical_aberration_mm: NDArray[np.float64],
        box: int,
        pixel_size_angstrom: float,
    ) -> NDArray[np.float64]:
        """(N,) the largest phase in radians below the Nyquist frequency of images of `box` and pixel size."""
        table = np.column_stack([self.values[self.of_row], voltage_kv, spherical_aberration_mm])
        kinds, back = np.unique(table, axis=0, return_inverse=True)
        angle = 2 * pi * np.arange(DIRECTIONS) / DIRECTIONS
        radius = np.repeat(np.array(RADII) / (2 * pixel_size_angstrom), DIRECTIONS)
        angle = np.tile(angle, len(RADII))
        volt = kinds[:, -2:-1] * 1e3
        with np.errstate(all="ignore"):  # a row that is not used may hold anything
            waves = Waves(
                12.2643247 / np.sqrt(volt * (1 + 0.978466e-6 * volt)),
                kinds[:, -1:] * 1e7,
                radius * np.cos(angle)[None],
                radius * np.sin(angle)[None],
            )
            largest = np.abs(self.phase(waves, kinds[:, :-2])).max(axis=1)
        worst: NDArray[np.float64] = largest[back.reshape(-1)]
        return worst


def trefoil(waves: Waves, angstrom: NDArray[np.float64]) -> NDArray[np.float64]:
    """cryoSPARC's trefoil_A (u, 2), at its worst direction."""
    size = np.linalg.norm(angstrom, axis=1)[:, None]
    phase: NDArray[np.float64] = 2 * pi / 3 * waves.wavelength**2 * waves.s2**1.5 * size
    return phase


def tetrafoil(waves: Waves, angstrom: NDArray[np.float64]) -> NDArray[np.float64]:
    """cryoSPARC's tetra_A (u, 4), cosine and sine of 2 and of 4 angles, at the worst direction of each."""
    size = (np.hypot(*angstrom[:, :2].T) + np.hypot(*angstrom[:, 2:].T))[:, None]
    phase: NDArray[np.float64] = pi / 2 * waves.wavelength**3 * waves.s2**2 * size
    return phase


def image_shift(waves: Waves, angstrom: NDArray[np.float64]) -> NDArray[np.float64]:
    """cryoSPARC's shift_A (u, 2)."""
    return 2 * pi * (angstrom[:, :1] * waves.x + angstrom[:, 1:] * waves.y)
