"""Principal components: their eigenvalues, how well they are found again, and what they look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from covaria.plots import style


def plot_eigenvalues(
    path: Path,
    eigenvalues: ArrayLike,
    significant: int,
    component_fsc: ArrayLike | None,
    pixel_size: float,
    box: int,
) -> None:
    """Eigenvalues (variance along each component) and, where known, each component's half-set FSC.

    eigenvalues    (k,)         descending, in (density x voxel^(1/2))^2
    significant    how many leading components count
    component_fsc  (k, shells)  or None; pixel_size in angstrom, box in voxels
    """
    values = np.asarray(eigenvalues, dtype=float)
    curves = None if component_fsc is None else np.atleast_2d(np.asarray(component_fsc, dtype=float))
    panels = 1 if curves is None or curves.size == 0 else 2
    with style.figure(path, 6.4 * panels, 4.8) as figure:
        axes = figure.subplots(1, panels, squeeze=False)[0]
        _scree(axes[0], values, significant)
        if panels == 2 and curves is not None:
            _component_fsc(axes[1], curves, significant, pixel_size, box)


def _scree(axes: Axes, values: NDArray[np.floating], significant: int) -> None:
    number = np.arange(1, len(values) + 1)
    counts = number <= significant
    positive = values[values > 0]
    total = max(float(np.maximum(values, 0).sum()), np.finfo(float).tiny)
    for chosen, colour, word in ((counts, style.BLUE, "significant"), (~counts, "#BBBBBB", "not significant")):
        share = 100 * float(np.maximum(values[chosen], 0).sum()) / total
        axes.bar(
            number[chosen], values[chosen], color=colour, label=f"{int(chosen.sum())} {word} ({share:.0f}% of the sum)"
        )
    if positive.size and positive.max() / positive.min() > 20:
        axes.set_yscale("log")
        axes.set_ylim(positive.min() * 0.5, positive.max() * 2)
    axes.set_xlim(0.3, len(values) + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("component")
    axes.set_ylabel("eigenvalue (density² × voxel)")
    axes.set_title("Variance along each component")
    axes.legend(loc="upper right")


def _component_fsc(
    axes: Axes, curves: NDArray[np.floating], significant: int, pixel_size: float, box: int, most: int = 10
) -> None:
    shown = curves[:most]
    frequency = style.shell_frequencies(shown.shape[1], pixel_size, box)
    colours = colormaps[style.COUNTS](np.linspace(0.0, 0.9, len(shown)))
    for index, curve in enumerate(shown):
        counts = index < significant
        axes.plot(
            frequency,
            curve,
            color=colours[index] if counts else "#BBBBBB",
            linewidth=2.0 if counts else 1.2,
            label=f"{index + 1}" if index < 6 else None,
        )
    axes.axhline(0.143, color=style.GREY, linestyle="--", linewidth=1.0)
    axes.axhline(0, color="#555555", linewidth=0.8)
    axes.set_ylim(-0.3, 1.05)
    axes.set_ylabel("FSC of the half-sets")
    axes.set_title("Components found again in the other half")
    axes.grid(True)
    style.resolution_axis(axes, pixel_size)
    axes.legend(loc="upper right", title="component", ncols=2)


def plot_volumes_overview(
    path: Path,
    mean: ArrayLike,
    variance: ArrayLike,
    eigenvolumes: Sequence[ArrayLike],
    eigenvalues: ArrayLike,
    pixel_size: float,
    most: int = 5,
) -> None:
    """Central slices and a projection of the mean, the standard deviation and the leading eigenvolumes.

    mean, variance, eigenvolumes  (D, D, D)  [z, y, x]; pixel_size in angstrom
    The projection row shows sums for the mean and the standard deviation, and for eigenvolumes the value of largest
    magnitude along z, so that gains and losses of density do not cancel.
    """
    values = np.asarray(eigenvalues, dtype=float)
    deviation = np.sqrt(np.maximum(np.asarray(variance, dtype=float), 0))
    columns = [
        ("mean", np.asarray(mean, dtype=float), "gray", False),
        ("standard\ndeviation", deviation, style.SEQUENTIAL, False),
    ]
    for index, volume in enumerate(eigenvolumes[:most]):
        columns.append(
            (
                f"component {index + 1}\neigenvalue {values[index]:.3g}",
                np.asarray(volume, dtype=float),
                style.DIVERGING,
                True,
            )
        )
    rows = ("slice z", "slice y", "slice x", "projection\nalong z")
    side = 2.1
    with style.figure(path, side * len(columns) + 0.6, side * len(rows) + 0.7) as figure:
        panels = figure.subplots(len(rows), len(columns), squeeze=False)
        for column, (title, volume, colours, signed) in enumerate(columns):
            for row, image in enumerate(_views(volume, signed)):
                _show(panels[row, column], image, colours, signed)
                if column == 0:
                    panels[row, 0].set_ylabel(rows[row])
            panels[0, column].set_title(title, fontsize=12)
        _scale_bar(panels[0, 0], np.asarray(mean).shape[-1], pixel_size)


def _views(volume: NDArray[np.floating], signed: bool) -> list[NDArray[np.floating]]:
    middle = volume.shape[0] // 2
    if signed:
        largest = np.abs(volume).argmax(axis=0)[None]
        projection = np.take_along_axis(volume, largest, axis=0)[0]
    else:
        projection = volume.sum(axis=0)
    return [volume[middle], volume[:, middle], volume[:, :, middle], projection]


def _show(axes: Axes, image: NDArray[np.floating], colours: str, signed: bool) -> None:
    if signed:
        top = float(np.percentile(np.abs(image), 99.8)) or 1.0
        low, high = -top, top
    else:
        low, high = (float(v) for v in np.percentile(image, [0.5, 99.8]))
        high = high if high > low else low + 1.0
    axes.imshow(image, origin="lower", cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def _scale_bar(axes: Axes, box: int, pixel_size: float) -> None:
    extent = box * pixel_size
    power = 10.0 ** np.floor(np.log10(extent / 3))
    length = max(step * power for step in (1, 2, 5) if step * power <= extent / 3)
    start = 0.06 * box
    axes.plot(
        [start, start + length / pixel_size], [start, start], color=style.ORANGE, linewidth=3.5, solid_capstyle="butt"
    )
    axes.text(start, start * 1.5, f"{length:.0f} Å", color=style.ORANGE, va="bottom", fontsize=11, weight="bold")
