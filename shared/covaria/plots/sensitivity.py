"""What a run could have seen: how likely a motion is confirmed, by its size, mass and population."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.plots import style

SURE = 0.9


def plot_sensitivity(path: Path, table: NDArray[np.floating]) -> style.Sheet:
    """table (motions, 6): share of the mass, way of its centre in angstrom (0: there or not), population, overlap,
    expected z-score, probability. A panel for each population."""
    mass, way, population, _, _, probability = table.T
    populations, masses = np.unique(population), np.unique(mass)
    with style.figure(path, 4.2 * len(populations) + 1.6, 4.4) as figure:
        panels = figure.subplots(1, len(populations), sharey=True, squeeze=False)[0]
        for axes, share in zip(panels, populations, strict=True):
            for colour, part in zip(style.CYCLE, masses, strict=False):
                rows = (population == share) & (mass == part)
                moves = rows & (way > 0)
                label = f"{100 * part:.0f} % of the mass moves"
                axes.plot(way[moves], probability[moves], "o-", color=colour, label=label)
                for value in probability[rows & (way == 0)]:
                    axes.plot([0], [value], "s", color=colour, markersize=8, label="... is there or not")
            axes.axhline(SURE, color=style.GREY, linewidth=1, linestyle="--")
            axes.set_title(f"in {100 * share:.0f} % of the particles")
            axes.set_xlabel("way of the part's centre (Å)")
            axes.set_ylim(-0.03, 1.03)
            axes.grid(visible=True)
        panels[0].set_ylabel("probability to be confirmed")
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        figure.suptitle("Motions that these images would have shown")
        names = ("mass", "way_angstrom", "population", "overlap", "expected_z", "probability")
        figure.numbers = dict(zip(names, table.T, strict=True))
    return figure
