"""Stable states: the basins of a conformational density, what separates them, who lies in them.

E = -ln rho, in kT. Grid points are flooded from the densest down; where two basins meet, the one with the lower peak
ends in the other unless it is deep there: by `least_depth_kt` or more, and by SIGMAS times what the densities of
resampled particles leave uncertain of that depth. What is thinner than MOST_KT beneath the densest point belongs to
none, and a basin holds at least LEAST_POPULATION: no density is known better.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covaria.estimation.density.blur import Blur
from covaria.estimation.density.solver import Deconvolution, solve
from covaria.trajectory.density import DensityGrid

if TYPE_CHECKING:
    from jaxtyping import Float64, Int64

LEAST_DEPTH_KT = 0.5
"""A dip to 60 % of the lower peak."""
SIGMAS = 3.0
MOST_KT = 6.0
LEAST_POPULATION = 0.02
INSIDE = 0.90
DRAWS = 24

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Basins:
    """B basins, the most populated first.

    labels       (n, ...) basin of each grid point, -1 outside all
    peaks        (B, d)   latent coordinates of each one's densest point
    populations  (B,)     share of the density's mass
    low, high    (B,)     ends of its 90 % interval by the resampled densities; NaN where there are none
    passes_kt    (B, B)   energy of the lowest pass between two basins above the deepest point; inf where none is known
    energies_kt  (B,)     of the peaks above the deepest point
    """

    grid: DensityGrid
    labels: NDArray[np.int64]
    peaks: Float64[np.ndarray, "basin dim"]
    populations: Float64[np.ndarray, " basin"]
    low: Float64[np.ndarray, " basin"]
    high: Float64[np.ndarray, " basin"]
    energies_kt: Float64[np.ndarray, " basin"]
    passes_kt: Float64[np.ndarray, "basin basin"]

    def __len__(self) -> int:
        return len(self.peaks)

    @property
    def barriers_kt(self) -> Float64[np.ndarray, "basin basin"]:
        """(B, B): what it takes to leave basin i for basin j over the lowest pass."""
        barriers: Array = np.maximum(self.passes_kt - self.energies_kt[:, None], 0.0)
        return barriers

    def of(self, points: ArrayLike) -> Int64[np.ndarray, " point"]:
        """(n,) basin of latent points (n, >= d): that of the nearest grid point; -1 outside the grid, and for NaN."""
        places = self.grid.positions(np.asarray(points, dtype=float)[:, : self.grid.dim])
        shape = np.array(self.grid.values.shape)
        inside = ((places > -0.5) & (places < shape - 0.5)).all(axis=1)
        found = np.full(len(places), -1, dtype=np.int64)
        found[inside] = self.labels[tuple(np.rint(places[inside]).astype(np.int64).T)]
        return found


def find_basins(grid: DensityGrid, least_depth_kt: float = LEAST_DEPTH_KT, resampled: Sequence[Array] = ()) -> Basins:
    """The basins; `resampled` are densities on the same grid of particles drawn again (`resample`)."""
    padded = np.pad(grid.values / grid.values.max(), 1)
    logs = [np.log(np.maximum(np.pad(one / one.max(), 1), 1e-30)).ravel() for one in resampled]

    def is_deep(peak: int, place: int) -> bool:
        depth = float(np.log(padded.flat[peak] / padded.flat[place]))
        uncertain = float(np.std([log[peak] - log[place] for log in logs], ddof=1)) if len(logs) > 1 else 0.0
        return bool(depth >= max(least_depth_kt, SIGMAS * uncertain))

    owner, passes = _flooded(padded, float(np.exp(-MOST_KT)), is_deep)
    owner = owner[(slice(1, -1),) * grid.dim]
    roots, of_point = np.unique(owner[owner >= 0], return_inverse=True)
    mass = _shares(grid.values, owner, of_point, len(roots))
    kept = np.argsort(-mass, kind="stable")[: max(1, int((mass >= LEAST_POPULATION).sum()))]
    drawn = np.array([_shares(one, owner, of_point, len(roots))[kept] for one in resampled]).reshape(-1, len(kept))
    ends = ((1 - INSIDE) / 2, (1 + INSIDE) / 2)
    low, high = np.quantile(drawn, ends, axis=0) if len(drawn) else np.full((2, len(kept)), np.nan)
    number_of = {int(roots[place]): number for number, place in enumerate(kept)}
    labels = np.full(owner.shape, -1, dtype=np.int64)
    for root, number in number_of.items():
        labels[owner == root] = number
    heights = np.log(padded.ravel()[roots[kept]])
    lowest = np.full((len(kept), len(kept)), np.inf)
    for (first, second), density in passes.items():
        if first in number_of and second in number_of:
            pair = number_of[first], number_of[second]
            lowest[pair] = lowest[pair[::-1]] = -np.log(density)
    np.fill_diagonal(lowest, -heights)
    places = np.stack(np.unravel_index(roots[kept], padded.shape), axis=1) - 1
    peaks = grid.bounds[:, 0] + places * grid.spacing
    return Basins(
        grid, labels, peaks, mass[kept], np.minimum(low, mass[kept]), np.maximum(high, mass[kept]), np.abs(heights),
        _over_any_basin(lowest),
    )  # fmt: skip


def resample(
    blur: Blur, found: Deconvolution, seed: int, on_step: Callable[[int], None] = lambda done: None
) -> list[Array]:
    """DRAWS densities of particles drawn again with repetition, at the alpha of `found`, each from there."""
    rng, count = np.random.default_rng(seed), len(blur.coordinates)
    drawn = []
    for number in range(DRAWS):
        weights = np.bincount(rng.integers(0, count, count), minlength=count).astype(float)
        drawn.append(solve(blur.grid, blur.observe(weights), found.alpha, np.sqrt(found.mass)).mass)
        on_step(number + 1)
    return drawn


def _shares(density: Array, owner: NDArray[np.int64], of_point: NDArray[np.int64], count: int) -> Array:
    """(count,) of the density's mass, by root."""
    shares: Array = np.bincount(of_point, density[owner >= 0], minlength=count) / density.sum()
    return shares


def _flooded(
    density: Array, least: float, is_deep: Callable[[int, int], bool]
) -> tuple[NDArray[np.int64], dict[tuple[int, int], float]]:
    """Owner of each point of a padded density: its basin's peak as a flat index, -1 beneath `least`; and the density
    of the pass between each two neighbouring basins. Where the lower of two is not deep at their pass, they are one."""
    flat = density.ravel()
    strides = np.array([int(np.prod(density.shape[axis + 1 :])) for axis in range(density.ndim)])
    around = [int(np.dot(step, strides)) for step in product((-1, 0, 1), repeat=density.ndim) if any(step)]
    into: dict[int, int] = {}
    owner = np.full(flat.size, -1, dtype=np.int64)
    passes: dict[tuple[int, int], float] = {}

    def root_of(peak: int) -> int:
        while into[peak] != peak:
            peak = into[peak]
        return peak

    for place in np.argsort(-flat, kind="stable")[: int((flat > least).sum())].tolist():
        met = {neighbour: root_of(int(owner[neighbour])) for step in around if owner[neighbour := place + step] >= 0}
        if not met:
            owner[place] = into[place] = place
            continue
        owner[place] = met[max(met, key=lambda neighbour: flat[neighbour])]
        highest, *others = sorted(set(met.values()), key=lambda peak: -flat[peak])
        for other in others:
            if (highest, other) in passes:
                continue
            if is_deep(other, place):
                passes[highest, other] = float(flat[place])
            else:
                into[other] = highest
    settled: dict[tuple[int, int], float] = {}
    for (first, second), height in passes.items():
        pair = root_of(first), root_of(second)
        settled[pair] = max(height, settled.get(pair, 0.0))
    known = owner >= 0
    owner[known] = [root_of(peak) for peak in owner[known].tolist()]
    return owner.reshape(density.shape), settled


def _over_any_basin(energies: Array) -> Array:
    """The lowest pass between any two, over other basins where that is lower: (B, B) of the direct ones."""
    lowest = energies.copy()
    for middle in range(len(lowest)):
        lowest = np.minimum(lowest, np.maximum(lowest[:, middle, None], lowest[None, middle]))
    return lowest
