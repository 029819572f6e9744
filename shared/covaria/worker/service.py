"""A service: asks its queues, live before bulk, and deals with one message at a time until it is told to stop."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType

from covaria.bus.backoff import Backoff
from covaria.bus.model import BrokerAway, Bus, BusError, Delivery
from covaria.bus.pools import Pool
from covaria.bus.rabbit import RabbitBus
from covaria.bus.topology import CLASSES, build_topology, job_queue
from covaria.errors import InvalidInput
from covaria.plain import printable
from covaria.request.stages import STAGES, WITHOUT_DEVICE
from covaria.settings import Settings
from covaria.tree.access import read_entry
from covaria.worker.clock import Clock
from covaria.worker.device_watch import DeviceWatch
from covaria.worker.dispatch import Dispatch
from covaria.worker.faults import Faults
from covaria.worker.handler import Handler, WhyHeld, admit_all
from covaria.worker.health import Health, HealthServer
from covaria.worker.link import Link
from covaria.worker.metrics import Metrics
from covaria.worker.process import Nursery, StartStage
from covaria.worker.spans import Tell, to_nobody

log = logging.getLogger(__name__)

DISK_EVERY_S = 30.0
SHORTEST_PAUSE_S = 0.05
PAUSE_OF_IDLE = 0.05
"""A message waits for the next question at most this part of the time that none came."""


class Service:
    """A worker's parent process. It never imports torch."""

    def __init__(
        self,
        stage: str,
        classes: Sequence[str],
        settings: Settings,
        *,
        max_jobs: int | None = None,
        idle_exit_s: float | None = None,
        bus: Bus | None = None,
        start_stage: StartStage | None = None,
        clock: Clock | None = None,
        faults: Faults | None = None,
        tell_span: Tell = to_nobody,
        why_held: WhyHeld = admit_all,
    ) -> None:
        if stage not in STAGES:
            raise InvalidInput(f"no stage {stage!r}", hint=f"one of {', '.join(STAGES)}")
        if not settings.roots:
            raise InvalidInput("COVARIA_ROOTS is empty: the service would refuse every job", hint="COVARIA_ROOTS=/data")
        for entry in settings.out_acl:
            read_entry(entry)
        self.stage, self.settings = stage, settings
        self.classes = [job_class for job_class in CLASSES if job_class in classes]
        self.max_jobs, self.idle_exit_s = max_jobs, idle_exit_s
        self.metrics = Metrics()
        self.metrics.start_at_zero(stage, self.classes, settings.pool)
        self.health = Health(settings.roots, settings.device)
        topology = build_topology(settings.retry_delays_s, pools=settings.pools)
        if settings.pool and Pool(stage, settings.pool) not in {replace(pool, from_gb=None) for pool in topology.pools}:
            raise InvalidInput(
                f"COVARIA_POOL: {stage} has no pool {printable(settings.pool)!r}",
                hint=f"COVARIA_POOLS names them: {', '.join(settings.pools) or 'none are set'}",
            )
        self.bus = bus or RabbitBus(settings, lambda result: self.metrics.messages_published.labels(result).inc())
        part = topology.part(stage, tuple(self.classes), settings.pool)
        self.clock = clock or Clock()
        self.link = Link(self.bus, part, self.health, self.metrics, Backoff(), self.clock)
        dispatch = Dispatch(self.bus, topology)
        faults = faults or Faults(settings.crash_at)
        self.nursery = Nursery(stage)
        start_stage = start_stage or self.nursery
        self.handler = Handler(
            stage,
            settings,
            self.link,
            dispatch,
            self.metrics,
            lambda: self.terms,
            start_stage,
            faults,
            self.clock,
            DeviceWatch("" if stage in WITHOUT_DEVICE else settings.device, self.clock),
            classes=tuple(self.classes),
        )
        self.handler.tell_span, self.handler.why_held = tell_span, why_held
        self.terms = 0
        """How often we were asked to stop."""
        self._disk_seen = float("-inf")

    def run(self) -> int:
        """Work until SIGTERM, `max_jobs` messages, or `idle_exit_s` without one. Returns the exit code."""
        server = HealthServer(self.settings.http_host, self.settings.http_port, self.health, self.metrics.registry)
        before = {number: signal.signal(number, self._asked) for number in (signal.SIGTERM, signal.SIGINT)}
        if self.settings.umask:
            os.umask(int(self.settings.umask, 8))
        pool = f", pool {self.settings.pool}" if self.settings.pool else ""
        log.info("%s worker for %s%s, http port %d", self.stage, "+".join(self.classes), pool, server.port)
        log.info("settings: %s", self.settings.redacted())
        self.nursery.start()
        try:
            self.serve()
        finally:
            self.health.draining = True
            self.bus.close()
            server.close()
            self.nursery.close()
            for number, handler in before.items():
                signal.signal(number, handler)
        log.info("ended")
        return 0

    def serve(self) -> None:
        """Deal with messages until it is time to end."""
        handled = 0
        last_message = self.clock.monotonic()
        while not self.terms:
            self._look_at_disks()
            delivery = self._next()
            if delivery is not None:
                self.health.taken = True
                self._handle(delivery)
                handled += not self.handler.live_first.holds_one  # what made room for another does not count
                last_message = self.clock.monotonic()
                if self.max_jobs is not None and handled >= self.max_jobs:
                    return
                continue
            if self.idle_exit_s is not None and self.clock.monotonic() - last_message > self.idle_exit_s:
                log.info("no message for %.0f s", self.idle_exit_s)
                return
            self.link.tick(self._pause(self.clock.monotonic() - last_message))

    def _pause(self, idle_s: float) -> float:
        """Until the queues are asked again: short after a message, for the next one of a job comes soon."""
        return min(self.settings.poll_interval_s, max(SHORTEST_PAUSE_S, idle_s * PAUSE_OF_IDLE))

    def _next(self) -> Delivery | None:
        """What to work on now, if anything: first what was taken while a stage ran."""
        if self._device_computes() and self.link.ensure():
            return self.handler.live_first.next() or self._ask()
        self.handler.live_first.let_go()
        return None

    def _ask(self) -> Delivery | None:
        """The next message, live before bulk."""
        try:
            for job_class in self.classes:
                delivery = self.bus.get(job_queue(self.stage, job_class, self.settings.pool))
                if delivery is not None:
                    return delivery
        except BusError as error:
            self.link.lost(error)
            return None
        except Exception as error:  # whatever a queue holds must not stop the service
            log.exception("while asking the queues")
            self.link.lost(BrokerAway(f"cannot read what the broker sends: {type(error).__name__}"))
            return None
        finally:
            self.metrics.looked()
        return None

    def _handle(self, delivery: Delivery) -> None:
        try:
            self.handler.handle(delivery)
        except BusError as error:
            self.link.lost(error)
        except Exception as error:  # the broker delivers it again, and sets it aside after its delivery limit
            log.exception("message %.200r", delivery.message_id)
            self.link.lost(BrokerAway(f"a message cannot be dealt with: {type(error).__name__}"))

    def _device_computes(self) -> bool:
        self.handler.disk(self.handler.device.look, self.link.tick)
        self.health.device_problem = self.handler.device.problem
        self.metrics.quarantined.labels(stage=self.stage).set(bool(self.handler.device.problem))
        return not self.handler.device.problem

    def _look_at_disks(self) -> None:
        if self.clock.monotonic() - self._disk_seen < DISK_EVERY_S:
            return
        self._disk_seen = self.clock.monotonic()
        self.handler.disk(self._look_at_roots, self.link.tick)
        if self.handler.ledger.owed:
            self.handler.disk(self.handler.ledger.pay, self.link.tick)

    def _look_at_roots(self) -> None:
        for number, root in enumerate(self.settings.roots):
            try:
                self.metrics.shared_fs_free.labels(root=str(number)).set(shutil.disk_usage(root).free)
            except OSError as error:
                log.warning("root %s: %s", root, error)

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self.terms += 1
        self.health.draining = True
