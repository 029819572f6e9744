"""Contrast and latent coordinates of every image, for every latent dimension, from one pass over the images.

The pass stores the inner products of `latents.ImageStatistics` at the largest dimension; each smaller dimension, with
and without prior, is then a batch of small solves on their leading blocks. Units: eigenvolumes u_k have sum of squares
1, z is in density x voxel^(1/2), Gamma = diag(eigenvalues).

    z      = (H + Gamma^-1)^-1 c (U^* A^* y - c U^* A^* A mu),   H = c^2 G      (noreg: without Gamma^-1)
    precision_noreg = H,   precision = (H + Gamma^-1) H^-1 (H + Gamma^-1): inverse sampling covariance of the estimate
(Gilles and Singer 2025, section on embedding; the contrast by the marginal likelihood, `latents.best_contrast`.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from covaria.estimation.latents.model import Latents
from covaria.estimation.latents.posterior import ImageStatistics, best_contrast, statistics
from covaria.estimation.linear_model import LinearModel, slices_of
from covaria.imaging.images import Batch, Images
from covaria.imaging.noise import Noise
from covaria.running.passes import Pass
from covaria.running.sums import Rows

EIGENVALUE_FLOOR = 1e-6
_CHUNK = 4096


@dataclass(frozen=True)
class Embedding:
    """The latents of all used images at one dimension, float32: with prior and without, at the same contrasts."""

    regularised: Latents
    unregularised: Latents


class StatisticsRows(Rows):
    """`ImageStatistics` of each image for the mean and the components of a model in units of the cache."""

    def __init__(self, images: Images, noise: Noise, model: LinearModel) -> None:
        super().__init__(noise, images.box // 2 - 1, 6 * (1 + model.count), model)
        self._padded = model.padded(images.device)

    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        found = statistics(batch, slices_of(batch, self._padded))
        return {"gram": found.gram, "overlap": found.overlap, "energy": found.energy}


def embedding_statistics(images: Images, noise: Noise, model: LinearModel, passes: Pass) -> ImageStatistics:
    """One pass: statistics of every used image for the mean and all eigenvolumes (full box)."""
    rows = StatisticsRows(images, noise, model.in_units_of(images.scale))
    table = passes.named("embedding").rows(images, rows)
    return ImageStatistics(*(torch.as_tensor(table[name]) for name in ("gram", "overlap", "energy")))


def embed(stats: ImageStatistics, eigenvalues: np.ndarray, q: int, contrast_sd: float) -> Embedding:
    """Solve for contrast and coordinates at dimension q; contrasts are normalised to mean 1."""
    gamma = torch.as_tensor(eigenvalues[:q], dtype=torch.float64)
    root = torch.cat([torch.ones(1, dtype=torch.float64), gamma.sqrt()])
    chunks = [slice(s, s + _CHUNK) for s in range(0, len(stats.energy), _CHUNK)]
    parts = [_part(stats, chunk, q) for chunk in chunks]
    contrasts = [best_contrast(part.scaled(root), contrast_sd) for part in parts]
    level = torch.cat(contrasts).mean()
    solved = [_solve(part, c / level, gamma) for part, c in zip(parts, contrasts, strict=True)]
    columns = (torch.cat(column).float().numpy() for column in zip(*solved, strict=True))
    contrasts_found, coordinates, free, precision, fisher = columns
    return Embedding(Latents(coordinates, precision, contrasts_found), Latents(free, fisher, contrasts_found))


def _part(stats: ImageStatistics, chunk: slice, q: int) -> ImageStatistics:
    leading = stats.leading(q)
    return ImageStatistics(
        leading.gram[chunk].double(), leading.overlap[chunk].double(), leading.energy[chunk].double()
    )


def _solve(stats: ImageStatistics, contrast: torch.Tensor, gamma: torch.Tensor) -> tuple[torch.Tensor, ...]:
    c = contrast[:, None]
    fisher = (c * c)[..., None] * stats.gram[:, 1:, 1:]
    data = c * (stats.overlap[:, 1:] - c * stats.gram[:, 1:, 0])
    values, vectors = torch.linalg.eigh(fisher)
    values = values.clamp_min(EIGENVALUE_FLOOR * values[:, -1:].clamp_min(1e-300))
    inverse = (vectors / values[:, None]) @ vectors.transpose(1, 2)
    regularised = fisher + torch.diag(1 / gamma)
    coordinates = torch.linalg.solve(regularised, data)
    free = torch.einsum("bkl,bl->bk", inverse, data)
    return contrast, coordinates, free, regularised @ inverse @ regularised, fisher
