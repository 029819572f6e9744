"""The figures and the report of an output directory, made again from its files; nothing is computed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from covaria.errors import CovariaError, InvalidInput
from covaria.explorer.embedded import embedded
from covaria.figures.analysis import AnalysisFigures
from covaria.figures.density import DensityFigures
from covaria.figures.drawing import Drawing
from covaria.figures.movies import movies
from covaria.figures.reconstruction import ReconstructionFigures
from covaria.operations.one_machine import holding
from covaria.request.model import Request
from covaria.request.options import LABEL
from covaria.results.density import density_of
from covaria.running.console import patient_console
from covaria.running.run_line import at_work
from covaria.tree import AnalysisTree, DensityTree, Tree, record
from covaria.tree.components import read_component_sizes
from covaria.tree.integrity import name_of
from covaria.tree.sums import sum_of


@dataclass(frozen=True)
class Redrawn:
    """How many figures were drawn; which could not be (name beneath OUT), and why."""

    drawn: int
    failed: tuple[tuple[str, str], ...]


def renew_report(out: Path) -> Path:
    """Write OUT/report.html, and with it the other documents. Raises InvalidInput where OUT is not Covaria's."""
    tree = _ours(out)
    with holding(tree, patient_console()) as held:
        record.refresh(held)
    return tree.report


def redraw(out: Path) -> Redrawn:
    """Draw all figures of OUT, put each in place of the old one, and write the documents again.

    What cannot be drawn, because a file is missing or damaged, is told and does not hinder the rest. Raises
    InvalidInput where OUT is not Covaria's, RefusedOutput where somebody works there.
    """
    tree = _ours(out)
    drawn, failed = 0, []
    with at_work("plots") as line, holding(tree, patient_console()) as held, held.staging("plots") as folder:
        staged = Tree(folder)
        for stage, group, drawings in _groups(held, staged):
            sums: dict[str, dict[str, object]] = {}
            try:
                for drawing in drawings:
                    name = drawing.target.relative_to(folder).as_posix()
                    line.hear("plots", name, 0, 1, "")
                    try:
                        drawing.make()
                    except (CovariaError, OSError) as error:
                        failed.append((name, _why(error)))
                        continue
                    sums |= _put_in_place(held, folder, drawing.target)
                    drawn += 1
            except (CovariaError, OSError) as error:  # what tells which figures there are
                failed.append((group, _why(error)))
            _note_sums(held, stage, sums)
        record.refresh(held)
    return Redrawn(drawn, tuple(failed))


def _ours(out: Path) -> Tree:
    tree = Tree(out)
    if not tree.is_ours or record.read_request(tree) is None:
        raise InvalidInput("is not an output directory of Covaria", file=out, hint="give the OUT of a `covaria run`")
    return tree


def _groups(tree: Tree, staged: Tree) -> Iterator[tuple[str, str, Iterator[Drawing]]]:
    """(stage, folder, its figures) of everything in OUT that has figures."""
    if tree.model.is_dir():
        yield "reconstruction", "output/plots", ReconstructionFigures(tree, tree.particles).drawings(staged)
    if tree.density.is_dir():
        yield (
            "density",
            "density/plots",
            DensityFigures(tree, DensityTree(tree.density)).drawings(DensityTree(staged.density)),
        )
    for folder in sorted(tree.out.glob("analysis_*")):
        match = re.fullmatch(rf"analysis_(\d+)(?:_({LABEL}))?", folder.name)
        if match and folder.is_dir():
            yield "analysis", f"{folder.name}/plots", _of_analysis(tree, staged, int(match[1]), match[2])


def _of_analysis(tree: Tree, staged: Tree, zdim: int, name: str | None) -> Iterator[Drawing]:
    source = AnalysisTree(tree.analysis(zdim, name))
    asked = record.read_request(tree)
    request = Request.model_validate((asked or {})["request"], extra="ignore")
    density = density_of(request, tree, min(read_component_sizes(tree).confirmed, zdim))
    figures, target = AnalysisFigures(tree, source, zdim, density), AnalysisTree(staged.analysis(zdim, name))
    yield from figures.drawings(target)
    yield from movies(figures, target)
    yield from embedded(figures, request.ingest, target)


def _put_in_place(tree: Tree, folder: Path, figure: Path) -> dict[str, dict[str, object]]:
    """Move a figure's files from the staging folder to OUT; their sums, by name."""
    sums = {}
    for file in sorted(figure.parent.glob(f"{figure.stem}.*")):
        target = tree.out / file.relative_to(folder)
        tree.publish(file, target)
        sums[name_of(tree, target)] = sum_of(target)
    return sums


def _note_sums(tree: Tree, stage: str, sums: dict[str, dict[str, object]]) -> None:
    """`covaria verify` compares with what was written last."""
    state = record.read_stage_state(tree, stage)
    if state is not None and sums:
        record.write_stage_state(tree, stage, {**state, "files": {**state.get("files", {}), **sums}})


def _why(error: Exception) -> str:
    return error.message if isinstance(error, CovariaError) else str(error)
