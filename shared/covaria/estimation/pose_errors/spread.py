"""How large pose errors are, learnt from the images beside everything else.

For each of the five errors of an image, in units of its own spread, the posterior has mean m and variance S. Of the
logarithm of a variance, the score is 1/2 sum (m^2 + S - 1) and the information 1/2 sum (1 - S)^2: their quotient is the
scoring step, which ends where EM (variance times mean of m^2 + S) would, but not after hundreds of steps where images
say little (S near 1). A wide prior holds what they cannot say at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

SHIFT_PIXELS, ROTATION_DEG = 0.5, 1.0
"""Where the estimate starts, and the middle of the prior."""
PRIOR_SD = 1.0
"""Of the logarithm of each variance."""
STEPS = 40
LARGEST_STEP = float(np.log(4.0))
LEAST = 1e-3
"""Of the start: below, an error is as good as none."""
_GROUPS = (slice(0, 2), slice(2, 5))


@dataclass(frozen=True)
class PoseSpread:
    """Standard deviations of the pose errors: of each shift, pixels of the image; of each rotation, radians."""

    shift_pixels: float = SHIFT_PIXELS
    rotation_rad: float = float(np.deg2rad(ROTATION_DEG))

    @property
    def columns(self) -> torch.Tensor:
        """The spread of each of the five errors, (5,) float32."""
        return torch.tensor([self.shift_pixels] * 2 + [self.rotation_rad] * 3)

    @staticmethod
    def fitted(
        gram: NDArray[np.float64],
        overlap: NDArray[np.float64],
        contrast: NDArray[np.float64],
        contrast_sd: float,
        weight: NDArray[np.float64],
    ) -> PoseSpread:
        """From inner products with the mean and its five unit errors alone: gram (N, 6, 6), overlap (N, 6).

        The mean's own deviation from `contrast` (N,) is integrated out too; weight (N,): how far an image counts.
        """
        spread = PoseSpread()
        scale = np.empty_like(overlap)
        scale[:, 0] = max(contrast_sd, 1e-3)
        for _ in range(STEPS):
            scale[:, 1:] = contrast[:, None] * spread.columns.numpy()
            precision = gram * scale[:, :, None] * scale[:, None] + np.eye(scale.shape[1])
            covariance = np.linalg.inv(precision)
            mean = np.einsum("nkl,nl->nk", covariance, scale * (overlap - contrast[:, None] * gram[:, 0]))[:, 1:]
            variance = np.diagonal(covariance, axis1=1, axis2=2)[:, 1:]
            before, spread = spread, spread.improved(weight @ (mean**2 + variance - 1), weight @ (1 - variance) ** 2)
            if np.allclose(before.columns, spread.columns, rtol=1e-3):
                break
        return spread

    def improved(self, excess: NDArray[np.float64], information: NDArray[np.float64]) -> PoseSpread:
        """After one scoring step. excess (5,) = sum of m^2 + S - 1 over images, information (5,) = sum of (1 - S)^2."""
        start = PoseSpread()
        moved = []
        for group, now, middle in zip(
            _GROUPS,
            (self.shift_pixels, self.rotation_rad),
            (start.shift_pixels, start.rotation_rad),
            strict=True,
        ):
            log_variance = 2 * np.log(now / middle)
            score = 0.5 * excess[group].sum() - log_variance / PRIOR_SD**2
            curvature = 0.5 * information[group].sum() + 1 / PRIOR_SD**2
            step = float(np.clip(score / curvature, -LARGEST_STEP, LARGEST_STEP))
            moved.append(max(now * float(np.exp(0.5 * step)), LEAST * middle))
        return PoseSpread(*moved)
