"""What the page reads of a run, by name: the same bytes from the server, a folder, or inside one .html.

run.json                 what was found, and how to read the rest
columns/<name>.u16       covaria.explorer.cloud
rows.u32                 row of the input file of each drawn particle
maps/<side>_<n>.rgba     covaria.explorer.volumes
states/<n>_<side>.u8     the map made at centre n, cropped alike
density.f32              the density over the coordinates, C order
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from threading import Lock, RLock
from typing import Any, TypeVar

import numpy as np

from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.explorer.cloud import Cloud
from covaria.explorer.summary import summary
from covaria.explorer.volumes import Maps, agreement
from covaria.figures.analysis import AnalysisFigures
from covaria.figures.density import in_deviations
from covaria.opening import ANYWHERE, OutsideRoots, Roots
from covaria.plain import explain
from covaria.request.model import Request
from covaria.results.analysis import read_state_resolution
from covaria.results.density import density_of
from covaria.results.populations import read_populations
from covaria.selection.columns import RunColumns
from covaria.tree import AnalysisTree, Tree, record
from covaria.tree.components import read_component_sizes

T = TypeVar("T")


class RunFiles:
    """One output directory. A part that cannot be read is told in `problems` and does not hinder the rest."""

    def __init__(self, out: Path, roots: Roots = ANYWHERE) -> None:
        self.tree, self.roots = Tree(out), roots
        asked = record.read_request(self.tree)
        if asked is None:
            raise InvalidInput("is not an output directory of Covaria", file=out, hint="give the OUT of a run")
        refuse_outside(self.tree, roots)
        self.asked = asked
        self.request = Request.model_validate(asked["request"], extra="ignore")
        self.problems: list[dict[str, str]] = []
        self.prepared: object | None = None
        """What covaria.view.subsets keeps of the files that it was made from, and who may make it."""
        self.preparing = Lock()
        self._lock = RLock()
        self._states: dict[str, Callable[[], bytes]] = {}

    def names(self) -> list[str]:
        """Every file, run.json first."""
        described = self.described
        found = ["run.json"]
        if described["columns"]:
            found += ["rows.u32", *(f"columns/{column['name']}.u16" for column in described["columns"])]
        found += [name for level in (described["maps"] or {}).get("levels", []) for name in level["files"]]
        found += [name for state in described["states"] for name in state["files"].values()]
        return found + (["density.f32"] if described["density"] else [])

    def read(self, name: str) -> bytes:
        """A file by its name. Raises MissingFile; CovariaError where what it is made of cannot be read."""
        with self._lock:
            if name == "run.json":
                return json.dumps(self.described, allow_nan=False).encode()
            if name == "rows.u32" and self.cloud is not None:
                return self.cloud.rows.astype("<u4").tobytes()
            if name == "density.f32" and self.described["density"]:
                return np.ascontiguousarray(self.figures.shown_density.values, dtype="<f4").tobytes()
            if (match := re.fullmatch(r"columns/(\w+)\.u16", name)) and self.cloud is not None:
                return self.cloud.codes(match[1]).tobytes()
            if (match := re.fullmatch(r"maps/(\d+)_(\d+)\.rgba", name)) and self._has_map(int(match[1]), int(match[2])):
                return self.maps.texture(int(match[1]), int(match[2])).voxels.tobytes()
            if (match := re.fullmatch(r"states/(\d+)_(\d+)\.u8", name)) and self._has_map(int(match[2]), 0):
                return self.maps.state(self._center(int(match[1])), int(match[2]))[0].tobytes()
        raise MissingFile("no such part of this run", file=self.tree.out / name, hint="reload the page")

    @cached_property
    def described(self) -> dict[str, Any]:
        """run.json as a value."""
        document = record.job_document(self.tree)
        particles = self._try("particles", lambda: self.table.particles if self.tree.particles.is_file() else None)
        found = summary(self.tree, document, particles)
        found |= {
            "columns": [] if particles is None else list(self._described_columns()),
            "drawn": 0 if self.cloud is None else len(self.cloud.rows),
            "confirmed": self.confirmed,
            "maps": self._try("maps", self.maps.described),
            "states": [],
            "paths": [],
            "density": None,
        }
        if self.has_analysis:
            found["states"] = self._try("states", lambda: list(self._described_states())) or []
            found["paths"] = self._try("paths", lambda: [points.tolist() for points in self.figures.paths]) or []
            found["density"] = self._try("density", self._described_density)
        return {**found, "problems": self.problems}

    @cached_property
    def zdim(self) -> int:
        """Of the coordinates shown: those that the analysis stands on, where they are there."""
        stored = self.tree.zdims()
        return self.request.analysis_zdim if self.request.analysis_zdim in stored else max(stored, default=0)

    @cached_property
    def confirmed(self) -> int:
        return min(read_component_sizes(self.tree).confirmed, self.zdim) if self.tree.params.is_file() else 0

    @cached_property
    def table(self) -> RunColumns:
        return RunColumns(self.tree, self.request.ingest, self.analysis.root if self.has_analysis else None)

    @cached_property
    def cloud(self) -> Cloud | None:
        """None before there are coordinates."""
        if not self.zdim or not self.tree.particles.is_file():
            return None
        return Cloud(self.tree, self.table, self.zdim, self.confirmed)

    @cached_property
    def maps(self) -> Maps:
        sizes = read_component_sizes(self.tree).deviations[: self.confirmed] if self.confirmed else np.zeros(0)
        return Maps(self.tree, sizes)

    @cached_property
    def analysis(self) -> AnalysisTree:
        return AnalysisTree(self.tree.analysis(self.zdim))

    @property
    def has_analysis(self) -> bool:
        return self.confirmed > 0 and self.analysis.kmeans_result.is_file()

    @cached_property
    def figures(self) -> AnalysisFigures:
        density = density_of(self.request, self.tree, self.confirmed, self.roots)
        return AnalysisFigures(self.tree, self.analysis, self.zdim, density)

    def _described_columns(self) -> Iterator[dict[str, Any]]:
        """Those that can be read: one damaged file takes its own columns away, no other."""
        cloud = self._try("particles", lambda: self.cloud)
        if cloud is None:
            return
        for name in cloud.names:
            column = self._try(f"column {name}", partial(cloud.column, name))
            if column is not None:
                yield asdict(column)

    def _described_states(self) -> Iterator[dict[str, Any]]:
        clusters, populations = self.figures.clusters, self._populations()
        for number, point in enumerate(self.figures.centers):
            path = self._center(number)
            there = path.is_file()
            sides = self.maps.samplings if there else []
            yield {
                "name": f"center{number:03d}",
                "z": point.tolist(),
                "particles": int(clusters.counts[number]),
                "share": float(clusters.shares[number]),
                "population": populations[number] if number < len(populations) else None,
                "resolution_angstrom": read_state_resolution(self.analysis.center_files(number).params),
                "mrc": path.relative_to(self.tree.out).as_posix() if there else None,
                "files": {str(side): f"states/{number}_{side}.u8" for side in sides},
                "ranges": {str(side): self.maps.state(path, side)[1] for side in sides},
                "agreement": agreement(self.figures, self.maps, number) if there else None,
            }

    def _populations(self) -> list[list[float]]:
        """Share of the particles that truly belong to each state, and its 90 % interval; none where none was found."""
        if not self.analysis.populations_csv.is_file():
            return []
        found = read_populations(self.analysis)
        rows = zip(found.share, found.low, found.high, strict=True)
        return [[float(share), float(low), float(high)] for share, low, high in rows]

    def _described_density(self) -> dict[str, Any] | None:
        if self.figures.density is None:
            return None
        grid = in_deviations(self.figures.density, self.tree)
        return {"shape": list(grid.values.shape), "bounds": grid.bounds.tolist()}

    def _center(self, number: int) -> Path:
        return self.analysis.center(number)

    def _has_map(self, sampling: int, number: int) -> bool:
        return sampling in self.maps.samplings and 0 <= number <= self.confirmed // 4

    def _try(self, part: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except (CovariaError, OSError, ValueError) as error:
            told = explain(error)
            self.problems.append({"part": part, "message": told.message, "hint": told.hint})
            return None


def refuse_outside(tree: Tree, roots: Roots) -> None:
    """Raises OutsideRoots where a file of OUT is a link that leads out of the folders that may be read."""
    if not roots.folders:
        return
    for path in tree.out.rglob("*"):
        if path.is_symlink() and not roots.allows(path):
            raise OutsideRoots("is a link that leads out of the folders that are shown", file=path, hint="remove it")
