"""Everything that is settled before components: data sign, mean, mask, noise spectrum, first contrasts.

First with white noise and contrasts of 1; then with the measured spectrum, the first contrasts and the mask, twice. Bad
images are weighed down from the first mean on: by the power that they were read with, then by their residual's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from covaria.estimation.mean.contrasts import FirstContrasts, first_contrasts
from covaria.estimation.mean.correction import Correction, correction_of
from covaria.estimation.mean.noise import NoiseFound, ResidualPower, outside_window, solve_noise
from covaria.estimation.mean.sums import MeanMap, MeanSums, solve_mean
from covaria.estimation.reliability.bands import band_noise
from covaria.imaging.bands import band_freedom
from covaria.imaging.images import Images
from covaria.imaging.noise import Noise
from covaria.maps import Masks, solvent_mask
from covaria.maps.masks import joint_focus_mask, load_motion_weights
from covaria.opening import Roots
from covaria.request.model import ReconstructionOptions
from covaria.running.passes import Pass
from covaria.running.steps import once
from covaria.stage import Context


@dataclass(frozen=True)
class MeanModel:
    """Cache units (multiply densities by Images.scale). Arrays only, so that it can be a checkpoint.

    halves, regularised_halves (2, D, D, D); regularised, mask, dilated_mask, component_mask (D, D, D)
    correction (D, D, D) of the regularised map inside the dilated mask (`Correction`)
    fsc (D // 2,) inside the mask, fsc_unmasked (D // 2,); spectrum (D // 2,), group_factor (groups,)
    contrasts (N,); contrast_sd, data_sign ()
    band_noise, outlier (N, bands), level, absent, empty (N,): how far each image is to be trusted
    (`estimation.reliability`); the weight in sums is 1 - absent
    pose_spread (3,) of the poses' errors, as `PoseSpread`
    noise_outside, noise_bound, image_power (D // 2,): how the spectrum came about (`NoiseFound`)
    component_mask is where components may differ from zero: the dilated mask, or the focus mask where one is given.
    motion_weights (D, D, D) by how much their amplitude is scaled there; without any (0,).
    """

    halves: np.ndarray
    regularised: np.ndarray
    correction: np.ndarray
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
    band_noise: np.ndarray
    level: np.ndarray
    outlier: np.ndarray
    absent: np.ndarray
    empty: np.ndarray
    pose_spread: np.ndarray
    noise_outside: np.ndarray
    noise_bound: np.ndarray
    image_power: np.ndarray
    motion_weights: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def weights(self) -> np.ndarray | None:
        """The motion's weights, where there are any."""
        return self.motion_weights if self.motion_weights.size else None

    @property
    def noise(self) -> Noise:
        return Noise(self.spectrum, self.group_factor, self.band_noise, 1 - self.absent)

    @property
    def residual_mean(self) -> np.ndarray:
        """The mean that residuals are taken from: regularised, inside the dilated mask, corrected by what it leaves."""
        result: np.ndarray = self.regularised * self.dilated_mask + self.correction
        return result


def estimate_mean_model(images: Images, options: ReconstructionOptions, passes: Pass) -> MeanModel:
    """From images of either sign (images.sign is not looked at: the model says which it is)."""
    context, freedom = passes.context, band_freedom(images.box)
    power = context.ranks.fill({"power": images.power.copy()})["power"]
    own = band_noise(power, freedom, images.group)
    noise = replace(Noise.white(images.box, images.groups), bands=own.noise)
    mean = once(context, "mean.map-0", MeanMap, lambda: _mean(images.signed(1), noise, None, None, passes))
    sign = data_sign(mean.regularised, options.uninvert_data)
    images = images.signed(sign)
    mean = mean if sign > 0 else mean.times(-1)
    masks = _masks(images, mean, options, context)
    found, unmasked = FirstContrasts.ones(len(images)), mean.fsc
    window, measured = outside_window(masks.dilated_mask), NoiseFound.nothing(noise, power)
    for turn in (1, 2):
        inside, trust = mean.regularised * masks.dilated_mask, 1 - own.outlier
        make = partial(first_contrasts, images, noise, inside, trust, passes, found, fitted=options.correct_contrast)
        found = once(context, f"mean.contrast-{turn}", FirstContrasts, make)
        noise = replace(noise, weight=1 - found.absent)
        inside *= np.float32(found.level)
        residual = ResidualPower(images, inside, found.contrasts, window, noise, trust * (1 - found.absent))
        measured = once(context, f"mean.noise-{turn}", NoiseFound, partial(_noise, images, residual, mean.fsc, passes))
        own = band_noise(measured.of_images, freedom, images.group)
        noise = replace(noise, spectrum=measured.spectrum, factor=measured.factor, bands=own.noise)
        regularise = partial(_mean, images, noise, found.contrasts, masks.mask, passes)
        mean = once(context, f"mean.map-{turn}", MeanMap, regularise)
    mean = mean.times(float(found.level))
    inside = mean.regularised * masks.dilated_mask
    correct = partial(correction_of, images, noise, inside, found.contrasts, masks.dilated_mask, passes)
    correction = once(context, "mean.correction", Correction, correct)
    return MeanModel(
        mean.halves,
        mean.regularised,
        correction.volume,
        mean.regularised_halves,
        mean.fsc,
        unmasked,
        masks.mask,
        masks.dilated_mask,
        _where_components_lie(images, options, masks, context.roots),
        noise.spectrum,
        noise.factor,
        found.contrasts,
        found.spread,
        np.array(sign),
        own.noise,
        own.level,
        own.probability,
        found.absent,
        found.empty,
        found.pose_spread,
        measured.outside,
        measured.bound,
        measured.power,
        _motion_weights(images, options, context.roots),
    )


def _masks(images: Images, mean: MeanMap, options: ReconstructionOptions, context: Context) -> Masks:
    """Those of the particle."""
    return solvent_mask(
        options.mask,
        mean.regularised_halves[0],
        mean.regularised_halves[1],
        images.pixel_size_angstrom,
        dilate_iterations=options.mask_dilate_iter,
        roots=context.roots,
    )


def _where_components_lie(images: Images, options: ReconstructionOptions, masks: Masks, roots: Roots) -> np.ndarray:
    if not options.focus_files:
        return masks.dilated_mask
    return joint_focus_mask(options.focus_files, images.box, images.pixel_size_angstrom, roots)


def _motion_weights(images: Images, options: ReconstructionOptions, roots: Roots) -> np.ndarray:
    if options.motion_weights is None:
        return np.zeros(0, np.float32)
    return load_motion_weights(options.motion_weights, images.box, images.pixel_size_angstrom, roots)


def data_sign(mean: np.ndarray, asked: str) -> float:
    """+1 for bright particles, -1 for dark ones: sum of mean^3 within D/3 is positive after it. "true" = bright."""
    if asked != "automatic":
        return 1.0 if asked == "true" else -1.0
    box = len(mean)
    axis = np.arange(box) - box // 2
    near = axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + axis**2 < (box / 3) ** 2
    return 1.0 if float((mean[near].astype(np.float64) ** 3).sum()) >= 0 else -1.0


def _noise(images: Images, half: ResidualPower, mean_fsc: np.ndarray, passes: Pass) -> NoiseFound:
    pair = (half, half.empty())
    passes.named("noise").sum(images, pair)
    return solve_noise(pair, mean_fsc)


def _mean(images: Images, noise: Noise, contrasts: np.ndarray | None, mask: np.ndarray | None, passes: Pass) -> MeanMap:
    half = MeanSums(images.box // 2 - 1, noise, contrasts, images.device)
    pair = (half, half.empty())
    passes.named("mean").sum(images, pair)
    return solve_mean(pair, mask)
