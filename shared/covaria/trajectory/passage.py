"""What stands in the way along a path, and whether anything passes there.

A conformation passes where particles are: N rho(z) V is how many of N particles truly lie within one standard error of
the point z, V the volume of that ellipsoid. Fewer than three expected are compatible with none (Poisson, 95 %).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gamma, pi

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covaria.trajectory.density import DensityGrid

Array = NDArray[np.float64]
FEWEST = 3.0


@dataclass(frozen=True)
class Passage:
    """energy_kt (m,) above the deepest point of the density; expected (m,) particles within one standard error."""

    energy_kt: Array
    expected: Array

    @property
    def highest(self) -> int:
        """The place of the barrier on the path."""
        return int(self.energy_kt.argmax())

    @property
    def barrier_kt(self) -> tuple[float, float]:
        """What it takes to leave the start, and the end, over the highest point."""
        top = float(self.energy_kt.max())
        return top - float(self.energy_kt[0]), top - float(self.energy_kt[-1])

    @property
    def passes(self) -> bool:
        """Whether particles are seen everywhere on the path."""
        return bool(self.expected.min() >= FEWEST)

    def words(self) -> str:
        """One sentence."""
        seen = "particles are seen all along it" if self.passes else "no particle is surely seen at its highest point"
        return f"barrier {self.barrier_kt[0]:.1f} kT from the start, {self.barrier_kt[1]:.1f} kT from the end; {seen}"

    def as_json(self) -> dict[str, object]:
        """What path.json says of it; energies that no particle reaches are null."""
        known = [float(value) if np.isfinite(value) else None for value in self.energy_kt]
        barriers = [value if np.isfinite(value) else None for value in self.barrier_kt]
        return {
            "energy_kt": known,
            "expected_particles": self.expected.tolist(),
            "barrier_kt": dict(zip(("from_start", "from_end"), barriers, strict=True)),
            "barrier_at": self.highest,
            "passes": self.passes,
        }


def passage_along(points: ArrayLike, density: DensityGrid, particles: int, error: ArrayLike) -> Passage:
    """Along points (m, >= d); error (d, d) is the covariance of a typical particle's error, latent units."""
    line = np.asarray(points, dtype=float)[:, : density.dim]
    mass = float(density.values.sum() * density.spacing.prod())
    values = density.at(line)
    with np.errstate(divide="ignore"):
        energy: Array = -np.log(values / density.values.max())
    ball = pi ** (density.dim / 2) / gamma(density.dim / 2 + 1)
    volume = ball * float(np.sqrt(np.linalg.det(np.asarray(error, dtype=float))))
    return Passage(energy, particles * values / mass * volume)
