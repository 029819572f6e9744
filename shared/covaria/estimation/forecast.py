"""What more images of the same kind would show: reckoned from what a run has, as intervals.

Components: the z-score of a component's held-out likelihood grows with the images. That of one whose axis is known
well grows as their square root; that of a weak one faster, because its axis becomes better known as well: z M^p, p
between 1/2 and `STEEPEST`, M times as many images. It is confirmed above `SIGNIFICANCE`; z itself has an error of 1.
Resolution: signal over noise of the mean's shells, FSC / (1 - FSC), grows as M; beyond the shells that are known it
goes on as a line of its logarithm over squared frequency.
Populations: the width of an interval shrinks as M^(-1/2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from covaria.estimation.components.confirmation import SIGNIFICANCE

FACTORS = (2, 4, 8)
"""Times as many images."""
SURE = 1.645
"""Standard deviations to either end of a 90 % interval."""
FLATTEST, STEEPEST = 0.5, 1.5
"""Powers of the number of images with which a z-score grows."""
SEEN_FROM = 0.5
"""Least z-score of what may be a component at all."""
CROSSING = 0.143
KNOWN, LEAST_SHELLS = (0.05, 0.95), 3
"""FSC between which a shell says something of its signal over noise, and how many have to."""
LEAST_SPREAD = 0.35
"""Of the logarithm of signal over noise about its line."""
OF_A_WIDTH = 0.25
"""How far an interval's width is off itself."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Forecast:
    """At `factor` times as many images: 90 % intervals, ends (low, high).

    components: how many are confirmed; resolution_angstrom: of the mean, the better end first, None where the FSC does
    not say; population: width of the widest interval of a population now kept, as a share, None where there is none
    """

    factor: int
    components: tuple[int, int]
    resolution_angstrom: Interval | None
    population: Interval | None


def forecast(
    z_score: NDArray[np.floating], fsc: NDArray[np.floating], voxel_angstrom: float, width: float | None
) -> list[Forecast]:
    """z_score (K,) of all components that were tested, fsc (D // 2,) of the mean's half-maps, width of a population's
    90 % interval."""
    scores = np.asarray(z_score, np.float64)
    return [
        Forecast(
            factor,
            components_at(scores, factor),
            resolution_at(np.asarray(fsc, np.float64), voxel_angstrom, factor),
            None if width is None else _widths(width / np.sqrt(factor)),
        )
        for factor in FACTORS
    ]


def components_at(z_score: NDArray[np.float64], factor: float) -> tuple[int, int]:
    """The fewest and the most that are confirmed."""
    low = z_score * factor**FLATTEST - SURE > SIGNIFICANCE
    high = (z_score + SURE) * factor**STEEPEST > SIGNIFICANCE
    return int(low.sum()), int((high & (z_score > SEEN_FROM)).sum())


def resolution_at(fsc: NDArray[np.float64], voxel_angstrom: float, factor: float) -> Interval | None:
    """Where the FSC crosses 0.143, the better end first; never finer than two voxels."""
    shells = np.arange(len(fsc))
    known = np.flatnonzero((fsc > KNOWN[0]) & (fsc < KNOWN[1]) & (shells > 0))
    first_below = np.flatnonzero((fsc < CROSSING) & (shells > 0))
    last = int(first_below[0]) + 1 if len(first_below) else len(fsc)
    known = known[known <= last]
    nyquist = 2 * voxel_angstrom
    if len(known) < LEAST_SHELLS:
        return (nyquist, nyquist) if not len(first_below) else None
    signal = np.log(fsc[known] / (1 - fsc[known]))
    slope, level = np.polyfit(known.astype(float) ** 2, signal, 1)
    if slope >= 0:
        return None
    spread = max(float(np.std(signal - (slope * known.astype(float) ** 2 + level))), LEAST_SPREAD)
    wanted = np.log(CROSSING / (1 - CROSSING)) - np.log(factor)
    ends = [np.sqrt(max((wanted - level - way * SURE * spread) / slope, 1.0)) for way in (1, -1)]
    box = 2 * len(fsc)
    fine, coarse = sorted(max(box * voxel_angstrom / float(shell), nyquist) for shell in ends)
    return fine, coarse


def _widths(width: float) -> Interval:
    return width * (1 - OF_A_WIDTH), width * (1 + OF_A_WIDTH)
