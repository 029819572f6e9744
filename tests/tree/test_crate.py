"""OUT as an RO-Crate: what it says is there, and a public validator agrees where one is installed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from covaria.request.model import IngestOptions, Request
from covaria.request.stages import STAGES
from covaria.tree import Tree, record
from covaria.tree.sums import sum_of

VALIDATOR = shutil.which("rocrate-validator")


@pytest.fixture(name="tree")
def tree_fixture(tmp_path: Path) -> Tree:
    """A run of which ingest has finished and reconstruction failed."""
    source = tmp_path / "particles.star"
    source.write_text("data_particles\n")
    tree = Tree(tmp_path / "out")
    request = Request(out=tree.out, ingest=IngestOptions(particles=source), seed=7)
    record.write_request(
        tree, job_id="job", command="run", command_line="covaria run x", stages=STAGES, request=request
    )
    star = tree.downsampled_star(16)
    star.parent.mkdir(parents=True)
    star.write_text("data_particles\n")
    state = {"stage": "ingest", "job_id": "job", "started_at": record.now(), "finished_at": record.now()}
    environment = {"covaria": "0.1.0", "python": "3.11", "image": "covaria/ingest@sha256:" + "0" * 64}
    done = {"status": "succeeded", "files": {"downsampled/particles.16.star": sum_of(star)}, "seconds": 1.0}
    record.write_stage_state(tree, "ingest", state | done | {"environment": environment})
    error = {"type": "InvalidInput", "message": "too few images", "hint": ""}
    record.write_stage_state(tree, "reconstruction", state | {"status": "failed", "error": error})
    record.refresh(tree)
    return tree


def entities(tree: Tree) -> dict[str, dict[str, Any]]:
    graph = json.loads(tree.crate.read_text())["@graph"]
    assert len({entity["@id"] for entity in graph}) == len(graph), "each entity once"
    return {entity["@id"]: entity for entity in graph}


def test_everything_that_is_named_is_described_and_every_file_has_its_sum(tree: Tree, tmp_path: Path) -> None:
    found = entities(tree)
    named = [
        reference["@id"]
        for entity in found.values()
        for value in entity.values()
        for reference in (value if isinstance(value, list) else [value])
        if isinstance(reference, dict)
        and not reference["@id"].startswith(("http://schema.org", "https://w3id.org/ro/crate"))
    ]
    assert set(named) <= found.keys()
    parts = {part["@id"] for part in found["./"]["hasPart"]}
    files = {name for name, entity in found.items() if entity["@type"] == "File"}
    assert parts == files and {"downsampled/particles.16.star", "job.json", "report.html", "run.log"} <= files
    for name in files:
        path = Path(name.removeprefix("file://")) if name.startswith("file://") else tree.out / name
        assert found[name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest(), name
        assert found[name]["contentSize"] == str(path.stat().st_size)
    assert (tmp_path / "particles.star").as_uri() in files


def test_the_run_says_with_what_it_was_made_and_how_it_ended(tree: Tree) -> None:
    found = entities(tree)
    action = found["#run"]
    assert action["actionStatus"]["@id"].endswith("FailedActionStatus") and action["error"] == "too few images"
    assert action["description"] == "covaria run x" and action["startTime"] <= action["endTime"]
    given = {reference["@id"] for reference in action["object"]}
    assert {"#option-seed", "#option-ingest.downsample", "#environment-image"} <= given
    assert found["#option-seed"]["value"] == "7" and found["#option-reconstruction.zdim"]["value"] == "1, 2, 4, 10, 20"
    assert found["#environment-image"]["value"].startswith("covaria/ingest@sha256:")
    assert found["#covaria"]["softwareVersion"]
    assert found["ro-crate-metadata.json"]["conformsTo"]["@id"] == "https://w3id.org/ro/crate/1.1"


def test_the_crate_is_under_the_books_sums(tree: Tree) -> None:
    assert record.read_document_sums(tree)["ro-crate-metadata.json"] == sum_of(tree.crate)


@pytest.mark.skipif(VALIDATOR is None, reason="rocrate-validator is not installed (its rich is older than ours)")
@pytest.mark.parametrize("profile", ["ro-crate-1.1", "process-run-crate"])
def test_a_public_validator_finds_nothing(tree: Tree, profile: str) -> None:
    words = [str(VALIDATOR), "--disable-color", "validate", "-p", profile, "--no-paging", "-l", "required"]
    done = subprocess.run([*words, str(tree.out)], capture_output=True, text=True, timeout=120)
    if "URLError" in done.stdout + done.stderr:
        pytest.skip("the validator asks the network for RO-Crate's context")
    assert done.returncode == 0, done.stdout
