"""Surfaces of a density on a small canvas: orthographic rays, the first crossing of a level, light on its gradient.

No mesh and no display: the density is turned into the camera's axes, and each pixel takes the first voxel along its
ray that exceeds the level, interpolated between voxels. A 128-voxel map takes some tenths of a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, map_coordinates
from threadpoolctl import threadpool_limits

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
NEARLY, MARGIN = 0.7, 2
"""Cubic sums of samples rise above them: what counts as near the level, as a share of it, and in voxels."""
AT_A_TIME = 4
"""Pictures: one of 512 rays holds 100 MB."""
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
    turned, at = _turned(volume, camera), _places(camera, rays)
    planes, rows, columns = _around(turned, level, at)
    between = _catmull_rom(at, len(turned))
    block = (between[rows] @ turned[planes] @ between[columns].T).astype(np.float32, copy=False)
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
        row, column = row + rows.start, column + columns.start
        places = np.stack([depth + planes.start, at[row], at[column]])
        body = np.array(to_rgb(colour)) if shades is None else _painted(shades, camera, places)
        picture[row, column, :3] = np.clip(light[:, None] * body, 0, 1)
        picture[row, column, 3] = 1
    return _averaged(picture, pixels)


def render_all(calls: Sequence[Callable[[], Picture]]) -> list[Picture]:
    """Pictures side by side, a core each: what takes long in them lets go of the interpreter."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(AT_A_TIME, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda call: call(), calls))


def _side(camera: Camera) -> int:
    return int(np.ceil(2 * camera.reach)) + 4


def _places(camera: Camera, rays: int) -> NDArray[np.float64]:
    """Where the rays meet the turned volume's rows and columns, in voxels."""
    return (_side(camera) - 1) / 2 - camera.reach + (np.arange(rays) + 0.5) * 2 * camera.reach / rays


def _axes(shape: tuple[int, ...], camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """matrix, start: voxel matrix @ place + start of a volume is at a place (depth, row, column) of the turned."""
    right, up, near = camera.axes
    matrix = np.stack([-near, -up, right], axis=1)
    return matrix, (np.array(shape) - 1) / 2 - matrix.sum(axis=1) * (_side(camera) - 1) / 2


def _turned(volume: Volume, camera: Camera) -> NDArray[np.float32]:
    """(depth, row, column) cube: the density in the camera's axes, nearest first, rows from the top, a voxel a step.

    On a grid of its own fineness; the rays between its columns are cubic sums of them.
    """
    matrix, start = _axes(volume.shape, camera)
    found: NDArray[np.float32] = affine_transform(
        np.asarray(volume, np.float32),
        matrix,
        offset=start,
        output_shape=(_side(camera),) * 3,
        order=1,
        output=np.float32,
    )
    return found


def _around(turned: NDArray[np.float32], level: float, at: NDArray[np.float64]) -> tuple[slice, slice, slice]:
    """The planes, and the rays' rows and columns, beyond which nothing comes near `level`."""
    near = turned > NEARLY * level
    ends = []
    for axis in range(3):
        there = np.flatnonzero(near.any(axis=tuple(other for other in range(3) if other != axis)))
        ends.append((there[0] - MARGIN, there[-1] + MARGIN) if len(there) else (0, 1))
    planes = slice(max(ends[0][0], 0), ends[0][1] + 1)
    rows, columns = (slice(*np.searchsorted(at, (low, high))) for low, high in ends[1:])
    return planes, rows, columns


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
    shades: tuple[Volume, str, tuple[float, float]], camera: Camera, places: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The colours (n, 3) of another volume at places (3, n) of the turned one."""
    values, name, (low, high) = shades
    matrix, start = _axes(values.shape, camera)
    at = map_coordinates(np.asarray(values, np.float32), matrix @ places + start[:, None], order=1)
    painted: NDArray[np.float64] = colormaps[name](np.clip((at - low) / max(high - low, 1e-12), 0, 1))[:, :3]
    return painted


def _averaged(picture: NDArray[np.float64], pixels: int) -> Picture:
    """Groups of rays as pixels: colours weighted by their cover."""
    parts = picture.reshape(pixels, FINER, pixels, FINER, 4)
    cover = parts[..., 3:].mean(axis=(1, 3))
    colours = (parts[..., :3] * parts[..., 3:]).mean(axis=(1, 3)) / np.maximum(cover, 1e-12)
    found: Picture = np.rint(255 * np.concatenate([np.where(cover > 0, colours, 1.0), cover], axis=2)).astype(np.uint8)
    return found
