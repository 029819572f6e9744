"""A whole run from this process: the same messages and stages as the services', no broker."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from platform import node

from rich.console import Console

from covaria.errors import InvalidInput, RefusedOutput
from covaria.job.lease import LeaseKeeper, latest, take, watch
from covaria.job.ownership import refuse_finished, refuse_foreign, to_renew
from covaria.job.process import Process
from covaria.job.promotion import finish
from covaria.messages.work import Work
from covaria.plain import printable
from covaria.request.duration import Leg, legs_of
from covaria.request.identity import job_identity, stage_fingerprint
from covaria.request.model import Request
from covaria.request.stages import WITHOUT_DEVICE, in_order, planned_stages
from covaria.running import devices
from covaria.running.bookkeeping import run_stage
from covaria.running.console import patient_console
from covaria.running.context import stage_context
from covaria.running.followers import led
from covaria.running.nodes import sharers, team_of
from covaria.running.room import require_room
from covaria.running.run_line import RunLine
from covaria.running.stopper import Stopper
from covaria.settings import Settings
from covaria.stage import Job
from covaria.tree import Tree, record
from covaria.worker.inprocess import run_in_process

RENEW_S = 5.0
"""Stages that followers run in step with."""
DEAD_AFTER_S: float = Settings.model_fields["lease_dead_s"].default


def run_stages(
    request: Request,
    stages: Sequence[str] | None = None,
    *,
    command: str,
    command_line: str,
    device: str = "auto",
    gpus: str | None = None,
    memory_bytes: int | None = None,
    console: Console | None = None,
    verbose: bool = False,
) -> Tree:
    """Run `stages` (default: all that the request plans) in this process, resuming what an earlier run left.

    With several `gpus` ("all" or a number) the reconstruction is shared with a process for each of them, and with those
    of the machines that `covaria.running.nodes` finds in the environment.
    The console shows one line of progress and warnings, with `verbose` the log too. OUT's lease is held meanwhile.
    Raises RefusedOutput for an OUT that is finished (without request.overwrite), not ours, or worked on by another;
    Interrupted, Cancelled, and what the stages raise.
    """
    whole_run = stages is None
    chosen = planned_stages(request) if stages is None else tuple(stages)
    tree = Tree(request.out)
    console = console or patient_console()
    resolved = devices.resolve_devices(device, gpus) if set(chosen) - set(WITHOUT_DEVICE) else ("cpu",)
    refuse_foreign(tree)
    refuse_finished(tree, request, chosen, whole_run=whole_run)
    require_room(tree.out, 0, "a run")
    with (
        Stopper(console) as stopper,
        RunLine(console, chosen) as line,
        holding(tree, console) as held_tree,
        team_of(resolved) as team,
    ):
        refuse_finished(tree, request, chosen, whole_run=whole_run)
        former = None if whole_run else Books.of(held_tree, chosen)
        course = _Course(held_tree)
        job_id = _note_request(held_tree, request, chosen, command, command_line, whole_run=whole_run)

        def run_one(name: str, job: Job) -> None:
            if whole_run:  # more is known with each stage; the particles are settled by the first
                line.plan(course.legs(job.request, look=name in chosen[:2]))
            line.begin(name)
            with stage_context(
                held_tree, name, stage_fingerprint(name, job.request),
                device="cpu" if name in WITHOUT_DEVICE else resolved[0],
                memory_bytes=memory_bytes, console=console, stopper=stopper,
                listeners=(partial(line.hear, name),), said=line.said, verbose=verbose,
            ) as alone, led(alone, job, *sharers(held_tree, alone, resolved, team)) as context:  # fmt: skip
                run_stage(name, job, context)

        work = Work(request=request, route=chosen, command_line=command_line[:8192])  # type: ignore[arg-type]
        try:
            run_in_process(job_id, work, run_one)
        except InvalidInput:
            if former is not None:
                former.put_back()
            raise
    return tree


@dataclass
class _Course:
    """What the run goes through; nothing before its particles are read."""

    tree: Tree
    _size: tuple[int, int] | None = None
    """Particles in use, and their box."""

    def legs(self, request: Request, *, look: bool) -> list[Leg]:
        """As far as is known now; `look`: at the particles, too."""
        if look:
            self._size = _size_of(self.tree)
        if self._size is None:
            return []
        confirmed = record.read_findings(self.tree).confirmed
        used, box = self._size
        return legs_of(request, used=used, box=box, cores=devices.cores(), confirmed=confirmed)


def _size_of(tree: Tree) -> tuple[int, int] | None:
    from covaria.particles import load

    if not tree.particles.is_file():
        return None
    try:
        particles = load(tree.particles)
    except InvalidInput:  # what is wrong with them is for the stage to say that reads them
        return None
    return int(particles.used.sum()), particles.box


def _note_request(
    tree: Tree, request: Request, chosen: Sequence[str], command: str, command_line: str, *, whole_run: bool
) -> str:
    """Record what is asked for; the job's id."""
    before = record.read_request(tree)
    job_id = str(before["job_id"]) if before and not whole_run else job_identity(request)
    listed = set(chosen) | (set(before["stages"]) if before and not whole_run else set())
    renewed = to_renew(tree, request, chosen, job_id, whole_run=whole_run)
    record.write_request(
        tree, job_id=job_id, command=command, command_line=command_line, stages=in_order(listed), request=request,
        renew=renewed, replaces=whole_run and bool(renewed),
    )  # fmt: skip
    for stage in renewed:
        tree.pen.remove(tree.checkpoints(stage))
    tree.pen.remove(tree.cancel)
    return job_id


@contextmanager
def holding(tree: Tree, console: Console) -> Iterator[Tree]:
    """OUT's lease for the length of the block: the tree with its pen.

    Raises RefusedOutput where another process works there. One that ended on this machine is known to be gone; any
    other is watched until its lease moves, or has stood still for long enough.
    """
    seen = latest(tree)
    if seen is not None and not seen.released:
        if seen.process is None or not seen.process.is_gone:
            console.print(f"{printable(seen.owner)} worked here: looking whether it still does ...", markup=False)
        if watch(tree, seen, DEAD_AFTER_S, _wait) == "live":
            raise _occupied(tree, seen.owner)
        seen = latest(tree)
    process = Process.this()
    lease = take(tree, f"covaria on {node()}, process {os.getpid()}", seen, process)
    if lease is None:
        raise _occupied(tree, "another process that was faster")
    keeper = LeaseKeeper(lease, RENEW_S)
    try:
        finish(lease.tree)  # an update that was killed while it was put in place
        yield lease.tree
    finally:
        keeper.release()


def _wait(seconds: float) -> bool:
    time.sleep(seconds)
    return True


def _occupied(tree: Tree, owner: str) -> RefusedOutput:
    return RefusedOutput(f"is being worked on by {owner}", file=tree.out, hint="wait for it, or give another folder")


@dataclass(frozen=True)
class Books:
    """The books of a finished OUT before a stage alone runs in it: one that is refused leaves them as they were."""

    tree: Tree
    stages: tuple[str, ...]
    contents: dict[Path, bytes | None]

    @classmethod
    def of(cls, tree: Tree, stages: Sequence[str]) -> Books | None:
        """None where OUT has no finished state to go back to."""
        request = record.read_request(tree)
        if request is None or record.job_document(tree)["status"] != "succeeded":
            return None
        paths = [tree.request, tree.request_copy]
        for stage in stages:
            paths += [tree.stage_state(stage), tree.stage_state_copy(stage), tree.stage_notes(stage)]
            paths += [tree.stage_findings(stage), tree.stage_log(stage)]
        return cls(tree, tuple(stages), {path: path.read_bytes() if path.is_file() else None for path in paths})

    def put_back(self) -> None:
        """Write them again, and the documents made from them."""
        for stage in self.stages:
            self.tree.pen.remove(self.tree.checkpoints(stage))
        for path, content in self.contents.items():
            if content is None:
                self.tree.pen.remove(path)
            else:
                self.tree.write_bytes(path, content)
        record.refresh(self.tree)
