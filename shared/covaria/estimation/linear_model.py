"""Volumes that depend linearly on latent coordinates, and what they leave of the images.

y_i = c_i A_i (mean + sum_k z_ik v_k) + noise,   A_i = CTF_i x slice_i
Where poses have errors, `pose_errors.columns` adds sum_j e_ij D_ij, slices that stand between mean and components.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from covaria.estimation.pose_errors import columns
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.imaging import volumes
from covaria.imaging.images import Batch


@dataclass(frozen=True)
class LinearModel:
    """mean (d, d, d) and components (K, d, d, d) on one cube, in units of `grey_level`.

    grey_level   density of one unit of these arrays: 1 where they are densities, `Images.scale` in units of the cache
    contrast_sd  spread of the images' contrasts about 1; 0 = all are 1, or each is known
    pose_spread  spread of the errors of the poses; None = poses are exact
    """

    mean: np.ndarray
    components: np.ndarray
    grey_level: float
    contrast_sd: float = 0.0
    pose_spread: PoseSpread | None = None

    @staticmethod
    def of_mean(mean: np.ndarray, grey_level: float) -> LinearModel:
        """The model in which nothing moves."""
        return LinearModel(mean, np.zeros((0, *mean.shape), np.float32), grey_level)

    @property
    def count(self) -> int:
        """How many components there are."""
        return len(self.components)

    @property
    def errors(self) -> int:
        """How many slices stand for pose errors."""
        return 0 if self.pose_spread is None else len(self.pose_spread.columns)

    @property
    def radius(self) -> int:
        """The largest shell that the cube holds."""
        return int(self.mean.shape[-1]) // 2 - 1

    def in_units_of(self, grey_level: float) -> LinearModel:
        """The same volumes as numbers of another grey level."""
        ratio = np.float32(grey_level / self.grey_level)
        return replace(self, mean=self.mean / ratio, components=self.components / ratio, grey_level=grey_level)

    def at(self, target: np.ndarray) -> np.ndarray:
        """mean + sum_k target_k v_k, (d, d, d) float32."""
        volume: np.ndarray = (self.mean + np.tensordot(target, self.components, axes=1)).astype(np.float32)
        return volume

    def padded(self, device: torch.device) -> torch.Tensor:
        """The mean and the components on the padded Fourier grid: (2d, 2d, d, 2 + 2K), ready for `slices_of`.

        With pose errors the mean's three moments follow.
        """
        parts = [self.mean[None], self.components]
        if self.pose_spread is not None:
            parts.append(columns.moments(self.mean))
        stack = np.concatenate(parts)
        return volumes.to_padded(torch.as_tensor(stack, dtype=torch.float32, device=device))


def slices_of(batch: Batch, padded: torch.Tensor, pose_spread: PoseSpread | None = None) -> torch.Tensor:
    """A_i x of each padded volume x, and the image itself as the last channel: (b, 2n, channels + 1) float32, real and
    imaginary parts in turn.

    With a spread of pose errors, of a model that has it: of the mean, the errors, the components.
    """
    scale = torch.zeros(0) if pose_spread is None else pose_spread.columns
    seen = columns.slices_with_errors(
        padded, batch.rotations, batch.plane, batch.ctf, batch.pixels, scale.to(padded.device), batch.ctf_slope
    )
    return seen.flatten(1, 2)


def residual_of(slices: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """y_i - sum_k coefficients_ik A_i x_k of `slices_of` (b, 2n, channels + 1) and coefficients (b, channels)."""
    left = torch.cat([-coefficients, torch.ones_like(coefficients[:, :1])], 1)
    return torch.bmm(slices, left[..., None])[..., 0]
