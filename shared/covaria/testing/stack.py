"""Images in memory instead of a file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class MemoryStack:
    """`covaria.particles.model.ImageStack` over an array (N, box, box) of float32."""

    pixels: np.ndarray

    @property
    def box(self) -> int:
        return int(self.pixels.shape[-1])

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The images of `rows`, a copy."""
        return np.array(self.pixels[rows], dtype=np.float32)
