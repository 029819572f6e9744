"""What an image says about its contrast when the error of its pose is integrated out.

Of y = c A mu(pose) + noise: log p(y | c) - log p(y | 0). Errors of rotation count to first order
(`pose_errors.columns`). A shift of N(0, s^2) along x and y is a sum of narrow Gaussians about the points of a lattice:
the points turn the phases exactly, only the rest is left to first order. Inner products of slices among themselves are
the same at every point; those with the image are sums of the same products under other phases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from covaria.estimation.latents.posterior import ImageStatistics, grid_costs, statistics
from covaria.estimation.linear_model import LinearModel, slices_of
from covaria.estimation.pose_errors.spread import PoseSpread
from covaria.imaging.images import Batch
from covaria.imaging.noise import Noise
from covaria.running.sums import Rows

if TYPE_CHECKING:
    from jaxtyping import Float

NARROW = 0.6
"""Sd of the narrow Gaussians, in steps of the lattice."""
FINEST_PIXELS, MOST_STEPS = 1.0, 4
"""A step of the lattice is about so many pixels, at most one sd of the shift; points to either side of none."""
LEAST_WEIGHT = 1e-2
"""Of the middle point's: points with less are left out."""
FIRST_ORDER_RAD = 0.5
"""A shift whose sd turns no phase by more needs no lattice."""


def with_unit_errors(mean: np.ndarray, scale: float, *, defocus_errors: bool = False) -> LinearModel:
    """A map (D, D, D) alone, in units of `scale`, whose slices' errors are one pixel, one radian and one angstrom:
    inner products of its slices are of unscaled errors."""
    unit = PoseSpread(1.0, 1.0, 1.0 if defocus_errors else 0.0)
    return LinearModel(mean, np.zeros((0, *mean.shape), np.float32), scale, pose_spread=unit)


@dataclass(frozen=True)
class Shifts:
    """A Gaussian of shifts in narrow pieces: points (S, 2) pixels, their weights (S,), and the spread about each."""

    points: NDArray[np.float64]
    weights: NDArray[np.float64]
    about: PoseSpread

    @staticmethod
    def one(spread: PoseSpread) -> Shifts:
        """All to first order."""
        return Shifts(np.zeros((1, 2)), np.ones(1), spread)

    @staticmethod
    def of(spread: PoseSpread) -> Shifts:
        """As many points as shifts of `spread` need."""
        sd = spread.shift_pixels
        if np.pi * sd < FIRST_ORDER_RAD:  # at Nyquist
            return Shifts.one(spread)
        count = int(np.clip(np.ceil(2 * sd / FINEST_PIXELS), 2, MOST_STEPS))
        step = 2 * sd / count
        x, y = (axis.ravel() for axis in np.meshgrid(*[np.arange(-count, count + 1) * step] * 2, indexing="ij"))
        weights = np.exp(-0.5 * (x**2 + y**2) / (sd**2 - (NARROW * step) ** 2))
        kept = weights > LEAST_WEIGHT
        points = np.stack([x, y], 1)[kept]
        return Shifts(points, weights[kept] / weights[kept].sum(), replace(spread, shift_pixels=NARROW * step))

    def evidence(
        self,
        gram: Float[torch.Tensor, "b k k"],
        overlap: Float[torch.Tensor, "b point k"],
        contrasts: Float[torch.Tensor, " contrast"],
    ) -> Float[torch.Tensor, "b contrast"]:
        """From inner products of the mean's slice and its unit errors, with each other and, at every point, with
        the image; float64."""
        count, points = overlap.shape[:2]
        scale = torch.cat([torch.ones(1), self.about.columns]).to(gram)
        at_points = gram.repeat_interleave(points, 0)
        nothing = torch.zeros(count * points, dtype=gram.dtype, device=gram.device)
        found = ImageStatistics(at_points, overlap.flatten(0, 1), nothing, len(scale) - 1).scaled(scale)
        costs = grid_costs(found, contrasts.to(gram)).view(count, points, -1)
        weights = torch.as_tensor(self.weights, device=gram.device).log()
        return torch.logsumexp(weights[:, None] - 0.5 * costs, 1)


class PoseIntegrated(Rows):
    """log p(y | c) - log p(y | 0) of each image at contrasts (m,) of `mean`, poses being wrong by `spread`.

    mean  with unit errors (`with_unit_errors`)
    """

    def __init__(
        self, mean: LinearModel, noise: Noise, spread: PoseSpread, contrasts: NDArray[np.float64], device: torch.device
    ) -> None:
        super().__init__(noise, mean.radius, 40, mean.mean, spread, contrasts)
        self._padded, self._shifts, self._unit = mean.padded(device), Shifts.of(spread), mean.pose_spread
        self._contrasts = torch.as_tensor(contrasts, dtype=torch.float64, device=device)

    def of(self, batch: Batch) -> dict[str, torch.Tensor]:
        seen = slices_of(batch, self._padded, self._unit)
        gram = statistics(seen).gram
        pairs = seen.view(len(seen), -1, 2, seen.shape[-1])
        real, imaginary = pairs[:, :, 0], pairs[:, :, 1]
        along = real[..., :-1] * real[..., -1:] + imaginary[..., :-1] * imaginary[..., -1:]
        across = real[..., :-1] * imaginary[..., -1:] - imaginary[..., :-1] * real[..., -1:]
        products = torch.cat([along, across], 1).transpose(1, 2)
        overlap = torch.matmul(products, self._phases(batch)).transpose(1, 2).double()
        return {"evidence": self._shifts.evidence(gram, overlap, self._contrasts)}

    def _phases(self, batch: Batch) -> torch.Tensor:
        """cos and -sin of what each point turns each pixel by: (2n, S)."""
        points = torch.as_tensor(self._shifts.points, dtype=torch.float32, device=batch.ctf.device)
        ramp = batch.plane.phase_ramp(points)
        return torch.cat([ramp.real, -ramp.imag], 1).T.contiguous()
