"""The columns of a finished run's particles, by the names that selections use."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles import load
from covaria.particles.model import Particles
from covaria.particles.symmetry import copies_of
from covaria.pickles import load_pickle
from covaria.request.model import IngestOptions
from covaria.results.basins import load_basins
from covaria.results.particle_table import particle_columns, read_particle_column
from covaria.selection.source import SourceColumns
from covaria.tree import AnalysisTree, DensityTree, Tree
from covaria.tree.artifacts import read_kmeans
from covaria.tree.components import ComponentSizes, read_component_sizes

Values = NDArray[Any]


class RunColumns:
    """Columns of OUT, each read when it is first asked for. Rows are those of the run's own arrays."""

    def __init__(self, tree: Tree, ingest: IngestOptions, analysis: Path | None = None) -> None:
        self.tree, self.source, self.copies = tree, SourceColumns(ingest), copies_of(ingest)
        self.analysis = analysis or newest_analysis(tree)
        self._kept: dict[str, Values] = {}

    @cached_property
    def particles(self) -> Particles:
        return load(self.tree.particles)

    @cached_property
    def used(self) -> NDArray[np.bool_]:
        """One row of each particle: of a tilt series its first in use."""
        found = np.zeros(len(self.particles), bool)
        found[self.particles.leads] = True
        return found

    def whole(self, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Every row of the source, and of its copies, whose particle's row in `used` is kept (N,)."""
        return self.particles.in_source(keep)

    @cached_property
    def source_rows(self) -> int:
        """Rows of the run before symmetry: copies of them follow."""
        return len(self.particles) // self.copies

    @cached_property
    def sizes(self) -> ComponentSizes:
        return read_component_sizes(self.tree)

    def columns(self, names: frozenset[str]) -> Mapping[str, Values]:
        """The named columns, (N,) each. Raises InvalidInput that lists the known names."""
        for name in sorted(names - self._kept.keys()):
            self._kept[name] = self._maker(name)()
        return {name: self._kept[name] for name in names}

    def forget(self) -> None:
        """Give back what was read: of a million particles a gigabyte. What is asked for again is read again."""
        self._kept.clear()
        self.source = SourceColumns(self.source.ingest, self.source.roots)

    @property
    def names(self) -> tuple[str, ...]:
        """Every column that there is, the run's own first."""
        return tuple(dict.fromkeys((*self._makers, *self.source.names)))

    @property
    def own_names(self) -> tuple[str, ...]:
        """Those of the run, without the source's."""
        return tuple(self._makers)

    def _maker(self, name: str) -> Callable[[], Values]:
        if name in self._makers:
            return self._makers[name]
        if name in self.source.names:
            return lambda: self._of_copies(self.source.column(name))
        raise InvalidInput(f"no column {name!r}", hint=f"known: {', '.join(self.names)}")

    @cached_property
    def _makers(self) -> dict[str, Callable[[], Values]]:
        makers: dict[str, Callable[[], Values]] = {
            "index": lambda: np.arange(len(self.particles)),
            "half_set": self._half_set,
            "optics_group": lambda: self.particles.optics_group + 1,
            "defocus_u_angstrom": lambda: self.particles.ctf.defocus_u_angstrom,
            "defocus_v_angstrom": lambda: self.particles.ctf.defocus_v_angstrom,
            "micrograph": lambda: self._of_copies(self.source.micrograph()),
        }
        zdims = self.tree.zdims()
        if zdims:
            makers["contrast"] = lambda: np.load(self.tree.contrasts(zdims[-1]), allow_pickle=False).astype(float)
            confirmed = min(self.sizes.confirmed, zdims[-1])
            makers |= {f"z{k + 1}": partial(self._latent, k) for k in range(confirmed)}
        if self.analysis is not None:
            makers["cluster"] = self._cluster
            if AnalysisTree(self.analysis).umap_embedding.is_file():
                makers |= {f"umap{axis + 1}": partial(self._flat, axis) for axis in (0, 1)}
        if DensityTree(self.tree.density).basins.is_file():
            makers["basin"] = self._basin
        for name in particle_columns(self.tree):
            makers.setdefault(name, partial(self._found, name))
        return makers

    def _half_set(self) -> Values:
        found = np.full(len(self.particles), -1)
        for half, rows in enumerate(load_pickle(self.tree.halfsets)):
            found[np.asarray(rows)] = half + 1
        return found

    def _found(self, name: str) -> Values:
        """Of model/particles.parquet."""
        return read_particle_column(self.tree, len(self.particles), name)

    def _latent(self, component: int) -> Values:
        """In standard deviations of the motion, of the dimension that clusters and paths stand on, where it has it."""
        stored = self.tree.zdims()
        analysed = re.fullmatch(r"analysis_(\d+)", self.analysis.name) if self.analysis is not None else None
        wanted = int(analysed[1]) if analysed is not None and int(analysed[1]) in stored else stored[-1]
        zdim = wanted if component < wanted else stored[-1]
        coordinates = np.load(self.tree.latent_coords(zdim), allow_pickle=False)
        return np.asarray(coordinates[:, component].astype(float) / self.sizes.deviations[component])

    def _cluster(self) -> Values:
        assert self.analysis is not None
        return read_kmeans(AnalysisTree(self.analysis)).labels

    def _basin(self) -> Values:
        """Of the run's own density; -1 where a particle lies in none."""
        basins = load_basins(DensityTree(self.tree.density))
        zdim = next(zdim for zdim in self.tree.zdims() if zdim >= basins.grid.dim)
        return basins.of(np.load(self.tree.latent_coords(zdim), allow_pickle=False))

    def _flat(self, axis: int) -> Values:
        assert self.analysis is not None
        return np.asarray(np.load(AnalysisTree(self.analysis).umap_embedding, allow_pickle=False)[:, axis], float)

    def _of_copies(self, values: Values) -> Values:
        """A value for each row of the run: symmetry copies of the source lie one after another."""
        particle = self.particles.particle
        if particle is not None and self.particles.by_stack and len(values) * self.copies == self.particles.count:
            return np.tile(values, self.copies)[particle]
        if len(self.particles) % len(values):
            raise InvalidInput(f"has {len(values)} rows for {len(self.particles)} of the run", file=self.tree.particles)
        return np.tile(values, len(self.particles) // len(values))


def newest_analysis(tree: Tree) -> Path | None:
    """The analysis folder that was written last; None where there is none."""
    found = [path for path in tree.out.glob("analysis_*") if AnalysisTree(path).kmeans_result.is_file()]
    return max(found, key=lambda path: AnalysisTree(path).kmeans_result.stat().st_mtime, default=None)
