"""The particle set: from where it is seen, at which defocus, from which micrographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from covaria.plots import style


def plot_angular_distribution(path: Path, rotations: ArrayLike) -> style.Sheet:
    """How often each direction of view occurs, over an even distribution, on a map of equal areas.

    rotations (N, 3, 3): image(kx, ky) = volume(R^T (kx, ky, 0)); the viewing direction is R's last row.
    """
    direction = np.asarray(rotations, dtype=float)[:, 2, :]
    direction = direction[np.isfinite(direction).all(axis=1)]
    longitude = np.rad2deg(np.arctan2(direction[:, 1], direction[:, 0]))
    height = np.clip(direction[:, 2], -1, 1)
    bins = int(np.clip(np.sqrt(len(direction) / 20), 6, 36))
    counts, x_edges, y_edges = np.histogram2d(longitude, height, bins=(2 * bins, bins), range=((-180, 180), (-1, 1)))
    even = max(len(direction), 1) / counts.size
    ratio = counts / even
    with style.figure(path, 8.4, 4.8) as figure:
        axes = figure.add_subplot()
        drawn = axes.imshow(
            ratio.T, origin="lower", extent=(-180, 180, -1, 1), aspect="auto", cmap=style.SEQUENTIAL, vmin=0,
            vmax=max(float(ratio.max()), 1.0), interpolation="nearest",
        )  # fmt: skip
        figure.colorbar(drawn, ax=axes, label="particles / even distribution")
        axes.set_xticks(range(-180, 181, 60))
        tilts = np.array([0, 30, 60, 90, 120, 150, 180])
        axes.set_yticks(np.cos(np.deg2rad(tilts)), [str(tilt) for tilt in tilts])
        axes.set_xlabel("rot (degrees)")
        axes.set_ylabel("tilt (degrees)")
        empty = float((counts == 0).mean())
        axes.set_title(f"Directions of view of {len(direction):,} particles ({100 * empty:.0f} % of the sphere empty)")
        longitudes, heights = np.meshgrid(
            x_edges[:-1] + np.diff(x_edges) / 2, y_edges[:-1] + np.diff(y_edges) / 2, indexing="ij"
        )
        figure.numbers = {
            "rot_degrees": longitudes,
            "tilt_degrees": np.rad2deg(np.arccos(heights)),
            "particles": counts.astype(int),
        }
    return figure


def plot_particles(
    path: Path, defocus_angstrom: ArrayLike, micrograph: ArrayLike, contrasts: ArrayLike | None = None
) -> style.Sheet:
    """Particles by defocus and by micrograph, and their contrast by defocus.

    defocus_angstrom (N,), mean of U and V; micrograph (N,) code, -1 where unknown; contrasts (N,) NaN where left out
    """
    defocus = np.asarray(defocus_angstrom, dtype=float) * 1e-4
    codes = np.asarray(micrograph)
    codes = codes[codes >= 0]
    values = None if contrasts is None else np.asarray(contrasts, dtype=float)
    with style.figure(path, 14.0, 4.4) as figure:
        by_defocus, by_micrograph, by_contrast = figure.subplots(1, 3)
        edges = np.linspace(*style.robust_limits(defocus), 41)
        counts, _ = np.histogram(defocus, bins=edges)
        by_defocus.bar(edges[:-1], counts, np.diff(edges), align="edge", color=style.SKY, edgecolor=style.BLUE)
        by_defocus.set_xlabel("defocus (µm)")
        by_defocus.set_ylabel("particles")
        by_defocus.set_title("By defocus")
        figure.numbers = {"defocus_um_from": edges[:-1], "defocus_um_to": edges[1:], "particles": counts}
        sizes = np.sort(np.unique(codes, return_counts=True)[1])[::-1]
        by_micrograph.set_title(f"By micrograph ({len(sizes):,})" if len(sizes) else "By micrograph: not known")
        if len(sizes):
            by_micrograph.step(np.arange(1, len(sizes) + 1), sizes, where="mid", color=style.BLUE)
            by_micrograph.set_ylim(bottom=0)
            by_micrograph.set_xlabel("micrograph, fullest first")
            by_micrograph.set_ylabel("particles")
            figure.numbers["particles_of_micrograph"] = sizes
        else:
            by_micrograph.set_axis_off()
        _contrast_by_defocus(by_contrast, figure, defocus, values)
    return figure


def _contrast_by_defocus(
    axes: Axes, figure: style.Sheet, defocus: NDArray[np.floating], contrasts: NDArray[np.floating] | None
) -> None:
    if contrasts is None or not np.isfinite(contrasts).any():
        axes.set_axis_off()
        return
    style.draw_points(axes, defocus, contrasts)
    keep = np.isfinite(contrasts)
    edges = np.quantile(defocus[keep], np.linspace(0, 1, 11))
    group = np.clip(np.searchsorted(edges, defocus[keep], side="right") - 1, 0, 9)
    there = np.unique(group)
    middle = np.array([np.median(defocus[keep][group == g]) for g in there])
    median = np.array([np.median(contrasts[keep][group == g]) for g in there])
    axes.plot(middle, median, "o-", color=style.VERMILION, label="median of a tenth")
    axes.set_xlabel("defocus (µm)")
    axes.set_ylabel("contrast")
    axes.set_title("Contrast by defocus")
    axes.legend(loc="upper right", frameon=True)
    figure.numbers |= {"defocus_um_of_tenth": middle, "median_contrast_of_tenth": median}
