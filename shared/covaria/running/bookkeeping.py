"""One stage with its books in OUT: state, job.json, run.log, README.txt; what was done is kept, the rest resumed."""

from __future__ import annotations

import errno
import time
from typing import Any

from covaria.errors import Cancelled, CovariaError, Interrupted
from covaria.job.ownership import is_done, prune, stage_folder
from covaria.plain import explain
from covaria.request.model import Request
from covaria.running import devices
from covaria.running.console import TOLD
from covaria.running.context import StageContext
from covaria.stage import Job, load_stage
from covaria.tree import Tree, record
from covaria.tree.integrity import check_for, name_of, sums_of_stage

NAMELESS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
"""What a write says without telling its file."""


def run_stage(name: str, job: Job, context: StageContext) -> None:
    """Run one stage with its bookkeeping in OUT; nothing where it is already done with the same fingerprint.

    The state goes queued -> running -> succeeded | failed | cancelled; an interrupted stage is queued again. What the
    stage reads is compared with its sums first; the sums of what it made are part of its state. Checkpoints are removed
    on success only. Raises DamagedFile, and what the stage raises.
    """
    tree = context.tree
    if is_done(tree, name, context.fingerprint):
        context.log.info("already done, kept")
        _record_folder(tree, name, job.request)
        record.refresh(tree)
        return
    devices.reset_peak_memory()
    began = time.monotonic()
    state: dict[str, Any] = {
        "stage": name,
        "job_id": job.job_id,
        "fingerprint": context.fingerprint,
        "status": "running",
        "started_at": record.now(),
        "device": context.device,
        "preemptions": (record.read_stage_state(tree, name) or {}).get("preemptions", 0),
        "files": (record.read_former_state(tree, name) or {}).get("files", {}),
    }
    kept = _files_kept(tree, name, job.request)
    _note(tree, name, state)
    context.log.info("started on %s, memory budget %.1f GB", context.device, context.memory_bytes / 1e9)
    try:
        for unknown in check_for(tree, name):
            context.log.warning("%s was made before sums were kept: its files are used as they are", unknown)
        load_stage(name)(job, context)
        state["files"] = kept | sums_of_stage(tree, name, stage_folder(name, job.request))
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in NAMELESS:
            error.filename = str(tree.out)
        state |= {"status": _status_after(error), "error": record.error_record(error)}
        context.log.error("%s", explain(error), exc_info=None if isinstance(error, CovariaError) else error)
        error.shown = True  # type: ignore[attr-defined]
        raise
    else:
        state["status"] = "succeeded"
        tree.pen.remove(tree.checkpoints(name))
        context.log.info("done in %.1f s", time.monotonic() - began, extra=TOLD)
    finally:
        images, seconds = context.report.images, time.monotonic() - began
        state |= {
            "finished_at": record.now(),
            "seconds": round(seconds, 3),
            "images_per_second": round(images / seconds, 2) if images and seconds > 0 else None,
            "peak_memory_bytes": devices.peak_memory_bytes(),
            "environment": devices.environment(context.device),
        }
        _note_end(tree, name, state, context)
    prune(tree)
    _record_folder(tree, name, job.request)
    record.refresh(tree)


def _record_folder(tree: Tree, stage: str, request: Request) -> None:
    folder = stage_folder(stage, request)
    if folder is not None and folder.is_dir():
        record.write_stage_folder_record(tree, stage, folder)


def _files_kept(tree: Tree, stage: str, request: Request) -> dict[str, Any]:
    """The sums of what this stage made in folders that it does not replace now: other analyses of the same model."""
    folder = stage_folder(stage, request)
    former = record.read_former_state(tree, stage)
    if former is None or stage != "analysis" or folder is None:
        return {}
    request_book = record.read_request(tree) or {}
    model = record.read_stage_state(tree, "reconstruction") or {}
    of_this_job = model.get("job_id") == request_book.get("job_id")
    if request_book.get("replaces", False) and of_this_job and record.read_stage_state(tree, stage) is None:
        return {}
    replaced = name_of(tree, folder) + "/"
    return {name: known for name, known in former.get("files", {}).items() if not name.startswith(replaced)}


def _status_after(error: BaseException) -> str:
    if isinstance(error, Cancelled):
        return "cancelled"
    return "queued" if isinstance(error, (Interrupted, KeyboardInterrupt)) else "failed"


def _note_end(tree: Tree, stage: str, state: dict[str, Any], context: StageContext) -> None:
    """The stage's last word. Where the disk takes none, what went wrong before is what a person hears of."""
    try:
        try:
            _note(tree, stage, state)
        except OSError:
            tree.pen.use_reserve()
            _note(tree, stage, state)
    except OSError as error:
        if state["status"] == "succeeded":
            raise
        context.log.error("the stage's end could not be noted: %s", explain(error))


def _note(tree: Tree, stage: str, state: dict[str, Any]) -> None:
    record.write_stage_state(tree, stage, state)
    if state["status"] != "succeeded":  # its documents wait until its folders are in order
        record.refresh(tree)
