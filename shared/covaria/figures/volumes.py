"""Maps for small pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.maps import read_volume, resample_volume
from covaria.request.disk import MOST_VOXELS_SHOWN


def small_volume(path: Path) -> NDArray[np.float32]:
    """A map on a grid fit for surfaces: of at most 128 voxels a side. Raises MissingFile, InvalidInput."""
    volume, _ = read_volume(path)
    return volume if len(volume) <= MOST_VOXELS_SHOWN else resample_volume(volume, MOST_VOXELS_SHOWN)
