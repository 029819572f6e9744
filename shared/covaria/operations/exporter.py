"""`covaria exporter`: job states from disk and depths from the broker, as metrics of one long-lived process.

Workers that serve one message and end may be gone before anybody scrapes them; this one stays.
"""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import generate_latest

from covaria.bus.model import BusError
from covaria.bus.rabbit import RabbitBus
from covaria.bus.topology import CLASSES, PARKING, RETRY, build_topology, job_queue
from covaria.operations.jobs_on_disk import find_jobs, view_job, waited_s
from covaria.plain import explain
from covaria.request.stages import STAGES
from covaria.settings import Settings
from covaria.worker.health import Health, HealthServer
from covaria.worker.metrics import ExporterMetrics

log = logging.getLogger(__name__)

STATES = ("queued", "running", "retrying", "parked", "succeeded", "failed", "cancelled")


class Exporter:
    """Looks, again and again, at the folders and at the broker."""

    def __init__(self, settings: Settings, folders: Sequence[Path]) -> None:
        self.settings, self.folders = settings, folders
        self.metrics = ExporterMetrics()
        self._bus = RabbitBus(settings)
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
                self.look()
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

    def look(self) -> None:
        """Refresh every metric."""
        self._look_at_jobs()
        self._look_at_broker()
        for number, root in enumerate(self.settings.roots):
            try:
                self.metrics.shared_fs_free.labels(root=str(number)).set(shutil.disk_usage(root).free)
            except OSError as error:
                log.warning("root %s: %s", root, error)

    def _look_at_jobs(self) -> None:
        counts: Counter[tuple[str, str]] = Counter()
        oldest: dict[str, float] = {stage: 0.0 for stage in STAGES}
        for out in find_jobs(self.folders, self.settings.scan_depth):
            try:
                view = view_job(out)
                waited = waited_s(view) or 0.0
            except Exception as error:  # whatever a folder holds must not hide the others
                log.warning("%s: skipped: %s", out, explain(error).message)
                continue
            counts[view.current.name, view.status] += 1
            oldest[view.current.name] = max(oldest[view.current.name], waited)
        for stage in STAGES:
            self.metrics.oldest_queued.labels(stage=stage).set(oldest[stage])
            for state in STATES:
                self.metrics.jobs.labels(stage=stage, state=state).set(counts[stage, state])
        self.metrics.last_scan.set_to_current_time()

    def _look_at_broker(self) -> None:
        metrics, bus = self.metrics, self._bus
        try:
            if not bus.is_open:
                bus.open()
            bus.tick(0)
            for stage in STAGES:
                for job_class in CLASSES:
                    metrics.queue_messages.labels(stage, job_class).set(bus.depth(job_queue(stage, job_class)))
            for tier in build_topology(self.settings.retry_delays_s).tiers:
                metrics.retry_messages.labels(tier=tier.removeprefix(f"{RETRY}.")).set(bus.depth(tier))
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
