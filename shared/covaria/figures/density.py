"""The figures of density/plots, from density/data."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from covaria import plots
from covaria.figures.drawing import Drawing
from covaria.results.basins import read_basins
from covaria.results.l_curve import read_l_curve
from covaria.trajectory import DensityGrid, read_density
from covaria.tree import DensityTree, Tree
from covaria.tree.components import read_component_sizes


class DensityFigures:
    """What a density's figures are drawn from. tree: holds model/; source: the folder density/."""

    def __init__(self, tree: Tree, source: DensityTree) -> None:
        self.tree, self.source = tree, source

    def drawings(self, target: DensityTree) -> Iterator[Drawing]:
        """One for each figure."""
        yield Drawing(target.all_densities_plot, self.all_densities)
        yield Drawing(target.l_curve_plot, self.l_curve)
        if self.source.basins.is_file():
            yield Drawing(target.basins_plot, self.basins)

    @cached_property
    def curve(self) -> Any:
        return read_l_curve(self.source)

    def all_densities(self, path: Path) -> object:
        found = [in_deviations(read_density(self.source.density(k)), self.tree) for k in range(len(self.curve.alpha))]
        return plots.plot_all_densities(
            path, [one.values for one in found], found[0].bounds, self.curve.alpha, self.curve.chosen
        )

    def l_curve(self, path: Path) -> object:
        known = self.curve
        likelihood = np.array(known.log_likelihood)
        return plots.plot_l_curve(
            path,
            known.alpha,
            known.roughness,
            likelihood.max() - likelihood,
            known.chosen,
            known.held_out_loss,
            known.held_out_standard_error,
        )

    def basins(self, path: Path) -> object:
        known, shown = read_basins(self.source).basins, in_deviations(read_density(self.source.knee), self.tree)
        return plots.plot_density(
            path,
            shown.values,
            shown.bounds,
            title="Stable states: basins of the density and their populations",
            centers=[one.peak_sd for one in known],
            populations=[one.population for one in known],
        )


def in_deviations(density: DensityGrid, tree: Tree) -> DensityGrid:
    """A density over latent coordinates as one over standard deviations of the motion."""
    scale = read_component_sizes(tree).deviations[: density.dim]
    return DensityGrid(density.values * scale.prod(), density.bounds / scale[:, None])
