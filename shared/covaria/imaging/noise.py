"""The noise of the images, and what it makes of their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from covaria.imaging.plane import HalfPlane


@dataclass(frozen=True)
class Noise:
    """Noise power of the cached pixels: spectrum[shell] x factor[group of the image].

    spectrum  (box // 2,) float64, E abs(pixel)^2 in units of the cache
    factor    (groups,) float64, mean about 1
    """

    spectrum: np.ndarray
    factor: np.ndarray

    @staticmethod
    def white(box: int, groups: int) -> Noise:
        return Noise(np.ones(box // 2), np.ones(groups))

    def on(self, plane: HalfPlane) -> np.ndarray:
        """The spectrum at each pixel of a half plane, (n,)."""
        at: np.ndarray = self.spectrum[np.minimum(plane.shell, len(self.spectrum) - 1)]
        return at

    def whitening(self, group: np.ndarray, plane: HalfPlane, device: torch.device) -> torch.Tensor:
        """sqrt(weight / Lambda) of images of the optics groups (b,), pixel by pixel: (b, n) float32.

        Plain sums over products of pixels so whitened are inner products of the whole plane.
        """
        by_pixel = torch.as_tensor(np.sqrt(plane.weight / self.on(plane)), dtype=torch.float32, device=device)
        by_image = torch.as_tensor(1 / np.sqrt(self.factor[group]), dtype=torch.float32, device=device)
        return by_pixel * by_image[:, None]
