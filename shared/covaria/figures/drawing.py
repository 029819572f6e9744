"""A figure that can be drawn: where it goes, and what draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.maps import read_volume, resample_volume
from covaria.request.disk import MOST_VOXELS_SHOWN


@dataclass(frozen=True)
class Drawing:
    """target: the figure's PNG; draw: makes it there, and its other files beside it."""

    target: Path
    draw: Callable[[Path], object]

    def make(self) -> None:
        """Draw it."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.draw(self.target)


def draw_all(drawings: Iterable[Drawing]) -> None:
    """Draw every one of them."""
    for drawing in drawings:
        drawing.make()


def small_volume(path: Path) -> NDArray[np.float32]:
    """A map on a grid fit for surfaces: of at most 128 voxels a side. Raises MissingFile, InvalidInput."""
    volume, _ = read_volume(path)
    return volume if len(volume) <= MOST_VOXELS_SHOWN else resample_volume(volume, MOST_VOXELS_SHOWN)
