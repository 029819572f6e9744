"""Some of a run's particles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covaria.api.volume import Volume
from covaria.errors import InvalidInput, RefusedOutput
from covaria.particles.read import kind_of
from covaria.particles.star.subset import StarRows
from covaria.particles.symmetry import copies_of
from covaria.results.analysis import read_clusters
from covaria.selection.apply import selected
from covaria.selection.columns import RunColumns
from covaria.selection.handoff import source_of, source_rows, write_subset
from covaria.selection.model import Selection, Where
from covaria.tree import AnalysisTree, Tree
from covaria.tree.atomic import write_stream


@dataclass(frozen=True)
class Subset:
    """The particles of OUT that fulfil `selection` (what `covaria subset --selection` repeats).

    >>> some = covaria.open("out").select("contrast > 0")
    >>> bool(len(some) == some.mask.sum())
    True
    """

    out: Path
    selection: Selection
    analysis: Path | None = None
    """The analysis whose clusters are meant; None: the newest."""

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(N,) over the rows of the run. Raises InvalidInput for a condition that names no column."""
        tree = Tree(self.out)
        table = RunColumns(tree, source_of(tree), self.analysis)
        return table.whole(selected(self.selection, table))

    @property
    def rows(self) -> NDArray[np.int64]:
        """Row numbers of the run, from 0, ascending."""
        return np.flatnonzero(self.mask)

    def write_star(self, path: str | Path, *, source: str | Path | None = None, overwrite: bool = False) -> Path:
        """The particles' rows of the STAR file that the run was made from, every kept byte as it was.

        source  where that file lies now, if it was moved

        Raises InvalidInput where the run was made from another kind of file (see `write`) or nothing is selected,
        RefusedOutput for a file that is there.
        """
        target, ingest = Path(path), source_of(Tree(self.out), None if source is None else Path(source))
        if kind_of(ingest.particles) != "star":
            raise InvalidInput("the run was made from no STAR file", file=ingest.particles, hint="use write(folder)")
        if target.exists() and not overwrite:
            raise RefusedOutput("is there already", file=target, hint="give another name, or overwrite=True")
        keep = self._kept(copies_of(ingest))
        write_stream(target, lambda file: StarRows(ingest.particles).write(keep, file))
        return target

    def write(self, folder: str | Path, *, source: str | Path | None = None) -> Path:
        """A new folder with the particles in their own format (.star, .cs) and as row numbers from 0.

        Raises InvalidInput where nothing is selected, RefusedOutput for a folder that holds something.
        """
        target, ingest = Path(folder), source_of(Tree(self.out), None if source is None else Path(source))
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise RefusedOutput("is not empty", file=target, hint="give a new folder")
        keep = self._kept(copies_of(ingest))
        target.mkdir(parents=True, exist_ok=True)
        write_subset(target, ingest, keep)
        return target

    def _kept(self, copies: int) -> NDArray[np.bool_]:
        if not self.mask.any():
            raise InvalidInput("no particle fulfils the conditions", hint="loosen them")
        return source_rows(self.mask, copies)


@dataclass(frozen=True)
class Cluster(Subset):
    """The particles nearest to one k-means centre."""

    number: int = 0

    @classmethod
    def of(cls, out: Path, analysis: AnalysisTree, number: int) -> Cluster:
        """Raises InvalidInput for a number that the analysis has not, MissingFile where it is gone."""
        count = len(read_clusters(analysis).centers)
        if not 0 <= number < count:
            raise InvalidInput(f"there is no cluster {number}; the last is {count - 1}", file=analysis.root)
        return cls(out, Where(expression=f"cluster == {number}"), analysis.root, number)

    @property
    def center(self) -> NDArray[np.float64]:
        """(zdim,) the centre, in latent coordinates."""
        center: NDArray[np.float64] = read_clusters(self._tree).centers[self.number]
        return center

    @property
    def share(self) -> float:
        """Of the particles in use."""
        return float(read_clusters(self._tree).shares[self.number])

    @property
    def volume(self) -> Volume:
        """The map at the centre."""
        return Volume.read(self._tree.center(self.number))

    @property
    def _tree(self) -> AnalysisTree:
        assert self.analysis is not None
        return AnalysisTree(self.analysis)
