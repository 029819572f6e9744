"""Carrying out orders about jobs, by a service that may write in their folders: who gives the order need not."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from covaria.errors import InvalidInput
from covaria.job.books import Books, cancel_note
from covaria.messages.control import Order
from covaria.messages.envelope import Message
from covaria.messages.work import JobClass
from covaria.operations.jobs_on_disk import ENDED, clear_failure, message_to_resume, view_job
from covaria.plain import printable
from covaria.request.paths import refuse_path_outside
from covaria.settings import Settings
from covaria.tree import Tree, atomic, record
from covaria.tree.access import Sharing, refuse_unwritable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """What was done, for a person; and the message that is to be queued for it."""

    text: str
    message: Message | None = None


def carry_out(order: Order, settings: Settings) -> Done:
    """Do on the disk what an order asks.

    Raises PathRefused, InvalidInput (another job, nothing to do), NotPermitted, OSError.
    """
    out = order.folder
    refuse_path_outside("out", out, settings.roots)
    log.info("%s of job %s, asked by %.128s", order.action, order.job_id, printable(order.by) or "nobody named")
    match order.action:
        case "cancel":
            return Done(cancel(out, order.job_id, Sharing(settings.out_group, settings.out_acl)))
        case "retry":
            return _retry(_theirs(out, order.job_id))
        case "priority":
            assert order.job_class is not None
            return _priority(_theirs(out, order.job_id), order.job_id, order.job_class)


def cancel(out: Path, job_id: str, sharing: Sharing) -> str:
    """Put the job's cancel file into its folder, which a job that still waits may not have. Raises InvalidInput."""
    tree = Tree(out)
    known = record.read_request(tree)
    if known is not None:
        _theirs(out, job_id)
        view = view_job(out)
        if view.status in ENDED:
            raise InvalidInput(f"job {job_id} has {view.status} already", file=out, hint="nothing is left to cancel")
    elif not tree.is_empty and not tree.is_ours:
        raise InvalidInput("is not empty and was not made by Covaria", file=out, hint="give the job's folder")
    refuse_unwritable(out)
    sharing.make(out)
    atomic.write_text(tree.cancel, cancel_note(job_id))
    return f"job {job_id} will be cancelled"


def _theirs(out: Path, job_id: str) -> Path:
    known = record.read_request(Tree(out))
    if known is None or known["job_id"] != job_id:
        raise InvalidInput(
            f"holds no job {job_id}", file=out, hint="give the id and the folder that the job's events tell"
        )
    refuse_unwritable(out)
    return out


def _retry(out: Path) -> Done:
    message = message_to_resume(out)
    if message is None:
        raise InvalidInput("has succeeded", file=out, hint="nothing is left to do")
    clear_failure(out)
    job_class = Books(Tree(out), message.job_id).job_class(message.work.job_class)
    return Done(f"job {message.job_id} is sent again from {message.stage}", message.in_class(job_class))


def _priority(out: Path, job_id: str, job_class: JobClass) -> Done:
    """Note the class for the stages to come; where one waits now, a copy of its message goes to the other queue.

    The one that waited does nothing when its turn comes: the stage is done by then, or somebody works on it.
    """
    view = view_job(out)
    if view.status in ENDED:
        raise InvalidInput(f"job {job_id} has {view.status} already", file=out, hint="nothing is left to hurry")
    Books(Tree(out), job_id).note_class(job_class)
    message = message_to_resume(out) if view.status in ("queued", "retrying") else None
    return Done(f"job {job_id} is {job_class} from now on", None if message is None else message.in_class(job_class))
