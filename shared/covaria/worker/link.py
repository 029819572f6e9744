"""A bus that may go away: connect, look whether the topology is there, wait with jitter, serve heartbeats."""

from __future__ import annotations

import logging
from typing import Protocol

from prometheus_client import Gauge

from covaria.bus.backoff import Backoff
from covaria.bus.model import BrokerAway, Bus, BusError
from covaria.bus.topology import Topology
from covaria.worker.clock import Clock
from covaria.worker.health import Health

log = logging.getLogger(__name__)


class Gauges(Protocol):
    """What a link shows of itself."""

    broker_connected: Gauge
    io_loop_lag: Gauge


class Link:
    """Keeps a bus open as far as it can be. `tick` and `ensure` never raise for a broker that is away."""

    def __init__(
        self, bus: Bus, topology: Topology, health: Health, metrics: Gauges, backoff: Backoff, clock: Clock
    ) -> None:
        self.bus, self._clock = bus, clock
        self._topology = topology
        self._health, self._metrics, self._backoff = health, metrics, backoff
        self._next_try = 0.0

    def ensure(self) -> bool:
        """Whether the bus is open with its topology in place; tries to make it so when a try is due."""
        if self.bus.is_open:
            return True
        if self._clock.monotonic() < self._next_try:
            return False
        try:
            self.bus.open()
            self.bus.check(self._topology)
        except BusError as error:
            self.lost(error)
            return False
        self._backoff.reset()
        log.info("connected to the broker")
        self._note(connected=True)
        return True

    def lost(self, error: BusError) -> None:
        """The bus failed: close it, try again after a while. What was unsettled is delivered again."""
        self.bus.close()
        wait = self._backoff.next_wait_s()
        self._next_try = self._clock.monotonic() + wait
        log.warning("%s (trying again in %.1f s)", error, wait)
        self._note(connected=False)

    def tick(self, seconds: float) -> None:
        """Let `seconds` pass: serve the connection, or sleep where there is none."""
        began = self._clock.monotonic()
        if self.bus.is_open:
            try:
                self.bus.tick(seconds)
            except BrokerAway as error:
                self.lost(error)
        left = began + seconds - self._clock.monotonic()
        if left > 0 and not self.bus.is_open:
            self._clock.sleep(left)
        self._health.tick()
        self._metrics.io_loop_lag.set(max(0.0, self._clock.monotonic() - began - seconds))

    def _note(self, *, connected: bool) -> None:
        self._health.broker_open = connected
        self._metrics.broker_connected.set(1 if connected else 0)
