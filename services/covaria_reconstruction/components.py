"""Principal components by expectation-maximisation: the sums of one step, and the step.

Model (probabilistic PCA, Tipping and Bishop 1999, with the image formation inside):
    y_i = (1 + sd a_i) A_i mu + c_i A_i sum_k v_k z_ik + noise,   a, z ~ N(0, 1),   v_k = sqrt(eigenvalue) x eigenvolume
E-step: `latents.posterior` (m_i, S_i of a and z), with c_i re-estimated from the marginal likelihood.
M-step: the gradient of the expected log likelihood in v, through the exact adjoint,
    g_k = sum_i c_i A_i^* [ r_i m_ik - c_i sum_l (A_i v_l) S_i,lk - sd (A_i mu) S_i,ak ]
    r_i = y_i - (1 + sd m_ia) A_i mu - c_i A_i V m_i
preconditioned by its own Hessian with E_i = S_i + m_i m_i^T replaced by its mean E: (rho(k) E + diag(1 / tau_k)), where
rho is the number of CTF^2 / noise samples in each Fourier cell. Poses do not depend on the latents, so this is the
M-step up to sampling fluctuations, in 2 K + 1 channels instead of K + K (K + 1) / 2 complex and real ones; its fixed
point is that of EM exactly, because the gradient is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import torch
from scipy.ndimage import gaussian_filter

from covaria.imaging import volumes
from covaria.imaging.images import Batch
from covaria.imaging.slices import backproject
from covaria.maps import crossing, fsc
from covaria.maps.fourier import hermitian_weights, shell_average, shell_indices
from covaria_reconstruction.latents import posterior, slices_of, statistics
from covaria_reconstruction.mean import signal_to_noise

LOCAL_WINDOWS_IN_BOX = 20
CROSS_LIMIT = 0.1


@dataclass(frozen=True)
class LinearModel:
    """Mean and components on the cube of `radius`, cache units.

    mean (d, d, d), components (K, d, d, d) = sqrt(eigenvalue) x eigenvolume; contrast_sd 0 = contrast fixed to 1
    """

    radius: int
    mean: np.ndarray
    components: np.ndarray
    contrast_sd: float

    @property
    def grid(self) -> torch.Tensor:
        return volumes.to_padded(
            torch.as_tensor(np.concatenate([self.mean[None], self.components]), dtype=torch.float32)
        )


class ComponentSums:
    """E-step and gradient sums of one half-set under a frozen model; slicing: `model.grid`, on the images' device."""

    def __init__(self, model: LinearModel, slicing: torch.Tensor) -> None:
        count = len(model.components)
        self._sd = model.contrast_sd
        self._slicing, device = slicing, slicing.device
        self.grid = torch.zeros(volumes.padded_shape(model.radius, 2 * count + 1), device=device)
        self.second_moment = torch.zeros((count, count), dtype=torch.float64, device=device)
        self.scalars = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, batch: Batch) -> None:
        slices = slices_of(batch, self._slicing)
        stats = statistics(batch, slices)
        found = posterior(stats, self._sd)
        weights, mean, covariance = found.weights.float(), found.mean.float(), found.covariance.float()
        coefficients = weights * mean
        coefficients[:, 0] += 1
        residual = batch.pixels.flatten(1) - torch.bmm(slices, coefficients[..., None])[..., 0]
        values = residual[..., None] * mean[:, None, 1:]
        values -= torch.bmm(slices, (weights[:, :, None] * covariance)[:, :, 1:])
        b, n = batch.ctf.shape
        ctf = batch.ctf * weights[:, -1:]  # the contrast, where there are components
        values = values.view(b, n, 2, -1) * ctf[:, :, None, None]
        backproject(self.grid, values, ctf.square()[..., None], batch.rotations, batch.plane)
        self.second_moment += (covariance[:, 1:, 1:].sum(0) + mean[:, 1:].T @ mean[:, 1:]).double()
        self.scalars[0] += found.log_likelihood.sum()
        self.scalars[1] += posterior(stats.leading(0), self._sd).log_likelihood.sum()
        self.scalars[2] += b

    def tensors(self) -> list[torch.Tensor]:
        return [self.grid, self.second_moment, self.scalars]

    @property
    def gain(self) -> float:
        """Log likelihood above that of the mean alone."""
        return float(self.scalars[0] - self.scalars[1])

    @property
    def images(self) -> float:
        return float(self.scalars[2])


@dataclass(frozen=True)
class Prior:
    """1 / tau_k(r): precision of the DFT coefficients of component k in shell r, (K, shells); infinite = absent."""

    precision: np.ndarray


@dataclass(frozen=True)
class Gradient:
    """One half-set's sums on the cube's own Fourier grid (rfft half): gradient (K, d, d, d//2+1) and density rho."""

    gradient: np.ndarray
    density: np.ndarray


def gradient_of(sums: ComponentSums, mask: np.ndarray) -> Gradient:
    """The exact gradient inside the mask, as DFT coefficients divided by d^3 (so that Newton's step is g / rho)."""
    count = len(sums.second_moment)
    half = volumes.hermitian(sums.grid.clone(), count).cpu()
    real = volumes.adjoint_from_padded(half[..., : 2 * count]).numpy() * mask
    return Gradient(_dft(real) / mask.size, volumes.unit_density(half[..., -1]).numpy())


def half_set_steps(
    components: np.ndarray, halves: tuple[Gradient, Gradient], second_moment: np.ndarray, mask: np.ndarray
) -> list[np.ndarray]:
    """Each half-set's own M-step without a prior, inside the mask: two of (K, d, d, d)."""
    side = components.shape[-1]
    spectrum = _dft(components)
    inverse = np.linalg.inv(second_moment)
    own = []
    for half in halves:
        floor = _on_shells(0.1 * shell_average(half.density, side), side)
        step = np.einsum("kl,lzyx->kzyx", inverse, half.gradient) / np.maximum(half.density, np.maximum(floor, 1e-20))
        own.append(_inverse_dft(spectrum + step, side) * mask)
    return own


def half_set_prior(
    own: list[np.ndarray], halves: tuple[Gradient, Gradient], second_moment: np.ndarray
) -> tuple[Prior, np.ndarray]:
    """tau from the FSC of the two half-sets' own M-steps; and that FSC (K, shells).

    SNR_k(r) = FSC / (1 - FSC);  1 / tau = <rho_h> E_kk / SNR.
    """
    side = own[0].shape[-1]
    density = np.mean([shell_average(half.density, side) for half in halves], axis=0)
    curves = np.stack([fsc(a, b) for a, b in zip(*own, strict=True)])
    snr = np.stack([signal_to_noise(curve.copy()) for curve in curves])
    precision = density * np.diag(second_moment)[:, None] / np.maximum(snr, 1e-4)
    return Prior(precision), curves


def ascend(
    components: np.ndarray, halves: tuple[Gradient, ...], second_moment: np.ndarray, prior: Prior, mask: np.ndarray
) -> np.ndarray:
    """The M-step: components (K, d, d, d) that maximise the penalised expected likelihood of the halves given.

    v + (rho E + T)^-1 (g - T v) for each Fourier cell, T = diag(1 / tau). With E and T diagonalised together once for
    each shell, every cell costs one K x K product.
    """
    side = components.shape[-1]
    spectrum = _dft(components)
    density = np.sum([half.density for half in halves], axis=0)
    gradient = np.sum([half.gradient for half in halves], axis=0)
    shell = shell_indices(side)
    out = np.zeros_like(spectrum)
    for r in range(side // 2):
        cells = shell == r
        root = 1 / np.sqrt(prior.precision[:, r])
        values, vectors = np.linalg.eigh(root[:, None] * second_moment * root)
        basis = root[:, None] * vectors  # T^-1/2 Q
        force = gradient[:, cells] - prior.precision[:, r, None] * spectrum[:, cells]
        modes = (basis.T @ force) / (1 + np.maximum(values, 0)[:, None] * density[cells])
        out[:, cells] = spectrum[:, cells] + basis @ modes
    return (_inverse_dft(out, side) * mask).astype(np.float32)


def locally_shrunk(components: np.ndarray, halves: list[np.ndarray]) -> np.ndarray:
    """Components times a local Wiener weight: what moves is small, and the mask around it is large.

    F(x) = <v_1 v_2> / <(v_1^2 + v_2^2) / 2> in a Gaussian window of a twentieth of the box (sd), weight 2 F / (1 + F):
    the FSC rule of the Fourier prior, in space. components and the half-sets' own (K, d, d, d) in the same axes.
    """
    width = components.shape[-1] / LOCAL_WINDOWS_IN_BOX
    out = np.empty_like(components)
    for k, (first, second) in enumerate(zip(*halves, strict=True)):
        common = gaussian_filter(first * second, width)
        power = gaussian_filter(0.5 * (first**2 + second**2), width)
        agreement = np.clip(common / np.maximum(power, 1e-30), 0, 1)
        out[k] = components[k] * (2 * agreement / (1 + agreement))
    return out


def m_step(
    components: np.ndarray, halves: tuple[Gradient, Gradient], second_moment: np.ndarray, prior: Prior, mask: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Ascend, expand, shrink locally, rotate: new components, each half-set's own in the same principal axes, and the
    matrix (K, K) that takes volumes of the old latents to these axes."""
    new, expand = principal_axes(ascend(components, halves, second_moment, prior, mask), second_moment)
    own = [np.tensordot(expand, ascend(components, (half,), second_moment, prior, mask), 1) for half in halves]
    new, rotate = principal_axes(locally_shrunk(new, own), np.eye(len(new)))
    return new, [np.tensordot(rotate, half, 1).astype(np.float32) for half in own], rotate @ expand


def cross_half_power(first: np.ndarray, second: np.ndarray, curves: np.ndarray) -> np.ndarray:
    """sum over voxels of v_1 v_2 for each component (K,), up to the shell where its FSC falls below CROSS_LIMIT.

    The halves' noise is independent and nothing is shrunk: this estimates |v|^2, the eigenvalue, without bias, where
    |v|^2 of the regularised components is too small and of unregularised ones too large.
    """
    side = first.shape[-1]
    weight = hermitian_weights(side)
    shell = shell_indices(side)
    out = np.empty(len(first))
    for k in range(len(first)):
        inside = shell <= crossing(curves[k], CROSS_LIMIT)
        out[k] = float(((_dft(first[k]) * _dft(second[k]).conj()).real * weight * inside).sum()) / side**3
    return out


def principal_axes(components: np.ndarray, second_moment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Absorb the latents' second moment (parameter expansion), then rotate to orthogonal volumes, largest first.

    Returns the new components and the matrix M (K, K) with new = M old.
    """
    expand = np.linalg.cholesky(second_moment).T
    flat = components.reshape(len(components), -1).astype(np.float64)
    expanded_gram = expand @ (flat @ flat.T) @ expand.T
    vectors = np.linalg.eigh(expanded_gram)[1]
    matrix = vectors[:, ::-1].T @ expand
    new = (matrix @ flat).reshape(components.shape).astype(np.float32)
    return new, matrix


def _dft(real: np.ndarray) -> np.ndarray:
    """DFT with the origin at the centre voxel, rfft half of the last three axes."""
    axes = (-3, -2, -1)
    return scipy.fft.rfftn(scipy.fft.ifftshift(real, axes=axes), axes=axes, workers=-1)


def _inverse_dft(spectrum: np.ndarray, side: int) -> np.ndarray:
    axes = (-3, -2, -1)
    return scipy.fft.fftshift(scipy.fft.irfftn(spectrum, s=(side,) * 3, axes=axes, workers=-1), axes=axes)


def _on_shells(values: np.ndarray, side: int) -> np.ndarray:
    table = np.append(values, np.full(side, values[-1]))
    return table[shell_indices(side)]
