"""Exchanges, queues and bindings as one table; declaration, definitions.json, AsyncAPI and the docs are read from it.

Queue arguments are frozen for ever: RabbitMQ refuses to declare a queue again with others (406), so operators tune by
policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from covaria.bus.pools import Pool, pool_for, read_pools
from covaria.request.stages import STAGES

JOBS = "covaria.jobs"
EVENTS = "covaria.events"
DEAD = "covaria.dead"
PARKING = "covaria.parking"
RETRY = "covaria.retry"
CONTROL = "covaria.control"
LISTEN = "covaria.listen"
GATEWAY = "gateway"
"""A listener that hears of what goes to parking too: it tells of what the broker parked."""
LISTENED_TO = ("job.*", "message.rejected")
"""Keys of the events that a listener's queue keeps."""

CLASSES = ("live", "bulk")
"""Two queues for a stage, asked in this order: quorum queues know no priority before RabbitMQ 4.0."""

DELIVERY_LIMIT = 10
"""Back-stop for messages whose worker dies each time. Never -1: RabbitMQ 3.10 then drops a message when it returns."""

PARKING_DELIVERY_LIMIT = 1_000_000
"""Looking at parked messages returns them, and RabbitMQ 4 drops what has no limit of its own at the 20th return."""

MOST_KEPT = 100_000
"""Events that a listener's queue keeps while nobody takes them; then the oldest go, and no publisher is held up."""

Arguments = Mapping[str, str | int]


@dataclass(frozen=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: Literal["topic", "fanout"]
    meaning: str


@dataclass(frozen=True)
class Queue:
    """A durable quorum queue with the arguments it is declared with."""

    name: str
    arguments: Arguments
    meaning: str


@dataclass(frozen=True)
class Binding:
    """Messages of `exchange` whose key matches go to `queue`."""

    exchange: str
    queue: str
    key: str


@dataclass(frozen=True)
class Topology:
    """All that must exist at the broker."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]
    tiers: tuple[str, ...]
    """Names of the retry exchanges (and of their queues), shortest delay first."""
    pools: tuple[Pool, ...] = ()

    def key(self, stage: str, job_class: str, asked: str = "", images_gb: float | None = None) -> str:
        """Routing key of a job's message for a stage, by the pool that it names or its size."""
        return job_key(stage, job_class, pool_for(self.pools, stage, asked, images_gb))

    def queue(self, name: str) -> Queue:
        """The queue of that name; LookupError when the table has none."""
        for queue in self.queues:
            if queue.name == name:
                return queue
        raise LookupError(f"no queue {name!r} in the topology")

    def part(self, stage: str, classes: tuple[str, ...], pool: str = "") -> Topology:
        """What a worker of `stage` uses: its queues, and every exchange; the queues of others are not its business."""
        names = {job_queue(stage, job_class, pool) for job_class in classes}
        queues = tuple(queue for queue in self.queues if queue.name in names)
        return Topology(self.exchanges, queues, (), self.tiers)


def job_key(stage: str, job_class: str, pool: str = "") -> str:
    """Routing key of a stage's messages; without a pool, of its common queues."""
    return f"{stage}.{job_class}.{pool}" if pool else f"{stage}.{job_class}"


def job_queue(stage: str, job_class: str, pool: str = "") -> str:
    """Queue of a stage, class and pool."""
    return f"covaria.{job_key(stage, job_class, pool)}"


def listener_queue(name: str) -> str:
    """Queue of a listener to events about whole jobs."""
    return f"{LISTEN}.{name}"


def delay_name(seconds: float) -> str:
    """A delay as it appears in names: 30s, 5m, 1500ms."""
    milliseconds = round(seconds * 1000)
    if milliseconds % 60_000 == 0:
        return f"{milliseconds // 60_000}m"
    if milliseconds % 1000 == 0:
        return f"{milliseconds // 1000}s"
    return f"{milliseconds}ms"


def build_topology(
    retry_delays_s: tuple[float, ...], listeners: tuple[str, ...] = (), pools: tuple[str, ...] = ()
) -> Topology:
    """The table, for the given retry delays (s, rising), names of those who keep the events about whole jobs, and pools
    as COVARIA_POOLS has them."""
    exchanges = [Exchange(JOBS, "topic", "Work. Key: <stage>.<class>, of a pool <stage>.<class>.<pool>.")]
    queues = []
    bindings = []
    safe: dict[str, str | int] = {
        "x-queue-type": "quorum",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    own = read_pools(pools)
    for stage, pool in [*((stage, "") for stage in STAGES), *((pool.stage, pool.name) for pool in own)]:
        for job_class in CLASSES:
            name = job_queue(stage, job_class, pool)
            arguments = {**safe, "x-dead-letter-exchange": DEAD, "x-delivery-limit": DELIVERY_LIMIT}
            whose = f"{job_class}, pool {pool}" if pool else job_class
            queues.append(Queue(name, MappingProxyType(arguments), f"Requests for {stage}, {whose}."))
            bindings.append(Binding(JOBS, name, job_key(stage, job_class, pool)))
    tiers = []
    for delay in retry_delays_s:
        name = f"{RETRY}.{delay_name(delay)}"
        arguments = {**safe, "x-dead-letter-exchange": JOBS, "x-message-ttl": round(delay * 1000)}
        meaning = f"Waits {delay_name(delay)}, then returns to {JOBS} with its own key."
        exchanges.append(Exchange(name, "fanout", meaning))
        queues.append(Queue(name, MappingProxyType(arguments), meaning))
        bindings.append(Binding(name, name, ""))
        tiers.append(name)
    exchanges.append(Exchange(DEAD, "topic", "What cannot be worked on. Key: as it was."))
    looked_at: Arguments = MappingProxyType({"x-queue-type": "quorum", "x-delivery-limit": PARKING_DELIVERY_LIMIT})
    queues.append(Queue(PARKING, looked_at, "Parked messages: no time limit, no consumer, an alarm."))
    bindings.append(Binding(DEAD, PARKING, "#"))
    exchanges.append(Exchange(CONTROL, "topic", "Orders about jobs. Key: cancel, retry or priority."))
    ordered: Arguments = MappingProxyType({**safe, "x-dead-letter-exchange": DEAD, "x-delivery-limit": DELIVERY_LIMIT})
    queues.append(Queue(CONTROL, ordered, "Orders about jobs; the gateway carries them out."))
    bindings.append(Binding(CONTROL, CONTROL, "#"))
    exchanges.append(
        Exchange(EVENTS, "topic", "Notification only, a snapshot each. Key: <stage>.<state>. Nobody listening is fine.")
    )
    kept: Arguments = MappingProxyType({**looked_at, "x-max-length": MOST_KEPT})
    for listener in listeners:
        queues.append(Queue(listener_queue(listener), kept, f"Events about whole jobs, kept for {listener}."))
        bindings += [Binding(EVENTS, listener_queue(listener), key) for key in LISTENED_TO]
        bindings += [Binding(DEAD, listener_queue(listener), "#")] if listener == GATEWAY else []
    return Topology(tuple(exchanges), tuple(queues), tuple(bindings), tuple(tiers), own)


def definitions(topology: Topology, vhost: str = "covaria") -> dict[str, object]:
    """What `rabbitmqctl import_definitions` takes: vhost, exchanges, queues, bindings; no users."""
    return {
        "vhosts": [{"name": vhost}],
        "exchanges": [
            {
                "name": exchange.name,
                "vhost": vhost,
                "type": exchange.kind,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for exchange in topology.exchanges
        ],
        "queues": [
            {
                "name": queue.name,
                "vhost": vhost,
                "durable": True,
                "auto_delete": False,
                "arguments": dict(queue.arguments),
            }
            for queue in topology.queues
        ],
        "bindings": [
            {
                "source": binding.exchange,
                "vhost": vhost,
                "destination": binding.queue,
                "destination_type": "queue",
                "routing_key": binding.key,
                "arguments": {},
            }
            for binding in topology.bindings
        ],
    }


def permissions(stage: str | None = None) -> dict[str, dict[str, str]]:
    """Least rights, as regular expressions for `rabbitmqctl set_permissions`, for each role.

    A worker of `stage` (any stage when None) reads its own queues and writes work, retries, parking and events.
    """
    stages = stage or f"({'|'.join(STAGES)})"
    write = r"^covaria\.(jobs|events|dead|retry\..*)$"
    return {
        "setup": {"configure": r"^covaria\..*$", "write": r"^covaria\..*$", "read": r"^covaria\..*$"},
        "submit": {"configure": "^$", "write": r"^covaria\.(jobs|events|control)$", "read": "^$"},
        "gateway": {
            "configure": "^$",
            "write": r"^covaria\.(jobs|events|control)$",
            "read": r"^covaria\.(control|listen\..*)$",
        },
        "worker": {"configure": "^$", "write": write, "read": rf"^covaria\.{stages}\.(live|bulk)(\..+)?$"},
        "monitor": {"configure": "^$", "write": "^$", "read": r"^covaria\..*$"},
    }
