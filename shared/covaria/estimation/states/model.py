"""The frozen linear model that states are built on: y_i = c_i A_i (mu_h + sum_k z_ik u_hk) + noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from covaria.imaging.images import Batch, Images
from covaria.imaging.noise import Noise
from covaria.imaging.slices import project
from covaria.imaging.volumes import to_padded


@dataclass(frozen=True)
class LinearModel:
    """What a run has found, for N used images (the order of `Images.rows`) and q latent coordinates.

    means       (2, D, D, D)     regularised mean of each half-set, density units of the stack
    components  (2, q, D, D, D)  eigenvolumes of each half-set in one common basis
    latents     (N, q), precision (N, q, q), contrasts (N,)
    noise       power of the cached pixels
    mask        (D, D, D)        where residuals are looked for (the dilated mask)
    """

    means: NDArray[np.float32]
    components: NDArray[np.float32]
    latents: NDArray[np.float32]
    precision: NDArray[np.float32]
    contrasts: NDArray[np.float32]
    noise: Noise
    mask: NDArray[np.float32]

    @property
    def box(self) -> int:
        return int(self.means.shape[-1])

    def at(self, half: int, target: NDArray[np.floating]) -> NDArray[np.float32]:
        """mu_h + sum_k z_k u_hk, (D, D, D)."""
        result: NDArray[np.float32] = (self.means[half] + np.tensordot(target, self.components[half], axes=1)).astype(
            np.float32
        )
        return result


class Residuals:
    """What one half-set's linear model leaves of its images, ready for back-projection."""

    def __init__(self, model: LinearModel, half: int, images: Images) -> None:
        device = images.device
        self.model, self.half, self.images = model, half, images
        volumes = np.concatenate([model.means[half][None], model.components[half]]) / np.float32(images.scale)
        self._padded = to_padded(torch.as_tensor(volumes, dtype=torch.float32, device=device))
        self._latents = torch.as_tensor(model.latents, dtype=torch.float32, device=device)
        self._contrasts = torch.as_tensor(model.contrasts, dtype=torch.float32, device=device)

    def of(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """c CTF (y - c CTF P(mu + U z)) and (c CTF)^2, whitened: (b, n, 2, 1) and (b, n, 1)."""
        index = torch.as_tensor(batch.index, device=self._latents.device)
        coefficients = torch.cat([torch.ones_like(index, dtype=torch.float32)[:, None], self._latents[index]], 1)
        slices = project(self._padded, batch.rotations, batch.plane)
        predicted = torch.einsum("bnck,bk->bnc", slices, coefficients)
        transfer = batch.ctf * self._contrasts[index, None]
        residual = batch.pixels - transfer[..., None] * predicted
        return (transfer[..., None] * residual)[..., None], (transfer**2)[..., None]
