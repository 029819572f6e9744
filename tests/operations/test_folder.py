"""`covaria inspect FOLDER`: whatever the folder is, one true line, and what to do next; nothing in it changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import covaria.cli
from covaria.errors import CovariaError
from covaria.findings import Component, Findings
from covaria.operations.folder import FOREIGN, NOT_WHOLE, WHOLE, describe_folder
from covaria.request.model import Request
from covaria.tree import Tree, record
from covaria.tree.integrity import sums_of_stage

STAGES = ("ingest", "reconstruction")


@pytest.fixture
def finished(tmp_path: Path) -> Tree:
    """An OUT of which both stages have succeeded and the mean map is there."""
    tree = Tree(tmp_path / "out")
    request = Request.model_validate({"out": tree.out, "ingest": {"particles": tmp_path / "p.star"}})
    record.write_request(
        tree, job_id="j", command="run", command_line="covaria run p.star -o out", stages=STAGES, request=request
    )
    tree.volumes.mkdir(parents=True)
    tree.mean.write_bytes(b"map")
    tree.mean_filtered.write_bytes(b"map")
    for stage in STAGES:
        files = sums_of_stage(tree, stage, None)
        record.write_stage_state(tree, stage, {"stage": stage, "status": "succeeded", "seconds": 3.0, "files": files})
    found = Findings(particles=9, used=8, tested=4, components=(Component(z_score=9.0, share=1.0),))
    record.write_findings(tree, "reconstruction", found)
    return tree


def test_a_finished_run(finished: Tree) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.out.rglob("*")}
    found = describe_folder(finished.out)
    assert found.exit_code == WHOLE and found.lines[0] == "an output directory of `covaria run`: finished"
    assert "1 component of motion confirmed by both half-sets." in found.lines
    assert found.next[0].startswith("covaria analyze ")
    assert before == {path: path.stat().st_mtime_ns for path in finished.out.rglob("*")}


def test_an_unfinished_run_and_a_failed_one(finished: Tree) -> None:
    record.write_stage_state(finished, "reconstruction", {"status": "running"})
    found = describe_folder(finished.out)
    assert found.exit_code == NOT_WHOLE and "not finished, and nobody works on it" in found.lines[0]
    assert found.next == ("covaria run p.star -o out     # the same again: it resumes from the last finished step",)
    error = {"type": "NoRoom", "message": "the disk is full", "hint": "make room"}
    record.write_stage_state(finished, "reconstruction", {"status": "failed", "error": error})
    found = describe_folder(finished.out)
    assert found.exit_code == NOT_WHOLE and found.lines[0].endswith(": failed")
    assert "why it failed: the disk is full" in found.lines and "  -> make room" in found.lines


def test_one_that_somebody_works_on(finished: Tree) -> None:
    from covaria.operations.one_machine import holding
    from covaria.running.console import patient_console

    record.write_stage_state(finished, "reconstruction", {"status": "running"})
    with holding(finished, patient_console()):
        found = describe_folder(finished.out)
    assert found.lines[0].endswith("is at work") and found.next == ()


def test_a_half_deleted_one(finished: Tree) -> None:
    finished.mean.unlink()
    found = describe_folder(finished.out)
    assert found.exit_code == NOT_WHOLE and found.status == "incomplete"
    assert "missing: 1 of 2 files of reconstruction (output/volumes/mean.mrc)" in found.lines
    assert found.next[0].startswith("covaria run p.star -o out --overwrite")


def test_damaged_records(finished: Tree) -> None:
    for book in (finished.request, finished.request_copy):
        book.write_text("{")
    found = describe_folder(finished.out)
    assert found.exit_code == NOT_WHOLE and "whose records are damaged" in found.lines[0]
    assert found.next == (f"covaria verify {finished.out}",)


@pytest.mark.parametrize(
    ("files", "words", "following"),
    [
        ((), "an empty folder", "covaria run PARTICLES"),
        (("notes.txt",), "no output directory of Covaria", ""),
        (("job.star", "run_data.star"), "what looks like a job of RELION", "run_data.star"),
        (("P1_J3_particles.cs",), "what looks like a job of cryoSPARC", "P1_J3_particles.cs"),
        (("weights.19.pkl", "z.19.pkl"), "what looks like a run of cryoDRGN", ""),
        (("model/params.pkl",), "without its .covaria folder", ""),
    ],
)
def test_folders_of_others(tmp_path: Path, files: tuple[str, ...], words: str, following: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = describe_folder(tmp_path)
    assert found.exit_code == FOREIGN and words in found.lines[0]
    assert following in "".join(found.next)


def test_a_folder_that_one_command_made(finished: Tree) -> None:
    folder = finished.out / "density"
    folder.mkdir()
    document = {
        "covaria_version": "1", "job_id": "j", "command": "density", "command_line": "covaria density out",
        "submitted_at": record.now(), "parameters": {}, "inputs": [], "stages": {"density": {}},
        "status": "succeeded", "outputs": {"density": ["data/a.pkl", "data/b.pkl"]},
    }  # fmt: skip
    (folder / "data").mkdir()
    (folder / "data/a.pkl").touch()
    (folder / "job.json").write_text(json.dumps(document))
    found = describe_folder(folder)
    assert found.exit_code == NOT_WHOLE and "what `covaria density` made" in found.lines[0]
    assert "missing: 1 of 2 files (data/b.pkl)" in found.lines and str(finished.out) in found.next[0]


def test_the_command_says_it_for_people_and_programs(finished: Tree, tmp_path: Path) -> None:
    def inspect(*words: str):
        return CliRunner().invoke(covaria.cli.application(), ["inspect", *words])

    shown = inspect(str(finished.out))
    assert shown.exit_code == WHOLE and "next     covaria analyze" in shown.output
    document = json.loads(inspect(str(finished.out), "--json").output)
    assert document["status"] == "succeeded" and document["kind"] == "run"
    missing = inspect(str(tmp_path / "nowhere"))
    assert isinstance(missing.exception, CovariaError) and "is not there" in str(missing.exception)
