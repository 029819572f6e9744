"""Particles as points: contrasts, pairs of principal components, any two-dimensional view with its centres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from numpy.typing import ArrayLike, NDArray

from covaria.plots import style

LATENT_UNIT = "standard deviations of the motion"


def axis_label(component: int, shares: Sequence[float] = ()) -> str:
    """PC 1, 61 % of the confirmed variance (sd): `component` counts from 0."""
    share = f", {100 * shares[component]:.0f} % of the variance" if component < len(shares) else ""
    return f"PC {component + 1}{share} (sd)"


def plot_contrast_histogram(path: Path, contrasts: ArrayLike) -> style.Sheet:
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
            counts, edges, _ = axes.hist(
                np.clip(values, low, high), bins=bins, range=(low, high), color=style.SKY, edgecolor=style.BLUE
            )
            figure.numbers = {"contrast_from": edges[:-1], "contrast_to": edges[1:], "particles": counts}
            middle, spread = float(np.median(values)), float(values.std())
            axes.axvline(1.0, color=style.GREY, linestyle="--", linewidth=1.4, label="1")
            axes.axvline(middle, color=style.VERMILION, label=f"median {middle:.3f}")
            axes.plot([], [], " ", label=f"sd {spread:.3f}")
            axes.legend(loc="upper right")
            axes.set_xlim(low, high)
        axes.set_xlabel("contrast (relative to the mean map)")
        axes.set_ylabel("particles")
        axes.set_title(f"Contrast of {values.size:,} particles")
    return figure


def plot_latent_pairs(
    path: Path, latent: ArrayLike, eigenvalues: ArrayLike, shares: Sequence[float] = (), most: int = 4
) -> style.Sheet:
    """The leading principal components against one another, as a triangle of panels with their histograms.

    latent       (N, k)  latent coordinates, NaN rows where excluded
    eigenvalues  (>= k,) prior variance of each coordinate, drawn over the histograms as a Gaussian
    shares       of the confirmed variance by component
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
                counts, edges = _marginal(axes, points[:, row], float(variances[row]))
                figure.numbers |= {
                    f"pc{row + 1}_sd_from": edges[:-1],
                    f"pc{row + 1}_sd_to": edges[1:],
                    f"pc{row + 1}_density": counts,
                }
            else:
                drawn = style.draw_points(axes, points[:, column], points[:, row], contours=True)
                names = {"x": f"pc{column + 1}_sd", "y": f"pc{row + 1}_sd"}
                pair = f"(pc{column + 1}_pc{row + 1})"
                figure.numbers |= {f"{names.get(key, key)} {pair}": values for key, values in drawn.items()}
            if row == size - 1:
                axes.set_xlabel(axis_label(column, shares) if size < 3 else f"PC {column + 1}")
            if column == 0 and row > 0:
                axes.set_ylabel(f"PC {row + 1}")
        figure.suptitle(f"Latent coordinates of {len(points):,} particles\n({LATENT_UNIT}; line: prior)", fontsize=13)
    return figure


def _marginal(
    axes: Axes, values: NDArray[np.floating], variance: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    limits = style.robust_limits(values)
    bins = int(np.clip(np.sqrt(values.size), 12, 60))
    counts, edges = np.histogram(values, bins=bins, range=limits, density=True)
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=style.SKY)
    if variance > 0:
        at = np.linspace(*limits, 200)
        prior = np.exp(-0.5 * at**2 / variance) / np.sqrt(2 * np.pi * variance)
        axes.plot(at, prior, color=style.VERMILION, linewidth=1.6)
    axes.set_xlim(limits)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    return counts, edges


def plot_latent_histogram(
    path: Path, values: ArrayLike, centers: ArrayLike, populations: ArrayLike, shares: Sequence[float] = ()
) -> style.Sheet:
    """One latent coordinate (N,), NaN where excluded, with numbered centres (K,) and their shares of the particles."""
    at, places = np.asarray(values, dtype=float), np.asarray(centers, dtype=float)
    at, known = at[np.isfinite(at)], np.asarray(populations, dtype=float)
    with style.figure(path, 7.0, 4.6) as figure:
        axes = figure.add_subplot()
        limits = style.robust_limits(at)
        counts, edges = np.histogram(at, bins=int(np.clip(np.sqrt(at.size), 15, 80)), range=limits)
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=style.SKY, edgecolor=style.BLUE)
        top = float(counts.max(initial=1))
        for number, (center, share) in enumerate(zip(places, known, strict=True)):
            axes.axvline(center, color=style.ORANGE, linewidth=1.4)
            height = top * (1.04 + 0.07 * (number % 2))
            axes.annotate(f"{number}: {100 * share:.0f} %", (center, height), ha="center", fontsize=9)
        axes.set_ylim(0, 1.2 * top)
        axes.set_xlim(limits)
        axes.set_xlabel(axis_label(0, shares))
        axes.set_ylabel("particles")
        axes.set_title(f"Latent coordinate of {at.size:,} particles, k-means centres", pad=14)
        figure.numbers = {
            "pc1_sd_from": edges[:-1],
            "pc1_sd_to": edges[1:],
            "particles": counts,
            "centre_pc1_sd": places,
            "centre_share": known,
        }
    return figure


@dataclass(frozen=True)
class Ends:
    """Pictures of the map at both ends of an axis, and where on it (in its unit)."""

    low: NDArray[np.uint8]
    high: NDArray[np.uint8]
    at: float


def plot_scatter_with_centers(
    path: Path,
    points: ArrayLike,
    centers: ArrayLike | None = None,
    *,
    title: str,
    x_label: str,
    y_label: str,
    populations: ArrayLike | None = None,
    paths: tuple[NDArray[np.floating], ...] = (),
    labels: ArrayLike | None = None,
    error: ArrayLike | None = None,
    ends: tuple[Ends, Ends] | None = None,
) -> style.Sheet:
    """Particles in two dimensions, lines around 50 and 90 % of them, numbered centres and, where given, paths.

    points       (N, 2)  NaN rows are left out
    centers      (K, 2)  numbered from 0, as the files are; populations (K,) their shares of the particles
    paths        each (n, 2)
    labels       (N,) int cluster of each particle; colours the particles by cluster instead of by number
    error        (2, 2) covariance of a typical particle's error, drawn as an ellipse of one standard deviation
    ends         the map at the ends of the two axes, drawn beside them
    """
    positions = np.asarray(points, dtype=float)
    keep = np.isfinite(positions).all(axis=1)
    with style.figure(path, 7.6, 6.8) as figure:
        axes = figure.add_subplot()
        if labels is None:
            drawn = style.draw_points(axes, positions[keep, 0], positions[keep, 1], contours=True)
        else:
            drawn = _coloured_points(axes, positions[keep], np.asarray(labels)[keep], populations)
        figure.numbers = {{"x": x_label, "y": y_label}.get(name, name): column for name, column in drawn.items()}
        for number, line in enumerate(paths):
            axes.plot(line[:, 0], line[:, 1], color="white", linewidth=5.0)
            axes.plot(
                line[:, 0], line[:, 1], color=style.PATHS[number % len(style.PATHS)], linewidth=2.6,
                label=f"path {number}",
            )  # fmt: skip
            figure.numbers |= {f"path_{number} {x_label}": line[:, 0], f"path_{number} {y_label}": line[:, 1]}
        style.widen(axes, list(paths))
        if centers is not None:
            places = np.asarray(centers, dtype=float)
            _numbered(axes, places, populations if labels is None else None)
            figure.numbers |= {f"centre {x_label}": places[:, 0], f"centre {y_label}": places[:, 1]}
        if populations is not None:
            figure.numbers["centre_share"] = np.asarray(populations, dtype=float)
        if error is not None:
            _error_ellipse(axes, np.asarray(error, dtype=float))
        if ends is not None:
            _thumbnails(axes, ends)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.set_title(title)
        if paths or error is not None or labels is not None:
            axes.legend(loc="best", frameon=True, framealpha=0.85, fontsize=9, ncols=2 if labels is not None else 1)
    return figure


def _coloured_points(
    axes: Axes, points: NDArray[np.floating], labels: NDArray[np.integer], populations: ArrayLike | None
) -> dict[str, NDArray[np.floating]]:
    """Each cluster in a colour of its own, its share in the legend; above 20,000 particles a sample of them."""
    shown = np.arange(len(points))
    if len(shown) > style.HEXAGONS_FROM:
        shown = np.sort(np.random.default_rng(0).choice(len(points), style.HEXAGONS_FROM, replace=False))
    x_limits, y_limits = style.robust_limits(points[:, 0]), style.robust_limits(points[:, 1])
    numbers = np.unique(labels[labels >= 0])
    known = None if populations is None else np.asarray(populations, dtype=float)
    size = float(np.clip(20000 / max(len(shown), 1), 1.5, 24))
    for number, colour in zip(numbers, style.categorical(len(numbers)), strict=True):
        mine = points[shown[labels[shown] == number]]
        share = np.mean(labels == number) if known is None else known[number]
        axes.scatter(
            mine[:, 0], mine[:, 1], color=colour, s=size, alpha=0.6, linewidths=0, rasterized=True,
            label=f"{number}: {100 * share:.0f} %",
        )  # fmt: skip
    axes.set_xlim(x_limits)
    axes.set_ylim(y_limits)
    return {"x": points[shown, 0], "y": points[shown, 1], "cluster": labels[shown]}


def _numbered(axes: Axes, centers: NDArray[np.floating], populations: ArrayLike | None) -> None:
    axes.scatter(centers[:, 0], centers[:, 1], s=46, color=style.ORANGE, edgecolor="black", linewidth=1.0, zorder=4)
    known = None if populations is None else np.asarray(populations, dtype=float)
    for number, (x, y) in enumerate(centers):
        axes.annotate(
            str(number) if known is None else f"{number}: {100 * known[number]:.0f} %",
            (x, y),
            (5, 4),
            textcoords="offset points",
            fontsize=10,
            weight="bold",
            zorder=5,
            path_effects=_halo(),
        )
    style.widen(axes, [centers])


def _error_ellipse(axes: Axes, covariance: NDArray[np.floating]) -> None:
    """One standard deviation of a typical particle's error, in the lower left corner."""
    values, vectors = np.linalg.eigh(covariance)
    width, height = 2 * np.sqrt(np.maximum(values[::-1], 0))
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    reach = np.sqrt(np.maximum(np.diag(covariance), 0))
    at = (left + reach[0] + 0.03 * (right - left), low + reach[1] + 0.03 * (high - low))
    angle = float(np.rad2deg(np.arctan2(vectors[1, 1], vectors[0, 1])))
    axes.add_patch(
        Ellipse(at, width, height, angle=angle, facecolor="none", edgecolor=style.BLACK, linewidth=1.8, zorder=6)
    )
    axes.plot([], [], color=style.BLACK, label="error of a particle (1 sd)")


def _thumbnails(axes: Axes, ends: tuple[Ends, Ends]) -> None:
    """The maps at the ends of the horizontal axis below its ends, of the vertical one at its left."""
    size = 0.24
    for axis, end in enumerate(ends):
        for side, picture in ((0, end.low), (1, end.high)):
            along = side * (1 - size)
            place = (along, -0.34, size, size) if axis == 0 else (-0.42, along, size, size)
            inset = axes.inset_axes(place)
            inset.imshow(picture)
            inset.set_axis_off()
            inset.set_title(f"{(-1, 1)[side] * end.at:+g} sd", fontsize=9)


def _halo() -> list[patheffects.AbstractPathEffect]:
    return [patheffects.withStroke(linewidth=3, foreground="white")]


def _finite_rows(latent: ArrayLike) -> NDArray[np.float64]:
    points = np.asarray(latent, dtype=float)
    result: NDArray[np.float64] = points[np.isfinite(points).all(axis=1)]
    return result
