"""How many components are real: those that one half of the images finds and the other half confirms.

Components are fitted to each half-set alone, up to a coarse radius. A model of half a is then shown the images of half
b: component k counts if adding it to its predecessors raises the held-out likelihood by more than SIGNIFICANCE standard
errors, of independent measurements (`Images.units`: all tilts of a particle, all copies of an image are one). The
smaller of the two halves' counts is taken. Half-sets that share latents cannot decide this: on homogeneous data their
FSC is optimistic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from covaria.estimation.components.expectation_maximisation import Problem, fit_components
from covaria.estimation.latents.copies import at_first, of_images
from covaria.estimation.latents.posterior import statistics
from covaria.estimation.latents.tilts import posterior_of
from covaria.estimation.linear_model import LinearModel, slices_of
from covaria.imaging.images import Batch
from covaria.running.steps import once
from covaria.running.sums import Rows

SIGNIFICANCE = 4.0


@dataclass(frozen=True)
class Significance:
    """count: components confirmed by both halves.

    z_score (2, K): held-out log likelihood that component k adds, over its standard error
    model: of the half whose components add more to the other; confirmed: of it, the components that count
    own: of each half's own fit, the components that count, (count, d, d, d)
    """

    count: int
    z_score: np.ndarray
    model: LinearModel
    confirmed: LinearModel
    own: tuple[np.ndarray, np.ndarray]
    alone: tuple[np.ndarray, np.ndarray]


class GainRows(Rows):
    """What each component adds to an image's log likelihood when its predecessors are there: gain (b, K)."""

    def __init__(self, problem: Problem, model: LinearModel) -> None:
        super().__init__(problem.noise, model.radius, 10 * (model.count + 1 + model.errors), model)
        self._padded = model.padded(problem.images.device)
        self._model = model

    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        slices, count = slices_of(batch, self._padded, self._model.pose_spread), self._model.count
        stats = statistics(of_images(slices, batch, self._model.errors), self._model.errors)
        sd, of = self._model.contrast_sd, batch.particle
        levels = [posterior_of(stats.leading(q * batch.copies), sd, of).log_likelihood for q in range(count + 1)]
        return {"gain": batch.weight[:, None] * at_first(torch.stack(levels, 1).diff(dim=1), batch.copies)}


@dataclass(frozen=True)
class HalfFit:
    """components (K, d, d, d) of one half-set alone, and their z_score (K,) on the other."""

    components: np.ndarray
    z_score: np.ndarray

    def strongest(self, count: int) -> np.ndarray:
        """The `count` components that add most to the other half, in their own order."""
        chosen: np.ndarray = self.components[np.sort(np.argsort(-self.z_score)[:count])]
        return chosen


def significant_components(problem: Problem, count: int, radius: int, seed: int) -> Significance:
    """Fit each half alone to `radius` and test it on the other."""
    fits = []
    for half, split in enumerate(inner_splits(problem, seed)):
        name = f"components.half-{half}"
        fit = partial(_half_fit, replace(problem, split=split), problem.split == 1 - half, count, radius, seed, name)
        fits.append(once(problem.passes.context, name, HalfFit, fit))
    return significance_of(problem, (fits[0], fits[1]))


def inner_splits(problem: Problem, seed: int) -> np.ndarray:
    """(2, N) each half-set's own two halves, drawn by lot; -1 for the images of the other half-set."""
    rng, splits = np.random.default_rng(seed), np.full((2, len(problem.split)), -1, np.int64)
    for half in (0, 1):
        mine = np.flatnonzero(problem.split == half)
        splits[half, mine] = problem.images.in_parts(2, mine, rng)
    return splits


def significance_of(problem: Problem, fits: tuple[HalfFit, HalfFit]) -> Significance:
    """What the two half-sets say of each other's components."""
    table = np.stack([fit.z_score for fit in fits])
    found = int((table > SIGNIFICANCE).sum(1).min())
    best = int(table.sum(1).argmax())
    components = fits[best].components
    model = problem.model(components.shape[-1] // 2 - 1, components)
    first, second = (fit.strongest(found) for fit in fits)
    alone = fits[0].components, fits[1].components
    return Significance(found, table, model, replace(model, components=(first, second)[best]), (first, second), alone)


def _half_fit(alone: Problem, other: np.ndarray, count: int, radius: int, seed: int, name: str) -> HalfFit:
    model = fit_components(alone, count, seed=seed, limit=radius, last_steps=1, name=f"{name}.fit").model
    return held_out(alone, model, other)


def held_out(alone: Problem, model: LinearModel, other: np.ndarray) -> HalfFit:
    """A half-set's model shown the images of the other half-set, (N,) bool."""
    rows = alone.passes.named("confirmation").rows(alone.images, GainRows(alone, model), subset=other)
    units = np.unique(alone.images.units[other], return_inverse=True)[1]
    rise = np.zeros((int(units.max()) + 1, rows["gain"].shape[1]))
    np.add.at(rise, units, rows["gain"][other].astype(np.float64))
    return HalfFit(model.components, rise.mean(0) / np.maximum(rise.std(0) / np.sqrt(len(rise)), 1e-30))
