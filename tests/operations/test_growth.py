"""OUT is the version before, whole, until the next one is; a kill only delays that; the history says what was found."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import covaria.cli
from covaria.errors import Interrupted, InvalidInput, RefusedOutput
from covaria.findings import Component, Findings, Growth, State
from covaria.job import promotion
from covaria.job.books import Books
from covaria.operations.announce import show_queued
from covaria.operations.growth import grow, history, refused
from covaria.operations.one_machine import holding, run_stages
from covaria.operations.updates import next_request, update_message
from covaria.particles.identity import Rows
from covaria.request.model import AnalysisOptions, DensityOptions, IngestOptions, ReconstructionOptions, Request
from covaria.running import bookkeeping
from covaria.settings import Settings
from covaria.stage import Context, Job
from covaria.tree import AnalysisTree, Tree, record
from covaria.tree.integrity import verify
from covaria.tree.versions import next_of
from covaria.worker.leasing import Sightings, ask_for_lease

QUIET = Console(file=io.StringIO())


@dataclass
class Stages:
    """Each writes what tells the versions apart: the number of lines of the particle file."""

    ran: list[str] = field(default_factory=list)
    fails: dict[str, BaseException] = field(default_factory=dict)

    def load(self, name: str) -> Callable[[Job, Context], None]:
        return lambda job, context: self._run(name, job, context)

    def _run(self, name: str, job: Job, context: Context) -> None:
        self.ran.append(name)
        if name in self.fails:
            raise self.fails.pop(name)
        request, tree = job.request, Tree(job.request.out, context.pen)
        count = len(request.ingest.particles.read_text().splitlines())
        with tree.staging(name) as folder:
            made = Tree(folder)
            if name == "ingest":
                given = request.ingest.grown_from
                number = 1 if given is None else int(np.load(given.with_name("rows.npz"))["version"]) + 1
                self._ingest(tree, made, number, count)
            elif name == "reconstruction":
                made.params.parent.mkdir()
                made.params.write_text(f"{count}")
                tree.publish(made.model, tree.model)
                tree.write_text(tree.growth_memory, f"{count}")
                found = Findings(particles=count, used=count, tested=4, components=(Component(z_score=count, share=1),))
                growth = Growth(version=1 if request.ingest.grown_from is None else 2, refreshed=False, moved=0.01)
                record.write_findings(tree, name, found.grown(growth))
            else:
                files = AnalysisTree(folder)
                files.centers_txt.parent.mkdir(parents=True)
                files.centers_txt.write_text(f"{count}")
                tree.publish(folder, tree.analysis(2), AnalysisTree)
                state = State(name="center000", particles=count, share=1, population=0.5, low=0.4, high=0.6)
                record.write_findings(tree, name, Findings(states=(state,)))

    def _ingest(self, tree: Tree, made: Tree, number: int, count: int) -> None:
        made.downsampled.mkdir()
        made.downsampled_star(16).write_text(f"{count}")
        tree.publish(made.downsampled, tree.downsampled)
        none = np.zeros(0)
        rows = Rows(none, none, none, none, none, none, none, none, none, np.array(number), none, none)
        tree.pen.write(tree.growth_rows, lambda file: np.savez(file, **rows.arrays()))
        tree.write_text(tree.particles, f"{count}")


@pytest.fixture
def stages(monkeypatch) -> Stages:
    made = Stages()
    monkeypatch.setattr(bookkeeping, "load_stage", made.load)
    return made


@pytest.fixture
def first(stages, tmp_path: Path) -> Tree:
    """A finished first version of four rows."""
    return run_stages(request_of(tmp_path, 4), command="run", command_line="covaria run", console=QUIET)


def request_of(folder: Path, lines: int) -> Request:
    return Request(
        out=folder / "out",
        ingest=IngestOptions(particles=written(folder, lines), growing=True),
        reconstruction=ReconstructionOptions(zdim=(2,)),
        density=DensityOptions(enabled=False),
        analysis=AnalysisOptions(n_clusters=2),
    )


def written(folder: Path, lines: int) -> Path:
    path = folder / "particles.star"
    path.write_text("row\n" * lines)
    return path


def update(tree: Tree, particles: Path) -> Tree:
    return grow(tree.out, particles, command_line="covaria grow", console=QUIET)


def contents(tree: Tree) -> list[str]:
    """What tells the versions apart, one word a result."""
    centers = AnalysisTree(tree.analysis(2)).centers_txt
    paths = (tree.downsampled_star(16), tree.params, centers, tree.particles, tree.growth_memory)
    return [path.read_text() for path in paths]


def test_an_update_replaces_everything_and_is_on_record(first: Tree, stages: Stages, tmp_path: Path) -> None:
    (first.analysis(2, "mine")).mkdir()
    update(first, written(tmp_path, 7))
    assert contents(first) == ["7"] * 5
    assert not first.analysis(2, "mine").exists(), "of the version before"
    assert not next_of(first).out.exists()
    document = json.loads(first.job_json.read_text())
    assert (document["status"], document["command"]) == ("succeeded", "grow")
    assert str(next_of(first).out) not in first.job_json.read_text() + first.readme.read_text()
    assert not verify(first).damaged
    assert [(one.version, one.used, one.findings.confirmed) for one in history(first)] == [(1, 4, 1), (2, 7, 1)]
    ran = len(stages.ran)
    update(first, tmp_path / "particles.star")
    assert len(stages.ran) == ran, "the file is the one that OUT holds"
    with pytest.raises(RefusedOutput, match="holds a finished run"):
        run_stages(request_of(tmp_path, 7), command="run", command_line="covaria run", console=QUIET)


def test_an_update_that_is_killed_leaves_the_version_before_and_goes_on(first: Tree, stages: Stages, tmp_path) -> None:
    stages.fails["analysis"] = Interrupted("stopped")
    more = written(tmp_path, 7)
    with pytest.raises(Interrupted):
        update(first, more)
    assert contents(first) == ["4"] * 5
    assert json.loads(first.job_json.read_text())["status"] == "succeeded"
    stages.ran.clear()
    update(first, more)
    assert stages.ran == ["analysis"], "the rest was done"
    assert contents(first) == ["7"] * 5


def test_a_file_that_changes_during_an_update_is_the_next_one(first: Tree, stages: Stages, tmp_path) -> None:
    plain = stages._run

    def run(name: str, job: Job, context: Context) -> None:
        plain(name, job, context)
        if name == "ingest":
            written(tmp_path, 9)

    stages._run = run  # type: ignore[method-assign]
    update(first, written(tmp_path, 7))
    assert first.particles.read_text() == "7", "what was read"
    stages._run = plain  # type: ignore[method-assign]
    update(first, tmp_path / "particles.star")
    assert contents(first) == ["9"] * 5


def test_no_update_here_while_the_services_make_one(first: Tree, tmp_path) -> None:
    message = update_message(next_request(first, written(tmp_path, 7)))
    show_queued(message, Settings())
    with pytest.raises(RefusedOutput, match="services are at work"):
        update(first, tmp_path / "particles.star")


def by_hand(tree: Tree) -> None:
    with holding(tree, QUIET):
        pass


def by_a_worker(tree: Tree) -> None:
    asked = ask_for_lease(Books(tree, "j"), Settings(), lambda _: True, time.monotonic, Sightings())
    assert asked.lease is not None
    asked.lease.release()


@pytest.mark.parametrize(("moved", "taken"), [(0, by_hand), (2, by_a_worker), (2, by_hand), (5, by_hand)])
def test_a_kill_while_results_are_put_in_place_only_delays_it(
    first: Tree, tmp_path, monkeypatch, moved: int, taken: Callable[[Tree], None]
) -> None:
    plain, done = promotion._move, []

    def move(*arguments) -> None:
        if len(done) == moved:
            raise KeyboardInterrupt
        plain(*arguments)
        done.append(arguments)

    monkeypatch.setattr(promotion, "_move", move)
    with pytest.raises(KeyboardInterrupt):
        update(first, written(tmp_path, 7))
    monkeypatch.setattr(promotion, "_move", plain)
    taken(first)
    assert contents(first) == ["7"] * 5
    assert json.loads(first.job_json.read_text())["findings"]["used"] == 7
    assert not first.promotion.exists()
    assert not verify(first).damaged
    assert [one.version for one in history(first)] == [1, 2]


def test_a_version_that_is_refused_leaves_the_good_one_and_says_why(first: Tree, stages: Stages, tmp_path) -> None:
    stages.fails["ingest"] = InvalidInput("ends in the middle of a row", file="particles.star", row=5)
    with pytest.raises(InvalidInput, match="middle of a row"):
        update(first, written(tmp_path, 5))
    assert contents(first) == ["4"] * 5
    assert not next_of(first).out.exists()
    assert "middle of a row" in refused(first)
    shown = CliRunner().invoke(covaria.cli.application(), ["history", str(first.out)])
    assert "was refused: particles.star, row 5: ends in the middle of a row" in shown.output
    update(first, written(tmp_path, 7))
    assert refused(first) == ""


def test_the_history_as_a_table_json_and_a_plot(first: Tree, tmp_path: Path) -> None:
    update(first, written(tmp_path, 7))
    run = CliRunner().invoke
    table = run(covaria.cli.application(), ["history", str(first.out)]).output.splitlines()
    assert table[0].split()[:4] == ["version", "images", "resolution", "confirmed"]
    assert table[2].split()[:2] == ["2", "7"]
    plot = tmp_path / "history.png"
    shown = run(covaria.cli.application(), ["history", str(first.out), "--json", "--plot", str(plot)])
    found = json.loads(shown.stdout)
    assert [one["used"] for one in found["versions"]] == [4, 7]
    assert found["versions"][1]["populations"] == [{"name": "center000", "share": 0.5, "low": 0.4, "high": 0.6}]
    assert plot.stat().st_size > 1000
    assert plot.with_suffix(".csv").read_text().startswith("version,images,hours,")


def test_what_was_not_made_to_grow_does_not(stages: Stages, tmp_path: Path) -> None:
    asked = request_of(tmp_path, 4)
    plain = asked.model_copy(update={"ingest": asked.ingest.model_copy(update={"growing": False})})
    tree = run_stages(plain, command="run", command_line="covaria run", console=QUIET)
    with pytest.raises(InvalidInput, match="was not made to grow"):
        update(tree, written(tmp_path, 7))
    with pytest.raises(InvalidInput, match="not an output directory"):
        update(Tree(tmp_path / "empty"), written(tmp_path, 7))
