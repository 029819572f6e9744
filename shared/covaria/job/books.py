"""What the services note in an output folder beside the stages' own books, and what they read there.

.covaria/submission.json                    the job as it was submitted: enough to send it again
.covaria/stages/<stage>/delivery.json       what became of the stage's message: attempt, worker, last error
.covaria/stages/<stage>/progress.json       step, done, total, rate, seconds left
.covaria/stages/<stage>/handover.json       the next stage's message is safe at the broker
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covaria.errors import InvalidInput, MissingFile, RefusedOutput
from covaria.job.ownership import to_renew
from covaria.messages.envelope import Message, new_message
from covaria.messages.work import JobClass, Work
from covaria.opening import open_inside
from covaria.request.stages import in_order
from covaria.tree import Tree, record
from covaria.tree.book import copy_of, read_book, read_if_sound, write_book
from covaria.tree.shapes import (
    DeliveryShape,
    HandoverShape,
    PriorityShape,
    ProgressShape,
    SubmissionShape,
    SupersededShape,
)

MOST_OF_A_CANCEL = 4096
SUBMIT_AGAIN = "submit the job again with `covaria submit`"


@dataclass(frozen=True)
class Books:
    """The services' notes of one job in one output folder."""

    tree: Tree
    job_id: str

    @property
    def submission(self) -> Path:
        return self.tree.submission

    def delivery(self, stage: str) -> Path:
        return self.tree.delivery(stage)

    def progress(self, stage: str) -> Path:
        return self.tree.stage_progress(stage)

    def handover(self, stage: str) -> Path:
        return self.tree.handover(stage)

    # ---- reading
    def is_ours(self) -> bool:
        """Whether the folder holds this very job."""
        request = record.read_request(self.tree)
        return request is not None and request["job_id"] == self.job_id

    def is_done(self, stage: str) -> bool:
        """Whether this job's `stage` has finished."""
        state = record.read_stage_state(self.tree, stage)
        return state is not None and state["status"] == "succeeded" and state.get("job_id") == self.job_id

    def is_handed_over(self, stage: str) -> bool:
        """Whether the next stage's message is known to be safe at the broker."""
        noted = read_if_sound(self.tree, self.handover(stage), HandoverShape)
        return noted is not None and noted.get("job_id") == self.job_id

    def was_superseded(self) -> bool:
        """Whether another job replaced this one (--overwrite); its late messages must do nothing."""
        return self.job_id in (read_if_sound(self.tree, self.tree.superseded, SupersededShape) or {}).get("job_ids", [])

    def is_cancelled(self) -> bool:
        """Whether somebody cancelled this job, not one that was to be in this folder before it."""
        whose = cancelled_job(self.tree)
        return whose is not None and whose in ("", self.job_id)

    def job_class(self, asked: JobClass) -> JobClass:
        """The class that the job was given since, or the one it was `asked` with."""
        noted = read_if_sound(self.tree, self.tree.priority, PriorityShape) or {}
        found: JobClass = noted["job_class"] if noted.get("job_id") == self.job_id else asked
        return found

    def read_delivery(self, stage: str) -> dict[str, Any] | None:
        """What became of the stage's message, as `note_delivery` wrote it."""
        return read_if_sound(self.tree, self.delivery(stage), DeliveryShape)

    def read_progress(self, stage: str) -> dict[str, Any] | None:
        """How far the stage is."""
        return read_if_sound(self.tree, self.progress(stage), ProgressShape)

    # ---- writing
    def claim(self, message: Message) -> None:
        """Make the folder this job's. Raises RefusedOutput where it holds another job and may not be overwritten.

        Stages of that job that have the same options are kept, as `covaria run --overwrite` keeps them.
        """
        known = record.read_request(self.tree)
        if known is not None and known["job_id"] != self.job_id:
            if not message.work.request.overwrite:
                raise RefusedOutput(
                    f"holds another job, {known['job_id']}",
                    file=self.tree.out,
                    hint="give another folder, or submit with --overwrite",
                )
            self._note_superseded(str(known["job_id"]))
        if known is None or known["job_id"] != self.job_id:
            asked = message.work
            renew = to_renew(self.tree, asked.request, in_order(asked.route), self.job_id, whole_run=True)
            write_request(self.tree, message, renew=renew)
        if cancelled_job(self.tree) not in (None, "", self.job_id):
            self.tree.pen.remove(self.tree.cancel)
        if not self.submission.exists():
            note_submission(self.tree, message)

    def note_delivery(self, stage: str, state: str, **facts: object) -> None:
        """What became of the stage's message."""
        note = {"job_id": self.job_id, "state": state, "at": record.now(), **facts}
        write_book(self.tree, self.delivery(stage), note)

    def note_class(self, job_class: JobClass) -> None:
        """Where the job's later stages are to wait."""
        note = {"job_id": self.job_id, "job_class": job_class, "at": record.now()}
        write_book(self.tree, self.tree.priority, note)

    def note_handover(self, stage: str, identifier: str | None) -> None:
        """The next stage's message is safe (None: there is no next stage)."""
        note = {"job_id": self.job_id, "message_id": identifier, "at": record.now()}
        write_book(self.tree, self.handover(stage), note)

    def settle(self, stage: str, status: str, error: Mapping[str, str] | None, preemptions: int = 0) -> None:
        """Correct the stage's state where its process could not (killed, tried again). For the lease's holder."""
        state = record.read_stage_state(self.tree, stage) or {"stage": stage, "job_id": self.job_id}
        state = {**state, "status": status, "job_id": self.job_id}
        if preemptions:
            state["preemptions"] = preemptions
        if status != "running":
            state.setdefault("finished_at", record.now())
        if error is not None:
            state["error"] = dict(error)
        elif status == "queued":
            state.pop("error", None)
        record.write_stage_state(self.tree, stage, state)
        record.refresh(self.tree)

    def _note_superseded(self, old_job: str) -> None:
        """Remember whom we replace: its late messages must do nothing. Its results stay until ours replace them."""
        past = (read_if_sound(self.tree, self.tree.superseded, SupersededShape) or {}).get("job_ids", [])
        write_book(self.tree, self.tree.superseded, {"job_ids": [*past, old_job][-100:]})
        for path in (self.tree.state / "checkpoints", self.tree.cancel, self.submission, copy_of(self.submission)):
            self.tree.pen.remove(path)


def cancel_note(job_id: str) -> str:
    """What stands in a cancel file: when, and which job."""
    return f"{record.now()} {job_id}\n"


def cancelled_job(tree: Tree) -> str | None:
    """Whose cancel file lies there: "" where it names no job, None where there is none. Raises OSError."""
    try:
        with open_inside(tree.state, tree.cancel.name, most_bytes=MOST_OF_A_CANCEL) as file:
            words = file.read().decode("utf-8", "replace").split()
    except MissingFile:
        return None
    except InvalidInput:  # whatever stands there, it cancels
        return ""
    return words[1] if len(words) == 2 else ""


def write_request(tree: Tree, message: Message, *, renew: Collection[str] = ()) -> None:
    """The job's request.json, and the documents made from it."""
    work = message.work
    record.write_request(
        tree,
        job_id=message.job_id,
        command="submit",
        command_line=work.command_line or f"covaria submit {work.request.ingest.particles} -o {work.request.out}",
        stages=in_order(work.route),
        request=work.request,
        origin=work.origin.given,
        renew=renew,
        generation=message.job_id,
        replaces=bool(renew),
    )
    record.refresh(tree)


def note_submission(tree: Tree, message: Message) -> None:
    """The job as it was submitted: enough to send it again."""
    note = {"job_id": message.job_id, "submitted_at": record.now(), "traceparent": message.traceparent}
    write_book(tree, tree.submission, {**note, "data": message.data}, with_copy=True)


def submitted_message(tree: Tree) -> Message | None:
    """The job as it was submitted, or None for a folder that no service ever had.

    The folder is a stranger's claim: it may ask only for itself and for what its books agree on, and never to replace
    anything. Raises InvalidInput.
    """
    note = read_book(tree, tree.submission, SubmissionShape)
    if note is None:
        return None
    work = Work.model_validate(note["data"], extra="ignore")
    asked = record.read_request(tree)
    if asked is None or asked["job_id"] != note["job_id"]:
        raise InvalidInput("belongs to another job than request.json", file=tree.submission, hint=SUBMIT_AGAIN)
    if work.request.out.resolve() != tree.out.resolve():
        raise InvalidInput(
            f"asks for results in {str(work.request.out)!r}, not in its own folder", file=tree.submission,
            hint=SUBMIT_AGAIN,
        )  # fmt: skip
    request = work.request.model_copy(update={"overwrite": False})
    if asked["request"] | {"overwrite": False} != request.model_dump(mode="json"):
        raise InvalidInput("asks for something else than request.json", file=tree.submission, hint=SUBMIT_AGAIN)
    work = work.model_copy(update={"request": request})
    message = new_message(note["job_id"], work, note.get("traceparent", ""))
    data = {**note["data"], "request": {**note["data"]["request"], "overwrite": False}}
    return Message(message.job_id, work, data, message.traceparent)
