"""What 2, 4 and 8 times as many images would show, from the files of a run."""

from __future__ import annotations

import numpy as np

from covaria.estimation.forecast import Forecast, forecast
from covaria.feedback import Foreseen
from covaria.job.ownership import stage_folder
from covaria.pickles import load_pickle
from covaria.request.model import Request
from covaria.results.parameters import read_parameters
from covaria.tree import AnalysisTree, Tree, record
from covaria.tree.book import write_book


def state_curves(files: AnalysisTree, count: int) -> list[np.ndarray]:
    """The FSC of the half-maps of each centre's map, (D // 2,), of those that have one. Raises InvalidInput."""
    paths = [files.center_files(number).params_pkl for number in range(count)]
    return [np.asarray(load_pickle(path)["fscs"], np.float64) for path in paths if path.is_file()]


def own_analysis(tree: Tree) -> AnalysisTree | None:
    """The folder of the run's own analysis, where it has made one."""
    asked = record.read_request(tree)
    if asked is None:
        return None
    folder = stage_folder("analysis", Request.model_validate(asked["request"], extra="ignore"))
    return AnalysisTree(folder) if folder is not None and folder.is_dir() else None


def forecast_of(tree: Tree, files: AnalysisTree | None = None) -> list[Forecast]:
    """From a finished run; files: of its analysis, where they are not in their place yet.

    Raises MissingFile, InvalidInput.
    """
    parameters, findings = read_parameters(tree), record.read_findings(tree)
    widths = [one.high - one.low for one in findings.states if one.low is not None and one.high is not None]
    scores = np.asarray(parameters.component_z_score, np.float64)
    files = files or own_analysis(tree)
    curves = [] if files is None else state_curves(files, len(findings.states))
    mean = np.asarray(parameters.mean_fsc)
    return forecast(scores, mean, parameters.voxel_size, max(widths, default=None), curves)


def write_foreseen(tree: Tree, files: AnalysisTree | None = None) -> None:
    """For the event: after the reconstruction, and once more when populations are known."""
    found = [
        Foreseen(
            factor=one.factor,
            components=one.components,
            resolution_angstrom=one.resolution_angstrom,
            state_resolution_angstrom=one.state_resolution_angstrom,
            population=one.population,
        )
        for one in forecast_of(tree, files)
    ]
    write_book(tree, tree.foreseen, {"foreseen": [one.model_dump(mode="json") for one in found]})
