"""While a stage runs: keep the broker's connection alive, hear progress, notice everything that must stop it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from covaria.bus.model import Delivery
from covaria.job.lease import LeaseKeeper
from covaria.settings import Settings
from covaria.tree import Tree
from covaria.worker.clock import Clock
from covaria.worker.failures import Breakdown
from covaria.worker.link import Link
from covaria.worker.metrics import Metrics
from covaria.worker.patience import Background
from covaria.worker.process import RunningStage
from covaria.worker.progress import ProgressBook

log = logging.getLogger(__name__)

TURN_S = 0.25
FIRST_TURN_S = 0.01
TURN_OF_RUN = 0.1
"""Turns are this part of the time that the stage has run, from FIRST_TURN_S to TURN_S: a short stage is not held up."""
CANCEL_POLL_S = 1.0

Why = Literal["cancel", "drain", "time_limit", "lease_lost", "preempt", ""]


def never(ran_s: float) -> bool:
    """A stage that makes room for nobody."""
    return False


@dataclass(frozen=True)
class Ending:
    """How a stage's process ended."""

    breakdown: Breakdown | None
    """None: the stage is done."""
    why: Why
    """Why it was asked to stop, "" when it was not."""
    delivery_lost: bool
    """The broker took the delivery back meanwhile; it comes again."""


@dataclass
class Supervisor:
    """Watches one stage process to its end."""

    link: Link
    delivery: Delivery
    tree: Tree
    stage: str
    keeper: LeaseKeeper
    settings: Settings
    metrics: Metrics
    draining: Callable[[], int]
    """How often SIGTERM has come; the second ends the stage at once."""
    clock: Clock
    make_room: Callable[[float], bool] = never
    """Whether a stage that has run so many seconds is to make room for live work; asked until it says yes."""
    _looking: Background = field(default_factory=Background)
    _cancelled: bool = False

    def watch(self, process: RunningStage, progress: ProgressBook) -> Ending:
        """Serve the connection until the process has ended."""
        began = self.clock.monotonic()
        why: Why = ""
        kill_at = float("inf")
        lost = False
        cancel_checked = 0.0
        while process.running:
            self.link.ensure()
            self.link.tick(min(TURN_S, max(FIRST_TURN_S, TURN_OF_RUN * (self.clock.monotonic() - began))))
            self.metrics.looked()
            for report in process.reports():
                progress.take(report)
            if not lost and not self.link.bus.holds(self.delivery):
                lost = True
                self.metrics.deliveries_lost.labels(stage=self.stage).inc()
                log.warning("the broker took the delivery back; the stage goes on, the copy will find it done")
            now = self.clock.monotonic()
            look_for_cancel = now - cancel_checked >= CANCEL_POLL_S
            cancel_checked = now if look_for_cancel else cancel_checked
            reason = self._reason(now - began, look_for_cancel=look_for_cancel)
            if not why and not reason and process.running and self.make_room(now - began):
                reason = "preempt"
            if reason and not why:
                why, kill_at = reason, now + (0.0 if reason == "lease_lost" else self.settings.grace_s)
                log.info("stopping the stage: %s", why)
                process.stop()
            if now >= kill_at or self.draining() > 1:
                process.kill()
        for report in process.reports():
            progress.take(report)
        progress.close()
        return Ending(process.finish(), why, lost or not self.link.bus.holds(self.delivery))

    def _reason(self, ran_s: float, *, look_for_cancel: bool) -> Why:
        if self.keeper.lost:
            return "lease_lost"
        if self.draining():
            return "drain"
        if self.settings.job_timeout_s is not None and ran_s > self.settings.job_timeout_s:
            return "time_limit"
        if look_for_cancel:
            self._looking.start(self._look_for_cancel)
        return "cancel" if self._cancelled else ""

    def _look_for_cancel(self) -> None:
        try:
            self._cancelled = self.tree.cancel.exists()
        except OSError as error:  # a filesystem that hiccups ends no job
            log.warning("cannot look for a cancellation: %s", error)
