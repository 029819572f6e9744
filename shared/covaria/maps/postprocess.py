"""From two half-maps to one map: resolution by masked FSC that chance does not help, sharpening, a low-pass filter.

A mask correlates the half-maps' noise. How much is seen from half-maps whose phases were replaced by random ones beyond
a shell: FSC = (FSC_masked - FSC_random) / (1 - FSC_random) there (Chen et al. 2013, Ultramicroscopy 135, 24). The map
is weighted by sqrt(2 FSC / (1 + FSC)) (Rosenthal & Henderson 2003) and sharpened by the slope of its Guinier plot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from covaria.maps.correlation import ONE_SEVENTH, fsc
from covaria.maps.fourier import FloatArray, radial_filter, shell_average, shell_indices

RANDOM_BELOW = 0.8
"""Phases are random from the shell on where the unmasked FSC falls below this."""
MARGIN_SHELLS = 2
"""As many shells beyond it keep the masked FSC: the edge of randomisation leaks into them."""
EDGE_SHELLS = 2
GUINIER_LOW_ANGSTROM = 10.0
FEWEST_SHELLS = 3


@dataclass(frozen=True)
class FscCurves:
    """Shells 0 .. D//2-1; corrected is the masked curve less what random phases reach through the mask."""

    unmasked: NDArray[np.float64]
    masked: NDArray[np.float64]
    random: NDArray[np.float64]
    corrected: NDArray[np.float64]
    random_from: int
    pixel_size_angstrom: float

    @property
    def last_shell(self) -> int:
        """The last shell before the corrected curve first falls below 1/7 (at least 1)."""
        below = np.flatnonzero(self.corrected[1:] < ONE_SEVENTH)
        return max(int(below[0]) if len(below) else len(self.corrected) - 1, 1)

    @property
    def resolution_angstrom(self) -> float:
        return self.angstrom(self.last_shell)

    def angstrom(self, shell: int) -> float:
        """The resolution of a shell."""
        return 2 * len(self.corrected) * self.pixel_size_angstrom / shell


@dataclass(frozen=True)
class Guinier:
    """squared_frequency (n,) in 1/angstrom^2, log_amplitude (n,) of the weighted map, used (n,) in the fit."""

    squared_frequency: NDArray[np.float64]
    log_amplitude: NDArray[np.float64]
    used: NDArray[np.bool_]
    b_factor: float
    """Positive sharpens (square angstrom)."""
    fitted: bool


def fsc_curves(
    half1: FloatArray, half2: FloatArray, mask: FloatArray, pixel_size_angstrom: float, seed: int = 0
) -> FscCurves:
    """FSC of two half-maps (D, D, D): as they are, inside the mask, and corrected for the mask."""
    unmasked, masked = fsc(half1, half2), fsc(half1, half2, mask)
    below = np.flatnonzero(unmasked[1:] < RANDOM_BELOW)
    start = int(below[0]) + 1 if len(below) else len(unmasked)
    seeds = np.random.SeedSequence(seed).spawn(2)
    halves = [random_phases(half, start, one) for half, one in zip((half1, half2), seeds, strict=True)]
    random = fsc(halves[0], halves[1], mask)
    first = start + MARGIN_SHELLS
    corrected = masked.copy()
    chance = random[first:]
    better = np.divide(masked[first:] - chance, 1 - chance, out=np.zeros_like(chance), where=chance < 1)
    corrected[first:] = np.where(chance > masked[first:], 0.0, better)
    return FscCurves(unmasked, masked, random, corrected, start, pixel_size_angstrom)


def random_phases(volume: FloatArray, start: int, seed: np.random.SeedSequence) -> NDArray[np.float32]:
    """The volume with its amplitudes kept and random phases from shell `start` on."""
    transform = scipy.fft.rfftn(volume.astype(np.float32), workers=-1)
    # The phases of white noise are random and Hermitian as those of a real volume must be.
    noise = np.random.default_rng(seed).standard_normal(volume.shape, dtype=np.float32)
    other = scipy.fft.rfftn(noise, workers=-1)
    other *= np.abs(transform) / np.maximum(np.abs(other), np.float32(1e-30))
    mixed = np.where(shell_indices(volume.shape[0]) >= start, other, transform)
    result: NDArray[np.float32] = scipy.fft.irfftn(mixed, s=volume.shape, workers=-1).astype(np.float32)
    return result


def fsc_weights(curves: FscCurves) -> NDArray[np.float64]:
    """(D//2,) the expected correlation of the average with the truth."""
    positive = np.clip(curves.corrected, 0, 1)
    weights = np.sqrt(2 * positive / (1 + positive))
    weights[0] = 1.0
    return np.asarray(weights)


def fit_guinier(
    average: FloatArray, curves: FscCurves, low_angstrom: float = GUINIER_LOW_ANGSTROM, b_factor: float | None = None
) -> Guinier:
    """The Guinier plot of the average (D, D, D), weighted, and its B-factor between `low_angstrom` and the resolution.

    `b_factor` is taken where given; where fewer than three shells lie in the range it is 0.
    """
    box = average.shape[0]
    power = np.abs(scipy.fft.rfftn(average.astype(np.float32), workers=-1))
    amplitude = shell_average(power, box) * fsc_weights(curves)
    shells = np.arange(1, box // 2)
    frequency = shells / (box * curves.pixel_size_angstrom)
    there = (amplitude[1:] > 0) & (shells <= curves.last_shell)
    logarithm = np.log(amplitude[1:], out=np.full(len(shells), -np.inf), where=there)
    used = there & (frequency >= 1 / low_angstrom)
    fitted = b_factor is None and int(used.sum()) >= FEWEST_SHELLS
    if fitted:
        b_factor = float(-4 * np.polyfit(frequency[used] ** 2, logarithm[used], 1)[0])
    return Guinier(frequency**2, logarithm, used, b_factor or 0.0, fitted)


def sharpened(average: FloatArray, curves: FscCurves, b_factor: float) -> NDArray[np.float32]:
    """The average weighted by its FSC, sharpened (a positive B, square angstrom) and low-passed at the resolution."""
    box = average.shape[0]
    shells = np.arange(box // 2)
    frequency = shells / (box * curves.pixel_size_angstrom)
    past = np.clip((shells - curves.last_shell + EDGE_SHELLS / 2) / EDGE_SHELLS, 0, 1)
    low_pass = 0.5 + 0.5 * np.cos(np.pi * past)
    return radial_filter(average, fsc_weights(curves) * np.exp(b_factor * frequency**2 / 4) * low_pass)
