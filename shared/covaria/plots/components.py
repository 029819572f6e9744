"""Principal components: whether the half-sets confirm them, their eigenvalues, how far they are found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from covaria.plots import style

THRESHOLD = 4.0
"""Of the held-out z-score, as covaria.estimation.components.confirmation has it."""
NULL_BAND = 2.0
"""Where the z-scores of noise lie: below zero, and 19 of 20 times no higher than this."""
UNCONFIRMED = "#BBBBBB"


def plot_eigenvalues(
    path: Path,
    eigenvalues: ArrayLike,
    confirmed: int,
    component_fsc: ArrayLike | None,
    pixel_size: float,
    box: int,
    z_score: ArrayLike | None = None,
) -> style.Sheet:
    """The z-score that decides, eigenvalues (variance along each component), and each component's half-set FSC.

    eigenvalues    (k,)         descending, in (density x voxel^(1/2))^2
    confirmed      how many leading components both half-sets confirm
    component_fsc  (k, shells)  or None; pixel_size in angstrom, box in voxels
    z_score        (k,)         held-out gain over its standard error, the smaller of the two half-sets'; or None
    """
    values = np.asarray(eigenvalues, dtype=float)
    curves = None if component_fsc is None else np.atleast_2d(np.asarray(component_fsc, dtype=float))
    scores = np.zeros(0) if z_score is None else np.asarray(z_score, dtype=float)
    with_scores, with_curves = scores.size > 0, curves is not None and curves.size > 0
    panels = 1 + with_scores + with_curves
    with style.figure(path, 5.6 * panels, 4.8) as figure:
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
        figure.numbers = {"component": np.arange(1, len(values) + 1), "eigenvalue": values}
        figure.numbers["confirmed"] = (np.arange(len(values)) < confirmed).astype(int)
        if with_scores:
            _scores(axes.pop(0), scores, confirmed)
            figure.numbers["held_out_z_score"] = scores
        _scree(axes.pop(0), values, confirmed)
        if with_curves and curves is not None:
            shown = _component_fsc(axes.pop(0), curves, confirmed, pixel_size, box)
            figure.numbers["frequency_per_angstrom"] = style.shell_frequencies(shown.shape[1], pixel_size, box)
            figure.numbers |= {f"fsc_component_{number}": curve for number, curve in enumerate(shown, 1)}
    return figure


def _scores(axes: Axes, scores: NDArray[np.floating], confirmed: int) -> None:
    number = np.arange(1, len(scores) + 1)
    counts = number <= confirmed
    axes.axhspan(min(float(scores.min()), -NULL_BAND) - 1, NULL_BAND, color="#EEEEEE", zorder=0, label="noise")
    for chosen, colour, word in ((counts, style.BLUE, "confirmed"), (~counts, UNCONFIRMED, "not confirmed")):
        axes.bar(number[chosen], scores[chosen], color=colour, label=f"{int(chosen.sum())} {word}")
    axes.axhline(THRESHOLD, color=style.VERMILION, linestyle="--", linewidth=1.6, label=f"threshold {THRESHOLD:g}")
    axes.axhline(0, color="#555555", linewidth=0.8)
    low, high = float(scores.min()), max(float(scores.max()), THRESHOLD)
    axes.set_ylim(min(low, -NULL_BAND) - 1, high + 0.22 * (high - min(low, 0)) + 0.5)
    axes.set_xlim(0.3, len(scores) + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("component")
    axes.set_ylabel("held-out z-score (smaller half-set's)")
    axes.set_title("Does the other half confirm it?")
    axes.legend(loc="upper right", ncols=2, fontsize=10)


def _scree(axes: Axes, values: NDArray[np.floating], confirmed: int) -> None:
    number = np.arange(1, len(values) + 1)
    counts = number <= confirmed
    positive = values[values > 0]
    for chosen, colour, word in ((counts, style.BLUE, "confirmed"), (~counts, UNCONFIRMED, "not confirmed")):
        axes.bar(number[chosen], values[chosen], color=colour, label=f"{int(chosen.sum())} {word}")
    if positive.size and positive.max() / positive.min() > 20:
        axes.set_yscale("log")
        axes.set_ylim(positive.min() * 0.5, positive.max() * 4)
    share = np.cumsum(np.maximum(values[counts], 0))
    if share.size and share[-1] > 0:
        for at, value, percent in zip(number[counts], values[counts], 100 * share / share[-1], strict=True):
            axes.annotate(f"{percent:.0f} %", (at, value), (0, 3), textcoords="offset points", ha="center", fontsize=10)
    axes.set_xlim(0.3, len(values) + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("component")
    axes.set_ylabel("eigenvalue (density² × voxel)")
    axes.set_title("Variance (%: cumulative, of the confirmed)")
    axes.legend(loc="upper right")


def _component_fsc(
    axes: Axes, curves: NDArray[np.floating], confirmed: int, pixel_size: float, box: int, most: int = 10
) -> NDArray[np.floating]:
    """Confirmed components in colour; of the others one grey band from the lowest to the highest."""
    shown = curves[:most]
    frequency = style.shell_frequencies(shown.shape[1], pixel_size, box)
    colours = colormaps[style.COUNTS](np.linspace(0.0, 0.85, max(min(confirmed, len(shown)), 1)))
    others = shown[confirmed:]
    if len(others):
        axes.fill_between(
            frequency, others.min(0), others.max(0), color=UNCONFIRMED, alpha=0.5, linewidth=0, label="not confirmed"
        )
    for index, curve in enumerate(shown[:confirmed]):
        axes.plot(frequency, curve, color=colours[index], label=f"{index + 1}")
    axes.axhline(0.143, color=style.GREY, linestyle="--", linewidth=1.0)
    axes.axhline(0, color="#555555", linewidth=0.8)
    axes.set_ylim(-0.3, 1.05)
    axes.set_ylabel("FSC of the half-sets")
    axes.set_title("How finely it is found again")
    axes.grid(visible=True)
    style.resolution_axis(axes, pixel_size)
    axes.legend(loc="upper right", title="component", ncols=2)
    return shown
