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

    def times(self, factor: float) -> MeanMap:
        """The mean of images whose grey levels are `factor` times these."""
        level = np.float32(factor)
        return MeanMap(self.halves * level, self.regularised * level, self.regularised_halves * level, self.fsc)


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
    gridded = [_gridded(one) for one in sums]
    halves = np.stack([_volume(one.numerator, np.maximum(one.density, one.floor)) for one in gridded])
    curve = fsc(halves[0], halves[1], mask)
    precision = _precision(gridded, curve)
    precision[: int(crossing(curve, ONE_SEVENTH))] = 0
    prior = precision[gridded[0].shell]
    first, second = gridded
    both = np.maximum(first.density + second.density + prior, first.floor + second.floor)
    return MeanMap(
        halves,
        _volume(first.numerator + second.numerator, both),
        np.stack([_volume(one.numerator, np.maximum(one.density + prior, one.floor)) for one in gridded]),
        curve,
    )


def wiener_halves(sums: tuple[MeanSums, MeanSums], mask: np.ndarray | None = None) -> np.ndarray:
    """Each half-set's map with the prior at every shell, (2, D, D, D): what it knows of the particle.

    Where it has few views, the cells of its grid are shrunk the more.
    """
    gridded = [_gridded(one) for one in sums]
    halves = [_volume(one.numerator, np.maximum(one.density, one.floor)) for one in gridded]
    prior = _precision(gridded, fsc(halves[0], halves[1], mask))[gridded[0].shell]
    return np.stack([_volume(one.numerator, np.maximum(one.density + prior, one.floor)) for one in gridded])


@dataclass(frozen=True)
class _Gridded:
    """Sums of one half-set on the padded half grid: numerator (M, M, H, 2); density, shell, floor (M, M, H);
    density's mean over each shell."""

    numerator: torch.Tensor
    density: np.ndarray
    means: np.ndarray
    shell: np.ndarray

    @property
    def floor(self) -> np.ndarray:
        """No cell is divided by less."""
        least: np.ndarray = self.means[self.shell] / 1000
        return least


def _gridded(sums: MeanSums) -> _Gridded:
    grid = volumes.completed(sums.grid, 1).cpu()
    density = grid[..., 2].numpy()
    return _Gridded(grid[..., :2], density, *padded_shell_means(density))


def _precision(gridded: list[_Gridded], curve: np.ndarray) -> np.ndarray:
    """1 / tau of one half-set by shell, from the FSC of the two."""
    means = 0.5 * (gridded[0].means + gridded[1].means)
    snr = np.append(signal_to_noise(curve.copy()), 0.0)[: len(means)]
    precision: np.ndarray = means / np.maximum(snr, 1e-3)
    return precision


def _volume(numerator: torch.Tensor, denominator: np.ndarray) -> np.ndarray:
    radius = volumes.padded_radius(numerator.shape[2])
    inverse = np.where(
        (radius <= numerator.shape[2] // 2 - 1) & (denominator > 0), 1 / np.maximum(denominator, 1e-30), 0
    )
    return volumes.grid_corrected(numerator * torch.as_tensor(inverse[..., None], dtype=torch.float32))[0].numpy()
