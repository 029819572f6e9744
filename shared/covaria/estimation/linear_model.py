"""Volumes that depend linearly on latent coordinates, and what they leave of the images.

y_i = c_i A_i (mean + sum_k z_ik v_k) + noise,   A_i = CTF_i x slice_i
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from covaria.imaging import volumes
from covaria.imaging.images import Batch
from covaria.imaging.slices import project


@dataclass(frozen=True)
class LinearModel:
    """mean (d, d, d) and components (K, d, d, d) on one cube, in units of `grey_level`.

    grey_level   density of one unit of these arrays: 1 where they are densities, `Images.scale` in units of the cache
    contrast_sd  spread of the images' contrasts about 1; 0 = all are 1, or each is known
    """

    mean: np.ndarray
    components: np.ndarray
    grey_level: float
    contrast_sd: float = 0.0

    @staticmethod
    def of_mean(mean: np.ndarray, grey_level: float) -> LinearModel:
        """The model in which nothing moves."""
        return LinearModel(mean, np.zeros((0, *mean.shape), np.float32), grey_level)

    @property
    def count(self) -> int:
        """How many components there are."""
        return len(self.components)

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
        """The mean and the components on the padded Fourier grid: (2d, 2d, d, 2 + 2K), ready for `slices_of`."""
        stack = np.concatenate([self.mean[None], self.components])
        return volumes.to_padded(torch.as_tensor(stack, dtype=torch.float32, device=device))


def slices_of(batch: Batch, padded: torch.Tensor) -> torch.Tensor:
    """A_i x of each padded volume x: CTF-applied slices (b, 2n, channels) float32, real parts and imaginary parts."""
    found = project(padded, batch.rotations, batch.plane)
    found *= batch.ctf[:, :, None, None]
    return found.flatten(1, 2)


def residual_of(batch: Batch, slices: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """y_i - sum_k coefficients_ik A_i x_k: slices (b, 2n, channels) and coefficients (b, channels) -> (b, 2n)."""
    return batch.pixels.flatten(1) - torch.bmm(slices, coefficients[..., None])[..., 0]
