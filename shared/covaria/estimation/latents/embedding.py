"""Contrast and latent coordinates of every image, for every latent dimension, from one pass over the images.

The pass stores the inner products of `latents.ImageStatistics` at the largest dimension; each smaller dimension, with
and without prior, is then a batch of small solves on their leading blocks. Units: eigenvolumes u_k have sum of squares
1, z is in density x voxel^(1/2), Gamma = diag(eigenvalues).

    z      = (H + Gamma^-1)^-1 c (U^* A^* y - c U^* A^* A mu),   H = c^2 G      (noreg: without Gamma^-1)
    precision_noreg = H,   precision = (H + Gamma^-1) H^-1 (H + Gamma^-1): inverse sampling covariance of the estimate
(Gilles and Singer 2025, section on embedding; the contrast by the marginal likelihood, `latents.best_contrast`.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from covaria.estimation.latents.copies import alone, of_images, repeated
from covaria.estimation.latents.model import Latents
from covaria.estimation.latents.posterior import ImageStatistics, best_contrast, statistics
from covaria.estimation.latents.tilts import of_particles, posterior_of
from covaria.estimation.linear_model import LinearModel, residual_of, slices_of
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.imaging.bands import band_freedom, band_sums
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


@dataclass(frozen=True)
class ImageRows:
    """What the embedding's pass says of each of N images.

    statistics    inner products under noise that holds the pose errors; of a tilt series those of its whole particle
    pose_mean, pose_sd (N, 5)  posterior of the pose errors: shift x, y in pixels, rotation about x, y, z in radians;
    (N, 6): of the defocus in angstrom besides
    residual      (N, bands) mean power of what the whole model leaves, over the image's own noise
    """

    statistics: ImageStatistics
    pose_mean: np.ndarray
    pose_sd: np.ndarray
    residual: np.ndarray


class EmbeddingRows(Rows):
    """Rows of `ImageRows` for a model of eigenvolumes in units of the cache.

    eigenvalues (K,) prior variances of its coordinates; contrasts (N,) at which pose errors are taken out
    """

    def __init__(
        self, images: Images, noise: Noise, model: LinearModel, eigenvalues: np.ndarray, contrasts: np.ndarray
    ) -> None:
        floats = 6 * (1 + model.count + model.errors)
        super().__init__(noise, images.box // 2 - 1, floats, model, eigenvalues, contrasts)
        self._padded, self._model, self._contrasts = model.padded(images.device), model, contrasts
        self._freedom = torch.as_tensor(band_freedom(images.box), device=images.device)
        ones = torch.ones(1 + model.errors, dtype=torch.float64)
        root = torch.as_tensor(np.sqrt(eigenvalues), dtype=torch.float64)
        self._deviations = torch.cat([ones, root]).to(images.device)

    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        errors, spread, of = self._model.errors, self._model.pose_spread, batch.copies
        slices = of_images(slices_of(batch, self._padded, spread), batch, errors)
        found = statistics(slices, errors)
        contrast = torch.as_tensor(self._contrasts[batch.index[: len(slices)]], dtype=torch.float64)
        contrast = contrast.to(slices.device)
        deviations = self._deviations[1 + errors :]
        every = torch.cat([self._deviations[: 1 + errors], deviations.repeat_interleave(of)])
        z = posterior_of(found.scaled(every), self._model.contrast_sd, batch.particle)
        coefficients = z.weights * every * z.mean
        coefficients[:, 0] += 1
        residual = residual_of(slices, coefficients.float()).view(len(slices), -1, 2)
        power = band_sums(residual.square().sum(2), batch.plane).double() / self._freedom
        own = found.without_errors(contrast)
        if of > 1:
            own = self._of_units(own, deviations, contrast, batch)
        rows = {"gram": own.gram, "overlap": own.overlap, "energy": own.energy, "residual": repeated(power, of)}
        scale = (spread or PoseSpread()).columns[:errors].to(z.mean)
        variance = z.covariance.diagonal(dim1=1, dim2=2)[:, 1 : 1 + errors]
        mean, sd = z.mean[:, 1 : 1 + errors] * scale, variance.sqrt() * scale
        return rows | {"pose_mean": repeated(mean, of), "pose_sd": repeated(sd, of)}

    def _of_units(
        self, stats: ImageStatistics, deviations: torch.Tensor, contrast: torch.Tensor, batch: Batch
    ) -> ImageStatistics:
        """Those of each copy (b) of what images say of all units; of a tilt series at each particle's first image."""
        if batch.particle is None:
            return alone(stats, deviations, contrast, batch.copies)
        codes = batch.particle
        first = torch.ones_like(codes, dtype=torch.bool)
        first[1:] = codes[1:] != codes[:-1]
        whole = alone(of_particles(stats, codes), deviations, contrast[first], batch.copies)
        place = (torch.arange(batch.copies, device=codes.device)[:, None] * len(codes) + torch.where(first)[0]).ravel()
        rows = batch.copies * len(codes)
        gram, overlap, energy = (
            values.new_zeros((rows, *values.shape[1:])).index_copy(0, place, values)
            for values in (whole.gram, whole.overlap, whole.energy)
        )
        return ImageStatistics(gram, overlap, energy)


def embedding_rows(
    images: Images,
    noise: Noise,
    model: LinearModel,
    eigenvalues: np.ndarray,
    contrasts: np.ndarray,
    passes: Pass,
) -> ImageRows:
    """One pass over every used image, for the mean and all eigenvolumes (full box), under the model's pose errors.

    eigenvalues (K,) in the model's own units
    """
    rows = EmbeddingRows(images, noise, model.in_units_of(images.scale), eigenvalues, contrasts)
    table = passes.named("embedding").rows(images, rows)
    whole = (images.by_particle(table[name]).astype(np.float32, copy=False) for name in ("gram", "overlap", "energy"))
    gram, overlap, energy = (torch.as_tensor(values) for values in whole)
    return ImageRows(ImageStatistics(gram, overlap, energy), table["pose_mean"], table["pose_sd"], table["residual"])


def embedding_statistics(
    images: Images, noise: Noise, model: LinearModel, passes: Pass, eigenvalues: np.ndarray | None = None
) -> ImageStatistics:
    """The statistics alone, where poses are exact; eigenvalues (K,), 1 where not given, are of other units' motion."""
    variance = np.ones(model.count) if eigenvalues is None else eigenvalues
    plain = replace(model, pose_spread=None)
    return embedding_rows(images, noise, plain, variance, np.ones(len(images)), passes).statistics


def embed(
    stats: ImageStatistics, eigenvalues: np.ndarray, q: int, contrast_sd: float, weight: np.ndarray | None = None
) -> Embedding:
    """Solve for contrast and coordinates at dimension q; contrasts are normalised to mean 1 over `weight` (N,)."""
    gamma = torch.as_tensor(eigenvalues[:q], dtype=torch.float64)
    root = torch.cat([torch.ones(1, dtype=torch.float64), gamma.sqrt()])
    chunks = [slice(s, s + _CHUNK) for s in range(0, len(stats.energy), _CHUNK)]
    parts = [_part(stats, chunk, q) for chunk in chunks]
    contrasts = [best_contrast(part.scaled(root), contrast_sd) for part in parts]
    every = torch.cat(contrasts)
    counted = torch.ones_like(every) if weight is None else torch.as_tensor(weight, dtype=every.dtype)
    level = (counted * every).sum() / counted.sum()
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
