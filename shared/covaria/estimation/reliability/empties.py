"""Which images are empty: a mixture over the raw contrasts.

A raw contrast c_i has an error s_i of its own. That of a particle is log-normal (positive; grey levels differ by
factors), seen through N(0, s_i^2). An empty image's is N(t s_i, s_i^2): an aligner turns and shifts noise to where it
looks like the map, so its contrast has a mean of its own, but only as large as the best of thousands of poses can make
it: a contrast that is small and certain is that of a particle. Share, t and the log-normal's mean and variance by EM.
Two populations must explain the contrasts far better than one, else nothing is empty: a clean set loses no image.

Where poses are wrong, a particle's raw contrast is small and yet the image says that it is there. What it says of each
contrast with the errors integrated out (`pose_errors.evidence`) then takes the place of N(c_i; c, s_i^2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CONTRASTS: NDArray[np.float64] = np.geomspace(0.02, 8.0, 160)
"""Of a particle: where its likelihood is looked at."""
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
LARGEST_LOG = 600.0
"""What a density can still be the exponential of."""
_GRID = np.log(CONTRASTS)
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

    @property
    def moments(self) -> tuple[float, float]:
        """Mean and variance of a particle's contrast."""
        mean, square = (float(self.prior @ CONTRASTS**power) for power in (1, 2))
        return mean, square - mean**2


Evidence = Callable[[NDArray[np.int64]], NDArray[np.floating]]
"""Of images (n,), by number: log p(image | contrast) - log p(image | 0) at CONTRASTS, (n, contrasts)."""


def fitted_to(count: int) -> NDArray[np.int64]:
    """The images, by number, that the mixture is fitted to."""
    return np.arange(0, count, -(-count // MOST_FITTED))


def contrast_mixture(
    contrast: NDArray[np.float64],
    error: NDArray[np.float64],
    weight: NDArray[np.float64],
    evidence: Evidence | None = None,
) -> ContrastMixture:
    """contrast, error (standard deviation) and weight (how far the image is to be trusted), each (N,).

    Contrasts in any unit in which they are about 1. evidence: where more is known of an image than these two.
    """
    found = plain_evidence(contrast, error) if evidence is None else evidence
    blunt = np.hypot(error, LEAST_ERROR)

    def kernel(images: NDArray[np.int64]) -> NDArray[np.float64]:
        """Density of the images at each contrast, (n, contrasts)."""
        c, s = contrast[images, None], blunt[images, None]
        log_density = -0.5 * (c / s) ** 2 + (error[images, None] / s) ** 2 * found(images)
        density: NDArray[np.float64] = np.exp(np.minimum(log_density, LARGEST_LOG)) / s
        return density

    some = fitted_to(len(contrast))
    c, s, w = contrast[some], blunt[some], np.maximum(weight[some], 1e-9)
    seen = kernel(some)
    middle = np.log(max(float(np.median(contrast)), 0.1))
    upper = np.log(max(float(np.quantile(contrast, 0.9)), 0.1))
    single = _fit(seen, c, s, w, _Shape(0.0, 0.0, middle, 0.3))
    starts = (_Shape(0.1, 0.5, middle, 0.2), _Shape(0.4, 0.5, middle, 0.2), _Shape(0.7, 0.5, upper, 0.2))
    fits = [_fit(seen, c, s, w, start) for start in starts]
    double = fits[int(np.argmax([likelihood for _, likelihood in fits]))]
    proven = double[1] - single[1] > EVIDENCE * np.log(max(len(c), 2))
    shape = double[0] if proven else single[0]
    every = np.arange(len(contrast))
    chunks = [every[start : start + _CHUNK] for start in range(0, len(every), _CHUNK)]
    empty = [_posterior(kernel(k), contrast[k], blunt[k], shape)[0] for k in chunks]
    return ContrastMixture(np.concatenate(empty), shape.share, shape.pull, *shape.moments)


def plain_evidence(contrast: NDArray[np.float64], error: NDArray[np.float64]) -> Evidence:
    """Of contrasts (N,) with Gaussian errors (N,)."""

    def evidence(images: NDArray[np.int64]) -> NDArray[np.float64]:
        precision = 1 / error[images, None] ** 2
        found: NDArray[np.float64] = precision * CONTRASTS * (contrast[images, None] - 0.5 * CONTRASTS)
        return found

    return evidence


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
