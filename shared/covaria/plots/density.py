"""The conformational density and its energy in kT: marginals with populations and paths, and slices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from covaria.plots import style
from covaria.plots.latent import LATENT_UNIT, axis_label

HALO = [patheffects.withStroke(linewidth=2.2, foreground="black")]
MOST_KT = 6.0
"""Above the deepest point: where one particle in 400 would be, which is as far as a density can be believed."""

Grid = NDArray[np.floating]


def marginal(density: Grid, kept: tuple[int, ...]) -> Grid:
    """The density with every axis not in `kept` summed away, axes in the order of `kept` (ascending)."""
    result: Grid = density.sum(axis=tuple(axis for axis in range(density.ndim) if axis not in kept))
    return result


def energy_kt(density: Grid) -> Grid:
    """-ln(density / its largest value): free energy in kT over the most frequent conformation; infinite where empty."""
    with np.errstate(divide="ignore"):
        result: Grid = -np.log(density / density.max())
    return result


def plot_density(
    path: Path,
    density: ArrayLike,
    bounds: ArrayLike,
    *,
    title: str = "Conformational density",
    centers: ArrayLike | None = None,
    populations: ArrayLike | None = None,
    paths: Sequence[Grid] = (),
    shares: Sequence[float] = (),
) -> style.Sheet:
    """The density's marginals, each beside its energy in kT: a curve in one dimension, else maps of each pair of axes.

    density      (n,) * dim; bounds (dim, 2) latent coordinates of the first and last grid point
    centers      (K, >= dim) drawn as numbered points; populations (K,) their shares of the particles
    paths        each (m, >= dim), in colours of their own
    shares       of the confirmed variance by component, for the axes' labels
    """
    values, limits = np.asarray(density, dtype=float), np.asarray(bounds, dtype=float)
    if values.ndim == 1:
        return _one_dimension(path, values, limits[0], title, centers, populations, shares)
    pairs = list(combinations(range(values.ndim), 2))
    columns = 2 if len(pairs) == 1 else 4
    rows = -(-2 * len(pairs) // columns)
    with style.figure(path, 5.2 * columns, 4.6 * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for number, pair in enumerate(pairs):
            flat, box = marginal(values, pair), limits[list(pair)]
            left, right = panels[2 * number : 2 * number + 2]
            draw_map(figure, left, flat, box, pair, shares=shares)
            _energy_map(figure, right, flat, box, pair, shares)
            for axes in (left, right):
                _overlay(axes, pair, centers, populations, paths)
            figure.numbers |= _grid_numbers(flat, box, pair)
        style.blank(panels[2 * len(pairs) :])
        figure.suptitle(title)
    return figure


def _grid_numbers(flat: Grid, box: Grid, pair: tuple[int, int]) -> dict[str, ArrayLike]:
    x, y = np.meshgrid(*(positions(one, size) for one, size in zip(box, flat.shape, strict=True)), indexing="ij")
    name = f"pc{pair[0] + 1}_pc{pair[1] + 1}"
    return {
        f"pc{pair[0] + 1}_sd ({name})": x,
        f"pc{pair[1] + 1}_sd ({name})": y,
        f"density ({name})": flat,
        f"energy_kt ({name})": energy_kt(flat),
    }


def positions(limits: Grid, points: int) -> Grid:
    """Of the grid's points along an axis."""
    return np.linspace(float(limits[0]), float(limits[1]), points)


def _one_dimension(
    path: Path,
    values: Grid,
    limits: Grid,
    title: str,
    centers: ArrayLike | None,
    populations: ArrayLike | None,
    shares: Sequence[float],
) -> style.Sheet:
    at, energy = positions(limits, len(values)), energy_kt(values)
    with style.figure(path, 12.0, 4.8) as figure:
        left, right = figure.subplots(1, 2)
        left.fill_between(at, values, color=style.SKY, alpha=0.35, linewidth=0)
        for share, level, strength in zip((90, 50), style.share_levels(values)[::-1], (0.5, 1.0), strict=False):
            inside = np.where(values >= level, values, np.nan)
            left.fill_between(at, inside, color=style.SKY, alpha=strength, linewidth=0, label=f"{share} % inside")
        left.plot(at, values, color=style.BLUE)
        left.set_ylabel("probability density")
        left.set_ylim(0, 1.2 * float(values.max()))
        left.legend(loc="upper right", fontsize=10)
        right.plot(at, energy, color=style.BLUE)
        right.set_ylabel("energy above the most frequent (kT)")
        right.set_ylim(-0.2, MOST_KT)
        right.grid(visible=True)
        if centers is not None:
            _marks(left, right, np.asarray(centers, dtype=float)[:, 0], at, values, energy, populations)
        for axes in (left, right):
            axes.set_xlabel(axis_label(0, shares))
            places = np.append(at, [] if centers is None else np.asarray(centers, dtype=float)[:, 0])
            axes.set_xlim(float(places.min()), float(places.max()))
        figure.suptitle(title)
        figure.numbers = {"pc1_sd": at, "density": values, "energy_kt": energy}
        if centers is not None:
            figure.numbers["centre_pc1_sd"] = np.asarray(centers, dtype=float)[:, 0]
    return figure


def _marks(
    left: Axes, right: Axes, centers: Grid, at: Grid, values: Grid, energy: Grid, populations: ArrayLike | None
) -> None:
    """Centres on both curves: their number, and their share of the particles."""
    known = None if populations is None else np.asarray(populations, dtype=float)
    many = len(centers) > 8
    for axes, curve in ((left, values), (right, np.minimum(energy, MOST_KT))):
        height = np.interp(centers, at, curve)
        axes.plot(centers, height, "o", color=style.ORANGE, markeredgecolor="black", zorder=4)
        for number, (x, y) in enumerate(zip(centers, height, strict=True)):
            text = str(number) if known is None or axes is right else f"{number}: {100 * known[number]:.0f} %"
            axes.annotate(text, (x, y), (0, 6), textcoords="offset points", fontsize=8, ha="center", rotation=90 * many)


def draw_map(
    figure: Figure | None,
    axes: Axes,
    image: Grid,
    limits: Grid,
    pair: tuple[int, int],
    *,
    shares: Sequence[float] = (),
) -> None:
    """A density (n, m) [x, y] with lines around its densest 50 and 90 %; with a scale where a figure is given."""
    drawn = axes.imshow(
        image.T,
        origin="lower",
        extent=(*limits[0], *limits[1]),
        aspect="auto",
        cmap=style.SEQUENTIAL,
        norm=PowerNorm(0.5, vmin=0, vmax=float(image.max()) or 1.0),
        interpolation="nearest",
    )
    at = [positions(one, size) for one, size in zip(limits, image.shape, strict=True)]
    style.draw_contours(axes, at[0], at[1], image, "white")
    axes.set_xlabel(axis_label(pair[0], shares))
    axes.set_ylabel(axis_label(pair[1], shares))
    if figure is not None:
        bar = figure.colorbar(drawn, ax=axes, shrink=0.9, pad=0.02)
        bar.set_label("density (square-root scale)")
        bar.formatter.set_powerlimits((-2, 3))  # type: ignore[attr-defined]


def _energy_map(
    figure: Figure, axes: Axes, image: Grid, limits: Grid, pair: tuple[int, int], shares: Sequence[float]
) -> None:
    energy = energy_kt(image)
    at = [positions(one, size) for one, size in zip(limits, image.shape, strict=True)]
    drawn = axes.imshow(
        np.where(energy <= MOST_KT, energy, np.nan).T,
        origin="lower",
        extent=(*limits[0], *limits[1]),
        aspect="auto",
        cmap=f"{style.COUNTS}_r",
        vmin=0,
        vmax=MOST_KT,
        interpolation="nearest",
    )
    axes.set_facecolor("#EEEEEE")
    clipped = np.minimum(energy, MOST_KT + 1)
    axes.contour(*at, clipped.T, levels=np.arange(1, MOST_KT), colors="black", linewidths=0.5)
    axes.set_xlabel(axis_label(pair[0], shares))
    axes.set_ylabel(axis_label(pair[1], shares))
    figure.colorbar(drawn, ax=axes, shrink=0.9, pad=0.02, label="energy above the most frequent (kT)")


def _overlay(
    axes: Axes,
    pair: tuple[int, int],
    centers: ArrayLike | None,
    populations: ArrayLike | None,
    paths: Sequence[Grid],
) -> None:
    """Paths and centres; the axes widen to hold them."""
    known = None if populations is None else np.asarray(populations, dtype=float)
    for number, line in enumerate(paths):
        axes.plot(line[:, pair[0]], line[:, pair[1]], color="white", linewidth=4.0)
        colour = style.PATHS[number % len(style.PATHS)]
        axes.plot(line[:, pair[0]], line[:, pair[1]], color=colour, linewidth=2.4, label=f"path {number}")
    if centers is not None:
        points = np.asarray(centers, dtype=float)
        axes.scatter(
            points[:, pair[0]], points[:, pair[1]], s=22, color="white", edgecolor="black", linewidth=0.8, zorder=5
        )
        for number, point in enumerate(points):
            text = str(number) if known is None else f"{number}: {100 * known[number]:.0f} %"
            axes.annotate(
                text, point[list(pair)], (4, 3), textcoords="offset points", fontsize=9, color="white",
                path_effects=HALO, annotation_clip=True,
            )  # fmt: skip
    style.widen(axes, [np.asarray(line)[:, list(pair)] for line in paths])
    if paths:
        axes.legend(loc="best", frameon=True, framealpha=0.85, fontsize=9)


def plot_density_slices(path: Path, density: ArrayLike, bounds: ArrayLike, slices: int = 6) -> style.Sheet:
    """Cuts through the density: the first two axes at fixed values of the third (in 2-D: profiles).

    density (n,) * dim with dim >= 2, bounds (dim, 2). A fourth axis is summed away.
    """
    values, limits = np.asarray(density, dtype=float), np.asarray(bounds, dtype=float)
    if values.ndim == 2:
        return _profiles(path, values, limits, slices)
    values = marginal(values, (0, 1, 2))
    mass = np.cumsum(values.sum(axis=(0, 1)))
    levels = np.searchsorted(mass / mass[-1], np.linspace(0.05, 0.95, slices))
    rows, columns = style.grid_shape(slices, 3)
    at = positions(limits[2], values.shape[2])
    with style.figure(path, 3.9 * columns, 3.6 * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, level in zip(panels, levels, strict=False):
            draw_map(None, axes, values[:, :, level], limits[:2], (0, 1))
            axes.set_title(f"PC 3 = {at[level]:.3g} sd")
            figure.numbers[f"density at pc3 = {at[level]:.6g} sd"] = values[:, :, level]
        style.blank(panels[slices:])
        figure.suptitle("Slices of the conformational density, 5% to 95% of PC 3")
    return figure


def _profiles(path: Path, values: Grid, limits: Grid, slices: int) -> style.Sheet:
    with style.figure(path, 12.0, 4.8) as figure:
        panels = figure.subplots(1, 2)
        for axes, along in zip(panels, (0, 1), strict=True):
            across = 1 - along
            mass = np.cumsum(values.sum(axis=along))
            levels = np.searchsorted(mass / mass[-1], np.linspace(0.05, 0.95, slices))
            where = positions(limits[across], values.shape[across])
            at = positions(limits[along], values.shape[along])
            figure.numbers[f"pc{along + 1}_sd"] = at
            for level, colour in zip(levels, colormaps[style.COUNTS](np.linspace(0, 0.9, slices)), strict=True):
                profile = np.take(values, level, axis=across)
                axes.plot(at, profile, color=colour, label=f"{where[level]:.3g}")
                figure.numbers[f"density along pc{along + 1} at pc{across + 1} = {where[level]:.6g} sd"] = profile
            axes.set_xlabel(f"PC {along + 1} ({LATENT_UNIT})")
            axes.set_ylabel("probability density")
            axes.set_ylim(bottom=0)
            axes.legend(title=f"at PC {across + 1} =", loc="best")
        figure.suptitle("Slices of the conformational density")
    return figure
