"""The stage's process: runs one stage once and reports to its parent in JSON lines.

Forked by `covaria.worker.nursery`, it reads one line from stdin (what to do), then runs. stdin stays open as long as
the worker lives: its end means that the worker died, and the stage stops at its next step.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, TextIO, cast

from rich.console import Console

from covaria.errors import CovariaError
from covaria.job.lease import held
from covaria.messages.envelope import Message
from covaria.opening import Roots
from covaria.request.identity import stage_fingerprint
from covaria.request.model import Request
from covaria.request.stages import WITHOUT_DEVICE
from covaria.running.bookkeeping import run_stage
from covaria.running.console import PatientStream
from covaria.running.context import stage_context
from covaria.running.devices import default_memory_bytes, resolve_device
from covaria.running.followers import led
from covaria.running.nodes import Meeting, devices_of_a_node, sharers, team_of
from covaria.running.stopper import Stopper
from covaria.settings import Settings
from covaria.stage import Job
from covaria.tree import Tree
from covaria.worker.faults import Faults

REPORT_EVERY_S = 0.2
ORPHAN_GRACE_S = 30.0
DEFECT = 1
BYTES_PER_GB = 10**9


@dataclass(frozen=True)
class Order:
    """What the parent asks for: the line on stdin."""

    stage: str
    job_id: str
    request: dict[str, Any]
    lease: int
    roots: tuple[str, ...]
    device: str
    memory_bytes: int | None
    memory_scale: float
    crash_at: str

    @classmethod
    def of(cls, message: Message, lease: int, settings: Settings, memory_scale: float) -> Order:
        """For the stage that a message asks for, by the holder of the folder's lease."""
        return cls(
            stage=message.stage,
            job_id=message.job_id,
            request=message.data["request"],
            lease=lease,
            roots=tuple(map(str, settings.roots)),
            device=settings.device,
            memory_bytes=None if settings.memory_gb is None else int(settings.memory_gb * BYTES_PER_GB),
            memory_scale=memory_scale,
            crash_at=settings.crash_at,
        )


class Reporter:
    """Writes JSON lines to the parent. A parent that is gone is no error: the end of stdin tells."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def send(self, kind: str, **values: object) -> None:
        """One line."""
        try:
            self._stream.write(json.dumps({"kind": kind, **values}) + "\n")
            self._stream.flush()
        except (BrokenPipeError, ValueError):
            return


class ProgressReport:
    """Tells the parent of progress, a few times a second and at both ends of a step."""

    def __init__(self, reporter: Reporter, device: str, faults: Faults) -> None:
        self._reporter, self._device, self._faults = reporter, device, faults
        self._reported: dict[str, float] = {}

    def __call__(self, step: str, done: int, total: int, unit: str) -> None:
        now = time.monotonic()
        if done >= total or step not in self._reported or now - self._reported[step] >= REPORT_EVERY_S:
            self._reported[step] = now
            self._reporter.send(
                "progress", step=step, done=int(done), total=int(total), unit=unit, gpu_bytes=_gpu_bytes(self._device)
            )
            if done >= total:
                del self._reported[step]
        self._faults.passing("child_progress")


def main(report: int) -> int:
    """Obey one order, reporting to the descriptor `report`; the exit code is the error's (0: done)."""
    faulthandler.enable()
    order = Order(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    reporter = Reporter(os.fdopen(report, "w", encoding="utf-8"))
    try:
        _obey(order, reporter)
    except Exception as error:
        reporter.send(
            "error",
            types=[kind.__name__ for kind in type(error).__mro__ if kind is not object],
            message=error.message if isinstance(error, CovariaError) else str(error),
            hint=error.hint if isinstance(error, CovariaError) else "",
            errno=error.errno if isinstance(error, OSError) else None,
        )
        return error.exit_code if isinstance(error, CovariaError) else DEFECT
    reporter.send("done")
    return 0


def _obey(order: Order, reporter: Reporter) -> None:
    faults = Faults(order.crash_at)
    faults.passing("child_started")
    request = Request.model_validate(order.request, extra="ignore")
    tree = held(Tree(request.out), order.lease)
    tree = replace(tree, pen=replace(tree.pen, publishing=lambda: faults.passing("child_publish")))
    tree.pen.check()
    memory_bytes = int((order.memory_bytes or default_memory_bytes()) * order.memory_scale)
    devices = ("cpu",) if order.stage in WITHOUT_DEVICE else _devices(order.device)
    device, job = devices[0], Job(order.job_id, request)
    console = Console(file=cast(IO[str], PatientStream()), force_terminal=False, width=200)
    with (
        Stopper() as stopper,
        team_of(devices) as team,
        stage_context(
            tree,
            order.stage,
            stage_fingerprint(order.stage, request),
            device=device,
            memory_bytes=memory_bytes,
            console=console,
            stopper=stopper,
            roots=Roots.of(map(Path, order.roots)),
            listeners=(ProgressReport(reporter, device, faults),),
        ) as alone,
        led(alone, job, *sharers(tree, alone, devices, team)) as context,
    ):
        run_stage(order.stage, job, context)
    faults.passing("child_done")


def _devices(device: str) -> tuple[str, ...]:
    """One; of a machine that shares a job with others, all that it has."""
    return devices_of_a_node(device) if Meeting.told() else (resolve_device(device),)


def _stop_with_parent() -> None:
    """Wait for the end of stdin: the parent is gone. Stop at the next step, or die after a while."""
    while sys.stdin.read(4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_GRACE_S)
    os.killpg(os.getpgid(0), signal.SIGKILL)  # with all that it started: it leads a group of its own


def _gpu_bytes(device: str) -> int:
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda"):
        return 0
    return int(torch.cuda.memory_reserved(device))
