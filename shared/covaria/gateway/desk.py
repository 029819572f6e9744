"""What the gateway does about jobs, without HTTP: take one, show one, cancel, send again, hurry.

Every way in goes through here: bounds by the models, paths by the one guard, then what can be seen before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from covaria.errors import CovariaError, InvalidInput
from covaria.gateway.book import ENDED, Book, Entry
from covaria.gateway.callers import Caller
from covaria.gateway.clerk import Clerk
from covaria.gateway.orders import queued
from covaria.messages.control import Order
from covaria.messages.envelope import Message
from covaria.messages.work import JobClass
from covaria.operations.announce import show_queued
from covaria.operations.control import carry_out
from covaria.operations.jobs_on_disk import view_job
from covaria.operations.quotas import admit
from covaria.operations.submit import check_before, message_for, refuse_unknown_pool
from covaria.request.model import Request
from covaria.request.origin import Origin
from covaria.request.paths import refuse_outside, refuse_path_outside
from covaria.settings import Settings
from covaria.tree.access import refuse_unwritable
from covaria.worker.service_metrics import GatewayMetrics


class NoJob(CovariaError):
    """No job of this id is known, or it is not this caller's: both look the same."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id}", hint="GET /jobs lists those that are known here")


class NotYours(CovariaError):
    """A job of another visit."""


class Conflict(CovariaError):
    """The job is not in a state for that."""


@dataclass(frozen=True)
class Taken:
    """A job that was taken; new: it was not known before."""

    entry: Entry
    new: bool


@dataclass
class Desk:
    """Over one book and one connection."""

    settings: Settings
    book: Book
    clerk: Clerk
    metrics: GatewayMetrics
    ending: Callable[[], bool] = lambda: False
    """Whether the server stops: streams end then."""

    def take(
        self, caller: Caller, request: Request, origin: Origin, job_class: JobClass, job_id: str | None, trace: str,
        pool: str = "",
    ) -> Taken:  # fmt: skip
        """Queue a job. The same job again is no new one.

        Raises NotYours, InvalidInput, PathRefused, MissingFile, RefusedOutput, NotPermitted, OverQuota, Conflict,
        BusError (nothing was sent).
        """
        if not caller.may(origin):
            raise NotYours(f"visit {origin.visit!r} is not among yours", hint="name one of your visits in `origin`")
        refuse_outside(request, self.settings.roots)
        refuse_unknown_pool(pool, self.settings.pools)
        line = f"covaria gateway, asked by {caller.name}"
        message = message_for(
            request, job_class=job_class, pool=pool, command_line=line, job_id=job_id, origin=origin, traceparent=trace
        )
        known = self.book.job(message.job_id)
        if known is not None:
            return self._again(caller, known, message)
        check_before(message)
        refuse_unwritable(message.work.request.out)
        admit(message, self.settings)
        self.clerk.ask(lambda dispatch: dispatch.begin(message))
        self.book.note_queued(queued(message))
        show_queued(message, self.settings)
        return Taken(self._known(message.job_id), new=True)

    def _again(self, caller: Caller, known: Entry, message: Message) -> Taken:
        if not caller.may(known.origin) or known.out != message.work.request.out:
            raise Conflict(f"job id {message.job_id} is taken", hint="leave job_id out, or choose another")
        if known.state in ("failed", "cancelled"):
            raise Conflict(
                f"job {message.job_id} has {known.state}: {known.message or known.reason}".rstrip(": "),
                hint=f"POST /jobs/{message.job_id}/retry, once the cause is gone",
            )
        return Taken(known, new=False)

    def job(self, caller: Caller, job_id: str) -> Entry:
        """A job of the caller's. Raises NoJob."""
        known = self.book.job(job_id)
        if known is None or not caller.may(known.origin):
            raise NoJob(job_id)
        return known

    def stages(self, entry: Entry) -> list[dict[str, Any]]:
        """What the disk shows of a job's stages; nothing where it shows none, or another job's."""
        try:
            refuse_path_outside("out", entry.out, self.settings.roots)
            view = view_job(entry.out)
        except (CovariaError, OSError):
            return []
        if view.job_id != entry.job_id:
            return []
        return [
            {
                "name": stage.name, "status": stage.status, "attempt": stage.attempt, "seconds": stage.seconds,
                "error": stage.error, "progress": stage.progress,
            }
            for stage in view.stages
        ]  # fmt: skip

    def order(self, caller: Caller, job_id: str, action: str, job_class: JobClass | None = None) -> str:
        """Cancel, send again or hurry a job of the caller's. Raises NoJob, Conflict, NotPermitted, BusError."""
        entry = self.job(caller, job_id)
        if action == "cancel" and entry.state in ENDED:
            raise Conflict(f"job {job_id} has {entry.state} already", hint="nothing is left to cancel")
        order = Order.model_validate(
            {"job_id": job_id, "action": action, "out": str(entry.out), "job_class": job_class, "by": caller.name}
        )
        try:
            done = carry_out(order, self.settings)
        except InvalidInput as error:
            self.metrics.orders.labels(action, "refused").inc()
            raise Conflict(error.message, hint=error.hint) from error
        message = done.message
        if message is not None:
            self.clerk.ask(lambda dispatch: dispatch.begin(message))
            self.book.note_queued(queued(message))
        self.metrics.orders.labels(action, "done").inc()
        return done.text

    def _known(self, job_id: str) -> Entry:
        found = self.book.job(job_id)
        assert found is not None, "it was noted just now"
        return found


def trace_of(header: str) -> str:
    """A traceparent header as far as a message takes it."""
    return header if len(header) <= 128 and header.isprintable() else ""
