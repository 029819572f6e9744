"""Everything that is settled before components: data sign, mean, mask, noise spectrum, first contrasts.

First with white noise and contrasts of 1; then once more with the measured spectrum, the first contrasts and the mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from covaria.estimation.latents.posterior import statistics
from covaria.estimation.linear_model import LinearModel, slices_of
from covaria.estimation.mean.noise import ResidualPower, outside_window, solve_noise
from covaria.estimation.mean.sums import MeanMap, MeanSums, solve_mean
from covaria.imaging.images import Batch, Images
from covaria.imaging.noise import Noise
from covaria.maps import load_focus_mask, solvent_mask
from covaria.request.model import ReconstructionOptions
from covaria.running.passes import Pass
from covaria.running.steps import once
from covaria.running.sums import Rows


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


def estimate_mean_model(images: Images, options: ReconstructionOptions, passes: Pass) -> MeanModel:
    """From images of either sign (images.sign is not looked at: the model says which it is)."""
    context = passes.context
    noise = Noise.white(images.box, images.groups)
    mean = once(context, "mean.map-0", MeanMap, lambda: _mean(images.signed(1), noise, None, None, passes))
    sign = data_sign(mean.regularised, options.uninvert_data)
    images = images.signed(sign)
    mean = mean if sign > 0 else mean.negative()
    masks = solvent_mask(
        options.mask,
        mean.regularised_halves[0],
        mean.regularised_halves[1],
        images.pixel_size_angstrom,
        dilate_iterations=options.mask_dilate_iter,
        roots=context.roots,
    )
    component_mask = masks.dilated_mask
    if options.focus_mask is not None:
        component_mask = load_focus_mask(options.focus_mask, images.box, images.pixel_size_angstrom, context.roots)
    unmasked = mean.fsc
    found = FirstContrasts(np.ones(len(images), np.float32), np.array(0.0))
    window = outside_window(masks.dilated_mask)
    for turn in (1, 2):
        inside = mean.regularised * masks.dilated_mask
        if options.correct_contrast:
            make = partial(first_contrasts, images, noise, inside, passes)
            found = once(context, f"mean.contrast-{turn}", FirstContrasts, make)
        power = ResidualPower(images, inside, found.contrasts, window, noise)
        noise = once(context, f"mean.noise-{turn}", Noise, partial(_noise, images, power, mean.fsc, passes))
        regularise = partial(_mean, images, noise, found.contrasts, masks.mask, passes)
        mean = once(context, f"mean.map-{turn}", MeanMap, regularise)
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
        found.contrasts,
        found.spread,
        np.array(sign),
    )


def data_sign(mean: np.ndarray, asked: str) -> float:
    """+1 for bright particles, -1 for dark ones: sum of mean^3 within D/3 is positive after it. "true" = bright."""
    if asked != "automatic":
        return 1.0 if asked == "true" else -1.0
    box = len(mean)
    axis = np.arange(box) - box // 2
    near = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2 < (box / 3) ** 2
    return 1.0 if float((mean[near].astype(np.float64) ** 3).sum()) >= 0 else -1.0


class ContrastRows(Rows):
    """|A mu|^2 and <A mu, y> of each image."""

    def __init__(self, images: Images, noise: Noise, mean: np.ndarray) -> None:
        super().__init__(noise, images.box // 2 - 1, 10, mean)
        self._padded = LinearModel.of_mean(mean, images.scale).padded(images.device)

    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        found = statistics(batch, slices_of(batch, self._padded))
        return {"energy": found.gram[:, 0, 0], "overlap": found.overlap[:, 0]}


@dataclass(frozen=True)
class FirstContrasts:
    """contrasts (N,), of mean 1; spread (): their standard deviation beyond their own noise."""

    contrasts: np.ndarray
    spread: np.ndarray


def first_contrasts(images: Images, noise: Noise, mean: np.ndarray, passes: Pass) -> FirstContrasts:
    """c_i = <A mu, y> / |A mu|^2 shrunk towards 1 by var / (var + 1 / |A mu|^2); mean 1. And the spread sqrt(var).

    var is what the raw values spread beyond their own noise.
    """
    table = passes.named("contrast").rows(images, ContrastRows(images, noise, mean))
    energy = np.maximum(table["energy"].astype(np.float64), 1e-12)
    raw = table["overlap"] / energy
    raw /= np.average(raw, weights=energy)
    variance = max(np.average((raw - 1) ** 2 - 1 / energy, weights=energy), 1e-4)
    contrasts = 1 + (raw - 1) * variance / (variance + 1 / energy)
    contrasts = np.clip(contrasts, 0.1, 3.0)
    return FirstContrasts((contrasts / contrasts.mean()).astype(np.float32), np.sqrt(variance))


def _noise(images: Images, half: ResidualPower, mean_fsc: np.ndarray, passes: Pass) -> Noise:
    pair = (half, half.empty())
    passes.named("noise").sum(images, pair)
    return solve_noise(pair, mean_fsc)


def _mean(images: Images, noise: Noise, contrasts: np.ndarray | None, mask: np.ndarray | None, passes: Pass) -> MeanMap:
    half = MeanSums(images.box // 2 - 1, noise, contrasts, images.device)
    pair = (half, half.empty())
    passes.named("mean").sum(images, pair)
    return solve_mean(pair, mask)
