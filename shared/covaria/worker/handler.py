"""One message from its arrival to its acknowledgement: facts -> decision -> effects, until a decision is the last.

The disk is the truth, the message a ticket: whatever was done already is found there and not done again, so a
redelivery at any point repeats only what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from covaria.bus.model import BusError, Delivery
from covaria.bus.topology import CLASSES, job_queue
from covaria.job.lease import Lease, LeaseKeeper
from covaria.job.notice import notice
from covaria.messages.envelope import BadMessage, Message, unseal
from covaria.messages.ticket import Ticket, read_ticket
from covaria.plain import printable
from covaria.request.paths import PathRefused, refuse_outside
from covaria.settings import Settings
from covaria.worker.clock import Clock
from covaria.worker.decisions import refuse
from covaria.worker.device_watch import DeviceWatch
from covaria.worker.dispatch import Dispatch
from covaria.worker.effects import Outcome
from covaria.worker.faults import Faults
from covaria.worker.interpreter import Attempt
from covaria.worker.leasing import Sightings
from covaria.worker.link import Link
from covaria.worker.live_first import LiveFirst
from covaria.worker.metrics import Metrics
from covaria.worker.owed import Ledger
from covaria.worker.patience import Disk, beside
from covaria.worker.process import StartStage
from covaria.worker.settling import Settling
from covaria.worker.spans import Tell, to_nobody
from covaria.worker.updating import UpdateAttempt, is_update

log = logging.getLogger(__name__)


WhyHeld = Callable[[Message], str]
"""Why a job that has not begun must wait; "" where it need not."""


def admit_all(message: Message) -> str:
    """No quotas are set."""
    return ""


@dataclass
class Handler:
    """Deals with messages of one stage, one at a time."""

    stage: str
    settings: Settings
    link: Link
    dispatch: Dispatch
    metrics: Metrics
    draining: Callable[[], int]
    """How often we were asked to stop."""
    start_stage: StartStage
    faults: Faults = field(default_factory=Faults)
    clock: Clock = field(default_factory=Clock)
    device: DeviceWatch = field(default_factory=lambda: DeviceWatch(""))
    keep_lease: Callable[[Lease, float], LeaseKeeper] = LeaseKeeper
    disk: Disk = beside
    ledger: Ledger = field(default_factory=Ledger)
    sightings: Sightings = field(default_factory=Sightings)
    classes: tuple[str, ...] = CLASSES
    """Whose queues we ask."""
    tell_span: Tell = to_nobody
    why_held: WhyHeld = admit_all

    def __post_init__(self) -> None:
        self.live_first = LiveFirst(self.stage, self.classes, self.settings, self.link, self.clock)

    def handle(self, delivery: Delivery) -> None:
        """Deal with one delivery and settle it. Raises BusError when the broker fails: the delivery comes again."""
        job_class = delivery.queue.split(".")[2]
        self.metrics.jobs_received.labels(self.stage, job_class).inc()
        self.faults.passing("received")
        try:
            outcome = self._deal(delivery, job_class)
        except BusError:
            raise
        except Exception:
            log.exception("a defect: message %.200r goes to parking as it came", delivery.message_id)
            self.dispatch.bus.reject(delivery)
            outcome = Outcome.PARKED
        self.metrics.jobs_finished.labels(self.stage, job_class, outcome.label).inc()
        self.metrics.preemptions.labels(self.stage).inc(outcome is Outcome.PREEMPTED)

    def work_waits(self) -> bool:
        """Whether other messages wait in the queues that we ask; what cannot be asked now holds none."""
        try:
            queues = (job_queue(self.stage, job_class, self.settings.pool) for job_class in self.classes)
            return any(self.dispatch.bus.depth(queue) > 0 for queue in queues)
        except BusError as error:
            log.info("whether other work waits is not known: %s", error)
            return False

    def _deal(self, delivery: Delivery, job_class: str) -> Outcome:
        ticket = read_ticket(delivery.headers)
        try:
            message = self._read(delivery)
        except BadMessage as error:
            return self._refuse(delivery, ticket, error)
        self._notice(message)
        try:
            held_back = self.disk(lambda: self.why_held(message), self.link.tick)
            kind = UpdateAttempt if is_update(message) else Attempt
            return kind(self, delivery, ticket, message, job_class, held_back).run()
        finally:
            self._notice(message)

    def _notice(self, message: Message) -> None:
        """For the ledger: something begins or has ended in this folder."""
        if self.settings.ledger is not None:
            self.disk(lambda: notice(self.settings.ledger, message.work.request.out), self.link.tick)

    def _read(self, delivery: Delivery) -> Message:
        message = unseal(delivery.body, stage=self.stage)
        try:
            self.disk(lambda: refuse_outside(message.work.request, self.settings.roots), self.link.tick)
        except PathRefused as error:
            known = {"job_id": message.job_id, "out": printable(str(message.work.request.out))}
            raise BadMessage("path", error.message, **known, origin=message.work.origin) from None
        return message

    def _refuse(self, delivery: Delivery, ticket: Ticket, error: BadMessage) -> Outcome:
        self.metrics.validation_failures.labels(error.reason).inc()
        decision = refuse(error)
        log.error("message %.200r %s", delivery.message_id, decision.why)
        Settling(self, delivery, ticket, job_id=error.job_id, out=error.out, origin=error.origin).carry_out(decision)
        return Outcome.PARKED
