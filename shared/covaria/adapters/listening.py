"""Events about jobs, taken one by one from a listener's queue at the broker and handed to another system.

The queue is the spool: an event is acknowledged once the other system has it. While that system is away the event stays
at the head and is tried again; one that it refuses for good is put aside in a file, and the next one is sent.
"""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from covaria.bus.backoff import Backoff
from covaria.bus.model import Bus, BusError, Delivery
from covaria.bus.topology import Topology, build_topology, listener_queue
from covaria.errors import CovariaError
from covaria.plain import printable
from covaria.settings import Settings
from covaria.tree import atomic
from covaria.worker.clock import Clock
from covaria.worker.health import Health, HealthServer
from covaria.worker.link import Link
from covaria.worker.patience import beside
from covaria.worker.service_metrics import AdapterMetrics

log = logging.getLogger(__name__)

Deliver = Callable[[str, dict[str, Any]], None]
"""(key, event) -> None once the other system has it; raises Later or Unwanted."""
LONGEST_WAIT_S = 300.0


class Later(CovariaError):
    """The other system cannot take it now."""


class Unwanted(CovariaError):
    """The other system will never take it."""


class Listener:
    """Delivers the events of one queue, in order."""

    def __init__(self, settings: Settings, name: str, bus: Bus, deliver: Deliver, clock: Clock | None = None) -> None:
        self.settings, self.name, self.deliver = settings, name, deliver
        self.clock = clock or Clock()
        self.queue = listener_queue(name)
        self.metrics, self.health = AdapterMetrics(name), Health()
        topology = build_topology(settings.retry_delays_s, (name,))
        used = Topology(topology.exchanges, (topology.queue(self.queue),), (), topology.tiers)
        self.link = Link(bus, used, self.health, self.metrics, Backoff(), self.clock)
        self.waits = Backoff(cap_s=LONGEST_WAIT_S)
        self.held: Delivery | None = None
        self.stopped = False
        self._next_try = 0.0

    def run(self) -> None:
        """Deliver until SIGTERM."""
        server = HealthServer(self.settings.http_host, self.settings.http_port, self.health, self.metrics.registry)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        log.info("events to %s, http port %d", self.name, server.port)
        while not self.stopped:
            self.link.tick(0.0 if self.turn() else self.settings.poll_interval_s)
        self.link.bus.close()
        server.close()

    def stop(self) -> None:
        self.stopped = True

    def turn(self) -> bool:
        """Deliver one event, if there is one and it is time; whether there may be more at once."""
        if not self.link.ensure():
            self.held = None
            return False
        if self.held is None or not self.link.bus.holds(self.held):
            try:
                self.held = self.link.bus.get(self.queue)
            except BusError as error:
                self.link.lost(error)
                return False
        self.metrics.undelivered.labels(self.name).set(0.0 if self.held is None else _age_s(self.held.body))
        if self.held is None or self.clock.monotonic() < self._next_try:
            return False
        return self._deliver(self.held)

    def _deliver(self, delivery: Delivery) -> bool:
        try:
            document = json.loads(delivery.body)
            beside(lambda: self.deliver(delivery.key, document), self.link.tick)
            outcome = "delivered"
        except Later as error:
            wait = self.waits.next_wait_s()
            self._next_try = self.clock.monotonic() + wait
            self.metrics.count("retried")
            log.warning("%s takes nothing now: %s (trying again in %.0f s)", self.name, error.message, wait)
            return False
        except Exception as error:  # an event that cannot be handed on must not keep the next ones
            self._put_aside(delivery, error)
            outcome = "refused"
        self.waits.reset()
        self.metrics.count(outcome)
        self.held = None
        try:
            self.link.bus.ack(delivery)
        except BusError as error:
            log.warning("not acknowledged, it comes again: %s", error)
        return True

    def _put_aside(self, delivery: Delivery, error: Exception) -> None:
        aside = self.settings.spool / self.name / "refused"
        name = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in delivery.message_id[:120])
        log.error("event %.200r goes to %s: %s", delivery.message_id, aside, printable(str(error)))
        try:
            atomic.write_bytes(Path(aside) / f"{name or 'event'}.json", delivery.body)
        except OSError as problem:
            log.error("it cannot be written there: %s", problem)


def _age_s(body: bytes) -> float:
    """How long ago an event was told; 0 where it does not say."""
    try:
        told = datetime.fromisoformat(json.loads(body)["time"])
        return max((datetime.now(UTC) - told).total_seconds(), 0.0)
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0.0
