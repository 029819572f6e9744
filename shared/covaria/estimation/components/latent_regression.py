"""Volumes that depend linearly on known latents: the voxel-wise M-step.

    [ sum_i c_i^2 C_i^2 E_i / Lambda + diag(1 / tau_k) ] v = sum_i c_i C_i (y_i - c_i A_i mu) m_i / Lambda
at each Fourier voxel, with E_i = m_i m_i^T for latents that are known. It says what perfect latents would reach on a
data set: the ceiling of any estimator of the components.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from covaria.estimation.components.expectation_maximisation import Problem
from covaria.estimation.components.shrinkage import shrunk
from covaria.estimation.linear_model import residual_of, slices_of
from covaria.estimation.mean.sums import padded_shell_means, signal_to_noise
from covaria.imaging import volumes
from covaria.imaging.images import Batch
from covaria.imaging.slices import backproject
from covaria.maps import fsc
from covaria.running.sums import Sums


class RegressionSums(Sums):
    """K complex right-hand sides and K (K + 1) / 2 real normal-equation entries for each padded voxel."""

    def __init__(self, problem: Problem, latents: np.ndarray, contrasts: np.ndarray) -> None:
        device = problem.images.device
        self.count = latents.shape[1]
        self.pairs = np.triu_indices(self.count)
        radius = len(problem.mask) // 2 - 1
        channels = 2 * self.count + len(self.pairs[0])
        super().__init__(problem.noise, radius, 10 * channels, problem.mean, latents, contrasts)
        self.grid = torch.zeros(volumes.padded_shape(radius, channels), device=device)
        self._mean = replace(problem.null_model(radius), pose_spread=None).padded(device)
        self._latents, self._contrasts = latents, contrasts

    def add(self, batch: Batch) -> None:
        device = batch.ctf.device
        contrast = torch.as_tensor(self._contrasts[batch.index], dtype=torch.float32, device=device)
        z = torch.as_tensor(self._latents[batch.index], dtype=torch.float32, device=device)
        ctf = batch.ctf * contrast[:, None]
        residual = residual_of(slices_of(batch, self._mean), contrast[:, None]).view_as(batch.pixels)
        weighted = ctf * batch.weight[:, None]
        values = residual[..., None] * z[:, None, None]
        moments = (ctf * weighted)[..., None] * (z[:, self.pairs[0]] * z[:, self.pairs[1]])[:, None]
        backproject(self.grid, values, weighted, moments, batch.rotations, batch.plane)


def regress_on_latents(
    problem: Problem, latents: np.ndarray, contrasts: np.ndarray, *, by_place: bool = False
) -> np.ndarray:
    """Components (K, D, D, D) for latents (N, K) of about unit variance.

    Regularised by the half-sets' FSC in each shell, or as the estimator's own are (`by_place`: `shrinkage`).
    """
    count = latents.shape[1]
    sums = _sums(problem, latents, contrasts)
    own = _own(sums, count) * problem.mask
    result: np.ndarray
    if by_place:
        result = _by_place(own, problem.mask).mean(0)
        return result
    both = sums[0] + sums[1]
    density, shell = _density(both, count)
    curves = np.stack([fsc(a, b) for a, b in zip(*own, strict=True)])
    snr = np.stack([signal_to_noise(curve.copy()) for curve in curves])
    snr = np.concatenate([snr, np.zeros((count, density.shape[1] - snr.shape[1]))], 1)
    result = _solve(both, count, density / np.maximum(snr, 1e-4), shell) * problem.mask
    return result


def regress_halves(problem: Problem, latents: np.ndarray, contrasts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each half-set's own components (2, K, D, D, D): as they are, and shrunk as the estimator's own (`shrinkage`)."""
    own = _own(_sums(problem, latents, contrasts), latents.shape[1]) * problem.mask
    return own, _by_place(own, problem.mask)


def _sums(problem: Problem, latents: np.ndarray, contrasts: np.ndarray) -> list[np.ndarray]:
    half = RegressionSums(problem, latents, contrasts)
    pair = (half, half.empty())
    problem.passes.named("regression").sum(problem.images, pair, split=problem.split)
    return [volumes.completed(one.grid, latents.shape[1]).cpu().numpy() for one in pair]


def _density(both: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of one half-set, the mean weight of each latent in each shell (K, shells); the shell of every voxel."""
    first, second = np.triu_indices(count)
    diagonal = 2 * count + np.flatnonzero(first == second)
    shell = padded_shell_means(both[..., 2 * count])[1]
    return np.stack([0.5 * padded_shell_means(both[..., d])[0] for d in diagonal]), shell


def _own(sums: list[np.ndarray], count: int) -> np.ndarray:
    density, shell = _density(sums[0] + sums[1], count)
    return np.stack([_solve(half, count, density * 1e-2, shell) for half in sums])


def _by_place(own: np.ndarray, mask: np.ndarray) -> np.ndarray:
    found: np.ndarray = shrunk(
        torch.as_tensor(own, dtype=torch.float32), torch.as_tensor(mask, dtype=torch.float32)
    ).numpy()
    return found


def _solve(sums: np.ndarray, count: int, precision: np.ndarray, shell: np.ndarray) -> np.ndarray:
    """Solve every voxel inside the radius with `precision` (K, shells) on the diagonal; real cubes (K, D, D, D)."""
    side = sums.shape[2]
    inside = volumes.padded_radius(side) <= side // 2 - 1
    chosen = sums[inside]
    matrix = np.zeros((len(chosen), count, count), np.float32)
    rows, columns = np.triu_indices(count)
    matrix[:, rows, columns] = matrix[:, columns, rows] = chosen[:, 2 * count :]
    matrix[:, np.arange(count), np.arange(count)] += precision.T[shell[inside]] + 1e-12
    right = chosen[:, : 2 * count].reshape(-1, 2, count).transpose(0, 2, 1)
    out = np.zeros((*sums.shape[:3], 2 * count), np.float32)
    out[inside] = np.linalg.solve(matrix, right).transpose(0, 2, 1).reshape(len(chosen), -1)
    return volumes.grid_corrected(torch.from_numpy(out)).numpy()
