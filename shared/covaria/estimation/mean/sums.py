"""The mean map: two half-sets, trilinear gridding on a twofold padded grid, FSC-regularised.

    num_h = sum_i A_i^* Lambda^-1 y_i,   den_h = sum_i A_i^* Lambda^-1 A_i,   x_h = num_h / den_h
    SNR(r) = FSC / (1 - FSC),  tau(r) = SNR(r) / <den_h>_r,   mu = (num_1 + num_2) / (den_1 + den_2 + 1 / tau)
The prior acts only beyond the shell where the halves' FSC falls below 1/7: what it takes off the mean would stay in the
residual of every image.
(Gilles and Singer 2025, eq. 6; Scheres 2012 for the FSC-derived prior.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from covaria.imaging import volumes
from covaria.imaging.images import Batch
from covaria.imaging.noise import Noise
from covaria.imaging.slices import backproject
from covaria.maps import crossing, fsc
from covaria.maps.correlation import ONE_SEVENTH
from covaria.maps.fourier import shell_means
from covaria.running.sums import Sums


class MeanSums(Sums):
    """num and den of one half-set under fixed contrasts ((N,) by image, or None for 1)."""

    def __init__(self, radius: int, noise: Noise, contrasts: np.ndarray | None, device: torch.device) -> None:
        super().__init__(noise, radius, 10, contrasts)
        self.grid = torch.zeros(volumes.padded_shape(radius, 3), device=device)
        self._contrasts = contrasts

    def add(self, batch: Batch) -> None:
        ctf = batch.ctf
        if self._contrasts is not None:
            contrast = torch.as_tensor(self._contrasts[batch.index], dtype=torch.float32, device=ctf.device)
            ctf = ctf * contrast[:, None]
        weighted = ctf * batch.weight[:, None]
        square = (ctf * weighted)[..., None]
        backproject(self.grid, batch.pixels[..., None], weighted, square, batch.rotations, batch.plane)


@dataclass(frozen=True)
class MeanMap:
    """The mean in cache units, real cubes of side D.

    halves        (2, D, D, D)  unregularised half-maps
    regularised   (D, D, D)     of all images, for residuals
    regularised_halves (2, D, D, D)
    fsc           (D // 2,)     of the halves, inside the mask where one was given
    """

    halves: np.ndarray
    regularised: np.ndarray
    regularised_halves: np.ndarray
    fsc: np.ndarray

    def negative(self) -> MeanMap:
        """The mean of the same images with their sign turned."""
        return MeanMap(-self.halves, -self.regularised, -self.regularised_halves, self.fsc)


def signal_to_noise(curve: np.ndarray) -> np.ndarray:
    """FSC / (1 - FSC) for each shell, 0 where the halves do not agree; shell 0 takes shell 1's value."""
    curve = np.clip(curve, 0.0, 0.999)
    curve[0] = curve[1]
    result: np.ndarray = curve / (1 - curve)
    return result


def padded_shell_means(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of a padded half grid (2d, 2d, d) over each shell round(abs(q)), and the shell of every voxel."""
    shell = np.rint(volumes.padded_radius(weights.shape[2])).astype(np.int64)
    limit = weights.shape[2] // 2
    inside = np.minimum(shell, limit)
    return shell_means(weights, inside, limit + 1), inside


def solve_mean(sums: tuple[MeanSums, MeanSums], mask: np.ndarray | None = None) -> MeanMap:
    """Half-maps, their FSC and the regularised mean from the sums of two half-sets.

    No cell is divided by less than a thousandth of its shell's average: few images leave cells next to empty.
    """
    grids = [volumes.completed(one.grid, 1).cpu() for one in sums]
    numerators = [grid[..., :2] for grid in grids]
    weights = [grid[..., 2].numpy() for grid in grids]
    means, shell = zip(*(padded_shell_means(w) for w in weights), strict=True)
    floors = [mean[inside] / 1000 for mean, inside in zip(means, shell, strict=True)]
    halves = np.stack(
        [_volume(num, np.maximum(den, floor)) for num, den, floor in zip(numerators, weights, floors, strict=True)]
    )
    curve = fsc(halves[0], halves[1], mask)
    snr = np.append(signal_to_noise(curve.copy()), 0.0)[: len(means[0])]
    precision = 0.5 * (means[0] + means[1]) / np.maximum(snr, 1e-3)  # 1 / tau
    precision[: int(crossing(curve, ONE_SEVENTH))] = 0
    prior = precision[shell[0]]
    return MeanMap(
        halves,
        _volume(numerators[0] + numerators[1], np.maximum(weights[0] + weights[1] + prior, floors[0] + floors[1])),
        np.stack(
            [
                _volume(num, np.maximum(den + prior, floor))
                for num, den, floor in zip(numerators, weights, floors, strict=True)
            ]
        ),
        curve,
    )


def _volume(numerator: torch.Tensor, denominator: np.ndarray) -> np.ndarray:
    radius = volumes.padded_radius(numerator.shape[2])
    inverse = np.where(
        (radius <= numerator.shape[2] // 2 - 1) & (denominator > 0), 1 / np.maximum(denominator, 1e-30), 0
    )
    return volumes.grid_corrected(numerator * torch.as_tensor(inverse[..., None], dtype=torch.float32))[0].numpy()
