"""What 2, 4 and 8 times as many images would show, from the files of a run."""

from __future__ import annotations

import numpy as np

from covaria.estimation.forecast import Forecast, forecast
from covaria.feedback import Foreseen
from covaria.results.parameters import read_parameters
from covaria.tree import Tree, record
from covaria.tree.book import write_book


def forecast_of(tree: Tree) -> list[Forecast]:
    """From a finished run. Raises MissingFile, InvalidInput."""
    parameters, findings = read_parameters(tree), record.read_findings(tree)
    widths = [one.high - one.low for one in findings.states if one.low is not None and one.high is not None]
    scores = np.asarray(parameters.component_z_score, np.float64)
    return forecast(scores, np.asarray(parameters.mean_fsc), parameters.voxel_size, max(widths, default=None))


def write_foreseen(tree: Tree) -> None:
    """For the event: after the reconstruction, and once more when populations are known."""
    found = [
        Foreseen(
            factor=one.factor,
            components=one.components,
            resolution_angstrom=one.resolution_angstrom,
            population=one.population,
        )
        for one in forecast_of(tree)
    ]
    write_book(tree, tree.foreseen, {"foreseen": [one.model_dump(mode="json") for one in found]})
