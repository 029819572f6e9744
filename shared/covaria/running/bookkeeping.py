"""One stage with its books in OUT: state, job.json, run.log, README.txt; what was done is kept, the rest resumed."""

from __future__ import annotations

import time
from typing import Any

from covaria.errors import Cancelled, CovariaError, Interrupted
from covaria.job.ownership import is_done, stage_folder
from covaria.plain import explain
from covaria.request.model import Request
from covaria.running import devices
from covaria.running.context import LocalContext
from covaria.stage import Job, load_stage
from covaria.tree import Tree, record
from covaria.tree.publish import remove


def run_stage(name: str, job: Job, context: LocalContext) -> None:
    """Run one stage with its bookkeeping in OUT; nothing where it is already done with the same fingerprint.

    The state goes queued -> running -> succeeded | failed | cancelled; an interrupted stage is queued again.
    Checkpoints are removed on success only. Raises what the stage raises.
    """
    tree = Tree(job.request.out)
    if is_done(tree, name, context.fingerprint):
        context.log.info("already done, kept")
        _record_folder(tree, name, job.request)
        return
    _remove_leftovers(tree, name)
    devices.reset_peak_memory()
    began = time.monotonic()
    state: dict[str, Any] = {
        "stage": name,
        "job_id": job.job_id,
        "fingerprint": context.fingerprint,
        "status": "running",
        "started_at": record.now(),
        "device": context.device,
    }
    _note(tree, name, state)
    context.log.info("started on %s, memory budget %.1f GB", context.device, context.memory_bytes / 1e9)
    try:
        load_stage(name)(job, context)
    except BaseException as error:
        state |= {"status": _status_after(error), "error": record.error_record(error)}
        context.log.error("%s", explain(error), exc_info=None if isinstance(error, CovariaError) else error)
        error.shown = True  # type: ignore[attr-defined]
        raise
    else:
        state["status"] = "succeeded"
        remove(tree.checkpoints(name))
        context.log.info("done in %.1f s", time.monotonic() - began)
    finally:
        seconds = time.monotonic() - began
        state |= {
            "finished_at": record.now(),
            "seconds": round(seconds, 3),
            "images_per_second": round(context.images / seconds, 2) if context.images and seconds > 0 else None,
            "peak_memory_bytes": devices.peak_memory_bytes(),
            "environment": devices.environment(context.device),
        }
        _note(tree, name, state)
    _record_folder(tree, name, job.request)


def _record_folder(tree: Tree, stage: str, request: Request) -> None:
    folder = stage_folder(stage, request)
    if folder is not None and folder.is_dir():
        record.write_stage_folder_record(tree, stage, folder)


def _remove_leftovers(tree: Tree, stage: str) -> None:
    """Staging folders of a run of this stage that was killed."""
    if tree.temporary.is_dir():
        for path in tree.temporary.glob(f"{stage}-*"):
            remove(path)


def _status_after(error: BaseException) -> str:
    if isinstance(error, Cancelled):
        return "cancelled"
    return "queued" if isinstance(error, (Interrupted, KeyboardInterrupt)) else "failed"


def _note(tree: Tree, stage: str, state: dict[str, Any]) -> None:
    record.write_stage_state(tree, stage, state)
    record.refresh(tree)
