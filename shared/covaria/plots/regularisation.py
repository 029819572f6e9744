"""How the density's regularisation was chosen: the density at every strength, and the curve that chose one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covaria.plots import style
from covaria.plots.density import draw_map, marginal, positions


def plot_all_densities(
    path: Path, densities: Sequence[NDArray[np.floating]], bounds: ArrayLike, alphas: Sequence[float], chosen: int
) -> style.Sheet:
    """One panel for each alpha, largest first, the chosen one framed; above 2-D the first two axes' marginal."""
    limits = np.asarray(bounds, dtype=float)
    rows, columns = style.grid_shape(len(densities), 4)
    with style.figure(path, 3.2 * columns, 2.9 * rows) as figure:
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for number, (axes, density) in enumerate(zip(panels, densities, strict=False)):
            if density.ndim == 1:
                at = positions(limits[0], len(density))
                axes.fill_between(at, density, color=style.SKY, linewidth=0)
                axes.plot(at, density, color=style.BLUE, linewidth=1.4)
                axes.set_yticks([])
                axes.set_ylim(bottom=0)
                axes.set_xlabel("PC 1")
                style.scientific_ticks(axes)
            else:
                draw_map(None, axes, marginal(density, (0, 1)), limits[:2], (0, 1))
            shown = density if density.ndim == 1 else marginal(density, (0, 1))
            figure.numbers |= {
                f"pc{axis + 1}_sd": at
                for axis, at in enumerate(
                    np.meshgrid(
                        *(positions(one, size) for one, size in zip(limits, shown.shape, strict=False)), indexing="ij"
                    )
                )
            }
            figure.numbers[f"density at alpha {alphas[number]:.0e}"] = shown
            picked = number == chosen
            axes.set_title(f"alpha {alphas[number]:.0e}" + (" (chosen)" if picked else ""), fontsize=12)
            if picked:
                axes.title.set_color(style.VERMILION)
                for spine in axes.spines.values():
                    spine.set_visible(True)
                    spine.set(color=style.VERMILION, linewidth=3)
        style.blank(panels[len(densities) :])
        figure.suptitle("Conformational density at each regularisation strength")
    return figure


def plot_l_curve(
    path: Path,
    alphas: ArrayLike,
    roughness: ArrayLike,
    loss: ArrayLike,
    chosen: int,
    held_out_loss: ArrayLike,
    standard_error: ArrayLike,
) -> style.Sheet:
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
            axes.grid(visible=True)
        figure.numbers = {
            "alpha": strength,
            "roughness": rough,
            "log_likelihood_lost": lost,
            "held_out_loss": unseen,
            "held_out_standard_error": error,
            "chosen": (np.arange(len(strength)) == chosen).astype(int),
        }
    return figure
