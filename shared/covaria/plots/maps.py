"""Maps as slices and surfaces: the mean, its variance and components, the masks over it, its local resolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike, NDArray

from covaria.plots import style
from covaria.plots.surface import look_at, render, surface_level

Volume = NDArray[np.floating]
CUTS = ("z", "y", "x")
SIDE = 2.1


def plot_volumes_overview(
    path: Path,
    mean: ArrayLike,
    variance: ArrayLike,
    eigenvolumes: Sequence[ArrayLike],
    eigenvalues: ArrayLike,
    pixel_size: float,
    confirmed: int | None = None,
    most: int = 6,
) -> style.Sheet:
    """Slices through the largest variance, and surfaces at -2 and +2 standard deviations of each confirmed component.

    mean, variance, eigenvolumes  (D, D, D)  [z, y, x]; pixel_size in angstrom
    eigenvalues                   (k,) variance along each component
    confirmed                     how many leading components count (default: all); the others are grey

    A component is drawn times its standard deviation, all components on one scale, with the mean's contour.
    """
    average, deviation = np.asarray(mean, dtype=float), np.sqrt(np.maximum(np.asarray(variance, dtype=float), 0))
    sizes = np.sqrt(np.maximum(np.asarray(eigenvalues, dtype=float), 0))
    moved = [size * np.asarray(u, dtype=float) for size, u in zip(sizes, eigenvolumes[:most], strict=False)]
    counts = len(moved) if confirmed is None else min(confirmed, len(moved))
    at = np.unravel_index(int(deviation.argmax()), deviation.shape)
    # Where nothing is confirmed, the mean is the scale: noise drawn on its own would look like something.
    top = max((float(np.abs(volume).max()) for volume in moved[:counts] or [average]), default=1.0) or 1.0
    spread = (0.0, (float(deviation.max()) if counts else top) or 1.0)
    columns: list[Column] = [
        ("mean", average, "gray", _limits(average)),
        ("standard\ndeviation", deviation, style.SEQUENTIAL, spread),
        *_component_columns(moved, sizes, counts, top),
    ]
    rows = 3 + (2 if counts else 1)
    level = surface_level(average)
    moving = np.argwhere(deviation > 0.2 * deviation.max()) - len(average) / 2
    reach = max(look_at(average, level).reach, float(np.abs(moving).max(initial=0)) + 2)
    with style.figure(path, SIDE * len(columns) + 0.9, SIDE * rows + 0.7) as figure:
        panels = figure.subplots(rows, len(columns), squeeze=False)
        for column, (title, volume, colours, limits) in enumerate(columns):
            last = None
            for row in range(3):
                panels[row, 0].set_ylabel(f"slice {CUTS[row]} = {int(at[row])}")
                last = _slice(panels[row, column], np.take(volume, int(at[row]), axis=row), colours, limits)
                _contour(panels[row, column], np.take(average, int(at[row]), axis=row), level, column)
            if column in (1, 2) and last is not None:
                figure.colorbar(last, ax=panels[:3, column], shrink=0.8, location="right")
            panels[0, column].set_title(title, fontsize=12, color="black" if column < 2 + counts else style.GREY)
        _crop(panels[:3], len(average), reach)
        _surfaces(panels[3:], average, deviation, spread[1], moved[:counts], level)
        _scale_bar(panels[0, 0], pixel_size)
        figure.numbers = {
            "panel": [title.replace("\n", " ") for title, *_ in columns],
            "lowest_shown": [limits[0] for *_, limits in columns],
            "highest_shown": [limits[1] for *_, limits in columns],
            "largest_magnitude": [float(np.abs(volume).max()) for _, volume, _, _ in columns],
            **{f"slice_{name}_voxel": [int(at[axis])] for axis, name in enumerate(CUTS)},
            "surface_level": [level],
        }
    return figure


Column = tuple[str, Volume, str, tuple[float, float]]
"""Title, what is cut, colours, their limits."""


def _component_columns(
    moved: Sequence[Volume], sizes: NDArray[np.floating], counts: int, top: float
) -> Iterator[Column]:
    for index, volume in enumerate(moved):
        words, colours = (f"sd {sizes[index]:.3g}", style.DIVERGING) if index < counts else ("not confirmed", "gray")
        yield f"component {index + 1}\n{words}", volume, colours, (-top, top)


def _surfaces(
    panels: NDArray[np.object_], mean: Volume, deviation: Volume, largest: float, moved: Sequence[Volume], level: float
) -> None:
    camera, pixels = look_at(mean, level), 220
    shades = (deviation, style.MOVING, (0.0, largest))
    for row, side in enumerate((-2, 2) if len(panels) == 2 else (0,)):
        for column, axes in enumerate(panels[row]):
            axes.set_axis_off()
            if column >= 2 and column - 2 < len(moved):
                shown = render(mean + side * moved[column - 2], level, camera, pixels)
                axes.set_title(f"{side:+d} sd", fontsize=11)
            elif row == 0 and column < 2:
                shown = render(mean, level, camera, pixels, shades=shades if column else None)
                axes.set_title("surface" if column == 0 else "by deviation", fontsize=11)
            else:
                continue
            axes.imshow(shown)


def plot_mask(path: Path, mean: ArrayLike, masks: Mapping[str, ArrayLike], pixel_size: float) -> style.Sheet:
    """The outlines (at 0.5) of masks (D, D, D) over central slices of the mean map (D, D, D); name -> mask."""
    average = np.asarray(mean, dtype=float)
    middle, colours = len(average) // 2, cycle((style.ORANGE, style.SKY, style.GREEN, *style.CYCLE))
    known = [(name, np.asarray(mask, dtype=float), next(colours)) for name, mask in masks.items()]
    with style.figure(path, 11.0, 4.4) as figure:
        panels = figure.subplots(1, 3)
        for axis, axes in enumerate(panels):
            _slice(axes, np.take(average, middle, axis=axis), "gray", _limits(average))
            for name, mask, colour in known:
                cut = np.take(mask, middle, axis=axis)
                if cut.min() < 0.5 < cut.max():
                    axes.contour(cut, levels=[0.5], colors=[colour], linewidths=1.6)
                axes.plot([], [], color=colour, label=name)
            axes.set_title(f"slice {CUTS[axis]}")
        panels[0].legend(loc="upper right", frameon=True, fontsize=9)
        _scale_bar(panels[0], pixel_size)
        volumes = [float((np.asarray(mask) > 0.5).sum()) for mask in masks.values()]
        figure.suptitle("The masks over the mean map")
        figure.numbers = {
            "mask": list(masks),
            "voxels": volumes,
            "volume_cubic_angstrom": [voxels * pixel_size**3 for voxels in volumes],
            "share_of_the_box": [voxels / average.size for voxels in volumes],
        }
    return figure


def plot_local_resolution(
    path: Path, mean: ArrayLike, resolution: ArrayLike, mask: ArrayLike, pixel_size: float
) -> style.Sheet:
    """The mean's surface and slices in the colours of its local resolution (D, D, D), angstrom, and its histogram."""
    average, values, inside = (np.asarray(v, dtype=float) for v in (mean, resolution, mask))
    known = values[(inside > 0.5) & np.isfinite(values) & (values > 0)]
    low, high = (float(v) for v in np.percentile(known, [2, 98])) if known.size else (0.0, 1.0)
    high = high if high > low else low + 1
    level, middle = surface_level(average), len(average) // 2
    camera = look_at(average, level)
    with style.figure(path, 13.0, 4.2) as figure:
        panels = figure.subplots(1, 4)
        for axes, turn in zip(panels[:2], (0, 90), strict=True):
            axes.imshow(render(average, level, camera.turned(turn), 300, shades=(values, style.MOVING, (low, high))))
            axes.set_axis_off()
            axes.set_title("surface" if turn == 0 else "turned by 90°")
        cut = np.where(inside[middle] > 0.5, values[middle], np.nan)
        drawn = _slice(panels[2], cut, style.MOVING, (low, high))
        panels[2].set_title("slice z")
        figure.colorbar(drawn, ax=panels[2], shrink=0.8, label="Å")
        edges = np.linspace(low, high, 41)
        counts, _ = np.histogram(np.clip(known, low, high), bins=edges)
        panels[3].bar(edges[:-1], counts, np.diff(edges), align="edge", color=style.SKY, edgecolor=style.BLUE)
        if known.size:
            middle_value = float(np.median(known))
            panels[3].axvline(middle_value, color=style.VERMILION, label=f"median {middle_value:.1f} Å")
            panels[3].legend(loc="upper right")
        panels[3].set_xlabel("local resolution (Å)")
        panels[3].set_ylabel("voxels inside the mask")
        figure.suptitle("Local resolution of the mean map")
        figure.numbers = {"resolution_angstrom_from": edges[:-1], "resolution_angstrom_to": edges[1:], "voxels": counts}
    return figure


def _limits(volume: Volume) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(volume, [0.5, 99.9]))
    return low, high if high > low else low + 1.0


def _slice(axes: Axes, image: Volume, colours: str, limits: tuple[float, float] | None) -> AxesImage:
    low, high = limits or _limits(image)
    drawn = axes.imshow(image, origin="lower", cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return drawn


def _contour(axes: Axes, image: Volume, level: float, column: int) -> None:
    if image.min() < level < image.max():
        axes.contour(image, levels=[level], colors=[style.ORANGE if column < 2 else "black"], linewidths=0.8)


def _crop(panels: NDArray[np.object_], box: int, reach: float) -> None:
    """Show what lies within `reach` voxels of the middle."""
    low, high = max(-0.5, box / 2 - reach), min(box - 0.5, box / 2 + reach)
    for axes in panels.ravel():
        axes.set(xlim=(low, high), ylim=(low, high))


def _scale_bar(axes: Axes, pixel_size: float) -> None:
    left, right = axes.get_xlim()
    bottom = axes.get_ylim()[0]
    extent = (right - left) * pixel_size
    power = 10.0 ** np.floor(np.log10(extent / 3))
    length = max(step * power for step in (1, 2, 5) if step * power <= extent / 3)
    start, low = left + 0.06 * (right - left), bottom + 0.06 * (right - left)
    axes.plot([start, start + length / pixel_size], [low, low], color=style.ORANGE, lw=3.5, solid_capstyle="butt")
    high = bottom + 0.09 * (right - left)
    axes.text(start, high, f"{length:.0f} Å", color=style.ORANGE, va="bottom", fontsize=11, weight="bold")
