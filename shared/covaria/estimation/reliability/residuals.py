"""Each image's noise from what the whole model leaves of it: what moves is then part of the model, and no outlier."""

from __future__ import annotations

import numpy as np
import torch

from covaria.estimation.latents.copies import of_images, repeated
from covaria.estimation.latents.posterior import statistics
from covaria.estimation.latents.tilts import posterior_of
from covaria.estimation.linear_model import LinearModel, residual_of, slices_of
from covaria.estimation.reliability.bands import DEAD, BandNoise, band_noise
from covaria.imaging.bands import band_freedom, band_sums
from covaria.imaging.images import Batch, Images
from covaria.imaging.noise import Noise
from covaria.running.passes import Pass
from covaria.running.sums import Rows


class ResidualRows(Rows):
    """residual (b, bands): mean power of what a model in units of the cache leaves, over the image's own noise."""

    def __init__(self, images: Images, noise: Noise, model: LinearModel) -> None:
        super().__init__(noise, model.radius, 6 * (1 + model.count + model.errors), model)
        self._padded, self._model = model.padded(images.device), model
        self._freedom = torch.as_tensor(band_freedom(images.box), device=images.device)

    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        model = self._model
        slices = of_images(slices_of(batch, self._padded, model.pose_spread), batch, model.errors)
        found = posterior_of(statistics(slices, model.errors), model.contrast_sd, batch.particle)
        coefficients = (found.weights * found.mean).float()
        coefficients[:, 0] += 1
        residual = residual_of(slices, coefficients).view(len(slices), -1, 2)
        power = band_sums(residual.square().sum(2), batch.plane).double() / self._freedom
        return {"residual": repeated(power, batch.copies)}


def noise_of_residuals(images: Images, noise: Noise, model: LinearModel, passes: Pass) -> BandNoise:
    """One pass at the model's radius, which must be the full one: its components are sqrt(eigenvalue) x eigenvolume."""
    return band_noise(residual_power(images, noise, model, passes), band_freedom(images.box), images.group)


def residual_power(
    images: Images, noise: Noise, model: LinearModel, passes: Pass, *, subset: np.ndarray | None = None
) -> np.ndarray:
    """(N, bands) mean power of what the model leaves of each image, in units of the noise spectrum and group."""
    table = passes.named("residuals").rows(images, ResidualRows(images, noise, model), subset=subset)
    power = table["residual"].astype(np.float64)
    if len(noise.bands):
        power *= np.where(noise.bands < DEAD, noise.bands, 0)
    return power
