"""What more images of the same kind would show: reckoned from what a run has, as intervals.

Components: the z-score of a component's held-out likelihood grows with the images. That of one whose axis is known
well grows as their square root; that of a weak one faster, because its axis becomes better known as well: z M^p, p
between 1/2 and `STEEPEST`, M times as many images. It is confirmed above `SIGNIFICANCE`; z itself has an error of 1.
Resolution: signal over noise of the mean's shells, FSC / (1 - FSC), grows as M. Few images know less than that of
themselves (mask, noise, contrasts), so intervals are wide.
States: the same of the half-maps of each, with powers between 1/2 and `STEEPEST`: the windows around a state become
narrower as images come, and the axes on which it lies better known and more.
Populations: the width of an interval shrinks as M^(-1/2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covaria.estimation.components.confirmation import SIGNIFICANCE

FACTORS = (2, 4, 8)
"""Times as many images."""
SURE = 1.645
"""Standard deviations to either end of a 90 % interval."""
FLATTEST, STEEPEST = 0.5, 1.5
"""Powers of the number of images with which a z-score grows, and signal over noise of a state."""
SEEN_FROM = -1.2
"""Least z-score of what may be a component at all: held out, what is fitted to noise lowers the likelihood."""
CROSSING = 0.143
SAMPLES = 2.0
"""The FSC of shell r, smoothed, has an error of about 1 / (SAMPLES r): of r^2 independent coefficients a few, inside a
mask. Chosen such that 0.89 of the intervals of nine simulated sets held (bench/forecast.py)."""
OF_A_WIDTH = 0.25
"""How far an interval's width is off itself."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Forecast:
    """At `factor` times as many images: 90 % intervals, ends (low, high).

    components: how many are confirmed; resolution_angstrom: of the mean, the better end first, None where the FSC does
    not say; state_resolution_angstrom: of states' maps, the middle one; population: width of the widest interval of a
    population now kept, as a share, None where there is none
    """

    factor: int
    components: tuple[int, int]
    resolution_angstrom: Interval | None
    state_resolution_angstrom: Interval | None
    population: Interval | None


def forecast(
    z_score: NDArray[np.floating],
    fsc: NDArray[np.floating],
    voxel_angstrom: float,
    width: float | None,
    states: Sequence[NDArray[np.floating]] = (),
) -> list[Forecast]:
    """z_score (K,) of all components that were tested, fsc (D // 2,) of the mean's half-maps, width of a population's
    90 % interval, states: the same FSC of each state's half-maps."""
    scores = np.asarray(z_score, np.float64)
    return [
        Forecast(
            factor,
            components_at(scores, factor),
            resolution_at(np.asarray(fsc, np.float64), voxel_angstrom, factor),
            states_at(states, voxel_angstrom, factor),
            None if width is None else _widths(width / np.sqrt(factor)),
        )
        for factor in FACTORS
    ]


def components_at(z_score: NDArray[np.float64], factor: float) -> tuple[int, int]:
    """The fewest and the most that are confirmed."""
    low = z_score * factor**FLATTEST - SURE > SIGNIFICANCE
    high = (z_score + SURE) * factor**STEEPEST > SIGNIFICANCE
    return int(low.sum()), int((high & (z_score > SEEN_FROM)).sum())


def resolution_at(
    fsc: NDArray[np.float64], voxel_angstrom: float, factor: float, powers: Interval = (1.0, 1.0)
) -> Interval | None:
    """Where the FSC crosses 0.143, the better end first, not finer than the last shell; None where nothing is seen.

    The FSC, smoothed over three shells, plus and minus `SURE` of its error; the worse end is not worse than now.
    powers: with which signal over noise grows with the images, at least and at most
    """
    shells, last = np.arange(len(fsc)), len(fsc) - 1
    if fsc[1] < CROSSING:
        return None
    smooth = np.convolve(np.pad(fsc, 1, mode="edge"), np.ones(3) / 3, "valid")
    error = SURE / (SAMPLES * np.maximum(shells, 1))
    now = _crossing(fsc, 1.0)
    fine = max(_crossing(smooth + error, factor ** powers[1]), now)
    coarse = max(_crossing(smooth - error, factor ** powers[0]), now - 1, 1)
    fine, coarse = min(fine, last), min(coarse, last)
    length = 2 * len(fsc) * voxel_angstrom
    return length / fine, length / coarse


def states_at(states: Sequence[NDArray[np.floating]], voxel_angstrom: float, factor: float) -> Interval | None:
    """The middle one of the states' resolutions: the medians of both ends; None without states that show anything."""
    curves = (np.asarray(fsc, np.float64) for fsc in states)
    found = [resolution_at(curve, voxel_angstrom, factor, (FLATTEST, STEEPEST)) for curve in curves]
    known = np.array([ends for ends in found if ends is not None])
    if not len(known):
        return None
    fine, coarse = np.median(known, axis=0).tolist()
    return fine, coarse


def _crossing(fsc: NDArray[np.float64], factor: float) -> int:
    """The first shell at which signal over noise, `factor` times as large, is too small; the last where none is."""
    value = np.clip(fsc, 1e-6, 0.999)
    below = np.flatnonzero(factor * value / (1 - value) < CROSSING / (1 - CROSSING))
    below = below[below >= 1]
    return int(below[0]) if len(below) else len(fsc) - 1


def _widths(width: float) -> Interval:
    return width * (1 - OF_A_WIDTH), width * (1 + OF_A_WIDTH)
