"""A whole run on one machine, in this process: the same messages and stages as the services', no broker."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from covaria.job.ownership import claim
from covaria.messages.work import Work
from covaria.request.identity import job_identity, stage_fingerprint
from covaria.request.model import Request
from covaria.request.stages import WITHOUT_DEVICE, in_order, planned_stages
from covaria.running import devices
from covaria.running.bookkeeping import run_stage
from covaria.running.context import LocalContext, Stopper
from covaria.stage import Job
from covaria.tree import Tree, record
from covaria.worker.inprocess import run_in_process


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
        stages=in_order(listed), request=request,
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
