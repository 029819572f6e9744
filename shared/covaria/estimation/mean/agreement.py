"""Whether images taken for the same molecule in the same frame are: their mean is the mean that is known."""

from __future__ import annotations

import numpy as np

from covaria.maps import fsc

TOLD_BY = 0.3
"""FSC of the new half-maps from which a shell says whether the means agree."""
AGREE = 0.7
"""Least correlation of the new mean with the known one, as a part of what its own noise leaves possible."""


def agreement_of(halves: np.ndarray, mask: np.ndarray, mean: np.ndarray) -> float:
    """sum FSC(new, known) / sum sqrt(2 FSC / (1 + FSC)) over the shells that the new half-maps know; NaN: none.

    halves (2, D, D, D) unregularised, of the new images; mask, mean (D, D, D)
    """
    between = fsc(halves[0], halves[1], mask)
    cross = fsc(halves.mean(0), mean, mask)
    shells = np.flatnonzero(between > TOLD_BY)
    shells = shells[shells >= 2]
    if not len(shells):
        return float("nan")
    possible = np.sqrt(2 * between[shells] / (1 + between[shells]))
    return float(cross[shells].sum() / possible.sum())
