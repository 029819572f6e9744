"""Who is set aside, the summaries, the tests that are written, and the run on what is left."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covaria.cli import outliers as command
from covaria.errors import InvalidInput
from covaria.estimation.association import Covariate
from covaria.operations import one_machine
from covaria.operations.outliers import Verdict, judge, request_without
from covaria.plots import style
from covaria.selection.apply import selected
from covaria.selection.columns import RunColumns
from covaria.selection.handoff import source_of
from covaria.selection.model import read_selection
from covaria.selection.outliers import Known, dependences_of, groups_of, kept_by
from covaria.states import evidence
from covaria.states.evidence import HalfSetsSay
from covaria.tree import OutliersTree, ParticleFiles, Tree


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "DPI", 30)


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def verdict(tree: Tree, folder: Path, *limits: float) -> tuple[Verdict, OutliersTree]:
    ingest = source_of(tree)
    table = RunColumns(tree, ingest)
    how = kept_by(table, *limits)
    folder.mkdir()
    return judge(folder, table, ingest, selected(how, table), how), OutliersTree(folder)


def test_the_probabilities_set_aside(plain: Tree, tmp_path: Path) -> None:
    """p_empty of particle i is (i mod 10) / 10."""
    found, made = verdict(plain, tmp_path / "found", 0.75, 1.0)
    aside = [row for row in range(60) if row % 10 > 7]
    assert np.flatnonzero(found.used & ~found.kept).tolist() == aside and found.set_aside == len(aside)
    assert np.loadtxt(made.set_aside_txt).astype(int).tolist() == aside
    kept = [line for line in ParticleFiles(made.root).star.read_text().splitlines() if "@" in line]
    assert len(kept) == 60 - len(aside) and "12 of 60 particles are set aside (20.0 %)" in found.lines()
    (group,) = table_of(made.optics_groups)
    assert (group["particles"], group["set_aside"], float(group["mean_p_empty"])) == ("60", "12", pytest.approx(0.45))
    assert sum(int(row["particles"]) for row in table_of(made.micrographs)) == 60
    tests = table_of(made.covariates)
    assert {row["coordinate"] for row in tests} == {"z1", "z2"}
    first = next(row for row in tests if row["coordinate"] == "z1" and row["covariate"] == "contrast")
    assert first["confirmed"] == "yes", "z1 and contrast are both the particle's number"
    assert all(row["confirmed"] == "no" for row in tests if row["coordinate"] == "z2"), "z2 is nothing but zeros"
    assert made.covariates_plot.is_file() and "PC 1 depends on contrast" in "\n".join(found.lines())


def test_whole_micrographs_go_where_most_of_them_does(plain: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    table = RunColumns(plain, source_of(plain))
    names = table.columns(frozenset({"micrograph"}))["micrograph"]
    bad = names == names[-1]
    table._kept["p_empty"] = np.where(bad & (table.columns(frozenset({"index"}))["index"] % 5 > 0), 1.0, 0.0)
    each = selected(kept_by(table, 0.5, 1.0), table)
    assert 0 < (each & bad).sum() < bad.sum()
    worst, *others = groups_of(table, each, "micrograph")
    assert worst.name == names[-1] and worst.p_corrected < 0.01
    assert all(one.set_aside == 0 for one in others)
    whole = selected(kept_by(table, 0.5, 1.0, 0.5), table)
    assert np.array_equal(whole, ~bad)


def test_what_the_other_half_set_does_not_know_is_set_aside_too(
    plain: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    junk = np.where(np.arange(60) % 7 == 0, 0.9, 0.1)
    own, half = np.where(np.arange(60) < 30, 2.0, -2.0), np.arange(60) % 2
    half[59], junk[59] = -1, np.nan
    made = HalfSetsSay(half, own, np.full(60, 1.5), junk, 0.15)
    monkeypatch.setattr(evidence, "half_sets_say", lambda *_: made)
    options = {"p_empty": 1.0, "p_outlier": 1.0, "device": "cpu", "half_sets": True}
    command.outliers(out=plain.out, directory=tmp_path / "o", p_junk=0.5, **options)
    found = OutliersTree(tmp_path / "o")
    assert np.loadtxt(found.set_aside_txt).astype(int).tolist() == list(range(0, 60, 7))
    rows = table_of(found.half_sets)
    assert [int(row["row"]) for row in rows] == list(range(59))
    assert rows[7] == {"row": "7", "half_set": "2", "evidence_own": "2.000", "evidence_other": "1.500", "p_junk": "0.9"}
    said = found.run_log.read_text()
    assert "knows nothing of 9 images (share 15.0 %); 5 of them only their own half-set's model likes" in said
    again = selected(read_selection(found.selection), RunColumns(plain, source_of(plain)))
    assert np.flatnonzero(~again).tolist() == list(range(0, 60, 7)), "the selection repeats it without the images"
    monkeypatch.setattr(evidence, "half_sets_say", lambda *_: replace(made, junk=np.ones(60)))
    with pytest.raises(InvalidInput, match="every particle would be set aside"):
        command.outliers(out=plain.out, directory=tmp_path / "none", p_junk=0.5, **options)
    assert not (tmp_path / "none").exists()


def test_of_symmetry_copies_one_is_tested(finished: Callable[..., Tree], dataset: Path) -> None:
    tree = finished(dataset / "particles.star", downsample=None, symmetry="C2")
    table = RunColumns(tree, source_of(tree))
    tests, known, coordinates = dependences_of(table, table.used)
    assert np.isnan(coordinates[60:]).all() and np.isfinite(coordinates[:60]).all()
    assert {one.units for one in tests if one.covariate == "contrast"} == {60}
    assert all(isinstance(one, Known) and isinstance(one.covariate, Covariate) for one in known)


def test_a_run_on_what_is_left(
    finished: Callable[..., Tree], dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rounds: who was set aside is not in the next run's rows; the second finds nobody more and ends it."""
    tree = finished(dataset / "particles.star", downsample=None)
    asked: list[Any] = []

    def run(request: Any, **_: Any) -> None:
        asked.append(request)
        options = request.ingest.model_dump(include={"ind", "downsample"})
        made = finished(request.ingest.particles, **options)
        made.out.rename(request.out)

    monkeypatch.setattr(one_machine, "run_stages", run)
    options = {"p_empty": 0.75, "p_outlier": 1.0, "device": "cpu", "rerun": True, "rounds": 3}
    command.outliers(out=tree.out, directory=tmp_path / "o", **options)
    (request,) = asked
    assert request.out == tmp_path / "o-round1"
    found = OutliersTree(tmp_path / "o-round1-outliers")
    assert found.set_aside_txt.read_text() == ""
    left = np.loadtxt(OutliersTree(tmp_path / "o").indices_txt)
    assert np.array_equal(np.loadtxt(found.indices_txt), left), "rows of the original file"
    assert request_without(tree, tmp_path / "x", tmp_path / "rows.pkl").ingest.ind == tmp_path / "rows.pkl"
