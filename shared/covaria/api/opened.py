"""A run's results as Python values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from covaria.api.subset import Cluster, Subset
from covaria.api.volume import State, Volume
from covaria.errors import CovariaError, InvalidInput
from covaria.findings import Findings
from covaria.request.model import Request
from covaria.results.density import density_of
from covaria.results.latents import read_latents, read_unregularised, stored_zdim
from covaria.selection.columns import RunColumns, newest_analysis
from covaria.selection.model import Selection, Where
from covaria.trajectory import DensityGrid
from covaria.tree import AnalysisTree, Tree, record
from covaria.tree.components import read_component_sizes
from covaria.tree.history import job_status

if TYPE_CHECKING:
    import pandas

    from covaria.view.widget import RunView

NEED_THE_SOURCE = ("index", "micrograph")
"""Columns of a selection that the table does not repeat: its index, and names that only the input file has."""


@dataclass(frozen=True, repr=False)
class Run:
    """An output directory. Files are read when they are asked for; one that is not there raises MissingFile.

    Latent points are in the units of the files (see `point`); rows are those of the input file, from 0.
    """

    out: Path

    @property
    def tree(self) -> Tree:
        """Where every file lies: run.tree.mean, run.tree.eigenvolume(0)."""
        return Tree(self.out)

    @property
    def status(self) -> str:
        """queued (not finished), running, succeeded, failed, cancelled.

        >>> covaria.open("out").status
        'succeeded'
        """
        planned = self._asked["stages"]
        states = {stage: state for stage in planned if (state := record.read_stage_state(self.tree, stage)) is not None}
        return job_status(planned, states)

    @property
    def request(self) -> Request:
        """What was asked for.

        >>> covaria.open("out").request.reconstruction.zdim
        (1, 2)
        """
        return Request.model_validate(self._asked["request"], extra="ignore")

    @property
    def findings(self) -> Findings:
        """What was found, as numbers and (`headline`, `lines`) in words.

        >>> covaria.open("out").findings.headline()
        '1 component of motion confirmed by both half-sets.'
        """
        return record.read_findings(self.tree)

    @property
    def zdims(self) -> list[int]:
        """The latent dimensions that were computed."""
        return self.tree.zdims()

    def latents(self, zdim: int, *, prior: bool = True) -> NDArray[np.float32]:
        """(N, zdim) latent coordinates; NaN in rows that were not used. Raises InvalidInput for another zdim.

        >>> covaria.open("out").latents(2).shape
        (400, 2)
        """
        read = read_latents if prior else read_unregularised
        coordinates: NDArray[np.float32] = read(self.tree, stored_zdim(self.tree, zdim)).coordinates
        return coordinates

    @property
    def deviations(self) -> NDArray[np.float64]:
        """(confirmed,) standard deviation of the motion along each confirmed component."""
        sizes = read_component_sizes(self.tree)
        return sizes.deviations[: sizes.confirmed]

    def point(self, *deviations: float, zdim: int | None = None) -> NDArray[np.float64]:
        """The latent point at so many standard deviations along the confirmed components, zero along all others.

        zdim  how many coordinates it has (default: as many as are given)

        >>> run = covaria.open("out")
        >>> bool(run.point(2.0)[0] == 2 * run.deviations[0])
        True
        """
        given = np.asarray(deviations, dtype=float)
        known = self.deviations
        if not len(given) or len(given) > len(known):
            raise InvalidInput(
                f"{len(given)} coordinates, {len(known)} components are confirmed", hint="at least one, at most these"
            )
        point = np.zeros(max(len(given), zdim or 0))
        point[: len(given)] = given * known[: len(given)]
        return point

    @property
    def particles(self) -> pandas.DataFrame:
        """A row for each particle: contrast, noise, weight, confirmed coordinates z1 ... (in standard deviations),
        cluster, half-set, defocus; see covaria.results.particle_table and docs/selections.md.

        >>> table = covaria.open("out").particles
        >>> len(table), table.z1.notna().all()
        (400, np.True_)
        """
        import pandas

        columns = RunColumns(self.tree, self.request.ingest)
        names = [one for one in columns.own_names if one not in NEED_THE_SOURCE and not one.startswith("latent_")]
        found = columns.columns(frozenset(names))
        table = {name: found[name] for name in names} | {"used": columns.used}
        return pandas.DataFrame(table).rename_axis("row")

    @property
    def mean(self) -> Volume:
        """The mean map, filtered to its local resolution."""
        return Volume.read(self.tree.mean_filtered)

    def volume(self, z: ArrayLike) -> Volume:
        """The linear model's map at a latent point: mean + sum of z_k u_k. At once; for half-maps see `state`.

        >>> run = covaria.open("out")
        >>> run.volume(run.point(-1.5))
        Volume(24 x 24 x 24 voxels of 8 angstrom)
        """
        from covaria.states import preview_volume

        point = _one_point(z)
        sizes = read_component_sizes(self.tree)
        if len(point) > len(sizes.eigenvalues):
            raise InvalidInput(f"{len(point)} coordinates, {len(sizes.eigenvalues)} components", hint="give fewer")
        return Volume(preview_volume(self.tree, point[None])[0], self.mean.pixel_size_angstrom)

    def state(self, z: ArrayLike, *, device: str = "auto", memory_gb: float | None = None) -> State:
        """The map at a latent point from the particles near it, with half-maps: one pass over the images.

        z  as many coordinates as one of `zdims`. Raises InvalidInput for another number.
        """
        from covaria.api.states import state_at

        point = _one_point(z)
        stored_zdim(self.tree, len(point))
        return state_at(self.tree, point, device, memory_gb)

    @property
    def density(self) -> DensityGrid | None:
        """The conformational density over the confirmed components; None where none was made."""
        return density_of(self.request, self.tree, read_component_sizes(self.tree).confirmed)

    def cluster(self, number: int, *, zdim: int | None = None) -> Cluster:
        """The particles nearest to one k-means centre, of the newest analysis or that of `zdim`.

        >>> one = covaria.open("out").cluster(1)
        >>> path = one.write_star("cluster1.star")
        """
        folder = newest_analysis(self.tree) if zdim is None else self.tree.analysis(zdim)
        if folder is None:
            raise InvalidInput("holds no analysis", file=self.out, hint="run `covaria analyze` first")
        return Cluster.of(self.out, AnalysisTree(folder), number)

    def select(self, condition: str | Selection) -> Subset:
        """The particles that fulfil a condition ("contrast > 0.7 and z1 < 0") or a selection.

        >>> len(covaria.open("out").select("z1 > 0 or z1 <= 0"))
        400
        """
        return Subset(self.out, Where(expression=condition) if isinstance(condition, str) else condition)

    def view(self) -> RunView:
        """The cloud and the map at the cursor, in a notebook (pip install 'covaria[notebook]').

        `view.point` is where the map stands, `view.selection` what was drawn around: `run.select(view.selection)`.
        Raises CovariaError where the widget is not installed.

        >>> covaria.open("out").view().selection is None
        True
        """
        try:
            from covaria.view.widget import RunView
        except ModuleNotFoundError as error:
            hint = "pip install 'covaria[notebook]'"
            raise CovariaError(f"the notebook's widget is not installed ({error.name})", hint=hint) from None
        return RunView(self.out)

    def __repr__(self) -> str:
        return f"Run({str(self.out)!r}, {self.status}: {self.findings.headline()})"

    @property
    def _asked(self) -> dict[str, Any]:
        return _request_of(self.out)


def open_run(out: str | Path) -> Run:
    """The results in an output directory, finished or not. Raises InvalidInput for a folder that is none.

    >>> covaria.open("out")  # doctest: +ELLIPSIS
    Run('...out', succeeded: 1 component of motion confirmed by both half-sets.)
    """
    folder = Path(out).absolute()
    _request_of(folder)
    return Run(folder)


def _request_of(out: Path) -> dict[str, Any]:
    tree = Tree(out)
    asked = record.read_request(tree) if tree.is_ours else None
    if asked is None:
        raise InvalidInput("is not an output directory of Covaria", file=out, hint="give the OUT of a `covaria run`")
    return asked


def _one_point(z: ArrayLike) -> NDArray[np.float64]:
    point = np.atleast_1d(np.asarray(z, dtype=float))
    if point.ndim != 1 or not np.isfinite(point).all():
        raise InvalidInput(f"a latent point of shape {point.shape} or with a number that is not finite", hint="(zdim,)")
    return point
