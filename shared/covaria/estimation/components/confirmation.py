"""How many components are real: those that one half of the images finds and the other half confirms.

Components are fitted to each half-set alone, up to a coarse radius. A model of half a is then shown the images of half
b: component k counts if adding it to its predecessors raises the held-out likelihood by more than SIGNIFICANCE standard
errors. The smaller of the two halves' counts is taken. Half-sets that share latents cannot decide this: on homogeneous
data their FSC is optimistic.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from covaria.estimation.components.expectation_maximisation import Problem, Report, fit_components
from covaria.estimation.components.sums import LinearModel
from covaria.estimation.latents.posterior import posterior, slices_of, statistics
from covaria.imaging.images import Batch
from covaria.running.passes import batch_size, row_pass

SIGNIFICANCE = 4.0


@dataclass(frozen=True)
class Significance:
    """count: components confirmed by both halves.

    z_score (2, K): held-out log likelihood that component k adds, over its standard error
    model: of the half whose components add more to the other; confirmed: of it, the components that count
    """

    count: int
    z_score: np.ndarray
    model: LinearModel
    confirmed: LinearModel


def significant_components(
    problem: Problem, count: int, radius: int, seed: int, report: Report | None = None
) -> Significance:
    """Fit each half alone to `radius` and test it on the other."""
    rng = np.random.default_rng(seed)
    scores, models = [], []
    for half in (0, 1):
        mine = np.flatnonzero(problem.split == half)
        split = np.full(len(problem.split), -1, np.int64)
        split[mine] = rng.permutation(np.arange(len(mine)) % 2)
        step = fit_components(
            replace(problem, split=split), count, seed=seed, limit=radius, last_steps=1, report=report
        )
        model = step.model
        grid = model.grid.to(problem.images.device)

        def rows_of(batch: Batch, grid: torch.Tensor = grid) -> dict[str, torch.Tensor]:
            stats = statistics(batch, slices_of(batch, grid))
            levels = [posterior(stats.leading(q), problem.contrast_sd).log_likelihood for q in range(count + 1)]
            return {"gain": torch.stack(levels, 1).diff(dim=1)}

        other = problem.split == 1 - half
        size = batch_size(problem.images, model.radius, 10 * (count + 1))
        rows = row_pass(problem.images, rows_of, problem.noise, radius=model.radius, size=size, subset=other)
        rise = rows["gain"][other].astype(np.float64)
        models.append(model)
        scores.append(rise.mean(0) / np.maximum(rise.std(0) / np.sqrt(len(rise)), 1e-30))
    table = np.stack(scores)
    found = int((table > SIGNIFICANCE).sum(1).min())
    best = int(table.sum(1).argmax())
    model, strongest = models[best], np.sort(np.argsort(-table[best])[:found])
    return Significance(found, table, model, replace(model, components=model.components[strongest]))
