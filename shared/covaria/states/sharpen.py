"""States that a person asked for, as RELION's postprocess would treat their half-maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.maps import read_volume, write_volume
from covaria.maps.masks import read_mask
from covaria.maps.postprocess import fit_guinier, fsc_curves, sharpened
from covaria.results.fsc_tables import SharpenedFrom, write_fsc_tables
from covaria.stage import Context
from covaria.tree import ChosenStatesTree, Tree


def sharpen_states(tree: Tree, folder: Path, count: int, context: Context) -> None:
    """Write the sharpened map of each of `count` states in `folder`, its FSC as .csv, .star and figure, and the mask.

    FSC inside OUT's solvent mask, corrected by random phases; B-factor from the Guinier plot.
    """
    states = ChosenStatesTree(folder)
    mask: NDArray[np.float32] = np.zeros((0,) * 3, np.float32)
    for index in range(count):
        files, made = states.state(index), states.sharpened(index)
        (first, pixel), (second, _) = (read_volume(files.half(half)) for half in (1, 2))
        if index == 0:
            mask = read_mask(tree.mask, len(first), pixel)
            write_volume(states.mask, mask, pixel)
        curves = fsc_curves(first, second, mask, pixel)
        average = 0.5 * (first + second)
        guinier = fit_guinier(average, curves)
        write_volume(made.map, sharpened(average, curves, guinier.b_factor), pixel)
        source = SharpenedFrom(files.half(1).name, files.half(2).name, states.mask.name)
        write_fsc_tables(made, curves, guinier, source)
        context.log.info("%s: %.2f A, B-factor %.0f A^2", files.name, curves.resolution_angstrom, guinier.b_factor)
