"""What everything that is no worker counts: exporter, triggers, adapters, gateway; and the table of all metrics.

Labels are bounded: of instruments the first twenty have a name, the rest is `other`; of jobs only those few
are named that stand still longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge, Histogram

from covaria.bus.topology import CLASSES as JOB_CLASSES
from covaria.messages.control import ACTIONS
from covaria.messages.job_event import JOB_STATES
from covaria.worker.metrics import Metrics, Registry

RESULT_BUCKETS = (300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400, 172800)
"""Seconds; 1800 is the promise of CovariaLiveResultsLate."""
ENDED_STATES = ("succeeded", "failed", "parked", "cancelled")
DELIVERIES = ("delivered", "retried", "refused")
MOST_NAMES = 20
OTHER, NONE = "other", "none"
TOTAL_BUCKETS = (30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
"""Seconds from a job's queueing to its end; a day is the last bound."""


class ExporterMetrics(Registry):
    """The metrics of `covaria exporter`: job states from disk, depths from the broker."""

    def __init__(self) -> None:
        super().__init__()
        self.common()
        gauge = self.gauge
        self.jobs = gauge("jobs", "Jobs on disk by current stage and state.", "stage", "state")
        self.oldest_queued = gauge(
            "oldest_queued_job_seconds", "How long the oldest waiting job has waited for a stage.", "stage", "class"
        )
        self.jobs_ended = self.counter(
            "jobs_ended_total",
            f"Jobs that ended, as their folders say; state is {', '.join(ENDED_STATES)}.",
            "class",
            "state",
        )
        self.result_seconds = self.histogram(
            "result_seconds", "From the submission of a job that succeeded to its result.", ("class",), RESULT_BUCKETS
        )
        self.queue_messages = gauge("queue_messages_ready", "Messages waiting in a queue.", "stage", "class", "pool")
        self.listener_messages = gauge(
            "listener_messages_ready", "Events that wait for who listens: gateway, ispyb, webhook.", "listener"
        )
        self.stuck = gauge(
            "stuck_job_seconds",
            "The jobs that have been in one state longest, from an hour on, at most twenty; of all others nothing.",
            *("job", "out", "stage", "state", "class", "instrument", "visit"),
        )
        self.retry_messages = gauge("retry_messages", "Messages waiting in a retry tier.", "tier")
        self.parking_messages = gauge("parking_messages", "Parked messages.")
        self.last_scan = gauge("exporter_last_scan_timestamp_seconds", "When job states were last read (Unix time).")
        for job_class in JOB_CLASSES:
            self.result_seconds.labels(job_class)
            for state in ENDED_STATES:
                self.jobs_ended.labels(job_class, state)


class TriggerMetrics(Registry):
    """The metrics of `covaria watch`. The label `rule` is a rule's name, of which a file holds few."""

    def __init__(self, rules: Sequence[str] = ()) -> None:
        super().__init__()
        self.common()
        gauge, counter = self.gauge, self.counter
        self.sets = gauge(
            "trigger_sets",
            "Particle sets found by the last look; state is settling, waiting (a stack, its program or the version "
            "before is not done), taken, refused or ignored.",
            "rule",
            "state",
        )
        self.versions = counter("trigger_versions_total", "Versions of sets taken as jobs.", "rule")
        self.failed_looks = counter("trigger_failed_looks_total", "Looks that broke off.", "rule")
        self.last_look = gauge(
            "trigger_last_look_timestamp_seconds", "When a rule's folder was last looked through (Unix time).", "rule"
        )
        self.outbox = gauge("trigger_outbox_messages", "Jobs in the spool that the broker has not taken yet.")
        self.oldest_unsent = gauge(
            "trigger_oldest_unsent_seconds", "How long the oldest of them has waited; 0 where none waits."
        )
        for rule in rules:
            self.versions.labels(rule)
            self.failed_looks.labels(rule)
            self.last_look.labels(rule).set_to_current_time()


class AdapterMetrics(Registry):
    """The metrics of `covaria adapter`."""

    def __init__(self, adapter: str) -> None:
        super().__init__()
        self.common()
        self.io_loop_lag = self.gauge("io_loop_lag_seconds", "By how much the last turn of the I/O loop was late.")
        self.adapter = adapter
        self.deliveries = self.counter(
            "adapter_deliveries_total",
            f"What went to another system or came from it; outcome is {', '.join(DELIVERIES)}.",
            "adapter",
            "outcome",
        )
        self.undelivered = self.gauge(
            "adapter_oldest_undelivered_seconds",
            "How long ago the event was told that the other system has not taken yet; 0 where it has all.",
            "adapter",
        )
        for outcome in DELIVERIES:
            self.deliveries.labels(adapter, outcome)

    def count(self, outcome: str) -> None:
        """One more, of DELIVERIES."""
        self.deliveries.labels(self.adapter, outcome).inc()


@dataclass
class Names:
    """Values of a label that come from outside: the first MOST_NAMES are kept."""

    known: set[str] = field(default_factory=set)

    def label(self, name: str) -> str:
        """The name itself, `other` where there are too many, `none` for an empty one."""
        if not name:
            return NONE
        if name not in self.known and len(self.known) >= MOST_NAMES:
            return OTHER
        self.known.add(name)
        return name


class GatewayMetrics(Registry):
    """The metrics of `covaria gateway`."""

    def __init__(self) -> None:
        super().__init__()
        self.common()
        self.instruments = Names()
        self.io_loop_lag = self.gauge("io_loop_lag_seconds", "By how much the last turn of the I/O loop was late.")
        self.requests = self.counter("http_requests_total", "Requests to the gateway.", "route", "status")
        self.streams = self.gauge("http_event_streams", "Open streams of server-sent events.")
        self.job_events = self.counter(
            "job_events_total",
            f"Events about whole jobs; state is one of {', '.join(JOB_STATES)}; at most {MOST_NAMES} instruments.",
            "state",
            "instrument",
        )
        self.job_total = self.histogram(
            "job_total_seconds", "From a job's queueing to its result.", ("instrument",), TOTAL_BUCKETS
        )
        self.rejections = self.counter("rejections_heard_total", "Events about bytes that were no job or no order.")
        self.broker_parked = self.counter(
            "broker_parked_total", "Messages that the broker put aside past every worker; each was told of."
        )
        self.orders = self.counter(
            "orders_total", "Orders over the bus and HTTP; outcome is done or refused.", "action", "outcome"
        )
        for action in (*ACTIONS, "unknown"):
            for outcome in ("done", "refused"):
                self.orders.labels(action, outcome)


def metric_table() -> list[tuple[str, str, str, str]]:
    """(name, type, labels, meaning) of every metric, by name: for the docs and for tests of dashboards and rules."""
    rows: dict[str, tuple[str, str, str, str]] = {}
    for owner in (Metrics(), ExporterMetrics(), TriggerMetrics(), AdapterMetrics(""), GatewayMetrics()):
        for collector in vars(owner).values():
            if not isinstance(collector, Counter | Gauge | Histogram):
                continue
            for metric in collector.describe():
                name = f"{metric.name}_total" if metric.type == "counter" else metric.name
                rows[name] = (name, metric.type, ", ".join(collector._labelnames), metric.documentation)
    return [rows[name] for name in sorted(rows)]
