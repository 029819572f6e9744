"""Images in memory instead of a file."""

from __future__ import annotations

import numpy as np


class MemoryStack:
    """`covaria.particles.model.ImageStack` over an array (N, box, box) of float32."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels, self.box = pixels, int(pixels.shape[-1])

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The images of `rows`, a copy."""
        return np.array(self.pixels[rows], dtype=np.float32)
