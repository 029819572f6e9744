"""Shares of the particles that truly lie nearest to each centre, with 90 % intervals.

Counting estimates misplaces whoever's error reaches over a border. So the distribution of the true coordinates is
fitted (`mixing`), and its mass nearest to each centre is the population. The interval is that of a bootstrap that draws
whole micrographs of each half-set, or images where there are few micrographs. Where another centre lies within RESOLVED
errors, masses sit at the edge of what they may be and a bootstrap is too sure: there the interval also holds every
share that the likelihood does not exclude (profile likelihood, chi-squared of one degree of freedom).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from covaria.estimation.populations.mixing import STEPS, likelihoods, masses, points_among, profile

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64

Array = NDArray[np.float64]

INSIDE = 0.90
DRAWS = 100
FEWEST_MICROGRAPHS = 20
"""In a half-set; with fewer, images are drawn."""
MOST_PARTICLES = 20_000
"""Of more, as many are drawn by lot."""
RESOLVED = 2.0
DROP = 1.353
"""Of the log likelihood at the ends of a 90 % interval: half the chi-squared quantile."""
STEPS_AWAY = np.array([0.0, 0.5, 1, 1.5, 2, 3, 4, 6, 9, 14, 20, 30])
"""Shares that are tried, in binomial standard errors from the best."""


@dataclass(frozen=True)
class Populations:
    """Of the particles, at each of C centres; resolved: the next centre is farther away than two typical errors."""

    share: Float64[np.ndarray, " center"]
    low: Float64[np.ndarray, " center"]
    high: Float64[np.ndarray, " center"]
    resolved: Bool[np.ndarray, " center"]


def populations(
    coordinates: Float64[np.ndarray, "particle dim"],
    precisions: Float64[np.ndarray, "particle dim dim"],
    centers: Float64[np.ndarray, "center dim"],
    units: NDArray[np.int64],
    halves: NDArray[np.int64],
    seed: int,
) -> Populations:
    """coordinates without a prior and the inverse covariances of their errors; units (N,) as `units_of` makes them;
    halves (N,) each particle's half-set."""
    rng = np.random.default_rng(seed)
    if len(coordinates) > MOST_PARTICLES:
        some = np.sort(rng.choice(len(coordinates), MOST_PARTICLES, replace=False))
        coordinates, precisions, units, halves = (a[some] for a in (coordinates, precisions, units, halves))
    points = points_among(coordinates, precisions, centers, rng)
    nearest = _nearest(points, centers)
    belongs = np.eye(len(centers))[nearest]
    likelihood = likelihoods(coordinates, precisions, points)
    drawn = masses(likelihood, draws(units, halves, rng)).T @ belongs
    low, high = np.quantile(drawn[1:], [(1 - INSIDE) / 2, (1 + INSIDE) / 2], axis=0)
    share, resolved = drawn[0], _resolved(centers, precisions)
    if not resolved.all():
        best = masses(likelihood, np.ones((len(likelihood), 1), np.float32), steps=5 * STEPS)[:, 0]
        for number in np.flatnonzero(~resolved):
            share[number] = best @ belongs[:, number]
            ends = _not_excluded(likelihood, best, nearest == number, float(share[number]))
            low[number], high[number] = min(low[number], ends[0]), max(high[number], ends[1])
    share /= share.sum()
    return Populations(share, np.clip(low, 0, share), np.clip(high, share, 1), resolved)


def units_of(
    micrograph: NDArray[np.int64], halves: NDArray[np.int64], together: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """What is drawn at once, (N,) numbers: a micrograph (-1: unknown), or each image where a half-set has few.

    together (N,): rows of one number are one measurement, as copies of an image are; None: each is its own.
    """
    few = min(len(np.unique(micrograph[halves == half])) for half in np.unique(halves)) < FEWEST_MICROGRAPHS
    if few or (micrograph < 0).any():
        return np.arange(len(micrograph)) if together is None else np.unique(together, return_inverse=True)[1]
    return micrograph


def draws(units: NDArray[np.int64], halves: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    """How often each particle counts: (N, 1 + DRAWS), once in the first column, by lot in the others."""
    counts = np.ones((len(units), 1 + DRAWS), np.float32)
    for half in np.unique(halves):
        rows = np.flatnonzero(halves == half)
        names, of_row = np.unique(units[rows], return_inverse=True)
        for draw in range(1, 1 + DRAWS):
            times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
            counts[rows, draw] = times[of_row]
    return counts


def _nearest(points: Array, centers: Array) -> NDArray[np.int64]:
    return np.asarray(((points[:, None] - centers) ** 2).sum(-1).argmin(1), np.int64)


def _resolved(centers: Array, precisions: Array) -> NDArray[np.bool_]:
    """Whether every other centre is more than RESOLVED typical errors away, (C,)."""
    typical = np.median(precisions, axis=0)
    step = centers[:, None] - centers
    distance = np.einsum("abi,ij,abj->ab", step, typical, step)
    np.fill_diagonal(distance, np.inf)
    result: NDArray[np.bool_] = distance.min(1) > RESOLVED**2
    return result


def _not_excluded(
    likelihood: NDArray[np.float32], best: NDArray[np.float32], inside: NDArray[np.bool_], share: float
) -> tuple[float, float]:
    """The smallest and the largest share of the points `inside` whose profile likelihood is within DROP of the best."""
    step = STEPS_AWAY * max(np.sqrt(share * (1 - share) / len(likelihood)), 1 / len(likelihood))
    trials = np.concatenate([np.maximum(share - step, 0), np.minimum(share + step, 1)])
    level = profile(likelihood, best, np.repeat(inside[:, None], len(trials), 1), trials)
    drop = (level.max() - level).reshape(2, -1)
    low, high = (_crossing(side, where) for side, where in zip(drop, trials.reshape(2, -1), strict=True))
    return low, high


def _crossing(drop: Array, share: Array) -> float:
    """Where the drop first exceeds DROP, its root interpolated; the last share tried where it never does."""
    beyond = np.flatnonzero(drop > DROP)
    if not len(beyond):
        return float(share[-1])
    last = int(beyond[0])
    if last == 0:
        return float(share[0])
    before, after = np.sqrt(np.maximum(drop[[last - 1, last]], 0))
    return float(share[last - 1] + (np.sqrt(DROP) - before) / (after - before) * (share[last] - share[last - 1]))
