"""The frozen model that states are built on: y_i = c_i A_i (mu_h + sum_k z_ik u_hk) + noise, each half-set its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from covaria.estimation.latents.model import Latents
from covaria.estimation.linear_model import LinearModel, residual_of, slices_of
from covaria.imaging.images import Batch, Images
from covaria.imaging.noise import Noise


@dataclass(frozen=True)
class HalfSetModels:
    """What a run has found, for N used images (the order of `Images.rows`) and q latent coordinates.

    halves   of each half-set, densities; their components in one common basis
    latents  of the N images
    noise    power of the cached pixels
    mask     (D, D, D) where residuals are looked for (the dilated mask)
    """

    halves: tuple[LinearModel, LinearModel]
    latents: Latents
    noise: Noise
    mask: np.ndarray

    @property
    def box(self) -> int:
        return int(self.mask.shape[-1])


class Residuals:
    """What one half-set's linear model leaves of its images, ready for back-projection."""

    def __init__(self, model: HalfSetModels, half: int, images: Images) -> None:
        device = images.device
        self.noise, self.linear, self.latents = model.noise, model.halves[half].in_units_of(images.scale), model.latents
        self._padded = self.linear.padded(device)
        coordinates = torch.as_tensor(model.latents.coordinates, dtype=torch.float32, device=device)
        self._coefficients = torch.cat([torch.ones_like(coordinates[:, :1]), coordinates], 1)
        self._contrasts = torch.as_tensor(model.latents.contrasts, dtype=torch.float32, device=device)

    @property
    def device(self) -> torch.device:
        return self._padded.device

    def of(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """What is back-projected, whitened: y - c CTF P(mu + U z) (b, n, 2, 1), c CTF (b, n), its square (b, n, 1)."""
        index = torch.as_tensor(batch.index, device=self.device)
        contrast = self._contrasts[index, None]
        residual = residual_of(slices_of(batch, self._padded), contrast * self._coefficients[index])
        transfer = batch.ctf * contrast
        weighted = transfer * batch.weight[:, None]
        return residual.view_as(batch.pixels)[..., None], weighted, (transfer * weighted)[..., None]
