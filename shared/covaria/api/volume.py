"""A map in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.maps.volume import read_volume, write_volume

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Volume:
    """A density: values (z, y, x) float32, angstrom for each voxel.

    >>> mean = covaria.open("out").mean
    >>> mean.values.shape, mean.pixel_size_angstrom
    ((24, 24, 24), 8.0)
    """

    values: Array
    pixel_size_angstrom: float

    @classmethod
    def read(cls, path: Path) -> Volume:
        """From an .mrc file. Raises MissingFile, InvalidInput."""
        return cls(*read_volume(path))

    def write(self, path: str | Path) -> Path:
        """As MRC2014."""
        write_volume(path, self.values, self.pixel_size_angstrom)
        return Path(path)

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.values.shape))
        return f"Volume({size} voxels of {self.pixel_size_angstrom:.4g} angstrom)"


@dataclass(frozen=True, eq=False, repr=False)
class State(Volume):
    """A map made from the particles near a latent point.

    halves                from each half-set alone, not filtered
    local_resolution      angstrom at each voxel
    resolution_angstrom   where the half-maps' FSC falls below 1/7; None where it never does
    """

    halves: tuple[Volume, Volume]
    local_resolution: Volume
    resolution_angstrom: float | None
