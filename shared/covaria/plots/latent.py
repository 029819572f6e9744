"""Particles as points: contrasts, pairs of principal components, any two-dimensional view with its centres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from covaria.plots import style

LATENT_UNIT = "standard deviations of the motion"


def plot_contrast_histogram(path: Path, contrasts: ArrayLike) -> None:
    """Distribution of the particles' contrasts (N,), NaN where a particle was excluded; 1 is the mean by convention."""
    values = np.asarray(contrasts, dtype=float).ravel()
    values = values[np.isfinite(values)]
    with style.figure(path, 7.0, 4.6) as figure:
        axes = figure.add_subplot()
        if values.size:
            low, high = style.robust_limits(values, tail_percent=0.1)
            if high - low < 0.2:
                low, high = min(low, 0.9), max(high, 1.1)
            bins = int(np.clip(np.sqrt(values.size), 15, 80))
            axes.hist(np.clip(values, low, high), bins=bins, range=(low, high), color=style.SKY, edgecolor=style.BLUE)
            middle, spread = float(np.median(values)), float(values.std())
            axes.axvline(1.0, color=style.GREY, linestyle="--", linewidth=1.4, label="1")
            axes.axvline(middle, color=style.VERMILION, label=f"median {middle:.3f}")
            axes.plot([], [], " ", label=f"sd {spread:.3f}")
            axes.legend(loc="upper right")
            axes.set_xlim(low, high)
        axes.set_xlabel("contrast (relative to the mean map)")
        axes.set_ylabel("particles")
        axes.set_title(f"Contrast of {values.size:,} particles")


def plot_latent_pairs(path: Path, latent: ArrayLike, eigenvalues: ArrayLike, most: int = 4) -> None:
    """The leading principal components against one another, as a triangle of panels with their histograms.

    latent       (N, k)  latent coordinates, NaN rows where excluded
    eigenvalues  (>= k,) prior variance of each coordinate, drawn over the histograms as a Gaussian
    """
    points = _finite_rows(latent)
    variances = np.asarray(eigenvalues, dtype=float)
    size = min(points.shape[1], most)
    side = max(2.6 * size, 5.0) if size > 1 else 5.0
    with style.figure(path, side + 0.6, side) as figure:
        panels = figure.subplots(size, size, squeeze=False)
        for row, column in np.ndindex(size, size):
            axes: Axes = panels[row, column]  # type: ignore[assignment]
            if column > row:
                axes.set_axis_off()
                continue
            if column == row:
                _marginal(axes, points[:, row], float(variances[row]))
            else:
                style.draw_points(axes, points[:, column], points[:, row])
            style.scientific_ticks(axes)
            if row == size - 1:
                axes.set_xlabel(f"PC {column + 1}")
            if column == 0 and row > 0:
                axes.set_ylabel(f"PC {row + 1}")
        figure.suptitle(f"Latent coordinates of {len(points):,} particles\n({LATENT_UNIT}; line: prior)", fontsize=13)


def _marginal(axes: Axes, values: NDArray[np.floating], variance: float) -> None:
    limits = style.robust_limits(values)
    bins = int(np.clip(np.sqrt(values.size), 12, 60))
    axes.hist(values, bins=bins, range=limits, density=True, color=style.SKY)
    if variance > 0:
        at = np.linspace(*limits, 200)
        prior = np.exp(-0.5 * at**2 / variance) / np.sqrt(2 * np.pi * variance)
        axes.plot(at, prior, color=style.VERMILION, linewidth=1.6)
    axes.set_xlim(limits)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def plot_latent_histogram(path: Path, values: ArrayLike, centers: ArrayLike) -> None:
    """One latent coordinate (N,), NaN where excluded, with numbered centres (K,)."""
    at = np.asarray(values, dtype=float)
    at = at[np.isfinite(at)]
    with style.figure(path, 7.0, 4.6) as figure:
        axes = figure.add_subplot()
        limits = style.robust_limits(at)
        axes.hist(at, bins=int(np.clip(np.sqrt(at.size), 15, 80)), range=limits, color=style.SKY, edgecolor=style.BLUE)
        for number, center in enumerate(np.asarray(centers, dtype=float)):
            axes.axvline(center, color=style.ORANGE, linewidth=1.4)
            axes.annotate(str(number), (center, axes.get_ylim()[1]), (2, -12), textcoords="offset points", fontsize=11)
        axes.set_xlim(limits)
        axes.set_xlabel(f"PC 1 ({LATENT_UNIT})")
        axes.set_ylabel("particles")
        axes.set_title(f"Latent coordinate of {at.size:,} particles, k-means centres")
        axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 3), useMathText=True)


def plot_scatter_with_centers(
    path: Path,
    points: ArrayLike,
    centers: ArrayLike | None = None,
    *,
    title: str,
    x_label: str,
    y_label: str,
    paths: tuple[NDArray[np.floating], ...] = (),
    labels: ArrayLike | None = None,
) -> None:
    """Particles in two dimensions with numbered centres and, where given, paths.

    points   (N, 2)  NaN rows are left out
    centers  (K, 2)  numbered from 0, as the files are
    paths    each (n, 2)
    labels   (N,) int cluster of each particle; colours the particles by cluster instead of by number
    """
    positions = np.asarray(points, dtype=float)
    keep = np.isfinite(positions).all(axis=1)
    with style.figure(path, 6.8, 6.0) as figure:
        axes = figure.add_subplot()
        if labels is None:
            style.draw_points(axes, positions[keep, 0], positions[keep, 1])
        else:
            _coloured_points(axes, positions[keep], np.asarray(labels)[keep])
        for number, line in enumerate(paths):
            colour = style.CYCLE[(number + 1) % len(style.CYCLE)]
            axes.plot(line[:, 0], line[:, 1], color="white", linewidth=5.0)
            axes.plot(line[:, 0], line[:, 1], color=colour, linewidth=2.6, label=f"path {number}")
        if centers is not None:
            _numbered(axes, np.asarray(centers, dtype=float))
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.set_title(title)
        style.scientific_ticks(axes)
        if paths:
            axes.legend(loc="best", frameon=True, framealpha=0.85)


def _coloured_points(axes: Axes, points: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
    size = float(np.clip(20000 / max(len(points), 1), 1.5, 24))
    axes.scatter(
        points[:, 0], points[:, 1], c=labels, cmap=style.COUNTS, s=size, alpha=0.5, linewidths=0, rasterized=True
    )
    axes.set_xlim(style.robust_limits(points[:, 0]))
    axes.set_ylim(style.robust_limits(points[:, 1]))


def _numbered(axes: Axes, centers: NDArray[np.floating]) -> None:
    x_limits, y_limits = axes.get_xlim(), axes.get_ylim()
    axes.scatter(centers[:, 0], centers[:, 1], s=46, color=style.ORANGE, edgecolor="black", linewidth=1.0, zorder=4)
    for number, (x, y) in enumerate(centers):
        axes.annotate(
            str(number),
            (x, y),
            (5, 4),
            textcoords="offset points",
            fontsize=11,
            weight="bold",
            zorder=5,
            path_effects=_halo(),
        )
    axes.set_xlim(min(x_limits[0], centers[:, 0].min()), max(x_limits[1], centers[:, 0].max()))
    axes.set_ylim(min(y_limits[0], centers[:, 1].min()), max(y_limits[1], centers[:, 1].max()))


def _halo() -> list[patheffects.AbstractPathEffect]:
    return [patheffects.withStroke(linewidth=3, foreground="white")]


def _finite_rows(latent: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(latent, dtype=float)
    result: NDArray[np.float64] = points[np.isfinite(points).all(axis=1)]
    return result
