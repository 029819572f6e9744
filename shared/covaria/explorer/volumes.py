"""Maps for the viewer's own graphics card: cropped to the mask, a byte a voxel, four maps to a texture.

V(z) = mean + sum_k z_k d_k u_k with z in standard deviations d_k of the motion: the page adds the mean and the d_k u_k
itself. A voxel of map c is low_c + span_c byte / 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.figures.analysis import AnalysisFigures
from covaria.maps import read_volume, resample_volume
from covaria.maps.volume import read_origin
from covaria.plots.surface import look_at, surface_level
from covaria.tree import Tree

SIDES = (64, 128)
"""Voxels a side of the first, coarse textures, and at most of those that follow."""
CHANNELS = 4
MARGIN = 2
OUTSIDE = 0.01
Volume = NDArray[np.floating]


@dataclass(frozen=True)
class Packed:
    """voxels (z, y, x, channel) bytes; ranges (low, span) of each map in it."""

    voxels: NDArray[np.uint8]
    ranges: tuple[tuple[float, float], ...]


def packed(maps: Sequence[Volume]) -> Packed:
    """Up to four maps of one shape as one texture; missing channels are zero."""
    voxels = np.zeros((*maps[0].shape, CHANNELS), np.uint8)
    ranges = []
    for channel, one in enumerate(maps):
        low, high = float(one.min()), float(one.max())
        span = high - low or 1.0
        voxels[..., channel] = np.rint((one - low) * (255 / span))
        ranges.append((low, span))
    return Packed(voxels, tuple(ranges))


class Maps:
    """The mean and the confirmed components of a run, one sampling after the other."""

    def __init__(self, tree: Tree, deviations: NDArray[np.float64]) -> None:
        """deviations (confirmed,): standard deviation of the motion along each confirmed component."""
        self.tree, self.deviations = tree, deviations

    @cached_property
    def whole(self) -> list[Volume]:
        """Mean, then each component times its deviation. Raises InvalidInput where one has another size."""
        mean_file = self.tree.mean_filtered if self.tree.mean_filtered.is_file() else self.tree.mean
        mean, self.pixel = read_volume(mean_file)
        self.origin = read_origin(mean_file)
        found: list[Volume] = [mean]
        for k, deviation in enumerate(self.deviations):
            found.append(np.float32(deviation) * self._same_size(self.tree.eigenvolume(k), mean))
        return found

    pixel: float
    origin: NDArray[np.float64]
    """Of the first voxel, angstrom (x, y, z)."""

    @cached_property
    def mask(self) -> Volume:
        """1 everywhere where the run has no mask."""
        path = next((path for path in (self.tree.dilated_mask, self.tree.mask) if path.is_file()), None)
        return np.ones_like(self.whole[0]) if path is None else self._same_size(path, self.whole[0])

    @cached_property
    def samplings(self) -> list[int]:
        """Voxels a side of the whole box, coarse first; a smaller box is made smooth by the coarse one."""
        return sorted({SIDES[0], min(max(len(self.whole[0]), SIDES[0]), SIDES[1])})

    def texture(self, sampling: int, number: int) -> Packed:
        """Maps 4 number .. 4 number + 3 at a sampling."""
        chosen = self.whole[CHANNELS * number : CHANNELS * (number + 1)]
        return packed([self.cut(one, sampling) for one in chosen])

    def state(self, path: Path, sampling: int) -> tuple[NDArray[np.uint8], tuple[float, float]]:
        """A map of the same box, cropped in the same way: (z, y, x) bytes and their range."""
        found = packed([self.cut(self._same_size(path, self.whole[0]), sampling)])
        return np.ascontiguousarray(found.voxels[..., 0]), found.ranges[0]

    def cut(self, volume: Volume, sampling: int) -> Volume:
        """A map at a sampling, cropped to the mask."""
        small = volume if len(volume) == sampling else resample_volume(volume, sampling)
        return small[self.crop(sampling)]

    def crop(self, sampling: int) -> tuple[slice, slice, slice]:
        """The box around the mask (z, y, x)."""
        mask = self.mask if len(self.mask) == sampling else resample_volume(self.mask, sampling)
        inside = np.argwhere(mask > OUTSIDE)
        if not len(inside):
            return (slice(0, sampling),) * 3
        low = np.maximum(inside.min(axis=0) - MARGIN, 0)
        high = np.minimum(inside.max(axis=0) + 1 + MARGIN, sampling)
        first, second, third = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return first, second, third

    def described_level(self, sampling: int) -> dict[str, Any]:
        """What the page must know of one sampling: where its box lies, its textures and their ranges."""
        crop = self.crop(sampling)
        groups = -(-len(self.whole) // CHANNELS)
        return {
            "sampling": sampling,
            "origin": [axis.start for axis in crop[::-1]],
            "size": [axis.stop - axis.start for axis in crop[::-1]],
            "voxel_angstrom": self.pixel * len(self.whole[0]) / sampling,
            "files": [f"maps/{sampling}_{number}.rgba" for number in range(groups)],
            "ranges": [each for number in range(groups) for each in self.texture(sampling, number).ranges],
        }

    def described(self, samplings: Sequence[int] | None = None) -> dict[str, Any]:
        """What the page must know to draw: samplings (default: all) with their textures, level, camera."""
        mean = self.whole[0]
        level = surface_level(mean)
        levels = [self.described_level(sampling) for sampling in samplings or self.samplings]
        camera = look_at(mean, level)
        axes = camera.axes[:, ::-1]  # x, y, z
        return {
            "levels": levels,
            "box": len(mean),
            "pixel_angstrom": self.pixel,
            "origin_angstrom": self.origin.tolist(),
            "level": level,
            "highest": float(mean.max()),
            "axes": axes.tolist(),
            "reach_angstrom": camera.reach * self.pixel,
        }

    def _same_size(self, path: Path, mean: Volume) -> Volume:
        volume, _ = read_volume(path)
        if volume.shape != mean.shape:
            raise InvalidInput(
                f"has {len(volume)} voxels a side, the mean map has {len(mean)}", file=path, hint="run the stage again"
            )
        return volume


def agreement(figures: AnalysisFigures, maps: Maps, number: int) -> dict[str, float]:
    """Of the linear map at a centre and the state made there, inside the mask: correlation of the maps, and of their
    differences from the mean."""
    state, _ = read_volume(figures.source.center(number))
    inside = maps.mask > 0.5
    mean = maps.whole[0][inside]
    point = figures.centers[number]
    linear = mean + sum((point[k] * maps.whole[k + 1][inside] for k in range(len(point))), np.zeros(len(mean)))
    return {
        "maps": float(np.corrcoef(linear, state[inside])[0, 1]),
        "differences": float(np.corrcoef(linear - mean, state[inside] - mean)[0, 1]),
    }
