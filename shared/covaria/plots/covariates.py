"""A latent coordinate against what it should not depend on, where it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from covaria.plots import style

COLUMNS = 3
INTERVAL = 1.96
LONG = 40
"""Groups beyond which no single one is marked."""


@dataclass(frozen=True)
class Dependence:
    """A coordinate's values (n,), in standard deviations, and the group code of each (n,); what the test said.

    position  (n,) or (n, 2) of the covariate itself, where it is a number or a place; None: groups by their mean
    """

    component: int
    covariate: str
    unit: str
    values: NDArray[np.float64]
    groups: NDArray[np.int64]
    position: NDArray[np.float64] | None
    p_corrected: float
    share: float


def plot_dependences(path: Path, found: Sequence[Dependence]) -> style.Sheet:
    """For each dependence the groups' means with their 95 % intervals, over the covariate; a map for places."""
    rows = -(-len(found) // COLUMNS)
    with style.figure(path, 4.8 * min(COLUMNS, len(found)), 3.9 * rows) as figure:
        panels = figure.subplots(rows, min(COLUMNS, len(found)), squeeze=False).ravel()
        for axes, one in zip(panels, found, strict=False):
            label = f"PC {one.component + 1} by {one.covariate}"
            means = _map(axes, one) if one.position is not None and one.position.ndim == 2 else _curve(axes, one)
            axes.set_title(f"{label}\n{100 * one.share:.1f} % of its ranks, p = {one.p_corrected:.1g}")
            figure.numbers |= {f"{label}: {name}": values for name, values in means.items()}
        style.blank(panels[len(found) :])
    return figure


def _curve(axes: Axes, one: Dependence) -> dict[str, ArrayLike]:
    """Means and intervals, over the covariate, or in the order of the means."""
    mean, error, code = _means(one)
    order = np.argsort(mean)
    if one.position is not None:
        at = np.bincount(code, one.position) / np.bincount(code)
        order = np.argsort(at)
        axes.set_xlabel(f"{one.covariate}{one.unit}")
    else:
        at = np.argsort(order).astype(float)
        axes.set_xlabel(f"{one.covariate}, in the order of the means")
    few = len(mean) <= LONG
    axes.errorbar(
        at[order], mean[order], INTERVAL * error[order], fmt="o" if few else ".", markersize=5 if few else 2,
        capsize=3 if few else 0, color=style.BLUE, linewidth=1.0,
    )  # fmt: skip
    axes.axhline(float(one.values.mean()), color=style.GREY, linewidth=1.0)
    axes.set_ylabel(f"mean of PC {one.component + 1} (sd)")
    return {f"{one.covariate}{one.unit}": at[order], "mean_sd": mean[order], "standard_error_sd": error[order]}


def _map(axes: Axes, one: Dependence) -> dict[str, ArrayLike]:
    """Each group where its particles lie, coloured by its mean."""
    assert one.position is not None
    mean, error, code = _means(one)
    x, y = (np.bincount(code, axis) / np.bincount(code) for axis in one.position.T)
    middle = float(one.values.mean())
    most = max(float(np.abs(mean - middle).max()), 1e-9)
    drawn = axes.scatter(
        x, y, c=mean, s=260, marker="s", cmap=style.DIVERGING, vmin=middle - most, vmax=middle + most,
        edgecolors=style.GREY, linewidths=0.6,
    )  # fmt: skip
    axes.figure.colorbar(drawn, ax=axes, label=f"mean of PC {one.component + 1} (sd)")
    first, second = one.unit.split("|")
    axes.set_xlabel(first)
    axes.set_ylabel(second)
    axes.margins(0.15)
    return {first: x, second: y, "mean_sd": mean, "standard_error_sd": error}


def _means(one: Dependence) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Each group's mean and its standard error; the groups' codes from 0."""
    code = np.unique(one.groups, return_inverse=True)[1].astype(np.int64)
    sizes = np.bincount(code)
    mean = np.bincount(code, one.values) / sizes
    variance = np.bincount(code, (one.values - mean[code]) ** 2) / np.maximum(sizes - 1, 1)
    return mean, np.sqrt(variance / sizes), code
