"""Jobs as the disk shows them: find them, read their state, cancel, send again. No broker is needed to look."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from covaria.errors import CovariaError, InvalidInput
from covaria.job.books import Books, cancel_note, submitted_message
from covaria.job.lease import LeaseState, latest
from covaria.job.size import sized
from covaria.messages.envelope import Message
from covaria.request.stages import STAGES
from covaria.tree import Tree, atomic, record
from covaria.tree.atomic import remove
from covaria.tree.book import copy_of

ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class StageView:
    """One stage of a job. `status`: queued, running, retrying, parked, succeeded, failed, cancelled."""

    name: str
    status: str
    attempt: int | None
    worker: str
    seconds: float | None
    error: str
    progress: dict[str, Any] | None
    since: str
    """When the stage entered this state, as far as it is known; "" else."""


@dataclass(frozen=True)
class JobView:
    """One job."""

    out: Path
    job_id: str
    status: str
    """As its current stage's, or succeeded."""
    submitted_at: str
    stages: tuple[StageView, ...]
    lease: LeaseState | None
    origin: dict[str, Any]
    """As it was submitted (covaria.request.origin)."""

    @property
    def current(self) -> StageView:
        """The first stage that has not succeeded, or the last one."""
        for stage in self.stages:
            if stage.status != "succeeded":
                return stage
        return self.stages[-1]


def find_jobs(folders: Iterable[Path], depth: int) -> Iterator[Path]:
    """Output folders of Covaria beneath `folders`, at most `depth` levels down; not inside one another."""
    for folder in folders:
        yield from _search(folder, depth)


def view_job(out: Path) -> JobView:
    """The state of the job in `out`. Raises InvalidInput where there is none."""
    tree = Tree(out)
    request = record.read_request(tree)
    if request is None:
        raise InvalidInput(
            "holds no job of Covaria",
            file=out,
            hint="give the output folder of a job; one that still waits is made by its first worker",
        )
    books = Books(tree, request["job_id"])
    stages = tuple(_view_stage(tree, books, name, request) for name in request["stages"])
    view = JobView(out, request["job_id"], "", request["submitted_at"], stages, latest(tree), request.get("origin", {}))
    return replace(view, status=view.current.status)


def cancel(out: Path) -> None:
    """Put the cancel file there; whoever runs the job, or takes it up later, stops."""
    atomic.write_text(Tree(out).cancel, cancel_note(view_job(out).job_id))


def message_to_resume(out: Path) -> Message | None:
    """The message of the first stage that has not succeeded; None for a job that is done. Raises InvalidInput.

    Where a stage is done but the hand-over to the next is not noted, that stage's message is sent: it hands over again.
    """
    view = view_job(out)
    tree = Tree(out)
    message = submitted_message(tree)
    if message is None or message.job_id != view.job_id:
        raise InvalidInput("was not submitted to the services", file=out, hint="`covaria run` resumes it here")
    books = Books(tree, view.job_id)
    left = [
        stage.name for stage in view.stages if not (stage.status == "succeeded" and books.is_handed_over(stage.name))
    ]
    if not left:
        return None
    route = tuple(stage for stage in STAGES if stage in left)
    work = message.work.model_copy(update={"route": route})
    return sized(replace(message, work=work, data={**message.data, "route": list(route)}))


def clear_failure(out: Path) -> None:
    """Take back a cancellation or a failure, so that the stage may run again."""
    tree = Tree(out)
    view = view_job(out)
    remove(tree.cancel)
    if view.current.status in ("failed", "parked", "cancelled"):
        Books(tree, view.job_id).settle(view.current.name, "queued", None)
        remove(Books(tree, view.job_id).delivery(view.current.name))


def waited_s(view: JobView) -> float | None:
    """How long a queued or retrying job has waited for its current stage; None for any other."""
    if view.current.status not in ("queued", "retrying"):
        return None
    since = view.current.since or view.submitted_at
    return max((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds(), 0.0)


def abandoned(views: Sequence[JobView], *, older_than_s: float, dead_after_s: float) -> list[JobView]:
    """Jobs that should move and do not: waiting or running, silent for a while, their lease free or dead.

    All leases are observed side by side, for `dead_after_s` at most.
    """
    silent = [
        view for view in views if view.status in ("queued", "running", "retrying") and _silent_s(view) >= older_than_s
    ]
    suspects = [view for view in silent if view.lease is not None and not view.lease.released]
    if suspects:
        time.sleep(dead_after_s)
    living = {view.out for view in suspects if _lives(view)}
    return [view for view in silent if view.out not in living]


def _lives(view: JobView) -> bool:
    """Whether the job's lease has moved; one that cannot be looked at now is left alone."""
    try:
        return latest(Tree(view.out)) != view.lease
    except (OSError, CovariaError):
        return True


def _silent_s(view: JobView) -> float:
    """Seconds since anything was noted of the job's current stage; inf where a clock that is ahead of ours noted it."""
    noted = [view.current.since or view.submitted_at, (view.current.progress or {}).get("at")]
    last = max(datetime.fromisoformat(text) for text in noted if text)
    seconds = (datetime.now(UTC) - last).total_seconds()
    return seconds if seconds >= 0 else math.inf


def _view_stage(tree: Tree, books: Books, name: str, request: dict[str, Any]) -> StageView:
    state = record.read_stage_state(tree, name) or {}
    note = books.read_delivery(name) or {}
    status = state.get("status", "queued")
    if note.get("job_id") == books.job_id and note["state"] in ("retrying", "parked") and status != "succeeded":
        status = note["state"]
    error = state.get("error", {}).get("message", "") if status not in ("succeeded", "running") else ""
    return StageView(
        name=name,
        status=status,
        attempt=note.get("attempt"),
        worker=note.get("worker", ""),
        seconds=state.get("seconds"),
        error=error or (note.get("error", "") if status in ("retrying", "parked") else ""),
        progress=books.read_progress(name) if status == "running" else None,
        since=note.get("at") or _previous_end(tree, name, request),
    )


def _previous_end(tree: Tree, name: str, request: dict[str, Any]) -> str:
    stages = request["stages"]
    position = stages.index(name)
    if position == 0:
        return str(request["submitted_at"])
    before = record.read_stage_state(tree, stages[position - 1]) or {}
    return str(before.get("finished_at") or "")


def _search(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    if any(entry.name == ".covaria" for entry in entries) and _is_noted(folder / ".covaria" / "request.json"):
        yield folder
        return
    if depth <= 0:
        return
    for entry in sorted(entries, key=lambda entry: entry.name):
        if not entry.name.startswith(".") and _is_folder(entry):
            yield from _search(Path(entry.path), depth - 1)


def _is_noted(book: Path) -> bool:
    """Whether something stands where a job's record belongs; whether it is one is for its reader to say."""
    try:
        return os.path.lexists(book) or os.path.lexists(copy_of(book))
    except (OSError, ValueError):
        return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
