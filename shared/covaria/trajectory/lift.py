"""A path found in the density's few coordinates, continued in all of them.

The coordinates that the density does not have follow the particles: at each point of the path their mean over the
particles nearby (a Gaussian kernel that holds 5 % of the particles), smoothed along the path, and shifted so that both
ends stay where asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from covaria.trajectory.density import DensityGrid, marginal_density
from covaria.trajectory.passage import Passage
from covaria.trajectory.path import DensityPath, at_equal_shares, find_path, resample

Array = NDArray[np.float64]
FEWEST_NEIGHBOURS = 50
NEIGHBOUR_SHARE = 0.05
SMOOTHING_SHARE = 0.04
"""Of the path's length: neighbouring points share most of their particles, what still differs between them is noise."""


@dataclass(frozen=True)
class Trajectory:
    """A path in all k latent coordinates, (m, k) at equal arc length, and where it came from."""

    points: Array
    in_density: DensityPath
    density: DensityGrid

    def targets(self, count: int, spacing: str = "length") -> Array:
        """(count, k) points, ends included: where volumes are made. At equal arc length, or with equal shares of the
        density along the path between them ("population")."""
        if spacing == "population":
            return at_equal_shares(self.points, self.density.at(self.points[:, : self.density.dim]), count)
        return resample(self.points, count)

    def as_json(self, count: int, spacing: str = "length", passage: Passage | None = None) -> dict[str, object]:
        """What path.json holds; `density` is read at each point of `path`, `*_subsampled` at the volumes' points."""
        targets, dim = self.targets(count, spacing), self.density.dim
        found = {} if passage is None else passage.as_json()
        return found | {
            "path": self.points.tolist(),
            "density": self.density.at(self.points[:, :dim]).tolist(),
            "path_subsampled": targets.tolist(),
            "density_subsampled": self.density.at(targets[:, :dim]).tolist(),
            "cost": self.in_density.cost,
            "straight_line_cost": self.in_density.straight_cost,
            "density_dimensions": dim,
            "spacing": spacing,
        }


def find_trajectory(density: DensityGrid, start: ArrayLike, end: ArrayLike, latents: ArrayLike) -> Trajectory:
    """The cheapest path from start (k,) to end (k,) through a density of d <= k dimensions.

    latents (N, k): the particles that the remaining coordinates follow; NaN rows are left out.
    """
    first, last = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    density = marginal_density(density, len(first))
    path = find_path(density, first[: density.dim], last[: density.dim])
    points = lift_path(path.points, first, last, latents)
    return Trajectory(resample(points, len(points)), path, density)


def lift_point(point: ArrayLike, latents: ArrayLike) -> Array:
    """A point (d,) of the density given the other k - d coordinates of the particles (N, k) around it: (k,)."""
    place = np.asarray(point, dtype=float)[None]
    particles = np.asarray(latents, dtype=float)
    particles = particles[np.isfinite(particles).all(axis=1)]
    dim = place.shape[1]
    if dim == particles.shape[1]:
        return np.asarray(place[0])
    return np.concatenate([place[0], local_mean(place, particles[:, :dim], particles[:, dim:])[0]])


def lift_path(path: ArrayLike, start: ArrayLike, end: ArrayLike, latents: ArrayLike) -> Array:
    """A path (m, d) given the other k - d coordinates of the particles (N, k) around it; it ends at start and end."""
    line, first, last = (np.asarray(value, dtype=float) for value in (path, start, end))
    dim = line.shape[1]
    if dim == len(first):
        return line
    particles = np.asarray(latents, dtype=float)
    particles = particles[np.isfinite(particles).all(axis=1)]
    rest = local_mean(line, particles[:, :dim], particles[:, dim:])
    rest = gaussian_filter1d(rest, SMOOTHING_SHARE * len(rest), axis=0, mode="nearest")
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    share = np.concatenate([[0.0], np.cumsum(steps)])
    share = share / share[-1] if share[-1] > 0 else np.linspace(0, 1, len(line))
    rest = rest + (1 - share[:, None]) * (first[dim:] - rest[0]) + share[:, None] * (last[dim:] - rest[-1])
    return np.concatenate([line, rest], axis=1)


def local_mean(at: Array, known: Array, wanted: Array) -> Array:
    """Kernel regression of wanted (N, r) on known (N, d) at the points `at` (m, d)."""
    neighbours = min(len(known), max(FEWEST_NEIGHBOURS, int(NEIGHBOUR_SHARE * len(known))))
    spread = known.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    distances, rows = cKDTree(known / scale).query(at / scale, k=neighbours)
    distances, rows = distances.reshape(len(at), -1), rows.reshape(len(at), -1)
    reach = np.maximum(distances[:, -1:], 1e-12)
    weights = np.exp(-0.5 * (2 * distances / reach) ** 2)
    result: Array = np.einsum("mn,mnr->mr", weights, wanted[rows]) / weights.sum(axis=1, keepdims=True)
    return result
