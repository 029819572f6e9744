"""The images' contrasts before there are components; which images are empty; how wrong the poses are.

All from the inner products of each image with the mean's slice and the slices of its errors.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from covaria.estimation.latents.posterior import CONTRAST_RANGE, statistics
from covaria.estimation.linear_model import slices_of
from covaria.estimation.pose_errors.evidence import PoseIntegrated, Shifts, with_unit_errors
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.estimation.reliability.empties import (
    CONTRASTS,
    Evidence,
    contrast_mixture,
    fitted_to,
)
from covaria.imaging.images import Batch, Images
from covaria.imaging.noise import Noise
from covaria.running.passes import Pass
from covaria.running.sums import Rows

LEAST_VARIANCE = 1e-4
DOUBTFUL = 0.01
"""From this probability of being empty on an image is looked at more closely."""


class ContrastRows(Rows):
    """Inner products of each image with the mean and the pose errors: gram (b, 6, 6) and overlap (b, 6), 7 each
    where the defocus may be wrong."""

    def __init__(self, images: Images, noise: Noise, mean: np.ndarray) -> None:
        model = with_unit_errors(mean, images.scale, defocus_errors=images.defocus_errors)
        super().__init__(noise, model.radius, 40, mean)
        self._padded, self._errors, self._unit = model.padded(images.device), model.errors, model.pose_spread

    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        found = statistics(slices_of(batch, self._padded, self._unit), self._errors)
        return {"gram": found.gram, "overlap": found.overlap}


@dataclass(frozen=True)
class FirstContrasts:
    """Arrays only: contrasts (N,), of mean 1 over the images that hold a particle; absent (N,) probability of holding
    none at the pose in the file, empty (N,) of holding none at all; spread (): standard deviation of the contrasts
    beyond their own noise; level (): what the mean is to be multiplied by for contrasts of mean 1 (few views leave its
    slices too faint); pose_spread (3,), as `PoseSpread`."""

    contrasts: np.ndarray
    absent: np.ndarray
    empty: np.ndarray
    spread: np.ndarray
    level: np.ndarray
    pose_spread: np.ndarray

    @staticmethod
    def ones(count: int) -> FirstContrasts:
        """Nothing is known yet."""
        nobody = np.zeros(count)
        return FirstContrasts(np.ones(count, np.float32), nobody, nobody, np.array(0.0), np.array(1.0), np.zeros(3))


def first_contrasts(
    images: Images,
    noise: Noise,
    mean: np.ndarray,
    trust: np.ndarray,
    passes: Pass,
    before: FirstContrasts | None = None,
    *,
    fitted: bool,
) -> FirstContrasts:
    """c_i = <A mu, y> / |A mu|^2 shrunk towards 1 by var / (var + 1 / |A mu|^2); mean 1; all 1 if not `fitted`.

    var is what the values of the images that hold a particle spread beyond their own noise (`contrast_mixture`).
    trust (N,): how far an image may decide about the others. A verdict of an earlier turn does not count: contrasts
    are measured at full weight.
    before: where an earlier turn has found how wrong the poses are, a particle at a wrong pose is told from none.
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
    contrasts, absent, spread, level = contrasts_of(energy, seen, believed)
    empty = absent
    if before is not None and before.pose_spread.any() and images.particle is None and (absent > DOUBTFUL).any():
        pose = PoseSpread(*before.pose_spread.tolist())
        products = _Products(level**2 * gram, level * overlap, trust)
        empty = _at_no_pose(images, noise, np.float32(level) * mean, products, pose, passes)
    both = np.maximum(absent, empty)
    contrasts, absent, empty = (images.of_leads(values) for values in (contrasts, both, empty))
    pose = PoseSpread.fitted(level**2 * gram, level * overlap, contrasts, spread, trust * (1 - absent))
    return FirstContrasts(
        contrasts.astype(np.float32), absent, empty, np.array(spread), np.array(level), np.array(astuple(pose))
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


@dataclass(frozen=True)
class _Products:
    """Of each image with the mean and its unit errors, at the mean's level: gram (N, k, k), overlap (N, k); believed
    (N,): how far it is to be trusted."""

    gram: np.ndarray
    overlap: np.ndarray
    believed: np.ndarray

    @property
    def known(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Contrast, its error, and trust."""
        energy = np.maximum(self.gram[:, 0, 0], 1e-12)
        return self.overlap[:, 0] / energy, 1 / np.sqrt(energy), self.believed

    def to_first_order(self, pose: PoseSpread) -> Evidence:
        """What the images say of each contrast, with errors of the pose integrated out to first order."""
        contrasts = torch.as_tensor(CONTRASTS)

        def evidence(images: NDArray[np.int64]) -> NDArray[np.float64]:
            products = torch.as_tensor(self.gram[images]), torch.as_tensor(self.overlap[images, None])
            found: NDArray[np.float64] = Shifts.one(pose).evidence(*products, contrasts).numpy()
            return found

        return evidence


def _at_no_pose(
    images: Images, noise: Noise, mean: np.ndarray, products: _Products, pose: PoseSpread, passes: Pass
) -> NDArray[np.float64]:
    """The probability (N,) that an image is empty, errors of the pose integrated out: first to first order, then, of
    the doubtful images and of those that the mixture is fitted to, as `Shifts` has it."""
    model = with_unit_errors(mean, images.scale, defocus_errors=images.defocus_errors)
    roughly = products.to_first_order(pose)
    subset = contrast_mixture(*products.known, roughly).probability > DOUBTFUL
    subset[fitted_to(len(images))] = True
    subset = np.tile(subset.reshape(images.copies, -1).any(0), images.copies)
    rows = PoseIntegrated(model, noise, pose, CONTRASTS, images.device)
    closely = passes.named("empty images").rows(images, rows, subset=subset)["evidence"]

    def evidence(which: NDArray[np.int64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = closely[which].astype(np.float64)
        rest = ~subset[which]
        if rest.any():
            found[rest] = roughly(which[rest])
        return found

    return contrast_mixture(*products.known, evidence).probability
