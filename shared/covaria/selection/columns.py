"""The columns of a finished run's particles, by the names that selections use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.particles import load
from covaria.particles.model import Particles
from covaria.particles.read import read_metadata
from covaria.pickles import load_pickle
from covaria.request.model import IngestOptions
from covaria.tree import AnalysisTree, Tree
from covaria.tree.artifacts import read_kmeans
from covaria.tree.components import ComponentSizes, read_component_sizes

Values = NDArray[Any]
LISTED = 40


class RunColumns:
    """Columns of OUT, each read when it is first asked for. Rows are those of the run's own arrays."""

    def __init__(self, tree: Tree, ingest: IngestOptions, analysis: Path | None = None) -> None:
        self.tree, self.ingest = tree, ingest
        self.analysis = analysis or newest_analysis(tree)
        self._kept: dict[str, Values] = {}

    @cached_property
    def particles(self) -> Particles:
        return load(self.tree.particles)

    @cached_property
    def used(self) -> NDArray[np.bool_]:
        return self.particles.used

    @cached_property
    def sizes(self) -> ComponentSizes:
        return read_component_sizes(self.tree)

    def columns(self, names: frozenset[str]) -> Mapping[str, Values]:
        """The named columns, (N,) each. Raises InvalidInput that lists the known names."""
        makers = self._makers
        for name in sorted(names):
            if name not in makers:
                known = ", ".join(list(makers)[:LISTED])
                raise InvalidInput(f"no column {name!r}", hint=f"known: {known}")
            if name not in self._kept:
                self._kept[name] = makers[name]()
        return {name: self._kept[name] for name in names}

    @cached_property
    def _makers(self) -> dict[str, Callable[[], Values]]:
        makers: dict[str, Callable[[], Values]] = {
            "index": lambda: np.arange(len(self.particles)),
            "half_set": self._half_set,
            "optics_group": lambda: self.particles.optics_group + 1,
            "defocus_u_angstrom": lambda: self.particles.ctf.defocus_u_angstrom,
            "defocus_v_angstrom": lambda: self.particles.ctf.defocus_v_angstrom,
            "micrograph": self._micrograph,
        }
        zdims = self.tree.zdims()
        if zdims:
            makers["contrast"] = lambda: np.load(self.tree.contrasts(zdims[-1]), allow_pickle=False).astype(float)
            confirmed = min(self.sizes.confirmed, zdims[-1])
            makers |= {f"z{k + 1}": partial(self._latent, k) for k in range(confirmed)}
        if self.analysis is not None:
            makers["cluster"] = self._cluster
        return makers

    def _half_set(self) -> Values:
        found = np.full(len(self.particles), -1)
        for half, rows in enumerate(load_pickle(self.tree.halfsets)):
            found[np.asarray(rows)] = half + 1
        return found

    def _latent(self, component: int) -> Values:
        """In standard deviations of the motion."""
        zdim = next(zdim for zdim in self.tree.zdims() if zdim > component)
        coordinates = np.load(self.tree.latent_coords(zdim), allow_pickle=False)
        return np.asarray(coordinates[:, component].astype(float) / self.sizes.deviations[component])

    def _cluster(self) -> Values:
        assert self.analysis is not None
        return read_kmeans(AnalysisTree(self.analysis)).labels

    def _micrograph(self) -> Values:
        """Names as the source writes them."""
        described = read_metadata(self.ingest).metadata
        if described.micrograph is None:
            raise InvalidInput("the source names no micrographs", file=self.ingest.particles)
        names = np.array(described.micrograph_names)[described.micrograph]
        return np.tile(names, len(self.particles) // len(names))


def newest_analysis(tree: Tree) -> Path | None:
    """The analysis folder that was written last; None where there is none."""
    found = [path for path in tree.out.glob("analysis_*") if AnalysisTree(path).kmeans_result.is_file()]
    return max(found, key=lambda path: AnalysisTree(path).kmeans_result.stat().st_mtime, default=None)
