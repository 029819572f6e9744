"""The images' contrasts before there are components; which images are empty; how wrong the poses are.

All from the inner products of each image with the mean's slice and the five slices of its pose errors.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from covaria.estimation.latents.posterior import CONTRAST_RANGE, statistics
from covaria.estimation.linear_model import LinearModel, slices_of
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.estimation.reliability.empties import contrast_mixture
from covaria.imaging.images import Batch, Images
from covaria.imaging.noise import Noise
from covaria.running.passes import Pass
from covaria.running.sums import Rows

UNIT = PoseSpread(1.0, 1.0)
"""One pixel, one radian: what inner products of unscaled slices are of."""
LEAST_VARIANCE = 1e-4


class ContrastRows(Rows):
    """Inner products of each image with the mean and the pose errors: gram (b, 6, 6) and overlap (b, 6)."""

    def __init__(self, images: Images, noise: Noise, mean: np.ndarray) -> None:
        model = LinearModel(mean, np.zeros((0, *mean.shape), np.float32), images.scale, pose_spread=UNIT)
        super().__init__(noise, model.radius, 40, mean)
        self._padded, self._errors = model.padded(images.device), model.errors

    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        found = statistics(slices_of(batch, self._padded, UNIT), self._errors)
        return {"gram": found.gram, "overlap": found.overlap}


@dataclass(frozen=True)
class FirstContrasts:
    """Arrays only: contrasts (N,), of mean 1 over the images that hold a particle; empty (N,) probability of holding
    none; spread (): standard deviation of the contrasts beyond their own noise; level (): what the mean is to be
    multiplied by for contrasts of mean 1 (few views leave its slices too faint); pose_spread (2,), as `PoseSpread`."""

    contrasts: np.ndarray
    empty: np.ndarray
    spread: np.ndarray
    level: np.ndarray
    pose_spread: np.ndarray

    @staticmethod
    def ones(count: int) -> FirstContrasts:
        """Nothing is known yet."""
        start = np.array(astuple(PoseSpread()))
        return FirstContrasts(np.ones(count, np.float32), np.zeros(count), np.array(0.0), np.array(1.0), start)


def first_contrasts(
    images: Images, noise: Noise, mean: np.ndarray, trust: np.ndarray, passes: Pass, *, fitted: bool
) -> FirstContrasts:
    """c_i = <A mu, y> / |A mu|^2 shrunk towards 1 by var / (var + 1 / |A mu|^2); mean 1; all 1 if not `fitted`.

    var is what the raw values of the images that hold a particle spread beyond their own noise (`contrast_mixture`).
    trust (N,): how far an image may decide about the others. A verdict of an earlier turn does not count: contrasts
    are measured at full weight.
    """
    table = passes.named("contrast").rows(images, ContrastRows(images, noise, mean))
    gram, overlap = table["gram"].astype(np.float64), table["overlap"].astype(np.float64)
    if not fitted:
        level = float(trust @ overlap[:, 0]) / max(float(trust @ gram[:, 0, 0]), 1e-12)
        pose = PoseSpread.fitted(level**2 * gram, level * overlap, np.ones(len(gram)), 0.0, trust)
        nothing = FirstContrasts.ones(len(gram))
        return replace(nothing, level=np.array(level), pose_spread=np.array(astuple(pose)))
    leads = images.leads
    tilts = images.by_particle(np.ones(len(images)))
    energy = np.maximum(images.by_particle(gram[:, 0, 0]), 1e-12)[leads]
    believed = (images.by_particle(trust) / tilts)[leads]
    seen = images.by_particle(overlap[:, 0])[leads]
    contrasts, probability, spread, level = contrasts_of(energy, seen, believed)
    contrasts, empty = (images.of_leads(values) for values in (contrasts, probability))
    pose = PoseSpread.fitted(level**2 * gram, level * overlap, contrasts, spread, trust * (1 - empty))
    return FirstContrasts(
        contrasts.astype(np.float32), empty, np.array(spread), np.array(level), np.array(astuple(pose))
    )


def contrasts_of(
    energy: NDArray[np.float64], overlap: NDArray[np.float64], believed: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float]:
    """(contrasts (P,), probability of being empty (P,), spread, level), as those of `FirstContrasts`.

    energy |A mu|^2 and overlap <A mu, y> (P,) of each particle; believed (P,): how far it may decide about others
    """
    raw = overlap / energy
    level = float(np.average(raw, weights=energy * believed))
    raw, energy = raw / level, energy * level**2
    found = contrast_mixture(raw, 1 / np.sqrt(energy), believed)
    raw, variance = raw / found.mean, max(found.variance / found.mean**2, LEAST_VARIANCE)
    contrasts = np.clip(1 + (raw - 1) * variance / (variance + 1 / energy), *CONTRAST_RANGE)
    average = float(np.average(contrasts, weights=1 - found.probability))
    return contrasts / average, found.probability, float(np.sqrt(variance)), level * found.mean * average
