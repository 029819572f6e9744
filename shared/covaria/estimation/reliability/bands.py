"""Each image's noise by band: its own level, and the bands in which it is an outlier.

Given an image's power in each band over what its optics group expects there, P_ib (1 for an ordinary image):

    level     l_i = the ratio over the outermost bands, shrunk to 1 by what it spreads beyond its own sampling error
    deviation u_ib = (log P_ib / l_i - median) / (1.4826 MAD), over all images
    mixture   u ~ (1 - share_b) N(0, 1) + share_b Uniform(4, largest u), share fitted by EM: P(outlier) of the band
    noise     1 / noise_ib = [(1 - P) + P / (P_ib / l_i)^2] / l_i

An outlier's noise is the square of its excess power: it counts for less than an ordinary image, because nothing says
that what is wrong with it is Gaussian. The robust spread is that of the set itself, so whatever all images share (views
and defocus at high SNR, what moves) widens it and is no outlier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEVEL_BANDS = 2
LEAST_DEVIATION = 4.0
LEAST_GROUP = 20
"""Images of an optics group that has a median of its own; those of smaller groups are compared with all."""
LEAST_LEVEL = 0.02
"""Noise over the median image's."""
LEAST_WEIGHT = 1e-6
DEAD = 1 / LEAST_WEIGHT
"""Noise of an image that has none."""
TINY = 1e-30
_STEPS = 50


@dataclass(frozen=True)
class BandNoise:
    """level (N,), noise variance over the group's; probability (N, bands) of being an outlier;
    noise (N, bands): level and outliers together, what multiplies the noise spectrum."""

    level: NDArray[np.float64]
    probability: NDArray[np.float64]
    noise: NDArray[np.float64]

    @property
    def outlier(self) -> NDArray[np.float64]:
        """Of each image, (N,): that of its most outlying band."""
        most: NDArray[np.float64] = self.probability.max(1)
        return most


def band_noise(power: NDArray[np.float64], freedom: NDArray[np.float64], group: NDArray[np.int64]) -> BandNoise:
    """power (N, bands) in any unit common to a group and band; freedom (bands,) real numbers in each; group (N,).

    Images with next to no noise (constant ones) are outliers in every band: nothing is that good.
    """
    outer = slice(-LEVEL_BANDS, None)
    outermost = power[:, outer] @ freedom[outer]
    dead = ~(outermost > LEAST_LEVEL * np.median(outermost))
    ratio = np.maximum(power / _typical(power, group, ~dead), TINY)
    level = noise_level(ratio, freedom, ~dead)
    ratio /= level[:, None]
    probability = np.stack([outlier_probability(_deviation(column, ~dead)) for column in np.log(ratio).T], 1)
    probability[dead] = 1.0
    ratio[dead] = 1 / LEAST_WEIGHT
    trust = 1 - probability + probability / np.maximum(ratio, 1) ** 2
    noise = level[:, None] / np.maximum(trust, LEAST_WEIGHT)
    noise[dead] = DEAD
    return BandNoise(level, probability, noise)


def noise_level(
    ratio: NDArray[np.float64], freedom: NDArray[np.float64], alive: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Noise of each image over that of its group, (N,), from the outermost bands of ratio (N, bands)."""
    outer = slice(-LEVEL_BANDS, None)
    count = freedom[outer].sum()
    found = np.log(np.maximum(ratio[:, outer] @ freedom[outer] / count, TINY))
    middle, spread = _robust(found[alive])
    shrink = max(spread**2 - 2 / count, 0.0) / max(spread**2, TINY)
    level: NDArray[np.float64] = np.where(alive, np.exp((found - middle) * shrink), 1.0)
    return level


def outlier_probability(deviation: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(outlier) of deviations (N,) that are N(0, 1) for ordinary images, by EM over the share of outliers.

    Only what lies far above the median can be one: too little power harms nothing.
    """
    reach = max(float(deviation.max(initial=0.0)) - LEAST_DEVIATION, 10.0)
    ordinary: NDArray[np.float64] = np.exp(-0.5 * deviation**2) / np.sqrt(2 * np.pi)
    outlying = np.where(deviation > LEAST_DEVIATION, 1 / reach, 0.0)
    share, probability = 0.01, np.zeros_like(deviation)
    for _ in range(_STEPS):
        probability = share * outlying / np.maximum(share * outlying + (1 - share) * ordinary, TINY)
        share = min(float(probability.mean()), 0.5)
    return probability


def _typical(power: NDArray[np.float64], group: NDArray[np.int64], alive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The median power (N, bands) of each image's group; of all images where the group is small."""
    typical = np.tile(np.median(power[alive], 0) if alive.any() else np.ones(power.shape[1]), (len(power), 1))
    for name in np.unique(group):
        rows = group == name
        if (rows & alive).sum() >= LEAST_GROUP:
            typical[rows] = np.median(power[rows & alive], 0)
    return np.maximum(typical, TINY)


def _deviation(values: NDArray[np.float64], alive: NDArray[np.bool_]) -> NDArray[np.float64]:
    middle, spread = _robust(values[alive])
    deviation: NDArray[np.float64] = (values - middle) / max(spread, 1e-6)
    return deviation


def _robust(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median and 1.4826 x median absolute deviation."""
    if not len(values):
        return 0.0, 1.0
    middle = float(np.median(values))
    return middle, float(1.4826 * np.median(np.abs(values - middle)))
