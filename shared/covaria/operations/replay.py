"""A finished run made once more from what it recorded, and compared: labels, coordinates, maps.

Equal bytes are not asked for: another machine adds in another order. Labels agree to 99.9 %, coordinates correlate to
0.999 along every confirmed component, half-maps and states agree in every shell up to Nyquist to an FSC of 0.999.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput, MissingFile
from covaria.job.ownership import stage_folder
from covaria.maps import fsc, read_volume
from covaria.pickles import load_pickle
from covaria.request.model import Request
from covaria.tree import AnalysisTree, Tree, record
from covaria.tree.components import read_component_sizes
from covaria.tree.integrity import verify
from covaria.tree.sums import describe_file

LABELS, CORRELATION, AGREEMENT = 0.999, 0.999, 0.999
SILENT = 1e-10
"""Power of a shell, over that of the strongest, below which there is nothing to agree on."""


@dataclass(frozen=True)
class Compared:
    """One result of two runs: how far they agree, from 0 to 1, and whether that is enough."""

    name: str
    measure: str
    agreement: float
    least: float

    @property
    def equal(self) -> bool:
        return self.agreement >= self.least


def recorded(tree: Tree) -> Request:
    """What made OUT. Raises MissingFile, InvalidInput: not a finished run, a file of it or an input not as it was."""
    asked = record.read_request(tree)
    if asked is None:
        raise InvalidInput("is not an output directory of Covaria", file=tree.out, hint="give the OUT of a run")
    status = record.job_document(tree)["status"]
    if status != "succeeded":
        raise InvalidInput(f"holds a run that is {status}", file=tree.out, hint="finish it: the same command resumes")
    for name, why in verify(tree).damaged:
        raise InvalidInput(f"is not as the run wrote it: {why}", file=tree.out / name, hint="restore it first")
    for entry in asked["inputs"]:
        path = Path(entry["path"])
        if not path.is_file():
            raise MissingFile("the run's input is not there now", file=path, hint="put it back in its place")
        here = describe_file(path)
        if any(here.get(key) != entry[key] for key in ("size", "sha256") if key in entry):
            raise InvalidInput("has changed since the run", file=path, hint="restore it: another input, another result")
    return Request.model_validate(asked["request"], extra="ignore").model_copy(update={"out": tree.out})


def again_in(request: Request, out: Path) -> Request:
    """The same request with another output folder."""
    analysis = request.analysis.model_copy(update={"output": None})
    return request.model_copy(update={"out": out, "overwrite": False, "analysis": analysis})


def compare(request: Request, other: Tree) -> Iterator[Compared]:
    """The results of the run that `request` asked for against those of the second, `other`; what one lacks agrees by 0.

    What other commands have added to OUT since, as another analysis, is not looked at.
    """
    tree = Tree(request.out)
    for half in (1, 2):
        name = tree.mean_half(half).relative_to(tree.out).as_posix()
        yield _maps_of(name, tree.mean_half(half), other.mean_half(half))
    for zdim in sorted({*tree.zdims(), *other.zdims()}):
        yield _latents(tree, other, zdim)
    one, two = (stage_folder("analysis", asked) for asked in (request, again_in(request, other.out)))
    if one is None or two is None or not (one.is_dir() or two.is_dir()):
        return
    maps = {path.relative_to(folder) for folder in (one, two) for path in folder.glob("*/*_unfil.mrc")}
    for path in sorted(maps):
        yield _maps_of(f"{two.name}/{path.as_posix()}", one / path, two / path)
    yield _clusters(two.name, AnalysisTree(one), AnalysisTree(two))


def _maps_of(name: str, one: Path, other: Path) -> Compared:
    measure = "least FSC up to Nyquist"
    if not (one.is_file() and other.is_file()):
        return Compared(name, f"{measure} (only in one)", 0.0, AGREEMENT)
    first, second = read_volume(one)[0], read_volume(other)[0]
    if first.shape != second.shape:
        return Compared(name, f"{measure} (boxes differ)", 0.0, AGREEMENT)
    return Compared(name, measure, least_fsc(first, second), AGREEMENT)


def least_fsc(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """The smallest FSC of two maps (D, D, D) over the shells in which either holds something; 1 for equal maps."""
    from covaria.maps.fourier import shell_average

    if np.array_equal(first, second):
        return 1.0
    box = len(first)
    power = sum(shell_average(np.abs(np.fft.rfftn(volume)) ** 2, box) for volume in (first, second))
    heard = np.flatnonzero(power > SILENT * np.max(power))
    return float(fsc(first, second)[heard].min())


def _latents(tree: Tree, other: Tree, zdim: int) -> Compared:
    name, measure = f"model/zdim_{zdim}/latent_coords.npy", "least correlation of a confirmed component"
    if zdim not in tree.zdims() or zdim not in other.zdims():
        return Compared(name, f"{measure} (only in one)", 0.0, CORRELATION)
    one, two = np.load(tree.latent_coords(zdim)), np.load(other.latent_coords(zdim))
    count = min(read_component_sizes(tree).confirmed, zdim)
    if one.shape != two.shape or not np.array_equal(np.isnan(one), np.isnan(two)):
        return Compared(name, f"{measure} (other rows in use)", 0.0, CORRELATION)
    used = np.isfinite(one).all(1)
    found = [float(np.corrcoef(one[used, k], two[used, k])[0, 1]) for k in range(count)]
    return Compared(name, measure, min(found, default=1.0), CORRELATION)


def _clusters(name: str, one: AnalysisTree, two: AnalysisTree) -> Compared:
    name, measure = f"{name}/data/kmeans_result.pkl", "share of equal labels"
    if not (one.kmeans_result.is_file() and two.kmeans_result.is_file()):
        return Compared(name, f"{measure} (only in one)", 0.0, LABELS)
    first, second = (np.asarray(load_pickle(tree.kmeans_result)["labels"]) for tree in (one, two))
    share = float((first == second).mean()) if first.shape == second.shape else 0.0
    return Compared(name, measure, share, LABELS)
