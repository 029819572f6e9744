"""The figure of `covaria outliers`: what the coordinates depend on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria import plots
from covaria.estimation.association import Association
from covaria.selection.outliers import Known

MOST = 9


def draw_dependences(
    path: Path, tests: Sequence[Association], known: Sequence[Known], coordinates: NDArray[np.float64]
) -> None:
    """The confirmed ones, strongest first; nothing where nothing is confirmed. coordinates (N, k), NaN left out."""
    confirmed = sorted((one for one in tests if one.confirmed), key=lambda one: -one.share)[:MOST]
    if not confirmed:
        return
    by_name = {one.covariate.name: one for one in known}
    drawn = []
    for test in confirmed:
        one, values = by_name[test.covariate], coordinates[:, test.coordinate]
        rows = np.isfinite(values) & (one.covariate.groups >= 0)
        position = None if one.position is None else one.position[rows]
        drawn.append(
            plots.Dependence(
                test.coordinate, test.covariate, one.unit, values[rows], one.covariate.groups[rows], position,
                test.p_corrected, test.share,
            )
        )  # fmt: skip
    plots.plot_dependences(path, drawn)
