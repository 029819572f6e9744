"""Runs that the page starts: the command line that is shown is the one that runs, and no path leads out."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from covaria_pages import Client

from covaria.errors import CovariaError, InvalidInput, RefusedOutput
from covaria.explorer.run_files import RunFiles
from covaria.opening import ANYWHERE, OutsideRoots, Roots
from covaria.pickles import load_pickle
from covaria.request.model import Request
from covaria.selection.apply import selected
from covaria.selection.model import Where
from covaria.testing import TruthSet
from covaria.tree import Tree
from covaria.view import jobs as starting
from covaria.view.command import arguments, options, stored
from covaria.view.folder import Folder
from covaria.view.jobs import Jobs

HALF = Where(expression="z1 > 0")


@pytest.fixture
def harmless(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Processes that only say what they would do."""
    asked: list[list[str]] = []

    def process(command: str, words: list[str]) -> list[str]:
        asked.append([command, *words])
        return ["/bin/sh", "-c", f"echo would run {shlex.join([command, *words])}"]

    monkeypatch.setattr(starting, "process", process)
    return asked


def parsed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Request:
    """What `covaria run` understands of some words."""
    from typer.testing import CliRunner

    from covaria.cli import application
    from covaria.operations import one_machine

    found: list[Request] = []
    monkeypatch.setattr(one_machine, "run_stages", lambda request, *_, **__: found.append(request))
    done = CliRunner().invoke(application(), ["run", *words])
    assert found, done.output
    return found[0]


def test_a_form_becomes_the_request_that_it_says(
    truth: TruthSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {
        "ingest.downsample": "no", "reconstruction.zdim": "1,2", "analysis.n_clusters": "7", "seed": "5",
        "reconstruction.mask": "sphere", "reconstruction.correct_contrast": "false", "density.enabled": "false",
        "analysis.skip_umap": "true", "analysis.b_factor": "-40.0",
    }  # fmt: skip
    words = arguments(truth.folder / "particles.star", tmp_path / "new", said, ANYWHERE)
    request = parsed(words, monkeypatch)
    assert stored(request) == said
    assert (
        request.ingest.downsample is None
        and request.reconstruction.zdim == (1, 2)
        and request.analysis.b_factor == -40
        and not request.density.enabled
    )


def test_the_first_options_come_first_and_each_has_its_help() -> None:
    found = options()
    assert sum(one["first"] for one in found[:5]) == 5 and not any(one["first"] for one in found[5:])
    assert all(one["help"] and one["flag"].startswith("--") for one in found)


@pytest.mark.parametrize(
    "said",
    [
        {"nothing": "1"}, {"out": "/tmp/x"}, {"reconstruction.zdim": "x"}, {"seed": "-1"}, {"ingest.no_ctf": "maybe"},
        {"ingest.particles": "/etc/passwd"},
    ],
)  # fmt: skip
def test_a_bad_form_is_refused(said: dict[str, str], truth: TruthSet, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        arguments(truth.folder / "particles.star", tmp_path / "new", said, ANYWHERE)


def test_paths_of_a_form_stay_inside(truth: TruthSet, tmp_path: Path) -> None:
    roots = Roots.of([truth.folder, tmp_path])
    inside = truth.folder / "particles.star"
    for said in ({"ingest.ind": "/etc/passwd"}, {"reconstruction.mask": "/etc/mask.mrc"}, {"ingest.datadir": "/"}):
        with pytest.raises(OutsideRoots):
            arguments(inside, tmp_path / "new", said, roots)
    with pytest.raises(OutsideRoots):
        arguments(Path("/etc/particles.star"), tmp_path / "new", {}, roots)
    with pytest.raises(InvalidInput):
        arguments(Path("particles.star"), tmp_path / "new", {}, roots)


def test_one_run_is_no_place_for_others(finished: Tree) -> None:
    with pytest.raises(InvalidInput, match="new ones have no place"):
        Jobs(Folder(finished.out))


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", ".hidden", "x" * 200])
def test_names_that_are_no_names(name: str, copied: Tree, truth: TruthSet) -> None:
    with pytest.raises(InvalidInput, match="no name"):
        Jobs(Folder(copied.out.parent)).line(truth.folder / "particles.star", name, {})


def test_a_selection_is_run_again(copied: Tree, harmless: list[list[str]]) -> None:
    folder = Folder(copied.out.parent)
    jobs, run = Jobs(folder), RunFiles(copied.out)
    told = jobs.again(run, "open", HALF, only_mean=True)
    rows = folder.path / "open.indices.pkl"
    jobs.started[0].running.wait()
    assert np.array_equal(load_pickle(rows), np.flatnonzero(selected(HALF, run.table)))
    assert harmless[0][:4] == ["run", str(run.request.ingest.particles), "-o", str(folder.path / "open")]
    assert {f"--ind={rows}", "--only-mean", "--zdim=3"} <= set(harmless[0]) and told["line"].startswith("covaria run ")
    with pytest.raises(RefusedOutput, match="is there already"):
        jobs.again(run, "copy", HALF, only_mean=False)
    with pytest.raises(InvalidInput, match="no particle"):
        jobs.again(run, "none", Where(expression="z1 > 90"), only_mean=False)
    assert not (folder.path / "none.indices.pkl").exists()


def test_with_a_broker_it_is_submitted(copied: Tree, monkeypatch: pytest.MonkeyPatch, truth: TruthSet) -> None:
    monkeypatch.setenv("COVARIA_BROKER_URL", "amqp://127.0.0.1/")
    assert Jobs(Folder(copied.out.parent)).line(truth.folder / "particles.star", "new", {})[0] == "submit"


def test_too_many_at_once_are_refused(copied: Tree, truth: TruthSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "process", lambda *_: ["/bin/sleep", "30"])
    jobs = Jobs(Folder(copied.out.parent))
    for name in ("one", "two"):
        jobs.start(truth.folder / "particles.star", name, {})
    with pytest.raises(CovariaError, match="2 runs are going on"):
        jobs.start(truth.folder / "particles.star", "three", {})
    for one in jobs.started:
        one.running.kill()
        one.running.wait()
    assert [one["status"] for one in jobs.state()] == ["failed", "failed"]


def test_the_server_starts_nothing_unless_it_may(serving: Callable[..., Client], copied: Tree) -> None:
    reader = serving(copied.out.parent).enter()
    assert reader.ask("/start", "POST", {})[0] == 404 and reader.ask("/choices")[0] == 404
    assert json.loads(reader.ask("/runs")[2])["jobs"] is None


def test_from_the_form_to_the_end(
    serving: Callable[..., Client], copied: Tree, truth: TruthSet, harmless: list[list[str]]
) -> None:
    one = serving(copied.out.parent, jobs=True, roots=Roots.of([copied.out.parent, truth.folder])).enter()
    source = str(truth.folder / "particles.star")
    assert json.loads(one.ask("/choices")[2])["particles"] == [source]
    looked = json.loads(one.ask(f"/verdict?path={source}")[2])
    assert (
        looked["complete"] and looked["summary"]["particles"] == 300 and looked["picture"].startswith("data:image/png")
    )
    assert one.ask("/verdict?path=/etc/particles.star")[0] == 403
    form: dict[str, Any] = {"particles": source, "name": "new", "said": {"seed": "3"}}
    line = json.loads(one.ask("/line", "POST", form)[2])["line"]
    assert json.loads(one.ask("/start", "POST", form)[2])["line"] == line and "--seed=3" in line
    end = time.monotonic() + 20
    while (told := json.loads(one.ask("/runs")[2])["jobs"]["started"][0])["status"] == "running":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert told["status"] == "succeeded" and told["said"].startswith("would run run ")
    assert one.ask("/start", "POST", {**form, "name": "copy"})[0] == 422
    assert one.ask("/cancel?run=copy", "POST", {})[0] == 200 and copied.cancel.is_file()
