"""The maps at the centres of the latent cloud: a contact sheet, their FSC curves, their local resolution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.plots import style
from covaria.plots.spectra import draw_thresholds, resolution_words
from covaria.plots.surface import Picture


def plot_states(
    path: Path,
    pictures: Sequence[Picture],
    names: Sequence[str],
    particles: Sequence[int],
    resolutions: Sequence[float | None],
) -> style.Sheet:
    """A contact sheet: each state's surface with its share and resolution (angstrom)."""
    rows, columns = style.grid_shape(len(pictures), 5)
    total = max(sum(particles), 1)
    with style.figure(path, 2.6 * columns, 2.9 * rows + 0.4) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        style.blank(panels)
        for axes, picture, name, count, resolution in zip(
            panels, pictures, names, particles, resolutions, strict=False
        ):
            axes.imshow(picture)
            known = "" if resolution is None else f", {resolution:.1f} Å"
            axes.set_title(f"{name}\n{100 * count / total:.1f} %{known}", fontsize=11)
        figure.suptitle(f"{len(pictures)} states, one level, one camera")
        figure.numbers = {
            "state": list(names),
            "particles": list(particles),
            "share": [count / total for count in particles],
            "resolution_angstrom": ["" if value is None else value for value in resolutions],
        }
    return figure


def plot_populations(
    path: Path,
    names: Sequence[str],
    share: NDArray[np.floating],
    low: NDArray[np.floating],
    high: NDArray[np.floating],
    resolved: NDArray[np.bool_],
) -> style.Sheet:
    """Populations (C,) of states with their intervals; pale where the next centre is nearer than the errors tell."""
    at = np.arange(len(names))
    with style.figure(path, max(5.5, 0.45 * len(names) + 2), 4.4) as figure:
        axes = figure.add_subplot()
        for rows, colour, label in ((resolved, style.BLUE, "resolved"), (~resolved, style.SKY, "borders are soft")):
            if rows.any():
                axes.bar(at[rows], 100 * share[rows], color=colour, width=0.7, label=label)
        axes.errorbar(
            at, 100 * share, 100 * np.stack([share - low, high - share]), fmt="none", color="black", capsize=4
        )
        axes.set_xticks(at, names, rotation=45, ha="right")
        axes.set_ylim(0, None)
        axes.set_ylabel("population (%), 90 % interval")
        axes.set_title("How many particles belong to each state")
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        figure.numbers = {"state": list(names), "population": share, "low": low, "high": high}
    return figure


def plot_state_fsc(
    path: Path, curves: Sequence[NDArray[np.floating]], names: Sequence[str], pixel_size: float, box: int
) -> style.Sheet:
    """FSC of each state's half-maps, curves (shells,); pixel_size in angstrom."""
    colours = style.categorical(len(curves))
    with style.figure(path, 7.5, 5.0) as figure:
        axes = figure.add_subplot()
        for curve, name, colour in zip(curves, names, colours, strict=True):
            frequency = style.shell_frequencies(len(curve), pixel_size, box)
            label = f"{name}: {resolution_words(np.asarray(curve, dtype=float), pixel_size, box)}"
            axes.plot(frequency, curve, color=colour, linewidth=1.6, label=label)
            figure.numbers |= {"frequency_per_angstrom": frequency, f"fsc_{name}": curve}
        draw_thresholds(axes, 0.5 / pixel_size)
        axes.set_ylim(-0.1, 1.05)
        axes.set_ylabel("Fourier shell correlation")
        axes.set_title("Half-maps of each state, inside the mask")
        axes.grid(visible=True)
        style.resolution_axis(axes, pixel_size)
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=9)
    return figure


def plot_state_resolution(path: Path, inside: Sequence[NDArray[np.floating]], names: Sequence[str]) -> style.Sheet:
    """Local resolution (angstrom) of each state's voxels inside the mask: median, middle half, 5 to 95 %."""
    quantiles = np.array(
        [np.percentile(values, [5, 25, 50, 75, 95]) if len(values) else [np.nan] * 5 for values in inside]
    )
    at = np.arange(len(names))
    with style.figure(path, max(5.5, 0.55 * len(names) + 2), 4.6) as figure:
        axes = figure.add_subplot()
        axes.vlines(at, quantiles[:, 0], quantiles[:, 4], color=style.SKY, linewidth=2, label="5 to 95 %")
        axes.vlines(at, quantiles[:, 1], quantiles[:, 3], color=style.BLUE, linewidth=7, label="middle half")
        axes.plot(at, quantiles[:, 2], "o", color="white", markeredgecolor=style.BLUE, label="median")
        axes.set_xticks(at, names, rotation=45, ha="right")
        axes.invert_yaxis()
        axes.set_ylabel("local resolution (Å), finer is up")
        axes.set_title("Local resolution inside the mask")
        axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        figure.numbers = {"state": list(names)}
        for name, column in zip(("p5", "p25", "median", "p75", "p95"), quantiles.T, strict=True):
            figure.numbers[f"{name}_angstrom"] = column
    return figure
