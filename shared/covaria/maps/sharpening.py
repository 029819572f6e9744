"""B-factors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covaria.maps.fourier import FloatArray, radial_filter


def apply_b_factor(volume: FloatArray, b_factor: float, pixel_size_angstrom: float) -> NDArray[np.float32]:
    """Multiply by exp(+B s^2 / 4), s in 1/angstrom: a positive B (square angstrom) sharpens, a negative one blurs.

    0 returns the volume as it is. Otherwise shells beyond D//2-1 become zero.
    """
    if b_factor == 0:
        return np.array(volume, dtype=np.float32)
    box = volume.shape[0]
    frequency = np.arange(box // 2) / (box * pixel_size_angstrom)
    return radial_filter(volume, np.exp(b_factor * frequency**2 / 4))


def guinier_b_factor(
    amplitude: NDArray[np.floating], pixel_size_angstrom: float, low_angstrom: float, high_angstrom: float
) -> float:
    """The B (square angstrom, positive) that flattens a shell-averaged amplitude (D//2,) between two resolutions.

    Straight-line fit of ln amplitude = a - B s^2 / 4 (Rosenthal & Henderson 2003). Raises ValueError when fewer than
    three shells lie in the range.
    """
    frequency = np.arange(len(amplitude)) / (2 * len(amplitude) * pixel_size_angstrom)
    inside = (frequency >= 1 / low_angstrom) & (frequency <= 1 / high_angstrom) & (np.asarray(amplitude) > 0)
    if inside.sum() < 3:
        raise ValueError(f"only {inside.sum()} shells lie between {low_angstrom:g} and {high_angstrom:g} angstrom")
    slope = np.polyfit(frequency[inside] ** 2, np.log(np.asarray(amplitude)[inside]), 1)[0]
    return float(-4 * slope)
