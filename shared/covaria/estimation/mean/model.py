"""Everything that is settled before components: data sign, mean, mask, noise spectrum, first contrasts.

First with white noise and contrasts of 1; then once more with the measured spectrum, the first contrasts and the mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from covaria.estimation.latents.posterior import slices_of, statistics
from covaria.estimation.mean.noise import ResidualPower, outside_window, solve_noise
from covaria.estimation.mean.sums import MeanMap, MeanSums, solve_mean
from covaria.imaging import volumes
from covaria.imaging.images import Batch, Images, Noise
from covaria.maps import load_focus_mask, solvent_mask
from covaria.request.model import ReconstructionOptions
from covaria.running.passes import row_pass, sum_pass

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class MeanModel:
    """Cache units (multiply densities by Images.scale). Arrays only, so that it can be a checkpoint.

    halves, regularised_halves (2, D, D, D); regularised, mask, dilated_mask, component_mask (D, D, D)
    fsc (D // 2,) inside the mask, fsc_unmasked (D // 2,); spectrum (D // 2,), group_factor (groups,)
    contrasts (N,); contrast_sd, data_sign ()
    component_mask is where components may differ from zero: the dilated mask, or the focus mask where one is given.
    """

    halves: np.ndarray
    regularised: np.ndarray
    regularised_halves: np.ndarray
    fsc: np.ndarray
    fsc_unmasked: np.ndarray
    mask: np.ndarray
    dilated_mask: np.ndarray
    component_mask: np.ndarray
    spectrum: np.ndarray
    group_factor: np.ndarray
    contrasts: np.ndarray
    contrast_sd: np.ndarray
    data_sign: np.ndarray

    @property
    def noise(self) -> Noise:
        return Noise(self.spectrum, self.group_factor)

    @property
    def residual_mean(self) -> np.ndarray:
        """The mean that residuals are taken from: regularised, inside the dilated mask."""
        result: np.ndarray = self.regularised * self.dilated_mask
        return result

    def arrays(self) -> dict[str, np.ndarray]:
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}


def estimate_mean_model(images: Images, options: ReconstructionOptions, report: Report) -> MeanModel:
    """Sets images.sign on the way."""
    noise = Noise.white(images.box, images.groups)
    mean = _mean(images, noise, None, None, report)
    sign = data_sign(mean.regularised, options.uninvert_data)
    if sign < 0:
        images.sign = -1.0
        mean = replace(
            mean,
            halves=-mean.halves,
            regularised=-mean.regularised,
            regularised_halves=-mean.regularised_halves,
        )
    masks = solvent_mask(
        options.mask,
        mean.regularised_halves[0],
        mean.regularised_halves[1],
        images.pixel_size_angstrom,
        dilate_iterations=options.mask_dilate_iter,
    )
    component_mask = masks.dilated_mask
    if options.focus_mask is not None:
        component_mask = load_focus_mask(options.focus_mask, images.box, images.pixel_size_angstrom)
    unmasked = mean.fsc
    window = outside_window(masks.dilated_mask)
    contrasts, sd = np.ones(len(images), np.float32), 0.0
    for _ in range(2):
        if options.correct_contrast:
            contrasts, sd = first_contrasts(images, noise, mean.regularised * masks.dilated_mask, report)
        pair = [
            ResidualPower(images, mean.regularised * masks.dilated_mask, contrasts, window, noise) for _ in range(2)
        ]
        sum_pass(images, (pair[0], pair[1]), noise, report=lambda done, total: report("noise", done, total))
        noise = solve_noise((pair[0], pair[1]), window, noise, mean.fsc)
        mean = _mean(images, noise, contrasts, masks.mask, report)
    return MeanModel(
        mean.halves,
        mean.regularised,
        mean.regularised_halves,
        mean.fsc,
        unmasked,
        masks.mask,
        masks.dilated_mask,
        component_mask,
        noise.spectrum,
        noise.factor,
        contrasts,
        np.array(sd),
        np.array(images.sign),
    )


def data_sign(mean: np.ndarray, asked: str) -> float:
    """+1 for bright particles, -1 for dark ones: sum of mean^3 within D/3 is positive after it. "true" = bright."""
    if asked != "automatic":
        return 1.0 if asked == "true" else -1.0
    box = len(mean)
    axis = np.arange(box) - box // 2
    near = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2 < (box / 3) ** 2
    return 1.0 if float((mean[near].astype(np.float64) ** 3).sum()) >= 0 else -1.0


def first_contrasts(images: Images, noise: Noise, mean: np.ndarray, report: Report) -> tuple[np.ndarray, float]:
    """c_i = <A mu, y> / |A mu|^2 shrunk towards 1 by var / (var + 1 / |A mu|^2); mean 1. And the spread sqrt(var).

    var is what the raw values spread beyond their own noise.
    """
    grid = volumes.to_padded(torch.as_tensor(mean[None])).to(images.device)

    def rows(batch: Batch) -> dict[str, torch.Tensor]:
        found = statistics(batch, slices_of(batch, grid))
        return {"energy": found.gram[:, 0, 0], "overlap": found.overlap[:, 0]}

    table = row_pass(images, rows, noise, report=lambda done, total: report("contrast", done, total))
    energy = np.maximum(table["energy"].astype(np.float64), 1e-12)
    raw = table["overlap"] / energy
    raw /= np.average(raw, weights=energy)
    variance = max(np.average((raw - 1) ** 2 - 1 / energy, weights=energy), 1e-4)
    contrasts = 1 + (raw - 1) * variance / (variance + 1 / energy)
    contrasts = np.clip(contrasts, 0.1, 3.0)
    return (contrasts / contrasts.mean()).astype(np.float32), float(np.sqrt(variance))


def _mean(
    images: Images, noise: Noise, contrasts: np.ndarray | None, mask: np.ndarray | None, report: Report
) -> MeanMap:
    radius = images.box // 2 - 1
    pair = (MeanSums(radius, contrasts, images.device), MeanSums(radius, contrasts, images.device))
    sum_pass(images, pair, noise, report=lambda done, total: report("mean", done, total))
    return solve_mean(pair, mask)
