"""Settling a delivery at the broker: all that is done about bytes that are no job of ours."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from covaria.bus.model import Delivery
from covaria.findings import Findings
from covaria.messages.event import Event
from covaria.messages.job_event import JobEvent, Rejection, Result, job_state
from covaria.messages.ticket import Ticket
from covaria.plain import printable
from covaria.request.origin import Origin
from covaria.tree import Tree
from covaria.worker.dispatch import OWNER
from covaria.worker.effects import Ack, Decision, Effect, Reject, SendToParking, Tell, TellRejected
from covaria.worker.feedback import feedback_of

if TYPE_CHECKING:
    from covaria.worker.handler import Handler

log = logging.getLogger(__name__)


class TakenBack(Exception):
    """The broker took the delivery back: it comes again, nothing more is to be sent about it."""


@dataclass
class Settling:
    """A delivery that is no job of ours: nothing but the broker is needed to deal with it."""

    handler: Handler
    delivery: Delivery
    ticket: Ticket
    job_id: str = field(default="", kw_only=True)
    out: str = field(default="", kw_only=True)
    origin: Origin = field(default=Origin(), kw_only=True)
    traceparent: str = field(default="", kw_only=True)
    first_stage: bool = field(default=False, kw_only=True)
    """Whether the job begins with this message."""

    def __post_init__(self) -> None:
        self.dispatch, self.metrics = self.handler.dispatch, self.handler.metrics
        self.faults, self.clock = self.handler.faults, self.handler.clock
        self.began = self.clock.monotonic()

    def carry_out(self, decision: Decision) -> None:
        """Every effect, in order. Raises BusError."""
        for effect in decision.effects:
            try:
                self.do(effect)
            except TakenBack:
                log.warning("the broker took message %.200r back; it comes again", self.delivery.message_id)
                return
            self.faults.passing(effect.point)

    def do(self, effect: Effect) -> None:
        """One effect at the broker."""
        match effect:
            case SendToParking(reason, error):
                self._need_delivery()
                self.dispatch.send_to_parking(self.delivery, self.ticket, reason, error)
            case Ack():
                self.dispatch.ack(self.delivery)
            case Reject():
                self.dispatch.bus.reject(self.delivery)
            case Tell():
                if not self._tell(effect) and effect.state == "succeeded":
                    raise TakenBack  # what follows notes that it was told; with the broker the delivery is gone, too
            case TellRejected(reason, message):
                self._tell_rejected(reason, message)
            case _:
                raise NotImplementedError(f"{effect} of a message that is no job")

    def _need_delivery(self) -> None:
        if not self.dispatch.bus.holds(self.delivery):
            raise TakenBack

    def _found(self, tell: Tell) -> Findings:
        """What there is to tell of a job's result: of what is no job, nothing."""
        return Findings()

    def _results(self) -> tuple[Result, ...]:
        """The files of a job that has finished."""
        return ()

    def _tell_rejected(self, reason: str, message: str) -> None:
        digest = hashlib.sha256(self.delivery.body).hexdigest()
        identifier = printable(self.delivery.message_id[:200])
        queue = self.delivery.queue
        self.dispatch.tell_of_rejection(
            Rejection(message_id=identifier, queue=queue, reason=reason, message=message, sha256=digest)
        )

    def _tell_of_job(self, event: Event, found: Findings) -> bool:
        state = job_state(event, first=self.first_stage)
        if state is None:
            return True
        if state == "finished" and found.model_fields_set:
            disk, tick = self.handler.disk, self.handler.link.tick
            for one in disk(lambda: feedback_of(Tree(Path(event.out)), event, found), tick):
                self.dispatch.tell_feedback(one, self.traceparent)
        results = self._results() if state == "finished" else ()
        known = event.model_dump(exclude={"state"})  # what a job's event does not have is left out
        told = JobEvent.model_validate({**known, "state": state, "results": results})
        return self.dispatch.tell_of_job(told, self.traceparent)

    def _tell(self, tell: Tell) -> bool:
        """False: the broker was away."""
        found = self._found(tell)
        known = bool(found.model_fields_set)
        event = Event.model_validate(
            {
                "job_id": self.job_id,
                "stage": self.handler.stage,
                "state": tell.state,
                "out": self.out,
                "attempt": self.ticket.attempt,
                "worker": OWNER,
                "seconds": round(self.clock.monotonic() - self.began, 3),
                "reason": tell.reason,
                "message": tell.message,
                "next_stage": tell.next_stage,
                "origin": self.origin,
                "headline": found.headline() if known else "",
                "findings": found.brief() if known else None,
            }
        )
        if known:
            self.metrics.count_findings(event.stage, found)
        return self.dispatch.tell(event, self.traceparent) and self._tell_of_job(event, found)
