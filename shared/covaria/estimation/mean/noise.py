"""The noise spectrum, from what the mean map leaves outside the particle.

The residual y - c A mu is seen through a fixed window w outside a circle that holds the particle. For stationary noise
    E abs(DFT(w n))^2 = DFT(rho . (w * w)),   so   Lambda = D^2 DFT( iDFT(mean power) / autocorrelation of w )
exactly: the window is divided out of the autocovariance, no leakage stays. The residual's own power in the whole image
(corrected for the mean's fitted degrees of freedom) is larger by whatever moves, but less noisy: `_bounded` joins the
two. Where the particle leaves no room (less than a tenth of the box), that power is the estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from covaria.estimation.linear_model import LinearModel, residual_of, slices_of
from covaria.estimation.reliability.bands import DEAD
from covaria.imaging.bands import band_freedom, band_sums
from covaria.imaging.images import Batch, Images
from covaria.imaging.noise import Noise
from covaria.imaging.plane import HalfPlane, half_plane
from covaria.maps.fourier import shell_means
from covaria.running.sums import Sums

LEAST_AREA = 0.1


@dataclass(frozen=True)
class NoiseFound:
    """spectrum (D // 2,) and factor (groups,) of the noise; of_images (N, bands): power of each image's residual in
    units of it, its own noise included. outside, bound (D // 2,): what the spectrum is joined from, `outside` empty
    where the particle leaves no room; power (D // 2,) of the images themselves."""

    spectrum: np.ndarray
    factor: np.ndarray
    of_images: np.ndarray
    outside: np.ndarray
    bound: np.ndarray
    power: np.ndarray

    @staticmethod
    def nothing(assumed: Noise, of_images: np.ndarray) -> NoiseFound:
        """Before the first pass."""
        none = np.zeros(0)
        return NoiseFound(assumed.spectrum, assumed.factor, of_images, none, none, none)


class ResidualPower(Sums):
    """Sums of the residual's power: through the window (D, D // 2 + 1), by shell, and by optics group; of each image by
    band (N, bands), in rows that only its own rank fills; and of the images' own power by shell.

    trust (N,): how far an image counts in all but the last.
    """

    SUMMED = ("windowed", "by_shell", "by_group", "count", "of_images", "power")

    def __init__(
        self,
        images: Images,
        mean: np.ndarray,
        contrasts: np.ndarray,
        window: np.ndarray,
        whitened_by: Noise,
        trust: np.ndarray,
    ) -> None:
        super().__init__(whitened_by, images.box // 2 - 1, 30, mean, contrasts, window, trust)
        self._trust = trust
        self._images, self._contrasts, self.window = images, contrasts, window
        self._padded = LinearModel.of_mean(mean, images.scale).padded(images.device)
        self._window = torch.as_tensor(window, dtype=torch.float32, device=images.device)
        shells = images.box // 2
        self.windowed = torch.zeros((images.box, shells + 1), dtype=torch.float64, device=images.device)
        self.by_shell = torch.zeros(shells, dtype=torch.float64, device=images.device)
        self.power = torch.zeros(shells, dtype=torch.float64, device=images.device)
        self.by_group = torch.zeros((images.groups, 2), dtype=torch.float64, device=images.device)
        self.count = torch.zeros(1, dtype=torch.float64, device=images.device)
        bands = len(band_freedom(images.box))
        self.of_images = torch.zeros((len(images), bands), dtype=torch.float64, device=images.device)

    def add(self, batch: Batch) -> None:
        images, plane = self._images, batch.plane
        contrast = torch.as_tensor(self._contrasts[batch.index], dtype=torch.float32, device=batch.ctf.device)
        residual = residual_of(slices_of(batch, self._padded), contrast[:, None]).view_as(batch.pixels)
        power = residual.square().sum(-1)
        own = band_sums(power, plane).double().cpu().numpy() / band_freedom(images.box)
        if len(self.noise.bands):
            own *= np.where(self.noise.bands[batch.index] < DEAD, self.noise.bands[batch.index], 0)
        index = torch.as_tensor(batch.index, device=power.device)
        self.of_images[index] = torch.as_tensor(own, device=power.device)
        trust = torch.as_tensor(self._trust[batch.index], dtype=torch.float64, device=power.device)
        shell = plane.shell_tensor(power.device)
        self.by_group.index_add_(
            0,
            torch.as_tensor(images.group[batch.index], device=power.device),
            torch.stack([trust * power.mean(1).double(), trust], 1),
        )
        unwhiten = np.sqrt(self.noise.on(plane) / plane.weight)
        counted = torch.as_tensor(unwhiten, device=power.device) * trust.sqrt()[:, None]
        self.power.index_add_(0, shell, (batch.pixels * counted.float()[..., None]).square().sum((0, 2)).double())
        residual = residual * counted.float()[..., None]
        self.by_shell.index_add_(0, shell, residual.square().sum((0, 2)).double())
        seen = torch.fft.rfft2(plane.put(residual) * self._window)
        self.windowed += seen.abs().square().sum(0).double()
        self.count += trust.sum()


def outside_window(dilated_mask: np.ndarray, edge: float = 3.0) -> np.ndarray:
    """1 outside the circle around everything that the mask can project to, 0 inside, cosine edge; (D, D)."""
    box = dilated_mask.shape[0]
    axis = np.arange(box) - box // 2
    occupied = np.argwhere(dilated_mask > 0.05) - box // 2
    reach = float(np.sqrt((occupied**2).sum(1).max())) if len(occupied) else 0.0
    distance = np.hypot(axis[:, None], axis[None, :]) - reach
    result: np.ndarray = 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / edge, 0, 1))
    return result


def solve_noise(sums: tuple[ResidualPower, ResidualPower], mean_fsc: np.ndarray) -> NoiseFound:
    """Spectrum by shell and a factor for each optics group (mean 1 over images). mean_fsc (D // 2,): of the halves."""
    both = sums[0] + sums[1]
    window, previous = both.window, both.noise
    windowed, by_shell, by_group, count, of_images, power = (
        both.tensors()[name].cpu().numpy() for name in ResidualPower.SUMMED
    )
    box = len(window)
    images = float(count[0])
    plane = half_plane(box)
    pixels = np.bincount(plane.shell, minlength=box // 2)[: box // 2]
    whole = by_shell / np.maximum(images * pixels, 1)
    # the mean has about 2 pi r^2 complex coefficients in shell r, fitted to images x pi r samples and then shrunk
    shrinkage = 2 * np.clip(mean_fsc, 0, 1) / (1 + np.clip(mean_fsc, 0, 1))
    whole /= 1 - np.minimum(2.0 * np.arange(box // 2) / images * shrinkage, 0.5)
    area = float((window**2).mean())
    outside = _deconvolved(windowed / images, window, plane) if area >= LEAST_AREA else np.zeros(0)
    spectrum = _bounded(outside, whole, area) if len(outside) else whole
    factor = by_group[:, 0] / np.maximum(by_group[:, 1], 1)
    seen = by_group[:, 1] > 0
    level = float((factor[seen] * by_group[seen, 1]).sum() / by_group[seen, 1].sum())
    factor = np.where(seen, factor / level, 1.0) * previous.factor
    own = power / np.maximum(images * pixels, 1)
    return NoiseFound(spectrum, factor, of_images, outside, whole, own)


def _deconvolved(power: np.ndarray, window: np.ndarray, plane: HalfPlane) -> np.ndarray:
    box = len(window)
    overlap = np.fft.irfft2(np.abs(np.fft.rfft2(window)) ** 2, s=(box, box))
    covariance = np.fft.irfft2(power, s=(box, box)) / np.maximum(overlap, 1e-3 * overlap[0, 0])
    spectrum = box**2 * np.fft.rfft2(covariance).real[plane.ky % box, plane.kx]
    return shell_means(spectrum, plane.shell, box // 2)


def _bounded(outside: np.ndarray, whole: np.ndarray, area: float) -> np.ndarray:
    """The whole image's residual power times the share of it that is noise.

    That share, outside / whole, is smooth in the shell and at most 1; `outside` alone is unbiased but the noisier the
    smaller its window. So the ratio is smoothed, over 0.4 / area shells (1 to 3; sd), and bounded.
    """
    ratio = np.log(np.maximum(outside, 0.1 * whole) / whole)
    result: np.ndarray = whole * np.minimum(
        np.exp(gaussian_filter1d(ratio, float(np.clip(0.4 / area, 1, 3)), mode="nearest")), 1
    )
    return result
