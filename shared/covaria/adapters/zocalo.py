"""A recipe's step becomes a job: taken from the facility's broker, sent on ours, and only then acknowledged there."""

from __future__ import annotations

import hashlib
import logging
import signal

from covaria.adapters.recipes import read_parameters_of
from covaria.bus.backoff import Backoff
from covaria.bus.model import Bus, BusError, Delivery
from covaria.bus.topology import Topology, build_topology
from covaria.errors import CovariaError
from covaria.messages.envelope import Message
from covaria.messages.job_event import Rejection
from covaria.operations.parameters import read_parameters
from covaria.operations.quotas import admit
from covaria.operations.submit import message_for, refuse_unknown_pool
from covaria.plain import printable
from covaria.request.paths import refuse_outside
from covaria.settings import Settings
from covaria.worker.clock import Clock
from covaria.worker.dispatch import Dispatch
from covaria.worker.health import Health, HealthServer
from covaria.worker.link import Link
from covaria.worker.service_metrics import AdapterMetrics

log = logging.getLogger(__name__)


class RecipeSteps:
    """Takes steps from `theirs`, sends jobs on `ours`."""

    def __init__(self, settings: Settings, theirs: Bus, ours: Bus, clock: Clock | None = None) -> None:
        self.settings, clock = settings, clock or Clock()
        self.metrics, self.health = AdapterMetrics("zocalo"), Health(settings.roots)
        topology = build_topology(settings.retry_delays_s, pools=settings.pools)
        nothing = Topology((), (), (), ())
        used = Topology(topology.exchanges, (), (), topology.tiers)
        self.theirs = Link(theirs, nothing, self.health, self.metrics, Backoff(), clock)
        self.ours = Link(ours, used, self.health, self.metrics, Backoff(), clock)
        self.dispatch = Dispatch(ours, topology)
        self.stopped = False

    def run(self) -> None:
        """Take steps until SIGTERM."""
        server = HealthServer(self.settings.http_host, self.settings.http_port, self.health, self.metrics.registry)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        log.info("recipe steps from %s, http port %d", self.settings.zocalo_queue, server.port)
        while not self.stopped:
            self.theirs.tick(0.0 if self.turn() else self.settings.poll_interval_s)
            self.ours.tick(0.0)
        self.theirs.bus.close()
        self.ours.bus.close()
        server.close()

    def stop(self) -> None:
        self.stopped = True

    def turn(self) -> bool:
        """Take one step, if there is one and both brokers are there."""
        if not (self.theirs.ensure() and self.ours.ensure()):
            return False
        try:
            delivery = self.theirs.bus.get(self.settings.zocalo_queue)
        except BusError as error:
            self.theirs.lost(error)
            return False
        if delivery is None:
            return False
        try:
            self._take(delivery)
        except BusError as error:  # what is not acknowledged comes again; the same step is the same job
            (self.theirs if not self.theirs.bus.is_open else self.ours).lost(error)
            self.theirs.bus.close()
        return True

    def _take(self, delivery: Delivery) -> None:
        """Raises BusError."""
        try:
            message = self.message_of(delivery)
        except Exception as error:  # whatever a message holds, it goes to the facility's dead letters
            self._refuse(delivery, error, "schema")
            return
        try:
            admit(message, self.settings)
        except Exception as error:
            self._refuse(delivery, error, "quota")
            return
        self.dispatch.begin(message)
        self.theirs.bus.ack(delivery)
        self.metrics.count("delivered")
        log.info("job %s from a recipe's step", message.job_id, extra=message.work.origin.words)

    def message_of(self, delivery: Delivery) -> Message:
        """The job that a step asks for. Raises InvalidInput, PathRefused."""
        given = read_parameters_of(delivery.body, delivery.headers)
        wanted = read_parameters(given, self.settings.out_template, self.settings.roots)
        refuse_outside(wanted.request, self.settings.roots)
        trace = str(delivery.headers.get("traceparent") or "")[:128]
        line = f"recipe step in {self.settings.zocalo_queue}"
        refuse_unknown_pool(wanted.pool, self.settings.pools)
        return message_for(
            wanted.request, job_class=wanted.job_class, pool=wanted.pool, command_line=line, origin=wanted.origin,
            traceparent=trace,
        )  # fmt: skip

    def _refuse(self, delivery: Delivery, error: Exception, reason: str) -> None:
        text = error.message if isinstance(error, CovariaError) else f"{type(error).__name__}: {error}"
        log.error("step %.200r refused: %s", delivery.message_id, printable(text))
        self.metrics.count("refused")
        self.dispatch.tell_of_rejection(
            Rejection(
                message_id=printable(delivery.message_id[:200]),
                queue=self.settings.zocalo_queue,
                reason=reason,
                message=printable(text[:1000]),
                sha256=hashlib.sha256(delivery.body).hexdigest(),
            )
        )
        self.theirs.bus.reject(delivery)
