"""One row of the ledger: what a job's folder says, and what it cost."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from covaria.job.books import Books
from covaria.operations.jobs_on_disk import JobView, view_job
from covaria.tree import Tree, record
from covaria.tree.book import read_if_sound
from covaria.tree.shapes import SubmissionShape

MOVING = ("queued", "running", "retrying", "parked")
"""States that another process may change without a notice."""
STUCK = ("job", "out", "stage", "state", "class", "instrument", "visit")
"""What is told of a job that stands still."""
WHOSE = ("proposal", "visit", "instrument", "sample")


@dataclass(frozen=True)
class Row:
    """A job in an output folder."""

    out: str
    job_id: str
    status: str
    stage: str
    job_class: str
    submitted_at: str
    since: str
    """When it came into this state, as far as that is known."""
    proposal: str
    visit: str
    instrument: str
    sample: str
    gpu_s: float
    cpu_s: float
    bytes: int
    particles: str
    """The file it was made from."""
    stamp: str
    """Of the folder's documents: unchanged, the row is too."""
    view: str
    """All that `covaria list --json` tells, as JSON."""


def row_of(out: Path) -> Row:
    """Read from the folder. Raises InvalidInput where there is no job, CovariaError, OSError."""
    stamp = stamp_of(out)
    view = view_job(out)
    tree = Tree(out)
    states = [record.read_stage_state(tree, stage.name) or {} for stage in view.stages]
    submission = read_if_sound(tree, tree.submission, SubmissionShape) or {}
    seconds = [(str(state.get("device") or ""), float(state.get("seconds") or 0.0)) for state in states]
    files = {name: known["size"] for state in states for name, known in state.get("files", {}).items()}
    asked = record.read_request(tree) or {"request": {}}
    whose = {name: str(view.origin.get(name, "")) for name in WHOSE}
    return Row(
        out=str(out),
        job_id=view.job_id,
        status=view.status,
        stage=view.current.name,
        job_class=str(submission.get("data", {}).get("job_class", "bulk")),
        submitted_at=view.submitted_at,
        since=view.current.since or view.submitted_at,
        gpu_s=sum(took for device, took in seconds if device.startswith("cuda")),
        cpu_s=sum(took for device, took in seconds if not device.startswith("cuda")),
        bytes=sum(files.values()),
        particles=str(asked["request"].get("ingest", {}).get("particles", "")),
        stamp=stamp,
        view=json.dumps(plain(view)),
        **whose,
    )


def plain(view: JobView) -> dict[str, Any]:
    """A job for programs."""
    return {**asdict(view), "out": str(view.out), "stages": [asdict(stage) for stage in view.stages]}


def stamp_of(out: Path) -> str:
    """Changes whenever a job's state does. Raises OSError where there is none."""
    tree = Tree(out)
    stamps = []
    for path in (tree.job_json, Books(tree, "").submission, tree.cancel):
        try:
            status = path.stat()
        except FileNotFoundError:
            stamps.append("-")
            continue
        stamps.append(f"{status.st_size}.{status.st_mtime_ns}")
    return " ".join(stamps)
