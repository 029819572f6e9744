"""Curves over spatial frequency: Fourier shell correlation and the noise spectrum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from covaria.plots import style


def plot_fsc(
    path: Path,
    fsc: ArrayLike,
    pixel_size: float,
    box: int,
    fsc_masked: ArrayLike | None = None,
    title: str = "Half-maps of the mean",
) -> style.Sheet:
    """Fourier shell correlation of two half-maps.

    fsc, fsc_masked  (shells,)  shell r is at r / (box * pixel_size) 1/angstrom; pixel_size in angstrom.
    """
    with style.figure(path, 7.5, 5.0) as figure:
        axes = figure.add_subplot()
        for curve, name, colour in ((fsc, "unmasked", style.BLUE), (fsc_masked, "masked", style.VERMILION)):
            if curve is None:
                continue
            values = np.asarray(curve, dtype=float)
            frequency = style.shell_frequencies(len(values), pixel_size, box)
            axes.plot(frequency, values, color=colour, label=f"{name}: {resolution_words(values, pixel_size, box)}")
            figure.numbers |= {"frequency_per_angstrom": frequency, f"fsc_{name}": values}
        draw_thresholds(axes, 0.5 / pixel_size)
        axes.set_ylim(-0.1, 1.05)
        axes.set_ylabel("Fourier shell correlation")
        axes.set_title(title)
        axes.grid(visible=True)
        style.resolution_axis(axes, pixel_size)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 0.22), frameon=True, framealpha=0.9)
    return figure


def draw_thresholds(axes: Axes, last: float) -> None:
    """Lines at an FSC of 0.5 and 0.143, named at the frequency `last`."""
    for level in (0.5, 0.143):
        axes.axhline(level, color=style.GREY, linewidth=1.0, linestyle="--")
        axes.annotate(f"{level:g}", (last, level), (-3, 3), textcoords="offset points", ha="right", color="#555555")
    axes.axhline(0, color="#555555", linewidth=0.8)


def resolution_words(fsc: NDArray[np.floating], pixel_size: float, box: int, threshold: float = 0.143) -> str:
    """Where the curve first falls below the threshold, in angstrom, linearly between shells; or that it never does."""
    below = np.flatnonzero(fsc[1:] < threshold) + 1
    if below.size == 0:
        return f"better than {2 * pixel_size:.1f} Å (Nyquist)"
    shell = int(below[0])
    if shell == 1:
        return f"worse than {box * pixel_size:.0f} Å"
    high, low = float(fsc[shell - 1]), float(fsc[shell])
    crossing = shell - 1 + (high - threshold) / (high - low)
    return f"{box * pixel_size / crossing:.1f} Å at {threshold:g}"


def plot_noise_spectrum(
    path: Path, noise_variance: ArrayLike, pixel_size: float, box: int, group_factors: ArrayLike | None = None
) -> style.Sheet:
    """Radial noise power.

    noise_variance  (shells,)  power for each coefficient of the unnormalised image DFT, shells 0..box/2 - 2
    group_factors   (groups,)  what each optics group's spectrum is multiplied by
    """
    spectrum = np.asarray(noise_variance, dtype=float)
    frequency = style.shell_frequencies(len(spectrum), pixel_size, box)
    factors = np.ones(1) if group_factors is None else np.asarray(group_factors, dtype=float).ravel()
    with style.figure(path, 7.5, 5.0) as figure:
        axes = figure.add_subplot()
        if len(factors) > 1:
            _draw_groups(axes, frequency, spectrum, factors)
        axes.plot(frequency, spectrum, color=style.BLACK, label="all groups" if len(factors) > 1 else None)
        if np.any(spectrum > 0):
            axes.set_yscale("log")
        axes.set_ylabel("noise power per DFT coefficient\n(grey level², unnormalised DFT)")
        axes.set_title(f"Noise spectrum (pixel standard deviation {pixel_deviation(spectrum, box):.3g})")
        axes.grid(visible=True, which="both")
        style.resolution_axis(axes, pixel_size)
        figure.numbers = {"frequency_per_angstrom": frequency, "noise_power": spectrum, "optics_group_factor": factors}
        if len(factors) > 1:
            axes.legend(loc="best")
    return figure


def _draw_groups(
    axes: Axes, frequency: NDArray[np.floating], spectrum: NDArray[np.floating], factors: NDArray[np.floating]
) -> None:
    if len(factors) <= len(style.CYCLE) - 1:
        for group, factor in enumerate(factors):
            colour = style.CYCLE[group]
            axes.plot(
                frequency,
                spectrum * factor,
                color=colour,
                linewidth=1.4,
                label=f"optics group {group + 1} (x{factor:.3g})",
            )
        return
    axes.fill_between(
        frequency,
        spectrum * factors.min(),
        spectrum * factors.max(),
        color=style.SKY,
        alpha=0.5,
        linewidth=0,
        label=f"{len(factors)} optics groups (x{factors.min():.3g} to x{factors.max():.3g})",
    )


def pixel_deviation(spectrum: NDArray[np.floating], box: int) -> float:
    """Standard deviation of the noise in a pixel, from the mean power over the disk that the shells cover."""
    weight = np.maximum(np.arange(len(spectrum)), 0.5)
    return float(np.sqrt(np.average(spectrum, weights=weight)) / box)
