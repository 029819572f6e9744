"""How large errors of poses, and of the defocus where that is asked for, are: learnt beside everything else.

For each of the errors of an image, in units of its own spread, the posterior has mean m and variance S. Of the
logarithm of a variance, the score is 1/2 sum (m^2 + S - 1) and the information 1/2 sum (1 - S)^2: their quotient is the
scoring step, which ends where EM (variance times mean of m^2 + S) would, but not after hundreds of steps where images
say little (S near 1). A wide prior holds what they cannot say at all.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

SHIFT_PIXELS, ROTATION_DEG, DEFOCUS_ANGSTROM = 0.5, 1.0, 300.0
"""Where the estimate starts, and the middle of the prior."""
PRIOR_SD = 1.0
"""Of the logarithm of each variance."""
STEPS = 40
LARGEST_STEP = float(np.log(4.0))
LEAST = 1e-3
"""Of the start: below, an error is as good as none."""
_GROUPS = (slice(0, 2), slice(2, 5), slice(5, 6))


@dataclass(frozen=True)
class PoseSpread:
    """Standard deviations of the pose errors: of each shift, pixels of the image; of each rotation, radians; of the
    defocus, angstrom, 0 where it is taken to be exact."""

    shift_pixels: float = SHIFT_PIXELS
    rotation_rad: float = float(np.deg2rad(ROTATION_DEG))
    defocus_angstrom: float = 0.0

    @staticmethod
    def start(*, defocus_errors: bool) -> PoseSpread:
        """Where the estimate starts."""
        return PoseSpread(defocus_angstrom=DEFOCUS_ANGSTROM if defocus_errors else 0.0)

    @property
    def columns(self) -> torch.Tensor:
        """The spread of each of the errors, (5,) or, with the defocus, (6,) float32."""
        of_defocus = [self.defocus_angstrom] if self.defocus_angstrom else []
        return torch.tensor([self.shift_pixels] * 2 + [self.rotation_rad] * 3 + of_defocus)

    @property
    def of_poses(self) -> PoseSpread:
        """The same, the defocus being exact."""
        return replace(self, defocus_angstrom=0.0)

    @staticmethod
    def fitted(
        gram: NDArray[np.float64],
        overlap: NDArray[np.float64],
        contrast: NDArray[np.float64],
        contrast_sd: float,
        weight: NDArray[np.float64],
    ) -> PoseSpread:
        """From inner products with the mean and its unit errors alone: gram (N, 6, 6), overlap (N, 6), or 7 each.

        The mean's own deviation from `contrast` (N,) is integrated out too; weight (N,): how far an image counts.
        """
        spread = PoseSpread.start(defocus_errors=overlap.shape[1] > 6)
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
        """After one scoring step. excess (5 or 6,) = sum of m^2 + S - 1 over images, information = sum of (1 - S)^2."""
        start = PoseSpread.start(defocus_errors=len(excess) > 5)
        moved = []
        for group, now, middle in zip(
            _GROUPS,
            astuple(self),
            astuple(start),
            strict=True,
        ):
            if not middle:
                moved.append(0.0)
                continue
            log_variance = 2 * np.log(now / middle)
            score = 0.5 * excess[group].sum() - log_variance / PRIOR_SD**2
            curvature = 0.5 * information[group].sum() + 1 / PRIOR_SD**2
            step = float(np.clip(score / curvature, -LARGEST_STEP, LARGEST_STEP))
            moved.append(max(now * float(np.exp(0.5 * step)), LEAST * middle))
        return PoseSpread(*moved)
