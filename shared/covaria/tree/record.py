"""job.json, command.txt, run.log and README.txt: regenerated whole from .covaria/, each replaced in one rename.

The facts lie in .covaria/request.json (what was asked) and .covaria/stages/<stage>/{state.json, log} (what happened);
whoever may write them calls `refresh`, and a reader meets valid JSON at every instant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import covaria
from covaria.errors import InvalidInput
from covaria.findings import Findings, together
from covaria.plain import explain
from covaria.request.model import Request
from covaria.request.paths import input_files
from covaria.request.stages import STAGES, in_order
from covaria.tree import atomic
from covaria.tree.inventory import inventory
from covaria.tree.paths import Tree
from covaria.tree.readme import readme

SCHEMA_VERSION = 1
STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")
STAGE_KEYS = (
    "status", "started_at", "finished_at", "seconds", "images_per_second", "peak_memory_bytes", "device",
)  # fmt: skip


def now() -> str:
    """The present in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_request(
    tree: Tree, *, job_id: str, command: str, command_line: str, stages: tuple[str, ...], request: Request
) -> None:
    """Record what was asked for."""
    submitted = now()
    before = read_request(tree)
    lines = [*before["command_lines"], command_line] if before and before["job_id"] == job_id else [command_line]
    document = {
        "schema_version": SCHEMA_VERSION,
        "job_id": job_id,
        "command": command,
        "command_line": command_line,
        "command_lines": lines,
        "stages": list(in_order(stages)),
        "submitted_at": submitted,
        "inputs": inputs(request),
        "request": request.model_dump(mode="json"),
    }
    atomic.write_json(tree.request, document)


def read_request(tree: Tree) -> dict[str, Any] | None:
    """What `write_request` recorded, or None."""
    return _read(tree.request)


def write_stage_state(tree: Tree, stage: str, state: Mapping[str, Any]) -> None:
    """Record what is known of a stage; `state["status"]` is one of STATUSES."""
    if state["status"] not in STATUSES:
        raise ValueError(f"no such status: {state['status']!r}")
    atomic.write_json(tree.stage_state(stage), dict(state))


def read_stage_state(tree: Tree, stage: str) -> dict[str, Any] | None:
    """What `write_stage_state` recorded, or None where the stage has not begun."""
    return _read(tree.stage_state(stage))


def write_findings(tree: Tree, stage: str, findings: Findings) -> None:
    """Record what a stage found: only what it knows itself."""
    atomic.write_json(tree.stage_findings(stage), findings.model_dump(mode="json", exclude_unset=True))


def read_findings(tree: Tree) -> Findings:
    """What the stages found, together."""
    parts = (_read(tree.stage_findings(stage)) for stage in STAGES)
    return together(Findings.model_validate(part) for part in parts if part is not None)


def inputs(request: Request) -> list[dict[str, Any]]:
    """Each file that the request names as its input."""
    return [describe_file(file.path) for file in input_files(request)]


def describe_file(path: Path) -> dict[str, Any]:
    """path, size and sha256 (not of maps and image stacks: they are large)."""
    entry: dict[str, Any] = {"path": str(path.absolute())}
    if path.is_file():
        entry["size"] = path.stat().st_size
        if path.suffix not in (".mrcs", ".mrc"):
            entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return entry


def error_record(error: BaseException) -> dict[str, str]:
    """{type, message, hint} as job.json gives it: in plain words."""
    told = explain(error)
    return {"type": type(error).__name__, "message": told.message, "hint": told.hint}


def job_status(planned: list[str], states: Mapping[str, Mapping[str, Any]]) -> str:
    """One word for the whole job: the worst news first, `queued` while a planned stage waits."""
    statuses = [states[stage]["status"] if stage in states else "queued" for stage in planned]
    for word in ("failed", "cancelled", "running"):
        if word in statuses:
            return word
    return "succeeded" if all(status == "succeeded" for status in statuses) else "queued"


def job_document(tree: Tree, stages: list[str] | None = None, folder: Path | None = None) -> dict[str, Any]:
    """job.json for OUT; or, given one stage and its folder, for that folder. Raises InvalidInput: OUT is not ours."""
    request = read_request(tree)
    if request is None:
        raise InvalidInput("holds no request", file=tree.request, hint="this is not an output directory of Covaria")
    planned = request["stages"] if stages is None else stages
    known = {stage: state for stage in planned if (state := read_stage_state(tree, stage)) is not None}
    document: dict[str, Any] = {
        "covaria_version": covaria.__version__,
        "schema_version": SCHEMA_VERSION,
        "job_id": request["job_id"],
        "command": request["command"],
        "command_line": request["command_line"],
        "submitted_at": request["submitted_at"],
        "parameters": request["request"],
        "inputs": request["inputs"],
        "status": job_status(planned, known),
        "stages": {
            stage: {key: known.get(stage, {"status": "queued"}).get(key) for key in STAGE_KEYS} for stage in planned
        },
        "environment": _environment(known),
        "outputs": inventory(folder or tree.out),
    }
    findings = read_findings(tree)
    if findings.model_fields_set:
        document["findings"] = findings.model_dump(mode="json") | {"headline": findings.headline()}
    notes = [note for stage in planned for note in (_read(tree.stage_notes(stage)) or {}).get("notes", [])]
    if notes:
        document["notes"] = notes
    errors = [state["error"] for state in known.values() if state.get("error")]
    if errors:
        document["error"] = errors[-1]
    return document


def refresh(tree: Tree) -> None:
    """Regenerate OUT's job.json, command.txt, run.log and README.txt from .covaria/."""
    document = job_document(tree)
    request = read_request(tree)
    assert request is not None
    atomic.write_json(tree.job_json, document)
    atomic.write_text(tree.command_txt, "\n".join(request["command_lines"]) + "\n")
    atomic.write_text(tree.readme, readme(document))
    refresh_log(tree)


def refresh_log(tree: Tree) -> None:
    """Regenerate run.log alone: the stages' logs one after another."""
    logs = [tree.stage_log(stage) for stage in STAGES]
    atomic.write_bytes(tree.run_log, b"".join(log.read_bytes() for log in logs if log.is_file()))


def write_stage_folder_record(tree: Tree, stage: str, folder: Path) -> None:
    """The same four files for a folder that one stage made: density/, analysis_<zdim>/."""
    log = tree.stage_log(stage)
    write_folder_record(folder, job_document(tree, [stage], folder), log.read_bytes() if log.is_file() else b"")


def write_folder_record(folder: Path, document: Mapping[str, Any], log: bytes) -> None:
    """job.json, command.txt, README.txt and run.log in `folder`."""
    part = Tree(folder)
    atomic.write_json(part.job_json, document)
    atomic.write_text(part.command_txt, document["command_line"] + "\n")
    atomic.write_text(part.readme, readme(document))
    atomic.write_bytes(part.run_log, log)


def _environment(states: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for state in states.values():
        for key, value in state.get("environment", {}).items():
            if value or key not in merged:
                merged[key] = value
    return merged


def _read(path: Path) -> dict[str, Any] | None:
    try:
        result: dict[str, Any] | None = json.loads(path.read_text())
        return result
    except FileNotFoundError:
        return None
