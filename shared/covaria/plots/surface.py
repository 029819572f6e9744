"""Surfaces of a density on a small canvas: orthographic rays, the first crossing of a level, light on its gradient.

No mesh and no display: the density is turned into the camera's axes, and each pixel takes the first voxel along its
ray that exceeds the level, interpolated between voxels. A 128-voxel map takes some tenths of a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

Volume = NDArray[np.floating]
Picture = NDArray[np.uint8]

FINER = 2
"""Rays for each pixel and direction; their mean is the pixel."""
LIGHT = np.array([-0.45, 0.55, 0.70]) / np.linalg.norm([-0.45, 0.55, 0.70])
"""Towards the light: right, up, towards the viewer."""
AMBIENT, DEPTH_CUE = 0.38, 0.22
BODY = "#A9CCEE"
ROOM = 1.15
"""How much more than the surface the canvas shows: what moves stays on it."""
LENIENT = 0.8
"""Of Otsu's threshold, so that parts which are there in some particles only are seen."""


@dataclass(frozen=True)
class Camera:
    """axes (3, 3): right, up and towards the viewer as unit vectors (z, y, x); reach: half the canvas, in voxels."""

    axes: NDArray[np.float64]
    reach: float

    def turned(self, degrees: float) -> Camera:
        """The camera after a walk around the vertical."""
        angle = np.deg2rad(degrees)
        right, up, near = self.axes
        turned = np.cos(angle) * right + np.sin(angle) * near, up, np.cos(angle) * near - np.sin(angle) * right
        return Camera(np.stack(turned), self.reach)


def surface_level(volume: Volume, bins: int = 256) -> float:
    """Otsu's threshold of the voxels above zero that stand out: where the two parts differ most from one another."""
    positive = volume[volume > 0]
    if positive.size == 0:
        return 0.0
    positive = positive[positive > 0.1 * float(np.percentile(positive, 99.9))]
    counts, edges = np.histogram(positive, bins=bins)
    middles = 0.5 * (edges[1:] + edges[:-1])
    below, mass = np.cumsum(counts), np.cumsum(counts * middles)
    above = below[-1] - below
    apart = (mass[-1] * below - mass * below[-1]) ** 2 / np.maximum(below * above, 1)
    return LENIENT * float(middles[int(apart.argmax())])


def look_at(volume: Volume, level: float) -> Camera:
    """A camera that sees all of the surface: its longest axis to the right, its shortest towards the viewer."""
    voxels = np.argwhere(volume > level).astype(float)
    middle = (np.array(volume.shape) - 1) / 2
    if len(voxels) < 10:
        return Camera(np.eye(3)[[2, 1, 0]], float(max(volume.shape)) / 2)
    away = voxels - middle
    _, axes = np.linalg.eigh(np.cov(away.T))
    right, up = (axis * np.sign(axis[np.abs(axis).argmax()]) for axis in (axes[:, 2], axes[:, 1]))
    near = np.cross(up[::-1], right[::-1])[::-1] * -1.0  # right x up in x, y, z
    return Camera(np.stack([right, up, near]), ROOM * float(np.sqrt((away**2).sum(1).max())) + 1)


def render(
    volume: Volume,
    level: float,
    camera: Camera,
    pixels: int = 256,
    *,
    colour: str = BODY,
    shades: tuple[Volume, str, tuple[float, float]] | None = None,
) -> Picture:
    """The surface where `volume` (D, D, D) exceeds `level`: (pixels, pixels, 4) RGBA, transparent beside it.

    shades: another volume, a colour map and its limits: the surface takes the colour of what that volume holds there.
    """
    rays = pixels * FINER
    block = _in_camera(volume, camera, rays)
    filled = block > level
    hit = filled.any(axis=0)
    picture = np.zeros((rays, rays, 4))
    if hit.any():
        row, column = np.nonzero(hit)
        first = np.maximum(filled.argmax(axis=0)[row, column], 1)
        behind, before = block[first, row, column], block[first - 1, row, column]
        depth = first - np.clip((behind - level) / np.maximum(behind - before, 1e-12), 0, 1)
        light = _light(block, first, row, column, 2 * camera.reach / rays)
        light *= 1 - DEPTH_CUE * (depth - depth.min()) / max(float(np.ptp(depth)), 1.0)
        body = np.array(to_rgb(colour)) if shades is None else _painted(shades, camera, rays, depth, row, column)
        picture[row, column, :3] = np.clip(light[:, None] * body, 0, 1)
        picture[row, column, 3] = 1
    return _averaged(picture, pixels)


def _in_camera(volume: Volume, camera: Camera, rays: int) -> NDArray[np.float32]:
    """(depth, rays, rays): the density along the rays, nearest first, a voxel a step; rows from the top.

    The volume is turned on a grid of its own fineness; the rays between its columns are cubic sums of them.
    """
    from scipy.ndimage import affine_transform

    side = int(np.ceil(2 * camera.reach)) + 4
    right, up, near = camera.axes
    matrix = np.stack([-near, -up, right], axis=1)
    start = (np.array(volume.shape) - 1) / 2 - matrix.sum(axis=1) * (side - 1) / 2
    turned = affine_transform(
        np.asarray(volume, np.float32), matrix, offset=start, output_shape=(side,) * 3, order=1, output=np.float32
    )
    step = 2 * camera.reach / rays
    at = (side - 1) / 2 - camera.reach + (np.arange(rays) + 0.5) * step
    between = _catmull_rom(at, side)
    found: NDArray[np.float32] = between @ turned @ between.T
    return found


def _catmull_rom(at: NDArray[np.floating], count: int) -> NDArray[np.float32]:
    """(len(at), count) weights of `count` samples at the places `at`: cubic, through the samples."""
    away = np.abs(at[:, None] - np.arange(count))
    inner = 1.5 * away**3 - 2.5 * away**2 + 1
    outer = -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2
    return np.where(away < 1, inner, np.where(away < 2, outer, 0)).astype(np.float32)


def _light(
    block: NDArray[np.float32],
    first: NDArray[np.intp],
    row: NDArray[np.intp],
    column: NDArray[np.intp],
    step: float,
) -> NDArray[np.float64]:
    """Lambert's law on the gradient, central differences over about two voxels."""
    last, side = np.array(block.shape) - 1, max(1, round(1 / step))
    deep = np.clip(first + 1, 0, last[0]), np.clip(first - 1, 0, last[0])
    low, high = np.clip(row + side, 0, last[1]), np.clip(row - side, 0, last[1])
    left, right = np.clip(column - side, 0, last[2]), np.clip(column + side, 0, last[2])
    normal = np.stack(
        [
            (block[first, row, left] - block[first, row, right]) / (2 * side * step),
            (block[first, low, column] - block[first, high, column]) / (2 * side * step),
            (block[deep[0], row, column] - block[deep[1], row, column]) / 2,
        ],
        axis=1,
    ).astype(float)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    lit: NDArray[np.float64] = AMBIENT + (1 - AMBIENT) * np.clip(normal @ LIGHT, 0, 1)
    return lit


def _painted(
    shades: tuple[Volume, str, tuple[float, float]],
    camera: Camera,
    rays: int,
    depth: NDArray[np.floating],
    row: NDArray[np.intp],
    column: NDArray[np.intp],
) -> NDArray[np.float64]:
    values, name, (low, high) = shades
    at = _in_camera(values, camera, rays)[np.rint(depth).astype(int), row, column]
    painted: NDArray[np.float64] = colormaps[name](np.clip((at - low) / max(high - low, 1e-12), 0, 1))[:, :3]
    return painted


def _averaged(picture: NDArray[np.float64], pixels: int) -> Picture:
    """Groups of rays as pixels: colours weighted by their cover."""
    parts = picture.reshape(pixels, FINER, pixels, FINER, 4)
    cover = parts[..., 3:].mean(axis=(1, 3))
    colours = (parts[..., :3] * parts[..., 3:]).mean(axis=(1, 3)) / np.maximum(cover, 1e-12)
    found: Picture = np.rint(255 * np.concatenate([np.where(cover > 0, colours, 1.0), cover], axis=2)).astype(np.uint8)
    return found
