"""Which images are empty: a mixture over the raw contrasts.

A raw contrast c_i has an error s_i of its own. Images with a particle are N(m, v + s_i^2); empty ones are N(e, s_i^2):
their contrast has a mean e of its own, not 0, because an aligner turns and shifts noise to where it looks like the map.
Share, e, m and v by EM. Two populations must explain the contrasts far better than one (BIC times a margin), else
nothing is empty: a clean set loses no image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HIGHEST_EMPTY = 0.4
"""Mean contrast of empty images, of that of the others, at most."""
EVIDENCE = 5.0
"""Times log N: log likelihood that the second population must bring."""
_STEPS = 200
_TOLERANCE = 1e-7


@dataclass(frozen=True)
class ContrastMixture:
    """probability (N,) of being empty; share of empty images; their mean contrast; mean and variance of the others'."""

    probability: NDArray[np.float64]
    share: float
    empty_mean: float
    mean: float
    variance: float


def contrast_mixture(
    contrast: NDArray[np.float64], error: NDArray[np.float64], weight: NDArray[np.float64]
) -> ContrastMixture:
    """contrast, error (standard deviation) and weight (how far the image is to be trusted), each (N,)."""
    centre = float(np.median(contrast[weight > 0.5])) if (weight > 0.5).any() else float(np.median(contrast))
    single = _fit(contrast, error, weight, (0.0, 0.0, centre, _spread(contrast, error, weight)))
    starts = [(share, 0.0, centre, _spread(contrast, error, weight)) for share in (0.1, 0.4)]
    upper = float(np.quantile(contrast, 0.9))
    starts.append((0.7, 0.0, upper, 0.02 * upper**2))
    double = max((_fit(contrast, error, weight, start) for start in starts), key=lambda found: found[1])
    if double[1] - single[1] < EVIDENCE * np.log(max(len(contrast), 2)):
        return single[0]
    return double[0]


def _spread(contrast: NDArray[np.float64], error: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    mean = np.average(contrast, weights=weight)
    return max(float(np.average((contrast - mean) ** 2 - error**2, weights=weight)), 1e-4)


def _fit(
    c: NDArray[np.float64], s: NDArray[np.float64], w: NDArray[np.float64], start: tuple[float, float, float, float]
) -> tuple[ContrastMixture, float]:
    """EM from (share, empty mean, mean, variance); a share of 0 stays 0. The mixture and its log likelihood."""
    share, empty, mean, variance = start
    before = likelihood = -np.inf
    p = np.zeros_like(c)
    for _ in range(_STEPS):
        full = _log_normal(c, mean, variance + s**2) + np.log1p(-share)
        none = _log_normal(c, empty, s**2) + (np.log(share) if share > 0 else -np.inf)
        both = np.logaddexp(full, none)
        likelihood = float((w * both).sum())
        p = np.exp(none - both)
        if likelihood - before < _TOLERANCE * abs(likelihood):
            break
        before = likelihood
        q = w * (1 - p)
        precision = q / (variance + s**2)
        mean = float((precision * c).sum() / max(precision.sum(), 1e-30))
        shrink = variance / (variance + s**2)  # E of the true deviation's square, given c
        variance = max(float((q * ((shrink * (c - mean)) ** 2 + variance * (1 - shrink))).sum() / max(q.sum(), 1e-30)),
                       1e-6)  # fmt: skip
        if share > 0:
            share = float(np.clip((w * p).sum() / w.sum(), 1e-6, 1 - 1e-6))
            noise = w * p / s**2
            empty = float((noise * c).sum() / max(noise.sum(), 1e-30))
            empty = float(np.clip(empty, -HIGHEST_EMPTY * abs(mean), HIGHEST_EMPTY * abs(mean)))
    return ContrastMixture(p, share, empty, mean, variance), likelihood


def _log_normal(x: NDArray[np.float64], mean: float, variance: NDArray[np.float64]) -> NDArray[np.float64]:
    return -0.5 * ((x - mean) ** 2 / variance + np.log(2 * np.pi * variance))
