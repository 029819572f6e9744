"""Radial coloured noise: strong at low frequency (ice, solvent, carbon), a floor of shot noise above."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from covaria.simulation.projection import frequencies

SHOT_NOISE_FLOOR = 0.5
KNEE = 0.2
"""Where the coloured part has fallen to a half, as a fraction of Nyquist."""
SNR_RADIUS = 0.35
"""Signal-to-noise ratios refer to a disk of this radius, in box lengths."""


def unit_noise_spectrum(box: int) -> NDArray[np.float64]:
    """Lambda(r) = E abs(rfft2 noise)^2 for shells 0 .. corner, of noise with variance 1 for each pixel."""
    corner = int(np.ceil(np.hypot(box // 2, box // 2))) + 1
    shell = np.arange(corner + 1)
    spectrum = SHOT_NOISE_FLOOR + 1 / (1 + (shell / (KNEE * box / 2)) ** 2)
    return spectrum * (box**2 / pixel_variance(spectrum, box)) / box**2


def pixel_variance(spectrum: NDArray[np.float64], box: int) -> float:
    """Variance of a pixel of noise with power `spectrum` for each coefficient of the unnormalised DFT."""
    k = np.fft.fftfreq(box, 1 / box)
    return float(spectrum[np.rint(np.hypot(k, k[:, None])).astype(int)].sum() / box**4)


def draw_noise(count: int, spectrum: NDArray[np.float64], box: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    """Spectra (n, D, D//2 + 1) of real noise images with the given radial power."""
    kx, ky, _ = frequencies(box)
    shell = np.rint(np.hypot(kx, ky[:, None])).astype(int)
    white = np.fft.rfft2(rng.standard_normal((count, box, box), dtype=np.float32))
    result: NDArray[np.complex64] = (white * (np.sqrt(spectrum[shell]) / box)).astype(np.complex64)
    return result


def disk(box: int) -> NDArray[np.bool_]:
    """The pixels (D, D) that signal-to-noise ratios are measured in."""
    offset = np.arange(box) - box // 2
    return np.hypot(offset, offset[:, None]) <= SNR_RADIUS * box
