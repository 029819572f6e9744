"""Principal components by expectation-maximisation: the sums of one step, and the step.

Model (probabilistic PCA, Tipping and Bishop 1999, with the image formation inside):
    y_i = (1 + sd a_i) A_i mu + c_i A_i sum_k v_k z_ik + noise,   a, z ~ N(0, 1),   v_k = sqrt(eigenvalue) x eigenvolume
With pose errors five slices stand beside the v_k in every line below; they have no M-step, only their spread is learnt.
E-step: `latents.posterior` (m_i, S_i of a and z), with c_i re-estimated from the marginal likelihood.
M-step: the gradient of the expected log likelihood in v, through the exact adjoint,
    g_k = sum_i c_i A_i^* [ r_i m_ik - c_i sum_l (A_i v_l) S_i,lk - sd (A_i mu) S_i,ak ]
    r_i = y_i - (1 + sd m_ia) A_i mu - c_i A_i V m_i
preconditioned by its own Hessian with E_i = S_i + m_i m_i^T replaced by its mean E: rho(k) E, where rho is the number
of CTF^2 / noise samples in each Fourier cell. Poses do not depend on the latents, so this is the M-step up to sampling
fluctuations, in 2 K + 1 channels instead of K + K (K + 1) / 2 complex and real ones; its fixed point is that of EM
exactly, because the gradient is exact. Each half-set steps on its own; what they agree on decides how much of the
average is kept (`shrinkage`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch

from covaria.estimation.components.shrinkage import shrunk
from covaria.estimation.latents.posterior import posterior, statistics
from covaria.estimation.linear_model import LinearModel, slices_of
from covaria.imaging import volumes
from covaria.imaging.images import Batch
from covaria.imaging.noise import Noise
from covaria.imaging.slices import backproject
from covaria.maps import fsc
from covaria.maps.fourier import shell_average, shell_indices
from covaria.running.sums import Sums

LEAST_DENSITY = 0.1
"""Of its shell's average: no cell is divided by less."""


class ComponentSums(Sums):
    """E-step and gradient sums of one half-set under a frozen model, on the device where they are taken.

    grid (M, M, H, 2K + 1): gradient and density; second_moment (K, K) of the latents; scalars (3,): log likelihood,
    that of the mean alone, images; pose_errors (2, 5): what `PoseSpread.improved` asks for
    """

    SUMMED = ("grid", "second_moment", "scalars", "pose_errors")

    def __init__(self, model: LinearModel, noise: Noise, device: torch.device) -> None:
        count = model.count
        super().__init__(noise, model.radius, 4 * (count + 3) + 2 * model.errors, model)
        self._sd, self._errors, self._pose_spread = model.contrast_sd, model.errors, model.pose_spread
        self._padded = model.padded(device)
        self.grid = torch.zeros(volumes.padded_shape(model.radius, 2 * count + 1), device=device)
        self.second_moment = torch.zeros((count, count), dtype=torch.float64, device=device)
        self.scalars = torch.zeros(3, dtype=torch.float64, device=device)
        self.pose_errors = torch.zeros((2, model.errors), dtype=torch.float64, device=device)

    def add(self, batch: Batch) -> None:
        first = 1 + self._errors
        slices = slices_of(batch, self._padded, self._pose_spread)
        stats = statistics(slices, self._errors)
        found = posterior(stats, self._sd)
        weights, mean, covariance = found.weights.float(), found.mean.float(), found.covariance.float()
        coefficients = weights * mean
        coefficients[:, 0] += 1
        known = mean[:, None, first:]
        taken = coefficients[..., None] * known + (weights[:, :, None] * covariance)[:, :, first:]
        values = torch.bmm(slices, torch.cat([-taken, known], 1)).view(*batch.pixels.shape, -1)
        ctf = batch.ctf * weights[:, -1:]  # the contrast, where there are components
        weighted = ctf * batch.weight[:, None]
        backproject(self.grid, values, weighted, (ctf * weighted)[..., None], batch.rotations, batch.plane)
        moment = covariance[:, first:, first:] + mean[:, first:, None] * mean[:, None, first:]
        self.second_moment += torch.einsum("b,bkl->kl", batch.weight, moment).double()
        counted = batch.weight.double()
        self.scalars[0] += counted @ found.log_likelihood
        null = posterior(stats.leading(0), self._sd, found.weights[:, -1])  # the same contrast: searched for once
        self.scalars[1] += counted @ null.log_likelihood
        self.scalars[2] += counted.sum()
        variance = found.covariance.diagonal(dim1=1, dim2=2)[:, 1:first]
        self.pose_errors[0] += counted @ (found.mean[:, 1:first].square() + variance - 1)
        self.pose_errors[1] += counted @ (1 - variance).square()

    @property
    def gain(self) -> float:
        """Log likelihood above that of the mean alone."""
        return float(self.scalars[0] - self.scalars[1])

    @property
    def images(self) -> float:
        return float(self.scalars[2])


@dataclass(frozen=True)
class Gradient:
    """One half-set's sums on the cube's own Fourier grid (rfft half): gradient (K, d, d, d//2+1) and density rho."""

    gradient: np.ndarray
    density: np.ndarray


def gradient_of(sums: ComponentSums, mask: np.ndarray) -> Gradient:
    """The exact gradient inside the mask, as DFT coefficients divided by d^3 (so that Newton's step is g / rho)."""
    count = len(sums.second_moment)
    half = volumes.completed(sums.grid, count).cpu()
    real = volumes.adjoint_from_padded(half[..., : 2 * count]).numpy() * mask
    return Gradient(_dft(real) / mask.size, volumes.unit_density(half[..., -1]).numpy())


def half_set_steps(
    components: np.ndarray, halves: tuple[Gradient, Gradient], second_moment: np.ndarray, mask: np.ndarray
) -> np.ndarray:
    """Each half-set's own M-step, unregularised, inside the mask: (2, K, d, d, d) float32."""
    side = components.shape[-1]
    spectrum = _dft(components)
    inverse = np.linalg.inv(second_moment)
    out = np.empty((2, *components.shape), np.float32)
    for half, own in zip(halves, out, strict=True):
        floor = _on_shells(LEAST_DENSITY * shell_average(half.density, side), side)
        step = np.einsum("kl,lzyx->kzyx", inverse, half.gradient) / np.maximum(half.density, np.maximum(floor, 1e-20))
        own[:] = _inverse_dft(spectrum + step, side) * mask
    return out


@dataclass(frozen=True)
class MStep:
    """New components and what the half-sets say of them.

    components  (K, d, d, d)
    halves      (2, K, d, d, d) each half-set's own; their average is the components
    fsc         (K, d // 2) between the half-sets' volumes before they were shrunk
    power       (K,) sum of squares of what is looked for: <shrunk, not shrunk>. A Wiener gain S / (S + N / 2) leaves
                too little of S; its product with the average, whose power is S + N / 2, leaves S
    """

    components: np.ndarray
    halves: np.ndarray
    fsc: np.ndarray
    power: np.ndarray


def m_step(
    components: np.ndarray,
    gradients: tuple[Gradient, Gradient],
    second_moment: np.ndarray,
    mask: np.ndarray,
    device: torch.device | str = "cpu",
) -> MStep:
    """Each half-set steps on its own; expand (Psi = mean E absorbed), shrink, rotate to principal axes."""
    free = half_set_steps(components, gradients, second_moment, mask)
    free = _mixed(expansion(second_moment), free)
    kept = shrunk(torch.as_tensor(free, device=device), torch.as_tensor(mask, dtype=torch.float32, device=device))
    halves = kept.cpu().numpy()
    rotation = principal_axes(halves.mean(0))
    free, halves = _mixed(rotation, free), _mixed(rotation, halves)
    new = halves.mean(0)
    return MStep(
        new,
        halves,
        np.stack([fsc(first, second) for first, second in zip(*free, strict=True)]),
        np.einsum("kzyx,kzyx->k", new, free.mean(0), dtype=np.float64),
    )


def expansion(second_moment: np.ndarray) -> np.ndarray:
    """The symmetric root of the latents' second moment (K, K): parameter expansion, axes turned as little as can be."""
    values, vectors = np.linalg.eigh(second_moment)
    result: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return result


def principal_axes(components: np.ndarray) -> np.ndarray:
    """The rotation (K, K) that makes volumes (K, d, d, d) orthogonal, largest first."""
    flat = components.reshape(len(components), -1).astype(np.float64)
    return np.linalg.eigh(flat @ flat.T)[1][:, ::-1].T


def _mixed(matrix: np.ndarray, pair: np.ndarray) -> np.ndarray:
    """matrix (K, K) applied to the components of both half-sets (2, K, d, d, d), in single precision."""
    result: np.ndarray = np.einsum("kl,hlzyx->hkzyx", matrix.astype(np.float32), pair, optimize=True)
    return result


def _dft(real: np.ndarray) -> np.ndarray:
    """DFT with the origin at the centre voxel, rfft half of the last three axes."""
    axes = (-3, -2, -1)
    result: np.ndarray = scipy.fft.rfftn(scipy.fft.ifftshift(real, axes=axes), axes=axes, workers=-1)
    return result


def _inverse_dft(spectrum: np.ndarray, side: int) -> np.ndarray:
    axes = (-3, -2, -1)
    result: np.ndarray = scipy.fft.fftshift(scipy.fft.irfftn(spectrum, s=(side,) * 3, axes=axes, workers=-1), axes=axes)
    return result


def _on_shells(values: np.ndarray, side: int) -> np.ndarray:
    table = np.append(values, np.full(side, values[-1]))
    by_voxel: np.ndarray = table[shell_indices(side)]
    return by_voxel
