"""Where each image's pose should be, and how likely the image is, when its pose has been moved already.

The error e of the pose in the file is N(0, spread^2). The slices of `pose_errors.columns` are taken at the pose moved
by m, so what is left there, e - m, is N(-m, spread^2): the prior stays where the file put it, and no pose is ever
fitted to its image alone.
"""

from __future__ import annotations

import numpy as np
import torch

from covaria.estimation.latents.copies import at_first, of_images, repeated
from covaria.estimation.latents.posterior import statistics
from covaria.estimation.latents.tilts import posterior_of
from covaria.estimation.linear_model import LinearModel, slices_of
from covaria.imaging.images import Batch
from covaria.imaging.noise import Noise
from covaria.running.sums import Rows


class ErrorRows(Rows):
    """Rows of a model in units of the cache whose `pose_spread` is that of the errors in the file.

    left (b, 5) and sd (b, 5): posterior of what the moved pose still lacks, shift x, y in pixels and rotation about x,
    y, z in radians; log_likelihood (b,), errors, contrast and components integrated out; of symmetry copies the first
    has their image's, the others 0. moved (N, 5).
    """

    def __init__(self, model: LinearModel, noise: Noise, moved: np.ndarray, device: torch.device) -> None:
        super().__init__(noise, model.radius, 10 * (1 + model.errors + model.count), model, moved)
        if model.pose_spread is None:
            raise ValueError("a model without pose errors has nothing to say of them")
        self._padded, self._model, self._spread, self._moved = model.padded(device), model, model.pose_spread, moved

    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        errors, of = self._model.errors, batch.copies
        slices = of_images(slices_of(batch, self._padded, self._spread), batch, errors)
        found = posterior_of(statistics(slices, errors), self._model.contrast_sd, batch.particle)
        scale = self._spread.columns.to(found.mean)
        middle = -torch.as_tensor(self._moved[batch.index[: len(slices)]]).to(found.mean) / scale
        held = slice(1, 1 + errors)
        covariance = found.covariance[:, held, held]
        left, likelihood = about(middle, found.mean[:, held], covariance, found.log_likelihood)
        sd = covariance.diagonal(dim1=1, dim2=2).sqrt()
        rows = {"left": repeated(left * scale, of), "sd": repeated(sd * scale, of)}
        return rows | {"log_likelihood": at_first(likelihood, of)}


def about(
    middle: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor, log_likelihood: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior mean (b, k) and log likelihood (b,) under the prior N(u, 1) of k coordinates, u = `middle` (b, k), from
    those under N(0, 1): m + S u, and l + u m - 1/2 u (1 - S) u."""
    pulled = torch.einsum("bkl,bl->bk", covariance, middle)
    return mean + pulled, log_likelihood + (middle * (mean - 0.5 * (middle - pulled))).sum(1)
