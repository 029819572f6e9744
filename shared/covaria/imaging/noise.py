"""The noise of the images, and what it makes of their pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from covaria.imaging.bands import on_pixels
from covaria.imaging.plane import HalfPlane


@dataclass(frozen=True)
class Noise:
    """Noise power of the cached pixels: spectrum[shell] x factor[group of the image] x bands[image, band].

    spectrum  (box // 2,) float64, E abs(pixel)^2 in units of the cache
    factor    (groups,) float64, mean about 1
    bands     (N, bands) each image's own factor in each of `imaging.bands`; empty: 1
    weight    (N,) how far each image counts in sums, 0 .. 1; empty: 1
    """

    spectrum: np.ndarray
    factor: np.ndarray
    bands: np.ndarray = field(default_factory=lambda: np.ones((0, 0)))
    weight: np.ndarray = field(default_factory=lambda: np.ones(0))

    @staticmethod
    def white(box: int, groups: int) -> Noise:
        return Noise(np.ones(box // 2), np.ones(groups))

    def on(self, plane: HalfPlane) -> np.ndarray:
        """The spectrum at each pixel of a half plane, (n,)."""
        at: np.ndarray = self.spectrum[np.minimum(plane.shell, len(self.spectrum) - 1)]
        return at

    def weights(self, index: np.ndarray, device: torch.device) -> torch.Tensor:
        """How far the images at `index` (b,) count in sums, (b,) float32."""
        found = self.weight[index] if len(self.weight) else np.ones(len(index))
        return torch.as_tensor(found, dtype=torch.float32, device=device)

    def whitening(self, index: np.ndarray, group: np.ndarray, plane: HalfPlane, device: torch.device) -> torch.Tensor:
        """sqrt(weight / Lambda) of the images at `index` (b,), of optics `group` (b,), pixel by pixel: (b, n) float32.

        Plain sums over products of pixels so whitened are inner products of the whole plane.
        """
        by_pixel = torch.as_tensor(np.sqrt(plane.weight / self.on(plane)), dtype=torch.float32, device=device)
        by_image = torch.as_tensor(1 / np.sqrt(self.factor[group]), dtype=torch.float32, device=device)
        whitening = by_pixel * by_image[:, None]
        if len(self.bands):
            own = torch.as_tensor(1 / np.sqrt(self.bands[index]), dtype=torch.float32, device=device)
            whitening *= on_pixels(own, plane)
        return whitening
