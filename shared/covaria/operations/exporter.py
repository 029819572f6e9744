"""`covaria exporter`: job states from disk and depths from the broker, as metrics of one long-lived process.

Workers that serve one message and end may be gone before anybody scrapes them; this one stays. It keeps the ledger. All
that touches the shared filesystem goes on beside the loop that answers probes.
"""

from __future__ import annotations

import logging
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

from prometheus_client import generate_latest

from covaria.bus.model import BusError
from covaria.bus.pools import Pool
from covaria.bus.rabbit import RabbitBus
from covaria.bus.topology import CLASSES, PARKING, RETRY, build_topology, job_queue, listener_queue
from covaria.errors import CovariaError
from covaria.operations.ledger.keeper import Keeper
from covaria.operations.ledger.store import Ledger
from covaria.request.stages import STAGES
from covaria.settings import Settings
from covaria.worker.health import Health, HealthServer
from covaria.worker.patience import Background, beside
from covaria.worker.service_metrics import ExporterMetrics

log = logging.getLogger(__name__)

STUCK_AFTER = timedelta(hours=1)
MOST_STUCK = 20
STATES = ("queued", "running", "retrying", "parked", "succeeded", "failed", "cancelled")


class Exporter:
    """Looks, again and again, at the folders and at the broker."""

    def __init__(self, settings: Settings, folders: Sequence[Path]) -> None:
        self.settings, self.folders = settings, folders
        self.metrics = ExporterMetrics()
        self._bus = RabbitBus(settings)
        self._keeper = Keeper(self._open_ledger(), folders, settings.scan_depth)
        self._walking = Background()
        self._walked = float("-inf")
        self._parked_before = 0

    def run(self) -> None:
        """Serve until SIGTERM."""
        health = Health(self.settings.roots)
        server = HealthServer(self.settings.http_host, self.settings.http_port, health, self.metrics.registry)
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        log.info("exporter on port %d, looking at %s", server.port, ", ".join(map(str, self.folders)))
        while not stopped.is_set():
            try:
                self.look(lambda _: health.tick())
            except Exception:  # the next look may see more; ending would hide all
                log.exception("this look has failed")
            health.tick()
            health.broker_open = self._bus.is_open
            waited = 0.0
            while waited < self.settings.scan_interval_s and not stopped.wait(1.0):
                waited += 1.0
                health.tick()
        self._bus.close()
        server.close()

    def text(self) -> str:
        """One look, as the metrics' text."""
        self.look()
        self._bus.close()
        return generate_latest(self.metrics.registry).decode()

    def look(self, turn: Callable[[float], None] = lambda _: None) -> None:
        """Refresh every metric; `turn` is called again and again meanwhile."""
        beside(self._look_at_jobs, turn)
        self._look_at_broker()
        beside(self._look_at_roots, turn)

    def _look_at_roots(self) -> None:
        for number, root in enumerate(self.settings.roots):
            try:
                self.metrics.shared_fs_free.labels(root=str(number)).set(shutil.disk_usage(root).free)
            except OSError as error:
                log.warning("root %s: %s", root, error)

    def _open_ledger(self) -> Ledger:
        if self.settings.ledger is None:
            return Ledger()
        try:
            return Ledger.of(self.settings)
        except (sqlite3.Error, OSError, CovariaError) as error:
            log.error("the ledger in %s cannot be kept, it is in memory for now: %s", self.settings.ledger, error)
            return Ledger()

    def _keep_ledger(self) -> None:
        """With notices: what they say, and a walk beside it now and then. Without: a walk each time."""
        if self._keeper.ledger.folder is None:
            self._keeper.walk()
            return
        self._keeper.look()
        if not self._walking.hangs and time.monotonic() - self._walked >= self.settings.walk_interval_s:
            self._walked = time.monotonic()
            self._walking.start(self._walk)

    def _walk(self) -> None:
        try:
            log.info("%d jobs found by a walk", self._keeper.walk())
        except Exception:  # the next walk may see more
            log.exception("a walk through the folders has failed")

    def _look_at_jobs(self) -> None:
        try:
            self._keep_ledger()
        except sqlite3.Error as error:
            if not isinstance(error, sqlite3.OperationalError):  # broken, not only locked: it is made again
                self._keeper.ledger.close()
                self._keeper.ledger, self._walked = self._open_ledger(), float("-inf")
            raise
        endings = self._keeper.endings
        while endings:
            ending = endings.popleft()
            self.metrics.jobs_ended.labels(ending.job_class, ending.status).inc()
            if ending.status == "succeeded":
                self.metrics.result_seconds.labels(ending.job_class).observe(ending.seconds)
        ledger, now = self._keeper.ledger, datetime.now(UTC)
        counts, oldest = ledger.counts(), ledger.oldest()
        for stage in STAGES:
            for job_class in CLASSES:
                since = oldest.get((stage, job_class))
                waited = 0.0 if since is None else max((now - datetime.fromisoformat(since)).total_seconds(), 0.0)
                self.metrics.oldest_queued.labels(stage, job_class).set(waited)
            for state in STATES:
                self.metrics.jobs.labels(stage=stage, state=state).set(counts.get((stage, state), 0))
        self._show_stuck(ledger, now)
        self.metrics.last_scan.set_to_current_time()
        if self.settings.ledger is not None and ledger.folder is None:
            self._try_ledger_again()

    def _try_ledger_again(self) -> None:
        """Out of memory into the ledger, once it can be kept; what ended meanwhile has been counted."""
        opened = self._open_ledger()
        if opened.folder is not None:
            self._keeper.ledger = opened
            self._keeper.walk()
            self._keeper.endings.clear()

    def _show_stuck(self, ledger: Ledger, now: datetime) -> None:
        """Whoever is no more among them is shown no more."""
        self.metrics.stuck.clear()
        for job in ledger.stuck((now - STUCK_AFTER).isoformat(), MOST_STUCK):
            waited = (now - datetime.fromisoformat(job.pop("since"))).total_seconds()
            self.metrics.stuck.labels(**job).set(waited)

    def _look_at_broker(self) -> None:
        metrics, bus = self.metrics, self._bus
        try:
            if not bus.is_open:
                bus.open()
            bus.tick(0)
            topology = build_topology(self.settings.retry_delays_s, pools=self.settings.pools)
            common = [Pool(stage, "") for stage in STAGES]
            for pool, job_class in product([*common, *topology.pools], CLASSES):
                depth = bus.depth(job_queue(pool.stage, job_class, pool.name))
                metrics.queue_messages.labels(pool.stage, job_class, pool.name).set(depth)
            for tier in topology.tiers:
                metrics.retry_messages.labels(tier=tier.removeprefix(f"{RETRY}.")).set(bus.depth(tier))
            for listener in self.settings.event_listeners:
                metrics.listener_messages.labels(listener).set(bus.depth(listener_queue(listener)))
            self._look_at_parking(bus.depth(PARKING))
            metrics.broker_connected.set(1)
        except BusError as error:
            log.warning("%s", error)
            bus.close()
            metrics.broker_connected.set(0)

    def _look_at_parking(self, ready: int) -> None:
        """Who looks at parked messages holds them for a moment: they are gone when two looks in a row say so."""
        self.metrics.parking_messages.set(max(ready, self._parked_before))
        self._parked_before = ready
