"""Which images are empty: a mixture over the raw contrasts.

A raw contrast c_i has an error s_i of its own. That of a particle is log-normal (positive; grey levels differ by
factors), seen through N(0, s_i^2). An empty image's is N(t s_i, s_i^2): an aligner turns and shifts noise to where it
looks like the map, so its contrast has a mean of its own, but only as large as the best of thousands of poses can make
it: a contrast that is small and certain is that of a particle. Share, t and the log-normal's mean and variance by EM.
Two populations must explain the contrasts far better than one, else nothing is empty: a clean set loses no image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FURTHEST = 4.0
"""The largest t."""
HIGHEST_EMPTY = 0.4
"""Mean contrast of empty images, of that of the others, at most."""
EVIDENCE = 5.0
"""Times log N: log likelihood that the second population must bring."""
LEAST_ERROR = 0.03
"""Of a contrast of 1: finer than the grid below can show."""
MOST_FITTED = 20_000
"""Images that the mixture is fitted to; every so manieth of more."""
_GRID = np.log(np.geomspace(0.02, 8.0, 160))
_STEPS, _TOLERANCE = 100, 1e-7
_CHUNK = 20_000


@dataclass(frozen=True)
class ContrastMixture:
    """probability (N,) of being empty; share of empty images; pull, the t of the text; mean and variance of the
    contrasts of the others."""

    probability: NDArray[np.float64]
    share: float
    pull: float
    mean: float
    variance: float


@dataclass(frozen=True)
class _Shape:
    share: float
    pull: float
    centre: float
    spread: float
    """Mean and standard deviation of the logarithm of a particle's contrast."""

    @property
    def prior(self) -> NDArray[np.float64]:
        density: NDArray[np.float64] = np.exp(-0.5 * ((_GRID - self.centre) / self.spread) ** 2)
        density /= density.sum()
        return density


def contrast_mixture(
    contrast: NDArray[np.float64], error: NDArray[np.float64], weight: NDArray[np.float64]
) -> ContrastMixture:
    """contrast, error (standard deviation) and weight (how far the image is to be trusted), each (N,).

    Contrasts in any unit in which they are about 1.
    """
    error = np.hypot(error, LEAST_ERROR)
    some = slice(None, None, -(-len(contrast) // MOST_FITTED))
    c, s, w = contrast[some], error[some], np.maximum(weight[some], 1e-9)
    kernel = _kernel(c, s)
    middle = np.log(max(float(np.median(contrast)), 0.1))
    upper = np.log(max(float(np.quantile(contrast, 0.9)), 0.1))
    single = _fit(kernel, c, s, w, _Shape(0.0, 0.0, middle, 0.3))
    starts = (_Shape(0.1, 0.5, middle, 0.2), _Shape(0.4, 0.5, middle, 0.2), _Shape(0.7, 0.5, upper, 0.2))
    fits = [_fit(kernel, c, s, w, start) for start in starts]
    double = fits[int(np.argmax([likelihood for _, likelihood in fits]))]
    proven = double[1] - single[1] > EVIDENCE * np.log(max(len(c), 2))
    shape = double[0] if proven else single[0]
    mean, square = (float(shape.prior @ np.exp(power * _GRID)) for power in (1, 2))
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(contrast), _CHUNK)]
    found = [_posterior(_kernel(contrast[k], error[k]), contrast[k], error[k], shape)[0] for k in chunks]
    return ContrastMixture(np.concatenate(found), shape.share, shape.pull, mean, square - mean**2)


def _fit(
    kernel: NDArray[np.float64],
    c: NDArray[np.float64],
    s: NDArray[np.float64],
    w: NDArray[np.float64],
    shape: _Shape,
) -> tuple[_Shape, float]:
    """EM from `shape`; a share of 0 stays 0. The shape and its log likelihood."""
    before = likelihood = -np.inf
    for _ in range(_STEPS):
        p, full, both = _posterior(kernel, c, s, shape)
        likelihood = float(w @ np.log(both))
        if likelihood - before < _TOLERANCE * abs(likelihood):
            break
        before = likelihood
        nodes = shape.prior * ((w * (1 - p) / full) @ kernel)
        centre = float(nodes @ _GRID / nodes.sum())
        spread = max(float(np.sqrt(nodes @ (_GRID - centre) ** 2 / nodes.sum())), 0.02)
        share, pull = shape.share, shape.pull
        if share > 0:
            empties = w * p
            total = max(float(empties.sum()), 1e-30)
            share = float(np.clip(total / w.sum(), 1e-6, 1 - 1e-6))
            typical = float(empties @ s) / total
            limit = min(FURTHEST, HIGHEST_EMPTY * float(np.exp(centre)) / max(typical, 1e-30))
            pull = float(np.clip(float(empties @ (c / s)) / total, -limit, limit))
        shape = _Shape(share, pull, centre, spread)
    return shape, likelihood


def _posterior(
    kernel: NDArray[np.float64], c: NDArray[np.float64], s: NDArray[np.float64], shape: _Shape
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """P(empty), density if it holds a particle, and density; each (N,)."""
    full = np.maximum(kernel @ shape.prior, 1e-300)
    none = np.exp(-0.5 * np.minimum((c / s - shape.pull) ** 2, 1300)) / s
    both = (1 - shape.share) * full + shape.share * none
    return shape.share * none / both, full, both


def _kernel(c: NDArray[np.float64], s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density of contrasts c with errors s, each (N,), at each true contrast of the grid: (N, nodes)."""
    density: NDArray[np.float64] = np.exp(-0.5 * ((c[:, None] - np.exp(_GRID)) / s[:, None]) ** 2) / s[:, None]
    return density
