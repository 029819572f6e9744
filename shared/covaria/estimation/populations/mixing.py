"""The distribution of the true coordinates behind uncertain ones, as masses on fixed points.

Particle i says exp(l_ij) about the point s_j, l_ij = -1/2 (z_i - s_j)^T H_i (z_i - s_j). The masses that make the set
most likely (nonparametric maximum likelihood; Laird 1978) follow by EM,

    w_j <- w_j sum_i n_i L_ij / (L w)_i / sum_i n_i

with n_i how often particle i counts. Nothing is smoothed: what the errors leave open shows as a wide interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, Float64

Array = NDArray[np.float64]

POINTS_ON_A_LINE, POINTS = 100, 250
TAIL = 0.002
"""Share of the estimates beyond each end of the line."""
LEAST_PRECISE = 0.3
"""Of the estimates, the share that is too uncertain to be a point."""
STEPS = 100
_TINY = np.float32(1e-30)


def points_among(
    coordinates: Float64[np.ndarray, "particle dim"],
    precisions: Float64[np.ndarray, "particle dim dim"],
    centers: Float64[np.ndarray, "center dim"],
    rng: np.random.Generator,
) -> Float64[np.ndarray, "point dim"]:
    """Where there may be mass: a grid on a line, else some of the better-known estimates; and the centres."""
    if coordinates.shape[1] == 1:
        low, high = np.quantile(coordinates, [TAIL, 1 - TAIL])
        return np.concatenate([np.linspace(float(low), float(high), POINTS_ON_A_LINE)[:, None], centers])
    known = np.linalg.slogdet(precisions)[1]
    good = np.flatnonzero(known >= np.quantile(known, LEAST_PRECISE))
    return np.concatenate([coordinates[rng.choice(good, min(POINTS, len(good)), replace=False)], centers])


def likelihoods(
    coordinates: Float64[np.ndarray, "particle dim"],
    precisions: Float64[np.ndarray, "particle dim dim"],
    points: Float64[np.ndarray, "point dim"],
) -> Float32[np.ndarray, "particle point"]:
    """L_ij, each row divided by its largest value."""
    data = np.einsum("nij,nj->ni", precisions, coordinates)
    square = np.einsum("pi,pj->pij", points, points).reshape(len(points), -1)
    log = data @ points.T - 0.5 * precisions.reshape(len(precisions), -1) @ square.T
    result: NDArray[np.float32] = np.exp(log - log.max(1, keepdims=True)).astype(np.float32)
    return result


def masses(
    likelihood: Float32[np.ndarray, "particle point"],
    counts: Float32[np.ndarray, "particle draw"],
    start: Float32[np.ndarray, "point draw"] | None = None,
    steps: int = STEPS,
) -> Float32[np.ndarray, "point draw"]:
    """The masses for each column of `counts`; each column sums to 1."""
    shape = (likelihood.shape[1], counts.shape[1])
    mass = np.full(shape, 1 / shape[0], np.float32) if start is None else start
    for _ in range(steps):
        mass = _moved(likelihood, counts, mass)
        mass /= mass.sum(0)
    return mass


def profile(
    likelihood: Float32[np.ndarray, "particle point"],
    start: Float32[np.ndarray, " point"],
    inside: Bool[np.ndarray, "point trial"],
    share: Float64[np.ndarray, " trial"],
    steps: int = STEPS,
) -> Array:
    """The largest log likelihood where the points `inside` hold `share` of the mass, for each trial (T,)."""
    counts = np.ones((len(likelihood), 1), np.float32)

    def held(mass: NDArray[np.float32]) -> NDArray[np.float32]:
        within, without = (np.maximum((mass * part).sum(0), _TINY) for part in (inside, ~inside))
        kept: NDArray[np.float32] = mass * np.where(inside, share / within, (1 - share) / without)
        return kept.astype(np.float32)

    mass = np.repeat(start[:, None], len(share), 1) + np.float32(1e-6)
    for _ in range(steps):
        mass = _moved(likelihood, counts, held(mass))
    result: Array = np.log(np.maximum(likelihood @ held(mass), _TINY)).sum(0, dtype=np.float64)
    return result


def _moved(
    likelihood: NDArray[np.float32], counts: NDArray[np.float32], mass: NDArray[np.float32]
) -> NDArray[np.float32]:
    found: NDArray[np.float32] = mass * (likelihood.T @ (counts / np.maximum(likelihood @ mass, _TINY)))
    return found
