"""One message from its arrival to its acknowledgement.

The disk is the truth, the message a ticket: whatever was done already is found there and not done again, so a
redelivery at any point repeats only what is missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from covaria.bus.model import BusError, Delivery, Refused
from covaria.errors import CovariaError, RefusedOutput
from covaria.job.books import Books
from covaria.job.lease import LeaseKeeper, latest, take, watch
from covaria.messages.envelope import BadMessage, Message, unseal
from covaria.messages.event import Event, EventState
from covaria.messages.ticket import Ticket, read_ticket
from covaria.request.paths import PathRefused, input_files, refuse_outside
from covaria.settings import Settings
from covaria.tree import Tree
from covaria.worker.child import Order
from covaria.worker.dispatch import OWNER, Dispatch
from covaria.worker.failures import SHORT, Breakdown, Failure, Park, classify, decide
from covaria.worker.link import Link
from covaria.worker.metrics import Metrics
from covaria.worker.process import StageProcess
from covaria.worker.progress import ProgressBook
from covaria.worker.supervise import Ending, Supervisor

log = logging.getLogger(__name__)

BYTES_PER_GB = 10**9


@dataclass
class Handler:
    """Deals with messages of one stage, one at a time."""

    stage: str
    settings: Settings
    link: Link
    dispatch: Dispatch
    metrics: Metrics
    draining: Callable[[], int]

    def handle(self, delivery: Delivery) -> None:
        """Deal with one delivery and settle it. Raises BusError when the broker fails: the delivery comes again."""
        job_class = delivery.queue.rpartition(".")[2]
        self.metrics.jobs_received.labels(self.stage, job_class).inc()
        self.dispatch.faults.passing("received")
        ticket = read_ticket(delivery.headers)
        try:
            message = self._read(delivery)
        except BadMessage as error:
            self._refuse(delivery, ticket, error)
            outcome = "parked"
        else:
            outcome = Attempt(self, delivery, message, ticket, job_class).run()
        self.metrics.jobs_finished.labels(self.stage, job_class, outcome).inc()

    def _read(self, delivery: Delivery) -> Message:
        message = unseal(delivery.body, stage=self.stage)
        try:
            refuse_outside(message.work.request, self.settings.roots)
        except PathRefused as error:
            raise BadMessage("path", error.message) from None
        return message

    def _refuse(self, delivery: Delivery, ticket: Ticket, error: BadMessage) -> None:
        """Bytes that are no envelope are rejected (which parks them too), the rest is parked with its reason."""
        self.metrics.validation_failures.labels(error.reason).inc()
        log.error("refused message %.200r (%s): %s", delivery.message_id, error.reason, error.message)
        if error.reason in ("size", "envelope"):
            self.dispatch.bus.reject(delivery)
        else:
            self.dispatch.park(delivery, ticket, error.reason, error.message)


@dataclass
class Attempt:
    """One attempt at one message."""

    handler: Handler
    delivery: Delivery
    message: Message
    ticket: Ticket
    job_class: str
    keeper: LeaseKeeper | None = None
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.stage = self.handler.stage
        self.dispatch, self.metrics = self.handler.dispatch, self.handler.metrics
        self.faults = self.dispatch.faults
        self.tree = Tree(self.message.work.request.out)
        self.books = Books(self.tree, self.message.job_id)
        self.extra = {"job_id": self.message.job_id, "stage": self.stage, "attempt": self.ticket.attempt}

    def run(self) -> str:
        """Deal with the message; returns the outcome for the metrics."""
        try:
            return self._deal()
        except BusError:
            raise
        except Exception as error:  # whatever a folder holds must not stop the service: the table decides
            log.exception("while dealing with the message", extra=self.extra)
            breakdown = Breakdown(
                types=tuple(kind.__name__ for kind in type(error).__mro__ if kind is not object),
                message=error.message if isinstance(error, CovariaError) else str(error),
                hint=error.hint if isinstance(error, CovariaError) else "",
                errno=error.errno if isinstance(error, OSError) else None,
            )
            return self._failed(breakdown, classify(breakdown))
        finally:
            if self.keeper is not None:
                self.keeper.release()

    def _deal(self) -> str:
        if self.books.was_superseded():
            log.info("superseded by a later job in the same folder", extra=self.extra)
            self.dispatch.done(self.delivery)
            return "duplicate"
        if self.books.is_ours() and self.books.is_done(self.stage):
            return self._hand_over("duplicate")
        if not self.tree.is_empty and not self.tree.is_ours:
            raise RefusedOutput(
                "is not empty and was not made by Covaria", file=self.tree.out, hint="give a new folder"
            )
        outcome = self._take_lease()
        if outcome is not None:
            return outcome
        self.faults.passing("leased")
        self.books.claim(self.message)
        if self.books.is_done(self.stage):
            return self._hand_over("duplicate")
        if self.tree.cancel.exists():
            return self._cancelled()
        return self._finish(self._run_stage())

    # ---- the lease
    def _take_lease(self) -> str | None:
        """None once we hold the lease, else the outcome of not getting it."""
        seen = latest(self.tree)
        if seen is not None and not seen.released:
            verdict = watch(self.tree, seen, self.handler.settings.lease_dead_s, self._wait)
            if verdict == "unknown":
                return self._hand_back()
            if verdict == "live":
                return self._defer(seen.owner)
            if verdict == "dead":
                log.warning("taking over the lease of %s", seen.owner, extra=self.extra)
                self.metrics.lease_takeovers.labels(self.stage).inc()
            seen = latest(self.tree)
        lease = take(self.tree, OWNER, seen)
        if lease is None:
            return self._defer("a worker that was faster")
        self.keeper = LeaseKeeper(lease, self.handler.settings.lease_renew_s)
        return None

    def _wait(self, seconds: float) -> bool:
        self.handler.link.tick(seconds)
        return not self.handler.draining()

    def _defer(self, owner: str) -> str:
        """Somebody works on this very job: look again much later, unless it is being cancelled anyway."""
        if self.tree.cancel.exists():
            self.dispatch.done(self.delivery)
            return "cancelled"
        log.info("%s works on this job; looking again later", owner, extra=self.extra)
        self._later(self.ticket.unchanged(), len(self.dispatch.topology.tiers) - 1)
        return "deferred"

    # ---- the stage
    def _run_stage(self) -> Ending:
        settings, request = self.handler.settings, self.message.work.request
        assert self.keeper is not None
        self._note_start()
        process = StageProcess(
            Order(
                stage=self.stage,
                job_id=self.message.job_id,
                request=self.message.data["request"],
                lease=self.keeper.lease.number,
                roots=tuple(map(str, settings.roots)),
                device=settings.device,
                memory_bytes=None if settings.memory_gb is None else int(settings.memory_gb * BYTES_PER_GB),
                memory_scale=self.ticket.memory_scale,
                crash_at=settings.crash_at,
                report_fd=-1,
            ),
            settings.scratch,
        )
        self.faults.passing("started")
        log.info("started, process %d, out %s", process.pid, request.out, extra=self.extra)
        supervisor = Supervisor(
            self.handler.link, self.delivery, self.tree, self.stage, self.keeper, settings, self.metrics,
            self.handler.draining, self.faults,
        )  # fmt: skip
        in_progress = self.metrics.job_in_progress.labels(self.stage)
        in_progress.set(1)
        try:
            return supervisor.watch(process, ProgressBook(self.books, self.stage, self.metrics))
        except BaseException:
            process.kill()
            raise
        finally:
            in_progress.set(0)
            self.metrics.images_per_second.labels(self.stage).set(0)

    def _note_start(self) -> None:
        self.books.note_delivery(self.stage, "running", attempt=self.ticket.attempt, worker=OWNER)
        self.metrics.job_queue_wait.labels(self.stage, self.job_class).observe(self.ticket.waited_s())
        sizes = (_size(file.path) for file in input_files(self.message.work.request))
        self.metrics.input_bytes.labels(self.stage).inc(sum(sizes))
        self.metrics.job_last_progress.labels(stage=self.stage).set_to_current_time()
        self._tell("started")

    def _finish(self, ending: Ending) -> str:
        """The stage's process has ended: settle the books, then the message."""
        outcome = self._outcome(ending)
        self.metrics.job_duration.labels(self.stage, outcome).observe(time.monotonic() - self.began)
        return outcome

    def _outcome(self, ending: Ending) -> str:
        if ending.breakdown is None or self.books.is_done(self.stage):  # a process can die after its work is published
            self.faults.passing("stage_done")
            return self._hand_over("succeeded")
        if ending.why == "lease_lost" or "LeaseLost" in ending.breakdown.types:
            log.warning("another worker took the job over; leaving it alone", extra=self.extra)
            self.dispatch.done(self.delivery)
            return "lost"
        if ending.why == "cancel" or "Cancelled" in ending.breakdown.types:
            return self._cancelled()
        if ending.why == "time_limit":
            return self._failed(ending.breakdown, "time_limit")
        if ending.why == "drain" or "Interrupted" in ending.breakdown.types:
            return self._hand_back()
        return self._failed(ending.breakdown, classify(ending.breakdown))

    # ---- the ways to end
    def _hand_over(self, outcome: str) -> str:
        """The stage is done: free the folder, queue the next stage if that is not known to be queued, acknowledge."""
        self._release()
        self.faults.passing("lease_released")
        onward = self.message.onward()
        if not self.books.is_handed_over(self.stage):
            identifier = None
            if onward is not None:
                try:
                    identifier = self.dispatch.submit(onward)
                except Refused as error:
                    log.warning("the next stage's queue takes nothing now: %s", error, extra=self.extra)
                    self._later(self.ticket.unchanged(), SHORT)
                    return "deferred"
            self.faults.passing("next_published")
            self.books.note_handover(self.stage, identifier)
            self.faults.passing("handover_noted")
            self.books.note_delivery(self.stage, "succeeded", attempt=self.ticket.attempt, worker=OWNER)
            self._tell("succeeded", next_stage=None if onward is None else onward.stage)
            self.faults.passing("event_published")
        self.dispatch.done(self.delivery)
        return outcome

    def _failed(self, breakdown: Breakdown, failure: Failure) -> str:
        self.metrics.job_failures.labels(self.stage, failure).inc()
        verdict = decide(failure, self.ticket, self.dispatch.topology.tiers)
        parked = isinstance(verdict, Park)
        log.error("attempt failed (%s): %s", failure, breakdown, extra=self.extra)
        error = {
            "type": breakdown.types[0] if breakdown.types else failure,
            "message": str(breakdown),
            "hint": breakdown.hint,
        }
        if self.keeper is not None and self.books.is_ours():
            self.books.settle(self.stage, "failed" if parked else "queued", error)
            state = "parked" if parked else "retrying"
            self.books.note_delivery(
                self.stage, state, attempt=self.ticket.attempt, worker=OWNER, reason=failure, error=str(breakdown)
            )
        self._release()
        if isinstance(verdict, Park):
            if self._still_ours():
                self.dispatch.park(self.delivery, self.ticket, failure, str(breakdown))
                self._tell("parked", reason=failure, message=str(breakdown))
            return "parked"
        if self._still_ours():
            ticket = self.ticket.again(f"{failure}: {breakdown}", memory_scale=verdict.memory_scale)
            self._later(ticket, verdict.tier)
            self._tell("retrying", reason=failure, message=str(breakdown))
        return "retried"

    def _cancelled(self) -> str:
        self.books.settle(self.stage, "cancelled", None)
        self.books.note_delivery(self.stage, "cancelled", attempt=self.ticket.attempt, worker=OWNER)
        self._release()
        self._tell("cancelled")
        self.dispatch.done(self.delivery)
        return "cancelled"

    def _hand_back(self) -> str:
        """We are asked to stop: the job goes back to its queue as it was; what is done is kept on disk."""
        if self.keeper is not None:
            self.books.settle(self.stage, "queued", None)
            self.books.note_delivery(self.stage, "handed_back", attempt=self.ticket.attempt, worker=OWNER)
        self._release()
        if self._still_ours():
            self.dispatch.hand_back(self.delivery, self.message, self.ticket.unchanged())
            self._tell("handed_back")
        return "handed_back"

    def _later(self, ticket: Ticket, tier: int) -> None:
        self.dispatch.later(self.delivery, self.message, ticket, tier)

    def _still_ours(self) -> bool:
        """A delivery that the broker took back comes again by itself; a copy of ours would only double it."""
        return self.dispatch.bus.holds(self.delivery)

    def _release(self) -> None:
        keeper, self.keeper = self.keeper, None
        if keeper is not None:
            keeper.release()

    def _tell(self, state: EventState, *, reason: str = "", message: str = "", next_stage: str | None = None) -> None:
        event = Event.model_validate(
            {
                "job_id": self.message.job_id,
                "stage": self.stage,
                "state": state,
                "out": str(self.tree.out),
                "attempt": self.ticket.attempt,
                "worker": OWNER,
                "seconds": round(time.monotonic() - self.began, 3),
                "reason": reason,
                "message": message,
                "next_stage": next_stage,
            }
        )
        self.dispatch.tell(event)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
