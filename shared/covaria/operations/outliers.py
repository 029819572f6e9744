"""The folder of `covaria outliers`, and the runs on what is left."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from covaria.estimation.association import Association
from covaria.figures.outliers import draw_dependences
from covaria.request.model import IngestOptions, Request
from covaria.selection.columns import RunColumns
from covaria.selection.handoff import source_of, source_rows, write_subset
from covaria.selection.model import Selection, selection_json
from covaria.selection.outliers import Group, dependences_of, groups_of
from covaria.tree import OutliersTree, Tree, record
from covaria.tree.atomic import write_text


@dataclass(frozen=True)
class Verdict:
    """kept, used (n,) rows of the source; tests, those of the coordinates."""

    kept: NDArray[np.bool_]
    used: NDArray[np.bool_]
    tests: tuple[Association, ...]

    @property
    def set_aside(self) -> int:
        return int((self.used & ~self.kept).sum())

    def lines(self) -> list[str]:
        """What was found, for people."""
        share = self.set_aside / max(int(self.used.sum()), 1)
        found = [f"{self.set_aside:,} of {self.used.sum():,} particles are set aside ({100 * share:.1f} %)"]
        confirmed = [one for one in self.tests if one.confirmed]
        found += [
            f"PC {one.coordinate + 1} depends on {one.covariate}: {100 * one.share:.1f} % of its ranks, "
            f"p = {one.p_corrected:.1g}"
            for one in confirmed
        ]
        if self.tests and not confirmed:
            found.append(f"no coordinate depends on what it should not ({len(self.tests)} tests)")
        return found


def judge(folder: Path, table: RunColumns, ingest: IngestOptions, kept: NDArray[np.bool_], how: Selection) -> Verdict:
    """Fill `folder` with what `OutliersTree` lists; kept (N,) are rows of the run."""
    tree = OutliersTree(folder)
    rows, used = (source_rows(table.whole(mask), table.copies) for mask in (kept, table.used))
    write_subset(folder, ingest, rows)
    tree.selection.write_bytes(selection_json(how))
    write_text(tree.set_aside_txt, "".join(f"{row}\n" for row in np.flatnonzero(used & ~rows).tolist()))
    if (table.particles.micrograph >= 0).any():
        _write_groups(tree.micrographs, "micrograph", groups_of(table, kept, "micrograph"))
    _write_groups(tree.optics_groups, "optics_group", groups_of(table, kept, "optics_group"))
    tests, known, coordinates = dependences_of(table, kept)
    _write_tests(tree.covariates, tests)
    draw_dependences(tree.covariates_plot, tests, known, coordinates)
    return Verdict(rows, used, tests)


class SaidOfImages(Protocol):
    """`covaria.states.evidence.HalfSetsSay`: of each row of the run (N,)."""

    @property
    def half(self) -> NDArray[np.int64]: ...
    @property
    def own(self) -> NDArray[np.float64]: ...
    @property
    def other(self) -> NDArray[np.float64]: ...
    @property
    def junk(self) -> NDArray[np.float64]: ...
    @property
    def share(self) -> float: ...


def write_half_sets(path: Path, said: SaidOfImages, p_junk: float) -> str:
    """A line for each row in use; what was found, for people."""
    rows = np.flatnonzero(said.half >= 0)
    lines = [
        [row, said.half[row] + 1, f"{said.own[row]:.3f}", f"{said.other[row]:.3f}", f"{said.junk[row]:.4g}"]
        for row in rows.tolist()
    ]
    _write_csv(path, [["row", "half_set", "evidence_own", "evidence_other", "p_junk"], *lines])
    junk = said.junk[rows] > p_junk
    alone = int((junk & (said.own[rows] > 0)).sum())
    return (
        f"the other half-set's model knows nothing of {junk.sum():,} images (share {100 * said.share:.1f} %); "
        f"{alone:,} of them only their own half-set's model likes"
    )


def request_without(tree: Tree, out: Path, rows: Path) -> Request:
    """What was asked of OUT, for the particles whose row numbers the file `rows` has, in the new output `out`."""
    asked = record.read_request(tree)
    assert asked is not None
    request = Request.model_validate(asked["request"], extra="ignore")
    ingest = source_of(tree).model_copy(update={"ind": rows.absolute(), "n_images": None, "class_number": None})
    analysis = request.analysis.model_copy(update={"output": None})
    return request.model_copy(update={"out": out, "ingest": ingest, "analysis": analysis, "overwrite": False})


def _write_groups(path: Path, column: str, groups: Sequence[Group]) -> None:
    names = list(groups[0].means) if groups else []
    rows = [
        [one.name, one.particles, one.set_aside, f"{one.set_aside / one.particles:.4f}", f"{one.p_corrected:.3g}",
         *(f"{one.means[name]:.4g}" for name in names)]
        for one in groups
    ]  # fmt: skip
    heading = [column, "particles", "set_aside", "share", "p_corrected", *(f"mean_{name}" for name in names)]
    _write_csv(path, [heading, *rows])


def _write_tests(path: Path, tests: Sequence[Association]) -> None:
    heading = ["coordinate", "covariate", "groups", "measured", "share_of_ranks", "p", "p_corrected", "confirmed"]
    rows = [
        [f"z{one.coordinate + 1}", one.covariate, one.groups, one.units, f"{one.share:.4g}", f"{one.p:.3g}",
         f"{one.p_corrected:.3g}", "yes" if one.confirmed else "no"]
        for one in tests
    ]  # fmt: skip
    _write_csv(path, [heading, *rows])


def _write_csv(path: Path, rows: Sequence[Sequence[object]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())
