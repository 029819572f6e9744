"""The look of every figure: Okabe and Ito's colours, cividis and viridis, which colour-blind eyes can read.

Figures are made without pyplot: no global state, no display, safe in any thread. Each is written three times: a PNG,
an SVG, and its numbers as a .csv, a column a quantity.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

BLACK = "#000000"
ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
GREY = "#8C8C8C"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
PATHS = (VERMILION, GREEN, PURPLE, BLUE, ORANGE, BLACK)

SEQUENTIAL = "cividis"
COUNTS = "viridis"
DIVERGING = "RdBu_r"
MOVING = "YlOrRd"
"""For surfaces: light where nothing moves, or where all is sharp."""

DPI = 300
SVG_DPI = 120
"""Of what is a picture even in a vector drawing: surfaces, clouds of points."""
MOST_PIXELS = 4000
"""Of the longer side: wide sheets are made coarser."""
HEXAGONS_FROM = 20_000
"""Particles above which hexagons show what points would hide."""
SHARES = (0.5, 0.9)
"""Of the particles, inside the contours."""

_SETTINGS: dict[Any, Any] = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.labelsize": 12,
    "axes.linewidth": 0.9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.7,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "covaria",
}


class Sheet(Figure):
    """A figure with the numbers that it shows: column name, with its unit -> values."""

    numbers: dict[str, ArrayLike]


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Sheet]:
    """A sheet of width x height inches in the house style; when the block ends well it is written.

    As a PNG to `path`, and beside it as .svg and .csv.
    """
    with matplotlib.rc_context(_SETTINGS):
        sheet = Sheet(figsize=(width, height), layout="constrained")
        sheet.numbers = {}
        yield sheet
        path.parent.mkdir(parents=True, exist_ok=True)
        dots = min(DPI, MOST_PIXELS / max(width, height))
        sheet.savefig(path, dpi=dots, format="png", pil_kwargs={"compress_level": 1})
        sheet.set_layout_engine("none")  # the places are found: they need not be sought again
        sheet.savefig(path.with_suffix(".svg"), dpi=SVG_DPI, format="svg", metadata={"Date": None})
        _write_numbers(path.with_suffix(".csv"), sheet.numbers)


def _write_numbers(path: Path, columns: dict[str, ArrayLike]) -> None:
    """A header and a row for each entry of the longest column; nine digits are a float32 exactly."""
    texts = [[_as_text(value) for value in np.asarray(column).ravel()] for column in columns.values()]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows(zip_longest(*texts, fillvalue=""))


def _as_text(value: Any) -> str:
    return f"{value:.9g}" if isinstance(value, (float, np.floating)) else str(value)


def shell_frequencies(shells: int, pixel_size: float, box: int) -> NDArray[np.float64]:
    """Spatial frequency (1/angstrom) of shells 0..shells-1 of a box of `box` voxels."""
    return np.arange(shells) / (box * pixel_size)


def resolution_axis(axes: Axes, pixel_size: float, last: float | None = None) -> None:
    """Spatial frequency below, the same in angstrom above."""
    nyquist = 0.5 / pixel_size
    last = nyquist if last is None else last
    axes.set_xlim(0, last)
    axes.set_xlabel("spatial frequency (1/Å)")
    top = axes.twiny()
    top.set_xlim(0, last)
    ticks = np.linspace(0, last, 6)[1:]
    top.set_xticks(ticks, [_angstrom(1 / tick) for tick in ticks])
    top.set_xlabel("resolution (Å)")
    top.spines["top"].set_visible(True)


def _angstrom(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 4 else f"{value:.2f}"


def robust_limits(values: ArrayLike, tail_percent: float = 0.2, margin: float = 0.05) -> tuple[float, float]:
    """Limits that hold all but `tail_percent` of the finite values at each end, widened by `margin` of the span."""
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, [tail_percent, 100 - tail_percent])
    if high <= low:
        pad = abs(low) * 0.05 or 1.0
        return float(low - pad), float(high + pad)
    pad = margin * (high - low)
    return float(low - pad), float(high + pad)


def scientific_ticks(*axes: Axes) -> None:
    """Large or small coordinates as a number times one power of ten beside the axis."""
    for one in axes:
        one.ticklabel_format(style="sci", scilimits=(-2, 3), useMathText=True)


def draw_points(
    axes: Axes, x: NDArray[np.floating], y: NDArray[np.floating], *, most: int = HEXAGONS_FROM, contours: bool = False
) -> dict[str, NDArray[np.floating]]:
    """Up to `most` points as points, more as hexagons coloured by the logarithm of their count; what was drawn.

    contours: lines inside which 50 and 90 % of the points lie.
    """
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    x_limits, y_limits = robust_limits(x), robust_limits(y)
    if x.size > most:
        size = int(np.clip(np.sqrt(x.size) / 2, 30, 70))
        hexagons = axes.hexbin(
            x, y, gridsize=size, extent=(*x_limits, *y_limits), bins="log", mincnt=1, cmap=COUNTS, linewidths=0.1,
            rasterized=True,
        )  # fmt: skip
        places, counts = np.asarray(hexagons.get_offsets()), hexagons.get_array()
        drawn = {"x": places[:, 0], "y": places[:, 1], "particles": np.asarray(counts)}
    else:
        size_points = float(np.clip(9000 / max(x.size, 1), 4, 24))
        axes.scatter(x, y, s=size_points, color=BLUE, alpha=0.45, linewidths=0, rasterized=True)
        drawn = {"x": x, "y": y}
    if contours and x.size >= FEWEST_FOR_CONTOURS:
        draw_contours(axes, *smooth_counts(x, y, x_limits, y_limits))
    axes.set_xlim(x_limits)
    axes.set_ylim(y_limits)
    return drawn


FEWEST_FOR_CONTOURS = 100


def smooth_counts(
    x: NDArray[np.floating], y: NDArray[np.floating], x_limits: tuple[float, float], y_limits: tuple[float, float]
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """(x of the columns, y of the rows, density (n, n) [x, y]): a histogram under Silverman's Gaussian."""
    from scipy.ndimage import gaussian_filter

    bins, spread = 96, len(x) ** (-1 / 6)
    counts, x_edges, y_edges = np.histogram2d(x, y, bins=bins, range=(x_limits, y_limits))
    steps = x_edges[1] - x_edges[0], y_edges[1] - y_edges[0]
    widths = [max(float(np.std(v)) * spread / step, 0.7) for v, step in zip((x, y), steps, strict=True)]
    smooth = gaussian_filter(counts, widths, mode="constant")
    return x_edges[:-1] + steps[0] / 2, y_edges[:-1] + steps[1] / 2, smooth


def share_levels(density: NDArray[np.floating], shares: Sequence[float] = SHARES) -> list[float]:
    """The density above which each share of the whole lies: (0.5, 0.9) -> two levels, falling."""
    ordered = np.sort(density, axis=None)[::-1]
    inside = np.cumsum(ordered)
    if inside[-1] <= 0:
        return []
    return [float(ordered[min(int(np.searchsorted(inside, share * inside[-1])), ordered.size - 1)]) for share in shares]


def draw_contours(
    axes: Axes, x: NDArray[np.floating], y: NDArray[np.floating], density: NDArray[np.floating], colour: str = "black"
) -> None:
    """Lines around the densest 50 % (solid) and 90 % (dashed) of density (x, y)."""
    levels = share_levels(density)
    for level, line in zip(levels, ("-", "--"), strict=False):
        if density.min() < level < density.max():
            axes.contour(x, y, density.T, levels=[level], colors=[colour], linestyles=[line], linewidths=1.2)


def widen(axes: Axes, lines: Sequence[NDArray[np.floating]], margin: float = 0.04) -> None:
    """Let the axes hold every point of lines (n, 2) as well."""
    for values, limits, change in ((0, axes.get_xlim(), axes.set_xlim), (1, axes.get_ylim(), axes.set_ylim)):
        every = np.concatenate([line[:, values] for line in lines] or [np.zeros(0)])
        every = every[np.isfinite(every)]
        if every.size:
            pad = margin * (limits[1] - limits[0])
            low, high = float(every.min()), float(every.max())
            change(
                low - pad if low < limits[0] else limits[0],  # only where needed: round limits stay
                high + pad if high > limits[1] else limits[1],
            )


def categorical(count: int) -> list[str]:
    """`count` colours told apart, repeated above twenty."""
    if count <= len(CYCLE) - 1:
        return list(CYCLE[:count])
    wheel = [to_hex(one) for one in colormaps["tab20"].colors]  # type: ignore[attr-defined]
    ordered = wheel[::2] + wheel[1::2]
    return [ordered[number % len(ordered)] for number in range(count)]


def grid_shape(panels: int, most_columns: int = 4) -> tuple[int, int]:
    """Rows and columns for a number of panels: wide before tall."""
    columns = min(panels, most_columns)
    return -(-panels // columns), columns


def blank(axes: Sequence[Axes] | NDArray[np.object_]) -> None:
    """Hide panels that are not needed."""
    for one in axes:
        one.set_axis_off()
