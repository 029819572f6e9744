"""Two sets of particles on the same axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from covaria.plots import style
from covaria.plots.latent import axis_label

BINS = 40


def plot_newcomers(path: Path, run: ArrayLike, new: ArrayLike) -> style.Sheet:
    """Density of coordinates (n, confirmed) of a run's particles and of others along the first three components."""
    first, second = np.asarray(run, float), np.asarray(new, float)
    count = min(first.shape[1], 3)
    with style.figure(path, 4.2 * count + 0.6, 4.0) as figure:
        for k, axes in enumerate(figure.subplots(1, count, squeeze=False)[0]):
            low, high = style.robust_limits(np.concatenate([first[:, k], second[:, k]]), tail_percent=0.5)
            edges = np.linspace(low, high, BINS + 1)
            for values, color, name in ((first[:, k], style.GREY, "run"), (second[:, k], style.BLUE, "these")):
                density, _ = np.histogram(values, edges, density=True)
                label = f"{name}: {len(values):,} particles"
                axes.stairs(density, edges, color=color, linewidth=1.8, fill=name == "run", alpha=0.9, label=label)
                figure.numbers |= {f"pc{k + 1}_{name}_density": density}
            figure.numbers |= {f"pc{k + 1}_from": edges[:-1], f"pc{k + 1}_to": edges[1:]}
            axes.set_xlabel(axis_label(k))
            axes.set_ylabel("density")
            axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend
            axes.legend(loc="upper right")
    return figure
