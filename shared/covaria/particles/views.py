"""From where the particles are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PARTICLES_A_CELL = 20
FEWEST, MOST = 6, 36
ONE_SIDED = 0.5
"""Share of the particles in a tenth of the directions from which on a word is due."""
UNSEEN = 0.3


@dataclass(frozen=True)
class Views:
    """Over cells of equal area on the sphere of directions; a direction and its opposite are one, as projections are.

    unseen   share of the cells without a particle
    densest  share of the particles in the densest tenth of the cells; .1 where the distribution is even
    """

    unseen: float
    densest: float

    def __str__(self) -> str:
        seen, densest = 100 * (1 - self.unseen), 100 * self.densest
        return f"{seen:.0f} % of directions seen, {densest:.0f} % of particles in a tenth of them"

    @property
    def doubt(self) -> str:
        """What a person should know, or ""."""
        if self.densest > ONE_SIDED:
            return f"{100 * self.densest:.0f} % of the particles lie in a tenth of the directions: maps may be smeared"
        if self.unseen > UNSEEN:
            return f"{100 * self.unseen:.0f} % of the directions are not seen: maps may be smeared along them"
        return ""


def views_of(rotations: NDArray[np.float64]) -> Views:
    """rotations (N, 3, 3): image(kx, ky) = volume(R^T (kx, ky, 0)); the direction of view is R's last row."""
    direction = rotations[:, 2, :]
    direction = direction * np.where(direction[:, 2:] < 0, -1.0, 1.0)
    rows = int(np.clip(np.sqrt(len(direction) / PARTICLES_A_CELL / 2), FEWEST, MOST))
    longitude = np.arctan2(direction[:, 1], direction[:, 0])
    counts = np.histogram2d(longitude, direction[:, 2], bins=(2 * rows, rows), range=((-np.pi, np.pi), (0, 1)))[0]
    ordered = np.sort(counts.ravel())[::-1]
    tenth = max(round(0.1 * counts.size), 1)
    return Views(float((counts == 0).mean()), float(ordered[:tenth].sum() / max(counts.sum(), 1)))
