"""How much of a motion the images hold: the energy of its slices over their noise, shell by shell."""

from __future__ import annotations

import numpy as np
import torch

from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.latents.posterior import ImageStatistics, statistics
from covaria.estimation.linear_model import slices_of
from covaria.imaging.images import Batch
from covaria.running.sums import Rows


class EnergyRows(Rows):
    """Of each image (b, R + 1, K): energy of the slices of K motions up to each shell, at contrast 1, what the mean's
    contrast and the errors of the pose can explain taken out.

    motions (K, d, d, d) in units of the cache, on the cube of `radius`
    """

    def __init__(self, problem: Problem, motions: np.ndarray, radius: int) -> None:
        model = problem.model(radius, motions)
        super().__init__(problem.noise, radius, 10 * (model.count + 1 + model.errors), model)
        self._padded, self._model = model.padded(problem.images.device), model

    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        model = self._model
        slices = slices_of(batch, self._padded, model.pose_spread)
        first = 1 + model.errors
        left = _unexplained(statistics(slices, model.errors), model.contrast_sd)
        power = slices[:, :, first:-1].reshape(len(slices), -1, 2, model.count).square().sum(2)
        by_shell = torch.zeros((len(slices), model.radius + 1, model.count), device=power.device)
        by_shell.index_add_(1, batch.plane.shell_tensor(power.device), power)
        return {"energy": by_shell.cumsum(1) * left[:, None].float()}


def _unexplained(found: ImageStatistics, contrast_sd: float) -> torch.Tensor:
    """Share of each motion's energy that is not the mean's or a pose error's, (b, K)."""
    first, gram = 1 + found.errors, found.gram
    scale = torch.ones(gram.shape[1], dtype=gram.dtype, device=gram.device)
    scale[0] = contrast_sd
    gram = gram * scale[:, None] * scale
    known = gram[:, :first, :first] + torch.eye(first, dtype=gram.dtype, device=gram.device)
    mixed = gram[:, :first, first:]
    own = gram.diagonal(dim1=1, dim2=2)[:, first:]
    taken = (mixed * torch.linalg.solve(known, mixed)).sum(1)
    share: torch.Tensor = (1 - taken / own.clamp_min(1e-30)).clamp_min(0)
    return share
