"""Live before bulk, also where bulk is being worked on: a worker takes the live message, then asks its stage to stop.

The message is taken first, so that no other worker sees it wait: one live message stops one stage, however many run. An
idle worker asks its queues every COVARIA_POLL_INTERVAL_S; what still waits after two of these is for a busy one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from covaria.bus.model import BusError, Delivery, TopologyMissing
from covaria.bus.topology import job_queue
from covaria.settings import Settings
from covaria.worker.clock import Clock
from covaria.worker.link import Link
from covaria.worker.supervise import never

log = logging.getLogger(__name__)

LIVE = "live"
LOOKS_OF_THE_IDLE = 2.0
"""Poll intervals in which an idle worker would have taken a message."""


class LiveFirst:
    """The live queue of a worker, and the message of it that the worker has taken while busy."""

    def __init__(self, stage: str, classes: Sequence[str], settings: Settings, link: Link, clock: Clock) -> None:
        self._queue = job_queue(stage, LIVE, settings.pool) if LIVE in classes else ""
        self._settings, self._link, self._clock = settings, link, clock
        self._taken: Delivery | None = None

    @property
    def holds_one(self) -> bool:
        """Whether a live message is in our hands and nobody works on it yet."""
        return self._taken is not None

    def next(self) -> Delivery | None:
        """The live message that was taken; None where there is none, or its connection is gone and it comes again."""
        taken, self._taken = self._taken, None
        return taken if taken is not None and self._link.bus.holds(taken) else None

    def let_go(self) -> None:
        """Give it to other workers."""
        taken = self.next()
        if taken is None:
            return
        try:
            self._link.bus.hand_back(taken)
        except BusError as error:
            log.info("the live message comes again by itself: %s", error)

    def watcher(self, job_class: str, preemptions: int) -> Callable[[float], bool]:
        """For one attempt: whether its stage, having run so many seconds, is to make room. True at most once."""
        if not self._queue or job_class == LIVE or preemptions >= self._settings.preemptions:
            return never
        return _Watcher(self._queue, self._settings, self._link, self._clock, self._take)

    def _take(self) -> bool:
        self._taken = self._link.bus.get(self._queue)
        return self._taken is not None


class _Watcher:
    """Asks how many live messages wait, as often as an idle worker would ask for one."""

    def __init__(self, queue: str, settings: Settings, link: Link, clock: Clock, take: Callable[[], bool]) -> None:
        self._queue, self._settings, self._link, self._clock, self._take = queue, settings, link, clock, take
        self._next_look = 0.0
        self._waiting_since: float | None = None
        self._blind = False

    def __call__(self, ran_s: float) -> bool:
        now = self._clock.monotonic()
        if self._blind or ran_s < self._settings.preempt_after_s or now < self._next_look or not self._link.bus.is_open:
            return False
        self._next_look = now + self._settings.poll_interval_s
        try:
            return self._look(now)
        except TopologyMissing as error:  # asking once more would cost the channel again, and with it the delivery
            log.warning("whether live work waits is not known any more: %s", error)
            self._blind = True
        except BusError as error:
            self._link.lost(error)
        return False

    def _look(self, now: float) -> bool:
        if not self._link.bus.depth(self._queue):
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            self._waiting_since = now
        if now - self._waiting_since < LOOKS_OF_THE_IDLE * self._settings.poll_interval_s:
            return False
        return self._take()
