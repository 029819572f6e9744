"""Run stages and keep the books: state, job.json, run.log, README.txt; refuse, resume, overwrite."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from covaria.errors import Cancelled, CovariaError, Interrupted, RefusedOutput
from covaria.jobs.request import Request
from covaria.jobs.work import Work
from covaria.local import devices
from covaria.local.context import LocalContext, Stopper
from covaria.local.fingerprint import job_identity, stage_fingerprint
from covaria.stage import STAGES, Job, load_stage
from covaria.tree import Tree, record
from covaria.tree.publish import remove
from covaria.worker.inprocess import run_in_process

WITHOUT_DEVICE = ("ingest", "density")
"""Stages that compute on the CPU alone and come in images without torch."""


def planned_stages(request: Request) -> tuple[str, ...]:
    """The stages that a whole run goes through."""
    if request.reconstruction.only_mean:
        return ("ingest", "reconstruction")
    return tuple(stage for stage in STAGES if stage != "density" or request.density.enabled)


def is_done(tree: Tree, stage: str, fingerprint: str) -> bool:
    """Whether `stage` has finished with exactly these options and inputs."""
    state = record.read_stage_state(tree, stage)
    return state is not None and state["status"] == "succeeded" and state["fingerprint"] == fingerprint


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
        if isinstance(error, CovariaError):
            context.log.error("%s", error)
            error.shown = True
        else:
            context.log.error("%s: %s", type(error).__name__, error, exc_info=error)
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


def run_stages(
    request: Request,
    stages: Sequence[str] | None = None,
    *,
    command: str,
    command_line: str,
    device: str = "auto",
    memory_bytes: int | None = None,
    console: Console | None = None,
) -> Tree:
    """Run `stages` (default: all that the request plans) in this process, resuming what an earlier run left.

    Raises RefusedOutput for an OUT that is finished (without request.overwrite) or not ours, Interrupted, Cancelled,
    and what the stages raise.
    """
    whole_run = stages is None
    chosen = planned_stages(request) if stages is None else tuple(stages)
    tree = Tree(request.out)
    claim(tree, request, chosen, whole_run=whole_run)
    resolved = devices.resolve_device(device) if set(chosen) - set(WITHOUT_DEVICE) else "cpu"
    console = console or Console(stderr=True)
    before = record.read_request(tree)
    job_id = before["job_id"] if before and not whole_run else job_identity(request)
    listed = set(chosen) | (set(before["stages"]) if before and not whole_run else set())
    record.write_request(
        tree, job_id=job_id, command=command, command_line=command_line,
        stages=tuple(stage for stage in STAGES if stage in listed), request=request.model_dump(mode="json"),
    )  # fmt: skip
    with Stopper(console) as stopper:

        def run_one(name: str, job: Job) -> None:
            context = LocalContext(
                tree, name, stage_fingerprint(name, job.request),
                device="cpu" if name in WITHOUT_DEVICE else resolved,
                memory_bytes=memory_bytes, console=console, stopper=stopper,
            )  # fmt: skip
            with context:
                run_stage(name, job, context)

        work = Work(request=request, route=chosen, command_line=command_line[:8192])  # type: ignore[arg-type]
        run_in_process(job_id, work, run_one)
    return tree


def claim(tree: Tree, request: Request, stages: Sequence[str], *, whole_run: bool) -> None:
    """Make OUT ready for `stages`, or refuse. An interrupted OUT is resumed; only the tree's own paths are removed."""
    out = tree.out
    if out.exists() and not out.is_dir():
        raise RefusedOutput("is a file", file=out, hint="give a folder")
    if not tree.is_empty and not tree.is_ours:
        raise RefusedOutput("is not empty and was not made by Covaria", file=out, hint="give a new or an empty folder")
    if whole_run:
        finished = record.read_request(tree) is not None and record.job_document(tree)["status"] == "succeeded"
    else:
        finished = all(_is_finished(tree, stage, request) for stage in stages)
    if request.overwrite:
        if whole_run:
            tree.clear()
        for stage in STAGES[STAGES.index(stages[0]) :]:
            remove(tree.stage_dir(stage))
            remove(tree.checkpoints(stage))
    elif finished:
        what = "a finished run" if whole_run else f"a finished {stages[-1]}"
        raise RefusedOutput(f"holds {what}", file=out, hint="give another folder, or --overwrite to replace it")
    tree.state.mkdir(parents=True, exist_ok=True)
    remove(tree.cancel)


def stage_folder(stage: str, request: Request) -> Path | None:
    """The folder that `stage` makes alone and that carries its own job.json."""
    tree = Tree(request.out)
    if stage == "density":
        return tree.density
    if stage == "analysis":
        return request.analysis.output or tree.analysis(request.analysis_zdim)
    return None


def _is_finished(tree: Tree, stage: str, request: Request) -> bool:
    """Finished with any options: replacing it needs --overwrite."""
    if stage == "analysis":
        folder = stage_folder(stage, request)
        return folder is not None and Tree(folder).job_json.is_file()
    state = record.read_stage_state(tree, stage)
    return state is not None and state["status"] == "succeeded"


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
