"""The look of every figure: Okabe and Ito's colours, cividis and viridis, which colour-blind eyes can read.

Figures are made without pyplot: no global state, no display, safe in any thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
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

SEQUENTIAL = "cividis"
COUNTS = "viridis"
DIVERGING = "RdBu_r"

DPI = 150
PANEL_INCHES = 3.4

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
}


@contextmanager
def figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of width x height inches in the house style, written to `path` (PNG) when the block ends well."""
    with matplotlib.rc_context(_SETTINGS):
        canvas = Figure(figsize=(width, height), layout="constrained")
        yield canvas
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, dpi=DPI, format="png")


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


def draw_points(axes: Axes, x: NDArray[np.floating], y: NDArray[np.floating], hexbin_from: int = 3000) -> None:
    """Few points as points, many as hexagons coloured by the logarithm of their count."""
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    x_limits, y_limits = robust_limits(x), robust_limits(y)
    if x.size >= hexbin_from:
        size = int(np.clip(np.sqrt(x.size) / 2, 30, 70))
        axes.hexbin(
            x, y, gridsize=size, extent=(*x_limits, *y_limits), bins="log", mincnt=1, cmap=COUNTS, linewidths=0.1
        )
    else:
        axes.scatter(x, y, s=float(np.clip(9000 / max(x.size, 1), 4, 24)), color=BLUE, alpha=0.45, linewidths=0)
    axes.set_xlim(x_limits)
    axes.set_ylim(y_limits)


def grid_shape(panels: int, most_columns: int = 4) -> tuple[int, int]:
    """Rows and columns for a number of panels: wide before tall."""
    columns = min(panels, most_columns)
    return -(-panels // columns), columns


def blank(axes: Sequence[Axes] | NDArray[np.object_]) -> None:
    """Hide panels that are not needed."""
    for one in axes:
        one.set_axis_off()
