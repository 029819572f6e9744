"""The conformational density: marginals, slices, every regularisation strength, and the curve that chose one."""

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
from covaria.plots.latent import LATENT_UNIT

HALO = [patheffects.withStroke(linewidth=2.2, foreground="black")]


def marginal(density: NDArray[np.floating], kept: tuple[int, ...]) -> NDArray[np.floating]:
    """The density with every axis not in `kept` summed away, axes in the order of `kept` (ascending)."""
    result: NDArray[np.floating] = density.sum(axis=tuple(axis for axis in range(density.ndim) if axis not in kept))
    return result


def plot_density(
    path: Path,
    density: ArrayLike,
    bounds: ArrayLike,
    *,
    title: str = "Conformational density",
    centers: ArrayLike | None = None,
    paths: Sequence[NDArray[np.floating]] = (),
) -> None:
    """The density's marginals: a curve in one dimension, else one map for each pair of axes.

    density  (n,) * dim; bounds (dim, 2) latent coordinates of the first and last grid point
    centers  (K, >= dim) drawn as numbered points; paths each (m, >= dim)
    """
    values, limits = np.asarray(density, dtype=float), np.asarray(bounds, dtype=float)
    if values.ndim == 1:
        with style.figure(path, 7.0, 4.6) as figure:
            _curve(figure.add_subplot(), values, limits[0], centers)
            figure.suptitle(title)
        return
    pairs = list(combinations(range(values.ndim), 2))
    rows, columns = style.grid_shape(len(pairs), 3)
    width = 6.4 if len(pairs) == 1 else 4.4 * columns
    with style.figure(path, width, 5.4 if len(pairs) == 1 else 3.9 * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, pair in zip(panels, pairs, strict=False):
            _map(figure, axes, marginal(values, pair), limits[list(pair)], pair)
            _overlay(axes, pair, centers, paths)
        style.blank(panels[len(pairs) :])
        figure.suptitle(title)


def _positions(limits: NDArray[np.floating], points: int) -> NDArray[np.floating]:
    return np.linspace(float(limits[0]), float(limits[1]), points)


def _curve(axes: Axes, values: NDArray[np.floating], limits: NDArray[np.floating], centers: ArrayLike | None) -> None:
    at = _positions(limits, len(values))
    axes.fill_between(at, values, color=style.SKY, alpha=0.5, linewidth=0)
    axes.plot(at, values, color=style.BLUE)
    if centers is not None:
        for number, position in enumerate(np.asarray(centers, dtype=float)[:, 0]):
            axes.axvline(position, color=style.ORANGE, linewidth=1.0)
            axes.annotate(str(number), (position, axes.get_ylim()[1]), ha="center", fontsize=9)
    axes.set_xlabel(f"PC 1 ({LATENT_UNIT})")
    axes.set_ylabel("probability density")
    axes.set_ylim(bottom=0)
    style.scientific_ticks(axes)


def _map(
    figure: Figure | None, axes: Axes, image: NDArray[np.floating], limits: NDArray[np.floating], pair: tuple[int, int]
) -> None:
    drawn = axes.imshow(
        image.T,
        origin="lower",
        extent=(*limits[0], *limits[1]),
        aspect="auto",
        cmap=style.SEQUENTIAL,
        norm=PowerNorm(0.5, vmin=0, vmax=float(image.max()) or 1.0),
        interpolation="nearest",
    )
    axes.set_xlabel(f"PC {pair[0] + 1}")
    axes.set_ylabel(f"PC {pair[1] + 1}")
    style.scientific_ticks(axes)
    if figure is not None:
        bar = figure.colorbar(drawn, ax=axes, shrink=0.9, pad=0.02)
        bar.set_label("density (square-root scale)")
        bar.formatter.set_powerlimits((-2, 3))  # type: ignore[attr-defined]


def _overlay(
    axes: Axes, pair: tuple[int, int], centers: ArrayLike | None, paths: Sequence[NDArray[np.floating]]
) -> None:
    x_limits, y_limits = axes.get_xlim(), axes.get_ylim()
    for line in paths:
        axes.plot(line[:, pair[0]], line[:, pair[1]], color="white", linewidth=4.5)
        axes.plot(line[:, pair[0]], line[:, pair[1]], color=style.VERMILION, linewidth=2.4)
    if centers is not None:
        points = np.asarray(centers, dtype=float)
        axes.scatter(points[:, pair[0]], points[:, pair[1]], s=22, color="white", edgecolor="black", linewidth=0.8)
        for number, point in enumerate(points):
            if x_limits[0] <= point[pair[0]] <= x_limits[1] and y_limits[0] <= point[pair[1]] <= y_limits[1]:
                axes.annotate(
                    str(number),
                    point[list(pair)],
                    (4, 3),
                    textcoords="offset points",
                    fontsize=10,
                    color="white",
                    path_effects=HALO,
                )
    axes.set_xlim(x_limits)
    axes.set_ylim(y_limits)


def plot_density_slices(path: Path, density: ArrayLike, bounds: ArrayLike, slices: int = 6) -> None:
    """Cuts through the density: the first two axes at fixed values of the third (in 2-D: profiles).

    density (n,) * dim with dim >= 2, bounds (dim, 2). A fourth axis is summed away.
    """
    values, limits = np.asarray(density, dtype=float), np.asarray(bounds, dtype=float)
    if values.ndim == 2:
        _profiles(path, values, limits, slices)
        return
    values = marginal(values, (0, 1, 2))
    mass = np.cumsum(values.sum(axis=(0, 1)))
    levels = np.searchsorted(mass / mass[-1], np.linspace(0.05, 0.95, slices))
    rows, columns = style.grid_shape(slices, 3)
    at = _positions(limits[2], values.shape[2])
    with style.figure(path, 3.9 * columns, 3.6 * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, level in zip(panels, levels, strict=False):
            _map(None, axes, values[:, :, level], limits[:2], (0, 1))
            axes.set_title(f"PC 3 = {at[level]:.3g}")
        style.blank(panels[slices:])
        figure.suptitle("Slices of the conformational density, 5% to 95% of PC 3")


def _profiles(path: Path, values: NDArray[np.floating], limits: NDArray[np.floating], slices: int) -> None:
    with style.figure(path, 12.0, 4.8) as figure:
        panels = figure.subplots(1, 2)
        for axes, along in zip(panels, (0, 1), strict=True):
            across = 1 - along
            mass = np.cumsum(values.sum(axis=along))
            levels = np.searchsorted(mass / mass[-1], np.linspace(0.05, 0.95, slices))
            where = _positions(limits[across], values.shape[across])
            at = _positions(limits[along], values.shape[along])
            for level, colour in zip(levels, colormaps[style.COUNTS](np.linspace(0, 0.9, slices)), strict=True):
                axes.plot(at, np.take(values, level, axis=across), color=colour, label=f"{where[level]:.3g}")
            axes.set_xlabel(f"PC {along + 1} ({LATENT_UNIT})")
            axes.set_ylabel("probability density")
            axes.set_ylim(bottom=0)
            axes.legend(title=f"at PC {across + 1} =", loc="best")
            style.scientific_ticks(axes)
        figure.suptitle("Slices of the conformational density")


def plot_all_densities(
    path: Path, densities: Sequence[NDArray[np.floating]], bounds: ArrayLike, alphas: Sequence[float], chosen: int
) -> None:
    """One panel for each alpha, largest first, the chosen one framed; above 2-D the first two axes' marginal."""
    limits = np.asarray(bounds, dtype=float)
    rows, columns = style.grid_shape(len(densities), 4)
    with style.figure(path, 3.2 * columns, 2.9 * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for number, (axes, density) in enumerate(zip(panels, densities, strict=False)):
            if density.ndim == 1:
                at = _positions(limits[0], len(density))
                axes.fill_between(at, density, color=style.SKY, linewidth=0)
                axes.plot(at, density, color=style.BLUE, linewidth=1.4)
                axes.set_yticks([])
                axes.set_ylim(bottom=0)
                axes.set_xlabel("PC 1")
                style.scientific_ticks(axes)
            else:
                _map(None, axes, marginal(density, (0, 1)), limits[:2], (0, 1))
            picked = number == chosen
            axes.set_title(f"alpha {alphas[number]:.0e}" + (" (chosen)" if picked else ""), fontsize=12)
            if picked:
                axes.title.set_color(style.VERMILION)
                for spine in axes.spines.values():
                    spine.set_visible(True)
                    spine.set(color=style.VERMILION, linewidth=3)
        style.blank(panels[len(densities) :])
        figure.suptitle("Conformational density at each regularisation strength")


def plot_l_curve(
    path: Path,
    alphas: ArrayLike,
    roughness: ArrayLike,
    loss: ArrayLike,
    chosen: int,
    held_out_loss: ArrayLike,
    standard_error: ArrayLike,
) -> None:
    """What each alpha costs in fit against how rough its density is, and how well it predicts unseen particles.

    roughness (A,) penalty's value; loss (A,) log-likelihood lost to the least regularised density, in nats;
    held_out_loss, standard_error (A,) log-likelihood of unseen particles lost to the best alpha, in nats
    """
    strength, rough, lost = (np.asarray(v, dtype=float) for v in (alphas, roughness, loss))
    rough = np.maximum(rough, 1e-9)
    unseen, error = np.asarray(held_out_loss, dtype=float), np.asarray(standard_error, dtype=float)
    ring = {"marker": "o", "markersize": 14, "markerfacecolor": "none", "markeredgewidth": 2.6, "linestyle": "none"}
    with style.figure(path, 12.0, 4.8) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(rough, lost, "o-", color=style.BLUE)
        labelled = np.inf
        for number in range(len(strength)):
            if abs(np.log10(rough[number]) - labelled) > 0.8 or not np.isfinite(labelled):
                labelled = np.log10(rough[number])
                here = (rough[number], lost[number])
                left.annotate(f"{strength[number]:.0e}", here, (7, 6), textcoords="offset points", fontsize=10)
        left.plot(rough[chosen], lost[chosen], color=style.VERMILION, **ring)
        left.set_xscale("log")
        left.set_yscale("symlog", linthresh=1.0)
        left.set_xlabel("roughness of the density (dimensionless)")
        left.set_ylabel("log-likelihood lost (nats)")
        left.set_title("L-curve (numbers: alpha)")
        right.errorbar(strength, unseen, yerr=error, fmt="o-", color=style.BLUE, capsize=3, elinewidth=1.2)
        label = f"chosen: alpha {strength[chosen]:.0e}"
        right.plot(strength[chosen], unseen[chosen], color=style.VERMILION, label=label, **ring)
        right.set_xscale("log")
        right.set_yscale("symlog", linthresh=3.0)
        right.set_xlabel("alpha (regularisation strength)")
        right.set_ylabel("lost on unseen particles (nats)")
        right.set_title("Largest alpha that predicts as well as the best")
        right.legend(loc="upper left")
        for axes, values in ((left, lost), (right, unseen)):
            axes.set_ylim(-0.5, 4 * max(float(values.max()), 3.0))
            axes.grid(True)
