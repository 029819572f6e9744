"""What the gateway counts. Labels are bounded: of instruments the first twenty have a name, the rest is `other`."""

from __future__ import annotations

from dataclasses import dataclass, field

from covaria.messages.control import ACTIONS
from covaria.messages.job_event import JOB_STATES
from covaria.worker.metrics import Registry

MOST_NAMES = 20
OTHER, NONE = "other", "none"
TOTAL_BUCKETS = (30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
"""Seconds from a job's queueing to its end; a day is the last bound."""


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
