"""What every bus must do: one suite, run on RabbitMQ and on the in-process bus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from covaria_broker import BrokerServer

from covaria.bus.memory import MemoryBroker, MemoryBus
from covaria.bus.model import Bus, Delivery, DeliveryLost, Outgoing, Refused, TopologyMissing, Unroutable
from covaria.bus.rabbit import RabbitBus
from covaria.bus.topology import (
    DEAD,
    DELIVERY_LIMIT,
    EVENTS,
    JOBS,
    PARKING,
    Queue,
    Topology,
    build_topology,
    job_key,
    job_queue,
)
from covaria.settings import Settings

DELAYS = (0.3, 0.6)
TOPOLOGY = build_topology(DELAYS)
QUEUE = job_queue("ingest", "bulk")
KEY = job_key("ingest", "bulk")


class Facility:
    """A broker of one kind, from which buses are opened."""

    def __init__(self, make: Callable[[], Bus], limit: Callable[[str, int], None]) -> None:
        self.make, self.limit = make, limit
        self.opened: list[Bus] = []

    def open(self) -> Bus:
        bus = self.make()
        bus.open()
        self.opened.append(bus)
        return bus


@pytest.fixture(params=["memory", pytest.param("rabbit", marks=pytest.mark.broker)])
def facility(request: pytest.FixtureRequest) -> Iterator[Facility]:
    if request.param == "memory":
        broker = MemoryBroker()
        found = Facility(lambda: MemoryBus(broker), broker.limit)
    else:
        server: BrokerServer = request.getfixturevalue("broker_server")
        vhost = server.new_vhost()
        settings = Settings(broker_url=server.url(vhost), retry_delays_s=DELAYS)  # type: ignore[arg-type]

        def limit(queue: str, length: int) -> None:
            server.ctl(
                "set_policy", "-p", vhost, "short", f"^{queue}$", f'{{"max-length":{length}}}', "--apply-to", "queues"
            )

        found = Facility(lambda: RabbitBus(settings), limit)
    yield found
    for bus in found.opened:
        bus.close()


@pytest.fixture
def bus(facility: Facility) -> Bus:
    opened = facility.open()
    opened.declare(TOPOLOGY)
    return opened


def outgoing(body: bytes = b"{}", **changes: object) -> Outgoing:
    return replace(Outgoing(JOBS, KEY, body, "job/ingest/1/0", {"covaria-attempt": 1}), **changes)  # type: ignore[arg-type]


def get(bus: Bus, queue: str, timeout_s: float = 10.0) -> Delivery:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        delivery = bus.get(queue)
        if delivery is not None:
            return delivery
        bus.tick(0.02)
    raise AssertionError(f"nothing came to {queue}")


def test_message_arrives_as_sent(bus: Bus) -> None:
    bus.publish(outgoing(b'{"a": 1}'))
    assert bus.depth(QUEUE) == 1
    delivery = get(bus, QUEUE)
    assert (delivery.body, delivery.key, delivery.message_id) == (b'{"a": 1}', KEY, "job/ingest/1/0")
    assert delivery.headers["covaria-attempt"] == 1
    assert not delivery.redelivered
    bus.ack(delivery)
    assert bus.get(QUEUE) is None


@pytest.mark.parametrize("stage", ["ingest", "reconstruction", "density", "analysis"])
@pytest.mark.parametrize("job_class", ["live", "bulk"])
def test_key_finds_its_queue_alone(bus: Bus, stage: str, job_class: str) -> None:
    bus.publish(outgoing(key=job_key(stage, job_class)))
    assert {queue.name: bus.depth(queue.name) for queue in TOPOLOGY.queues if bus.depth(queue.name)} == {
        job_queue(stage, job_class): 1
    }


def test_unroutable_is_an_error(bus: Bus) -> None:
    with pytest.raises(Unroutable, match="nosuch"):
        bus.publish(outgoing(key="nosuch.bulk"))
    bus.publish(outgoing())
    assert bus.depth(QUEUE) == 1


def test_event_without_listeners_is_fine(bus: Bus) -> None:
    bus.publish(outgoing(exchange=EVENTS, key="ingest.started", mandatory=False))


@pytest.mark.parametrize("tier", [0, 1])
def test_retry_tier_returns_with_its_key_and_headers(bus: Bus, tier: int) -> None:
    began = time.monotonic()
    bus.publish(outgoing(exchange=TOPOLOGY.tiers[tier], headers={"covaria-attempt": 2}))
    assert bus.get(QUEUE) is None
    delivery = get(bus, QUEUE)
    assert time.monotonic() - began >= DELAYS[tier] * 0.95
    assert delivery.key == KEY
    assert delivery.headers["covaria-attempt"] == 2


def test_reject_parks_with_the_key(bus: Bus) -> None:
    bus.publish(outgoing())
    bus.reject(get(bus, QUEUE))
    parked = get(bus, PARKING)
    assert parked.key == KEY
    assert bus.depth(QUEUE) == 0


def test_parking_keeps_headers(bus: Bus) -> None:
    bus.publish(outgoing(exchange=DEAD, headers={"covaria-reason": "invalid_input"}))
    assert get(bus, PARKING).headers["covaria-reason"] == "invalid_input"


def test_closed_connection_returns_the_message(facility: Facility, bus: Bus) -> None:
    bus.publish(outgoing())
    delivery = get(bus, QUEUE)
    assert bus.holds(delivery)
    bus.close()
    other = facility.open()
    again = get(other, QUEUE)
    assert again.redelivered
    other.ack(again)


def test_stale_delivery_cannot_be_settled(bus: Bus) -> None:
    bus.publish(outgoing())
    delivery = get(bus, QUEUE)
    bus.close()
    bus.open()
    assert not bus.holds(delivery)
    for settle in (bus.ack, bus.reject, bus.hand_back):
        with pytest.raises(DeliveryLost):
            settle(delivery)
    assert bus.is_open
    bus.ack(get(bus, QUEUE))


def test_hand_back_returns_it_at_once(bus: Bus) -> None:
    bus.publish(outgoing())
    bus.hand_back(get(bus, QUEUE))
    assert get(bus, QUEUE).redelivered


def test_message_that_kills_its_worker_each_time_is_parked(facility: Facility, bus: Bus) -> None:
    bus.publish(outgoing())
    for _ in range(DELIVERY_LIMIT + 1):
        victim = facility.open()
        get(victim, QUEUE)
        victim.close()
    parked = get(bus, PARKING)
    assert parked.key == KEY
    assert bus.get(QUEUE) is None


def test_full_queue_refuses(facility: Facility, bus: Bus) -> None:
    facility.limit(QUEUE, 2)
    with pytest.raises(Refused, match="full"):
        for _ in range(20):
            bus.publish(outgoing())
            bus.tick(0.05)
    assert 2 <= bus.depth(QUEUE) <= 4  # RabbitMQ overshoots by a message or two
    bus.ack(get(bus, QUEUE))


def test_declaring_twice_changes_nothing(bus: Bus) -> None:
    bus.publish(outgoing())
    bus.declare(TOPOLOGY)
    bus.check(TOPOLOGY)
    assert bus.depth(QUEUE) == 1


def test_other_arguments_are_refused(bus: Bus) -> None:
    changed = Queue(QUEUE, {**TOPOLOGY.queue(QUEUE).arguments, "x-delivery-limit": 3}, "")
    with pytest.raises(TopologyMissing, match=QUEUE):
        bus.declare(Topology((), (changed,), (), ()))
    bus.publish(outgoing())
    assert bus.depth(QUEUE) == 1


def test_missing_topology_is_named(facility: Facility) -> None:
    bare = facility.open()
    with pytest.raises(TopologyMissing):
        bare.check(TOPOLOGY)
    with pytest.raises(TopologyMissing, match=QUEUE):
        bare.get(QUEUE)
    with pytest.raises(TopologyMissing):
        bare.publish(outgoing())
    bare.declare(TOPOLOGY)
    bare.publish(outgoing())
    assert bare.depth(QUEUE) == 1
