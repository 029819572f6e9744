"""Sending a job's message on its way: to the next stage, to a retry tier, to parking, back to its queue.

Each is a confirmed publish; only then is the delivery acknowledged. A crash between the two makes a copy, never a loss.
"""

from __future__ import annotations

import logging
import os
import socket

from covaria.bus.model import BrokerAway, Bus, BusError, Delivery, DeliveryLost, HeaderValue, Outgoing
from covaria.bus.topology import CONTROL, DEAD, EVENTS, JOBS, Topology
from covaria.messages.control import Order, seal_order
from covaria.messages.envelope import Message, message_id, seal
from covaria.messages.event import Event, event_type, seal_event
from covaria.messages.feedback import KINDS, Feedback, SquareQualityEvent, feedback_key, feedback_type
from covaria.messages.job_event import REJECTED, REJECTED_KEY, JobEvent, Rejection, job_event_type
from covaria.messages.ticket import HOST, LAST_ERROR, MAX_ERROR, REASON, Ticket, new_ticket
from covaria.plain import printable

log = logging.getLogger(__name__)

OWNER = f"{socket.gethostname()}:{os.getpid()}"


class Dispatch:
    """Publishes on one bus."""

    def __init__(self, bus: Bus, topology: Topology) -> None:
        self.bus, self.topology = bus, topology

    def submit(self, message: Message, ticket: Ticket | None = None, *, key: str = "") -> str:
        """Queue a message for its stage, by `key` where its queue is known; returns its id. Raises BusError."""
        ticket = ticket or new_ticket()
        identifier = message_id(message, ticket.attempt, ticket.sequence)
        work = message.work
        key = key or self.topology.key(message.stage, work.job_class, work.pool, work.images_gb)
        self.bus.publish(Outgoing(JOBS, key, seal(message, identifier), identifier, ticket.headers()))
        return identifier

    def begin(self, message: Message, ticket: Ticket | None = None) -> str:
        """Queue a job and tell of it; returns the message's id. Raises BusError."""
        identifier = self.submit(message, ticket)
        work = message.work
        out = str(work.request.out)
        event = JobEvent(job_id=message.job_id, state="queued", out=out, origin=work.origin, stage=work.stage)
        self.tell_of_job(event, message.traceparent)
        return identifier

    def order(self, order: Order) -> str:
        """Send an order about a job; returns its id. Raises BusError."""
        body, identifier = seal_order(order)
        self.bus.publish(Outgoing(CONTROL, order.action, body, identifier))
        return identifier

    def send_later(self, delivery: Delivery, message: Message, ticket: Ticket, tier: int) -> None:
        """A copy to a retry tier."""
        identifier = message_id(message, ticket.attempt, ticket.sequence)
        self._copy(self.topology.tiers[tier], delivery, identifier, ticket.headers())

    def send_back(self, delivery: Delivery, message: Message, ticket: Ticket) -> None:
        """A copy to the same queue: free on every version of the broker."""
        identifier = message_id(message, ticket.attempt, ticket.sequence)
        self._copy(JOBS, delivery, identifier, ticket.headers())

    def send_to_parking(self, delivery: Delivery, ticket: Ticket, reason: str, error: str) -> None:
        """A copy to parking, with the reason."""
        headers: dict[str, HeaderValue] = {**ticket.headers(), REASON: reason, HOST: OWNER}
        headers[LAST_ERROR] = printable(error[:MAX_ERROR])
        self._copy(DEAD, delivery, delivery.message_id, headers)

    def ack(self, delivery: Delivery) -> None:
        """Acknowledge; a delivery that was lost meanwhile comes again and will be found done."""
        try:
            self.bus.ack(delivery)
        except (DeliveryLost, BrokerAway) as error:
            log.warning("not acknowledged: %s", error)

    def tell(self, event: Event, traceparent: str = "") -> bool:
        """What happened to a job's stage. False: the broker was away."""
        identifier = f"{event.job_id}/{event.stage}/{event.state}/{event.attempt}"
        body = seal_event(event_type(event.stage, event.state), event.job_id, event, identifier, traceparent)
        return self._tell(f"{event.stage}.{event.state}", body, identifier)

    def tell_of_job(self, event: JobEvent, traceparent: str = "") -> bool:
        """What happened to a whole job. False: the broker was away."""
        identifier = f"{event.job_id}/job/{event.state}"
        body = seal_event(job_event_type(event.state), event.job_id, event, identifier, traceparent)
        return self._tell(f"job.{event.state}", body, identifier)

    def tell_feedback(self, event: Feedback, traceparent: str = "") -> None:
        """What a finished job has for whoever steers the microscope."""
        kind = KINDS[type(event)]
        part = f"/{event.quality.kind}" if isinstance(event, SquareQualityEvent) else ""
        identifier = f"{event.job_id}/{kind}{part}"
        body = seal_event(feedback_type(kind), event.job_id, event, identifier, traceparent)
        self._tell(feedback_key(kind), body, identifier)

    def tell_of_rejection(self, rejection: Rejection) -> None:
        """Bytes that are no job were put aside."""
        body = seal_event(REJECTED, rejection.message_id, rejection, rejection.sha256)
        self._tell(REJECTED_KEY, body, rejection.sha256)

    def _tell(self, key: str, body: bytes, identifier: str) -> bool:
        """Nobody listening, or a listener's queue that takes no more, is fine. False: the broker was away."""
        try:
            self.bus.publish(Outgoing(EVENTS, key, body, identifier, mandatory=False))
        except BusError as error:
            log.info("event %s not sent: %s", key, error)
            return not isinstance(error, BrokerAway)
        return True

    def _copy(self, exchange: str, delivery: Delivery, identifier: str, headers: dict[str, HeaderValue]) -> None:
        self.bus.publish(Outgoing(exchange, delivery.key, delivery.body, identifier, headers))
