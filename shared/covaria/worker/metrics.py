"""What workers count; names and units are an interface to dashboards and alerts.

The worker's parent process owns one plain registry. No label carries a job id or a path: those would grow without end.
The label `root` is the position in COVARIA_ROOTS.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from covaria import __version__
from covaria.findings import Findings
from covaria.worker.effects import Outcome
from covaria.worker.failures import POLICIES

DURATION_BUCKETS = (1, 5, 15, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400)
"""Seconds; a day is the last bound."""
RESOLUTION_BUCKETS = (2, 2.5, 3, 3.5, 4, 5, 6, 8, 10, 15, 20)
"""Angstrom."""
CONFIRMED = ("not_tested", "0", "1", "2", "3", "4", "5+")
WAIT_BUCKETS = (0.1, 0.5, 1, 2, 5, 15, 60, 300, 900, 3600, 14400, 86400)

OUTCOMES = tuple(dict.fromkeys(outcome.label for outcome in Outcome))
"""How a received job may end: `deferred` met another worker's live lease, `lost` found its own lease taken over."""

PUBLISH_RESULTS = ("confirmed", "unroutable", "refused", "error")
REFUSALS = ("size", "envelope", "version", "schema", "path")


class Registry:
    """Shorthand for metrics of one registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"covaria_{name}", text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"covaria_{name}", text, labels, registry=self.registry)

    def histogram(self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"covaria_{name}", text, labels, buckets=buckets, registry=self.registry)

    def common(self) -> None:
        self.broker_connected = self.gauge("broker_connected", "1 while the channel to the broker is open.")
        self.shared_fs_free = self.gauge("shared_fs_free_bytes", "Free space of the filesystem of a root.", "root")
        self.build_info = self.gauge("build_info", "Always 1.", "version")
        self.build_info.labels(version=__version__).set(1)


class Metrics(Registry):
    """The metrics of one worker."""

    def __init__(self) -> None:
        super().__init__()
        self._queues: list[tuple[str, str, str]] = []
        self.common()
        self._jobs()
        self._progress()
        self._findings()
        counter, gauge = self.counter, self.gauge
        self.worker_last_poll = gauge(
            "worker_last_poll_timestamp_seconds",
            "When the worker last looked after its queues: asked them, or was busy with a job of theirs (Unix time).",
            "stage",
            "class",
            "pool",
        )
        self.quarantined = gauge(
            "quarantined", "1 while the worker takes no jobs because its device does not compute.", "stage"
        )
        self.deliveries_lost = counter(
            "deliveries_lost_total",
            "Deliveries that the broker took back while the stage ran (consumer_timeout, restart).",
            "stage",
        )
        self.preemptions = counter(
            "preemptions_total", "Bulk stages that made room for a live message; they resume later.", "stage"
        )
        self.lease_takeovers = counter("lease_takeovers_total", "Leases taken over from a dead worker.", "stage")
        self.messages_published = counter(
            "messages_published_total", "Publishes; result is confirmed, unroutable, refused or error.", "result"
        )
        self.io_loop_lag = gauge("io_loop_lag_seconds", "By how much the last turn of the I/O loop was late.")
        self.validation_failures = counter(
            "validation_failures_total",
            "Messages refused before any work; reason is size, envelope, version, schema or path.",
            "reason",
        )

    def looked(self) -> None:
        """The worker looks after its queues."""
        for stage, job_class, pool in self._queues:
            self.worker_last_poll.labels(stage, job_class, pool).set_to_current_time()

    def start_at_zero(self, stage: str, classes: Sequence[str], pool: str) -> None:
        """Show what alerts and panels take rates of: a series that begins with 1 has no increase to see."""
        self._queues = [(stage, job_class, pool) for job_class in classes]
        for outcome in OUTCOMES:
            for job_class in classes:
                self.jobs_finished.labels(stage, job_class, outcome)
        for job_class in classes:
            self.jobs_received.labels(stage, job_class)
            self.job_queue_wait.labels(stage, job_class)
            self.job_duration.labels(stage, job_class, "succeeded")
        for result in PUBLISH_RESULTS:
            self.messages_published.labels(result)
        for reason in REFUSALS:
            self.validation_failures.labels(reason)
        for failure in POLICIES:
            self.job_failures.labels(stage, failure)
        for label in CONFIRMED if stage == "reconstruction" else ():
            self.reconstructions.labels(label)
        for counter in (self.deliveries_lost, self.lease_takeovers, self.preemptions, self.images_processed):
            counter.labels(stage)
        self.job_in_progress.labels(stage).set(0)

    def count_findings(self, stage: str, found: Findings) -> None:
        """What a reconstruction found."""
        if stage != "reconstruction":
            return
        count = found.confirmed
        label = "not_tested" if count is None else CONFIRMED[1 + min(count, len(CONFIRMED) - 2)]
        self.reconstructions.labels(label).inc()
        if found.resolution_angstrom is not None:
            self.mean_resolution.observe(found.resolution_angstrom)

    def at_rest(self, stage: str) -> None:
        """No stage runs: what was shown of one that did is over."""
        for gauge in (self.job_in_progress, self.job_progress, self.images_per_second):
            gauge.labels(stage).set(0)
        self.gpu_memory_used.labels("0").set(0)

    def _jobs(self) -> None:
        counter, histogram = self.counter, self.histogram
        self.jobs_received = counter("jobs_received_total", "Messages taken from a queue.", "stage", "class")
        self.jobs_finished = counter(
            "jobs_finished_total",
            f"Messages dealt with; outcome is one of {', '.join(OUTCOMES)}.",
            "stage",
            "class",
            "outcome",
        )
        self.job_failures = counter("job_failures_total", "Failed attempts by failure class.", "stage", "reason")
        self.job_duration = histogram(
            "job_duration_seconds",
            "Running time of one attempt of a stage.",
            ("stage", "class", "outcome"),
            DURATION_BUCKETS,
        )
        self.job_queue_wait = histogram(
            "job_queue_wait_seconds",
            "From a message's first queueing for this stage to its start.",
            ("stage", "class"),
            WAIT_BUCKETS,
        )
        self.input_bytes = counter("input_bytes_total", "Size of the inputs of started jobs.", "stage")

    def _findings(self) -> None:
        self.reconstructions = self.counter(
            "reconstructions_total",
            f"Reconstructions done, by how many components of motion they confirm: {', '.join(CONFIRMED)}.",
            "confirmed",
        )
        self.mean_resolution = self.histogram(
            "mean_resolution_angstrom", "Resolution of the mean maps (FSC 0.143).", (), RESOLUTION_BUCKETS
        )

    def _progress(self) -> None:
        counter, gauge = self.counter, self.gauge
        self.stage_step_duration = self.histogram(
            "stage_step_duration_seconds", "Running time of one step of a stage.", ("stage", "step"), DURATION_BUCKETS
        )
        self.job_in_progress = gauge("job_in_progress", "1 while a stage runs.", "stage")
        self.job_progress = gauge("job_progress_ratio", "Done part of the running step, 0 to 1.", "stage")
        self.job_last_progress = gauge(
            "job_last_progress_timestamp_seconds", "When the running stage last reported (Unix time).", "stage"
        )
        self.images_processed = counter("images_processed_total", "Images processed, every pass counted.", "stage")
        self.images_per_second = gauge("images_per_second", "Rate of the running step.", "stage")
        self.gpu_memory_used = gauge("gpu_memory_used_bytes", "GPU memory that the running stage holds.", "gpu")
