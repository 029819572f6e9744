"""What a gridded mean leaves of the images, put back where they say so.

Dividing sums by how often each cell was seen solves the normal equations only where neighbouring cells were seen as
often. Where views are few a slice of the map is off by some per cent in the same way in every image of that view, and
this is confirmed as motion. One step by the residual, as components take it (each half-set on its own, inside the mask,
kept as far as the halves agree), is left with the square of that error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from covaria.estimation.components.m_step import gradient_in, half_set_steps
from covaria.estimation.components.shrinkage import shrunk
from covaria.imaging import volumes
from covaria.imaging.images import Batch, Images
from covaria.imaging.noise import Noise
from covaria.imaging.slices import backproject, project
from covaria.running.passes import Pass
from covaria.running.sums import Sums


class MeanResidualSums(Sums):
    """Of one half-set, as `MeanSums` but of y - c A mean: grid (M, M, H, 3), gradient and density.

    mean (D, D, D) inside its mask; contrasts (N,) by image
    """

    def __init__(self, mean: np.ndarray, noise: Noise, contrasts: np.ndarray, device: torch.device) -> None:
        radius = len(mean) // 2 - 1
        super().__init__(noise, radius, 12, mean, contrasts)
        self.grid = torch.zeros(volumes.padded_shape(radius, 3), device=device)
        self._padded = volumes.to_padded(torch.as_tensor(mean[None], dtype=torch.float32, device=device))
        self._contrasts = contrasts

    def add(self, batch: Batch) -> None:
        contrast = torch.as_tensor(self._contrasts[batch.index], dtype=torch.float32, device=batch.ctf.device)
        ctf = batch.ctf * contrast[:, None]
        left = batch.pixels - ctf[..., None] * project(self._padded, batch.rotations, batch.plane)[..., 0]
        weighted = ctf * batch.weight[:, None]
        backproject(self.grid, left[..., None], weighted, (ctf * weighted)[..., None], batch.rotations, batch.plane)


@dataclass(frozen=True)
class Correction:
    """volume (D, D, D): what is added to the mean inside its mask, in cache units."""

    volume: np.ndarray


def correction_of(
    images: Images, noise: Noise, mean: np.ndarray, contrasts: np.ndarray, mask: np.ndarray, passes: Pass
) -> Correction:
    """One pass over the images. mean (D, D, D) inside mask (D, D, D)."""
    half = MeanResidualSums(mean, noise, contrasts, images.device)
    pair = (half, half.empty())
    passes.named("mean").sum(images, pair)
    gradients = gradient_in(pair[0].grid, mask), gradient_in(pair[1].grid, mask)
    steps = half_set_steps(np.zeros((1, *mask.shape), np.float32), gradients, np.ones((1, 1)), mask)
    kept = shrunk(steps, torch.as_tensor(mask, dtype=torch.float32, device=steps.device))
    return Correction(kept[:, 0].mean(0).cpu().numpy())
