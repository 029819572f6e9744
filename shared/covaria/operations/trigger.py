"""`covaria watch`: looks with every rule, sends what can be sent, answers probes; for as long as it runs.

A filesystem that hangs and a broker that is away stop neither the probes nor each other: what is found meanwhile lies
in the spool.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Sequence

from covaria.bus.model import Bus, BusError
from covaria.job.notice import notice
from covaria.messages.envelope import Message
from covaria.opening import Roots
from covaria.operations.announce import announce
from covaria.operations.quotas import hold_back
from covaria.operations.watching.content import read_content
from covaria.operations.watching.rules import Rule
from covaria.operations.watching.watcher import STATES, Watcher
from covaria.settings import Settings
from covaria.worker.health import Health, HealthServer
from covaria.worker.patience import beside
from covaria.worker.service_metrics import TriggerMetrics

log = logging.getLogger(__name__)

TURN_S = 1.0


class Trigger:
    """Watchers, one for each rule, with one spool and one connection."""

    def __init__(self, settings: Settings, rules: Sequence[Rule], bus: Bus, *, every_s: float) -> None:
        roots = Roots.of(settings.roots)
        self.watchers = [
            Watcher(
                rule, settings.spool, read=lambda options: read_content(options, roots),
                admit=lambda message: hold_back(message, settings),
            )
            for rule in rules
        ]  # fmt: skip
        self.settings, self.bus, self.every_s = settings, bus, every_s
        self.metrics = TriggerMetrics([rule.name for rule in rules])
        self.health = Health(settings.roots)
        self.serving = False
        self.stopped = threading.Event()

    def run(self, *, once: bool, serve: bool) -> None:
        """Look until SIGTERM, or with `once` until nothing is settling or waiting to be sent."""
        self.serving = serve
        server = self._serve() if serve else None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stopped.set())
        while not self.stopped.is_set():
            self.look()
            if once and all(watcher.is_quiet() for watcher in self.watchers):
                break
            self._rest()
        self.bus.close()
        if server is not None:
            server.close()

    def look(self) -> None:
        """Once with every rule; then what waits is sent."""
        for watcher in self.watchers:
            try:
                messages = beside(watcher.look, self._turn)
            except Exception:  # the other rules are looked with all the same, and this one again later
                log.exception("looking with rule %s has failed", watcher.rule.name)
                self.metrics.failed_looks.labels(watcher.rule.name).inc()
                continue
            for message in messages:
                self._announce(message)
            self._count(watcher, len(messages))
        self._send()

    def _announce(self, message: Message) -> None:
        beside(lambda: announce(message, self.settings), self._turn)
        beside(lambda: notice(self.settings.ledger, message.work.request.out), self._turn)

    def _send(self) -> None:
        outbox = self.watchers[0].outbox
        if self.serving and not self.bus.is_open:  # a service says whether it could send, also while there is nothing
            try:
                self.bus.open()
            except BusError as error:
                log.warning("%s", error)
        self.watchers[0].send(self.bus, self.settings.retry_delays_s, self.settings.pools)
        waiting = outbox.waiting()
        self.metrics.outbox.set(len(waiting))
        self.metrics.oldest_unsent.set(max(time.time() - waiting[0].lstat().st_mtime, 0.0) if waiting else 0.0)
        self.metrics.broker_connected.set(self.bus.is_open)
        self.health.broker_open = self.bus.is_open

    def _count(self, watcher: Watcher, taken: int) -> None:
        rule, metrics = watcher.rule.name, self.metrics
        for state in STATES:
            metrics.sets.labels(rule, state).set(watcher.states[state])
        metrics.versions.labels(rule).inc(taken)
        metrics.last_look.labels(rule).set_to_current_time()

    def _serve(self) -> HealthServer:
        server = HealthServer(self.settings.http_host, self.settings.http_port, self.health, self.metrics.registry)
        log.info("watching with %d rules, http port %d", len(self.watchers), server.port)
        return server

    def _rest(self) -> None:
        until = time.monotonic() + self.every_s
        while not self.stopped.wait(min(max(until - time.monotonic(), 0.0), TURN_S)):
            self._turn(0.0)
            if time.monotonic() >= until:
                return

    def _turn(self, seconds: float) -> None:
        """Serve the connection; called again and again, whatever else goes on."""
        self.health.tick()
        if not self.bus.is_open:
            return
        try:
            self.bus.tick(seconds)
        except BusError as error:
            log.warning("%s", error)
            self.bus.close()
