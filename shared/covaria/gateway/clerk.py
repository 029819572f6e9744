"""The gateway's one connection to the broker: sends what is asked for, hears what happens, carries out orders.

One thread owns it. Those who ask (HTTP) hand in calls and wait for their result.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from datetime import datetime
from typing import Any, TypeVar

from covaria.bus.backoff import Backoff
from covaria.bus.model import BrokerAway, Bus, BusError, Delivery
from covaria.bus.topology import CONTROL, GATEWAY, Topology, build_topology, listener_queue
from covaria.gateway.book import Book
from covaria.gateway.obituaries import tell_parked
from covaria.gateway.orders import queued, take_order
from covaria.settings import Settings
from covaria.worker.clock import Clock
from covaria.worker.dispatch import Dispatch
from covaria.worker.health import Health
from covaria.worker.link import Link
from covaria.worker.patience import beside
from covaria.worker.service_metrics import GatewayMetrics

log = logging.getLogger(__name__)

T = TypeVar("T")
PATIENCE_S = 20.0
CLOCK = Clock()
LONGEST_PAUSE_S = 0.25
MOST_IN_A_TURN = 50


class Clerk:
    """Runs in a thread of its own until `stop`."""

    def __init__(
        self,
        settings: Settings,
        bus: Bus,
        book: Book,
        metrics: GatewayMetrics,
        health: Health,
        clock: Clock = CLOCK,
    ) -> None:
        self.settings, self.book, self.metrics = settings, book, metrics
        self.queue = listener_queue(GATEWAY)
        topology = build_topology(settings.retry_delays_s, (GATEWAY,), settings.pools)
        ours = tuple(found for found in topology.queues if found.name in (CONTROL, self.queue))
        self.dispatch = Dispatch(bus, topology)
        used = Topology(topology.exchanges, ours, (), topology.tiers)
        self.link = Link(bus, used, health, metrics, Backoff(), clock)
        self._calls: queue.SimpleQueue[tuple[Callable[[Dispatch], Any], Future[Any]]] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="clerk", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the present turn."""
        self._stopped.set()
        self._thread.join(PATIENCE_S)

    def ask(self, call: Callable[[Dispatch], T]) -> T:
        """What `call` returns, done by the connection's thread. Raises BusError: nothing is safe at the broker then."""
        future: Future[T] = Future()
        self._calls.put((call, future))
        try:
            return future.result(PATIENCE_S)
        except NotInTime:
            if future.cancel():
                raise BrokerAway("the broker did not answer in time", hint="try again") from None
            return future.result(PATIENCE_S)

    def _run(self) -> None:
        pause = 0.0
        while not self._stopped.is_set():
            try:
                pause = 0.0 if self.turn(pause) else min(LONGEST_PAUSE_S, self.settings.poll_interval_s)
            except Exception:  # whatever came, the next turn may do better
                log.exception("while at the broker")
                self.link.lost(BrokerAway("a defect"))
                pause = LONGEST_PAUSE_S
        self.link.bus.close()

    def turn(self, pause_s: float = 0.0) -> bool:
        """One turn: what was asked, what was heard, what was ordered; whether there was anything."""
        connected = self.link.ensure()
        busy = self._serve(pause_s, connected=connected)
        if connected:
            try:
                busy = self._listen() or busy
            except BusError as error:
                self.link.lost(error)
        self.link.tick(0.0)
        return busy

    def _serve(self, pause_s: float, *, connected: bool) -> bool:
        """Do what was asked for; wait for the first for up to `pause_s`."""
        served = 0
        while served < MOST_IN_A_TURN:
            try:
                first = pause_s > 0 and served == 0
                call, future = self._calls.get(timeout=pause_s) if first else self._calls.get_nowait()
            except queue.Empty:
                break
            served += 1
            if future.set_running_or_notify_cancel():
                connected = self._answer(call, future, connected=connected)
        return served > 0

    def _answer(self, call: Callable[[Dispatch], Any], future: Future[Any], *, connected: bool) -> bool:
        """Give one call its result; whether there is a connection still."""
        try:
            if not connected:
                raise BrokerAway("no connection to the broker", hint="try again")
            future.set_result(call(self.dispatch))
        except BrokerAway as error:
            future.set_exception(error)
            if connected:
                self.link.lost(error)
            return False
        except Exception as error:
            future.set_exception(error)
        return connected

    def _listen(self) -> bool:
        bus, busy = self.link.bus, False
        for _ in range(MOST_IN_A_TURN):
            heard, order = bus.get(self.queue), bus.get(CONTROL)
            if heard is not None:
                self._hear(heard)
                bus.ack(heard)
            if order is not None:
                self._obey(order)
                bus.ack(order)
            if heard is None and order is None:
                return busy
            busy = True
        return busy

    def _obey(self, delivery: Delivery) -> None:
        """Carry an order out, however long the disk takes; tell where it is refused."""
        taken = beside(lambda: take_order(delivery, self.settings), self.link.tick)
        self.metrics.orders.labels(taken.action, "done" if taken.rejection is None else "refused").inc()
        if taken.message is not None:
            self.dispatch.begin(taken.message)
            self.book.note_queued(queued(taken.message))
        if taken.rejection is not None:
            self.dispatch.tell_of_rejection(taken.rejection)

    def _hear(self, delivery: Delivery) -> None:
        """An event, or a message that went to parking."""
        if not delivery.key.startswith(("job.", "message.")):
            if tell_parked(delivery, self.dispatch):
                self.metrics.broker_parked.inc()
            return
        try:
            document = json.loads(delivery.body)
            entry = self.book.hear(delivery.key, document)
        except Exception as error:  # bytes of somebody else among the events
            log.warning("event %.200r cannot be read: %s", delivery.message_id, error)
            return
        if entry is None:
            self.metrics.rejections.inc()
            return
        state = delivery.key.removeprefix("job.")
        instrument = self.metrics.instruments.label(entry.origin.instrument)
        self.metrics.job_events.labels(state, instrument).inc()
        seconds = _between(entry.queued_at, entry.at)
        if state == "finished" and seconds is not None:
            self.metrics.job_total.labels(instrument).observe(seconds)


def _between(earlier: str, later: str) -> float | None:
    try:
        return max((datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
