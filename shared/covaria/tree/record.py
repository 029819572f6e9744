"""job.json, command.txt, run.log, README.txt and report.html: made whole from .covaria/, each replaced in one rename.

The facts lie in .covaria/request.json (what was asked) and .covaria/stages/<stage>/{state.json, log} (what happened);
whoever may write them calls `refresh`, and a reader meets valid JSON at every instant.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import covaria
from covaria.errors import InvalidInput
from covaria.findings import Findings, together
from covaria.opening import open_inside
from covaria.plain import explain
from covaria.request.model import Request
from covaria.request.stages import STAGES, in_order
from covaria.tree import atomic
from covaria.tree.atomic import json_bytes
from covaria.tree.book import DamagedBook, read_book, read_if_sound, write_book
from covaria.tree.crate import crate
from covaria.tree.history import environment, job_status, timing
from covaria.tree.inventory import inventory
from covaria.tree.paths import Tree
from covaria.tree.readme import readme
from covaria.tree.report import report
from covaria.tree.shapes import DocumentShape, DocumentsShape, NotesShape, RequestShape, StageShape
from covaria.tree.sums import inputs_of, sum_of_bytes

SCHEMA_VERSION = 1
STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")
MAX_LOG = 1 << 28
COMMANDS = {"ingest": "ingest", "reconstruction": "reconstruct", "density": "density", "analysis": "analyze"}
"""Which command makes a stage by itself."""
STAGE_KEYS = (
    "status", "started_at", "finished_at", "seconds", "images_per_second", "peak_memory_bytes", "device", "preemptions",
)  # fmt: skip


def now() -> str:
    """The present in UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_request(
    tree: Tree,
    *,
    job_id: str,
    command: str,
    command_line: str,
    stages: tuple[str, ...],
    request: Request,
    origin: Mapping[str, Any] | None = None,
    renew: Collection[str] = (),
    generation: str = "",
    replaces: bool = False,
) -> None:
    """Record what was asked for.

    `renew`: stages to be done afresh, whatever is known of them; their results stay until the new ones replace them.
    `generation` tells what is done afresh from what was there (default: drawn).
    `replaces`: what the finished job has not made is removed at its end (covaria.job.ownership.prune).
    """
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
        "inputs": inputs_of(request),
        "request": request.model_dump(mode="json"),
        "origin": dict(origin or {}),
        "generations": (before or {}).get("generations", {}) | dict.fromkeys(renew, generation or secrets.token_hex(8)),
        "replaces": replaces or (before or {}).get("replaces", False),
    }
    write_book(tree, tree.request, document, with_copy=True)


def read_request(tree: Tree) -> dict[str, Any] | None:
    """What `write_request` recorded, or None."""
    try:
        return read_book(tree, tree.request, RequestShape)
    except DamagedBook:
        document = read_if_sound(tree, tree.job_json, DocumentShape)
        if document is None:
            raise
        return _request_of(document)


def read_folder_document(folder: Path) -> dict[str, Any] | None:
    """The job.json of a folder that one stage made, None where there is none. Raises DamagedBook."""
    return read_book(Tree(folder), Tree(folder).job_json, DocumentShape)


def note_replaced(tree: Tree) -> None:
    """The job has replaced the one before it: nothing of that is left."""
    request = read_request(tree)
    if request is not None:
        write_book(tree, tree.request, {**request, "replaces": False}, with_copy=True)


def write_stage_state(tree: Tree, stage: str, state: Mapping[str, Any]) -> None:
    """Record what is known of a stage; `state["status"]` is one of STATUSES."""
    if state["status"] not in STATUSES:
        raise ValueError(f"no such status: {state['status']!r}")
    state = {**state, "generation": _generation(tree, stage)}
    write_book(tree, tree.stage_state(stage), state, with_copy=True)


def read_stage_state(tree: Tree, stage: str) -> dict[str, Any] | None:
    """What `write_stage_state` recorded, or None where the stage has not begun, or is to be done afresh."""
    state = read_former_state(tree, stage)
    return state if state is not None and state.get("generation", "") == _generation(tree, stage) else None


def read_former_state(tree: Tree, stage: str) -> dict[str, Any] | None:
    """The same, also of a stage that is to be done afresh: what its results on disk are."""
    return read_if_sound(tree, tree.stage_state(stage), StageShape)


def _is_stale(tree: Tree, stage: str) -> bool:
    """Whether what is known of the stage is of a job that is being replaced."""
    return read_former_state(tree, stage) is not None and read_stage_state(tree, stage) is None


def _generation(tree: Tree, stage: str) -> str:
    return str((read_request(tree) or {}).get("generations", {}).get(stage, ""))


def write_findings(tree: Tree, stage: str, findings: Findings) -> None:
    """Record what a stage found: only what it knows itself."""
    write_book(tree, tree.stage_findings(stage), findings.model_dump(mode="json", exclude_unset=True))


def read_findings(tree: Tree) -> Findings:
    """What the stages found, together."""
    fresh = (stage for stage in STAGES if not _is_stale(tree, stage))
    parts = (read_if_sound(tree, tree.stage_findings(stage), Findings) for stage in fresh)
    return together(Findings.model_validate(part) for part in parts if part)


def write_notes(tree: Tree, stage: str, notes: Iterable[str]) -> None:
    """Record what a user should know of a stage's input or result."""
    write_book(tree, tree.stage_notes(stage), {"notes": list(notes)})


def read_notes(tree: Tree, stage: str) -> list[str]:
    """What `write_notes` recorded."""
    book = read_if_sound(tree, tree.stage_notes(stage), NotesShape) if not _is_stale(tree, stage) else None
    return [] if book is None else list(book["notes"])


def error_record(error: BaseException) -> dict[str, str]:
    """{type, message, hint} as job.json gives it: in plain words."""
    told = explain(error)
    return {"type": type(error).__name__, "message": told.message, "hint": told.hint}


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
        "command": request["command"] if stages is None else COMMANDS[stages[0]],
        "command_line": request["command_line"],
        "submitted_at": request["submitted_at"],
        "parameters": request["request"],
        "inputs": request["inputs"],
        "origin": request.get("origin", {}),
        "status": job_status(planned, known),
        "stages": {
            stage: {key: known.get(stage, {"status": "queued"}).get(key) for key in STAGE_KEYS} for stage in planned
        },
        "timing": timing(planned, known),
        "provenance": {"pipeline_result_dir": str(tree.out.absolute())},
        "environment": environment(known),
        "outputs": inventory(folder or tree.out),
    }
    findings = read_findings(tree)
    if findings.model_fields_set:
        document["findings"] = findings.model_dump(mode="json") | {"headline": findings.headline()}
    notes = [note for stage in planned for note in read_notes(tree, stage)]
    if notes:
        document["notes"] = notes
    errors = [state["error"] for state in known.values() if state.get("error")]
    if errors:
        document["error"] = errors[-1]
    return document


def refresh(tree: Tree) -> None:
    """Regenerate OUT's job.json, command.txt, run.log, README.txt, report.html and ro-crate-metadata.json."""
    request = read_request(tree)
    document = job_document(tree)
    lines = document["command_line"] if request is None else "\n".join(request["command_lines"])
    contents = _documents(tree, document, lines, _run_log(tree, STAGES))
    states = [read_stage_state(tree, stage) or {} for stage in STAGES]
    contents[tree.report] = report(tree, document, read_findings(tree), states).encode()
    files = {name: known for state in states for name, known in state.get("files", {}).items()}
    files |= {path.relative_to(tree.out).as_posix(): sum_of_bytes(content) for path, content in contents.items()}
    contents[tree.crate] = json_bytes(crate(document, files))
    _write_documents(tree, contents)


def refresh_log(tree: Tree) -> None:
    """Regenerate run.log alone: the stages' logs one after another."""
    tree.write_bytes(tree.run_log, _run_log(tree, STAGES))


def write_stage_folder_record(tree: Tree, stage: str, folder: Path) -> None:
    """The same four files for a folder that one stage made: density/, analysis_<zdim>/."""
    document = job_document(tree, [stage], folder)
    part = Tree(folder, tree.pen)
    _write_documents(tree, _documents(part, document, document["command_line"], _run_log(tree, (stage,))))


def read_stage_log(tree: Tree, stage: str) -> bytes:
    """The lines of a stage; nothing where there is no readable log."""
    try:
        with open_inside(tree.out, tree.stage_log(stage).relative_to(tree.out).as_posix(), most_bytes=MAX_LOG) as file:
            return file.read()
    except InvalidInput:
        return b""


def read_stage_log_on(tree: Tree, stage: str, begin: int) -> Iterator[bytes]:
    """What has been added to a stage's log behind byte `begin`, in pieces; nothing where there is no readable log."""
    try:
        with open_inside(tree.out, tree.stage_log(stage).relative_to(tree.out).as_posix()) as file:
            file.seek(begin)
            while piece := file.read(1 << 20):
                yield piece
    except InvalidInput:
        return


def read_document_sums(tree: Tree) -> dict[str, dict[str, Any]]:
    """The sums of everything that is made from the books, by name beneath OUT."""
    return dict((read_if_sound(tree, tree.documents, DocumentsShape) or {}).get("files", {}))


def _run_log(tree: Tree, stages: Iterable[str]) -> bytes:
    return b"".join(read_stage_log(tree, stage) for stage in stages)


def write_folder_record(folder: Path, document: Mapping[str, Any], log: bytes) -> None:
    """job.json, command.txt, README.txt and run.log in `folder`, which is nobody's OUT."""
    for path, content in _documents(Tree(folder), document, document["command_line"], log).items():
        atomic.write_bytes(path, content)


def _documents(part: Tree, document: Mapping[str, Any], command_lines: str, log: bytes) -> dict[Path, bytes]:
    return {
        part.job_json: json_bytes(document),
        part.command_txt: (command_lines + "\n").encode(),
        part.readme: readme(document).encode(),
        part.run_log: log,
    }


def _write_documents(tree: Tree, contents: dict[Path, bytes]) -> None:
    tree.pen.write_together(contents)
    contents |= {tree.stage_log(stage): read_stage_log(tree, stage) for stage in STAGES}
    sums = {
        path.relative_to(tree.out).as_posix(): sum_of_bytes(content)
        for path, content in contents.items()
        if path.is_relative_to(tree.out) and path.is_file()
    }
    known = {name: value for name, value in read_document_sums(tree).items() if (tree.out / name).parent.is_dir()}
    write_book(tree, tree.documents, {"files": known | sums})


def _request_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What job.json repeats of request.json."""
    return {
        "schema_version": SCHEMA_VERSION,
        **{key: document[key] for key in ("job_id", "command", "command_line", "submitted_at", "inputs")},
        "command_lines": [document["command_line"]],
        "stages": list(document["stages"]),
        "request": document["parameters"],
        "origin": document.get("origin", {}),
    }
