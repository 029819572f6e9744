"""The in-process bus: the broker's rules in one process, for `covaria run` and for tests without a broker.

It keeps what the contract tests demand of RabbitMQ too: routing by topology, mandatory publishes, refusal at a length
limit, time-to-live tiers, dead-lettering with the key kept, and a delivery limit that counts lost connections.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from covaria.bus.model import BrokerAway, Delivery, DeliveryLost, Outgoing, Refused, TopologyMissing, Unroutable
from covaria.bus.topology import Binding, Queue, Topology


@dataclass(frozen=True)
class _Message:
    key: str
    body: bytes
    message_id: str
    headers: Mapping[str, object]
    returns: int = 0
    expires: float | None = None


@dataclass
class _MemoryQueue:
    queue: Queue
    messages: deque[_Message] = field(default_factory=deque)
    max_length: int | None = None


@dataclass
class MemoryBroker:
    """What outlives a connection. Several `MemoryBus` may share one, as several workers share RabbitMQ."""

    clock: Callable[[], float] = time.monotonic
    exchanges: dict[str, str] = field(default_factory=dict)
    queues: dict[str, _MemoryQueue] = field(default_factory=dict)
    bindings: list[Binding] = field(default_factory=list)

    def declare(self, topology: Topology) -> None:
        """Create what is missing; other arguments under a known name are an error."""
        for exchange in topology.exchanges:
            if self.exchanges.setdefault(exchange.name, exchange.kind) != exchange.kind:
                raise TopologyMissing(f"exchange {exchange.name} exists as {self.exchanges[exchange.name]}")
        for queue in topology.queues:
            known = self.queues.setdefault(queue.name, _MemoryQueue(queue))
            if dict(known.queue.arguments) != dict(queue.arguments):
                raise TopologyMissing(f"queue {queue.name} exists with other arguments")
        for binding in topology.bindings:
            if binding not in self.bindings:
                self.bindings.append(binding)

    def limit(self, queue: str, messages: int | None) -> None:
        """Set a length limit, as an operator's policy would."""
        self.queues[queue].max_length = messages

    def route(self, exchange: str, message: _Message, *, mandatory: bool) -> None:
        """Put a message into every queue whose binding matches, in all of them or in none."""
        kind = self.exchanges.get(exchange)
        if kind is None:
            raise TopologyMissing(f"no exchange {exchange}", hint="covaria broker declare")
        names = [
            binding.queue
            for binding in self.bindings
            if binding.exchange == exchange and (kind == "fanout" or _matches(binding.key, message.key))
        ]
        if not names and mandatory:
            raise Unroutable(f"no queue of exchange {exchange} takes key {message.key!r}")
        targets = [self.queues[name] for name in names]
        for target in targets:
            if target.max_length is not None and len(target.messages) >= target.max_length:
                raise Refused(f"queue {target.queue.name} is full")
        for target in targets:
            ttl = target.queue.arguments.get("x-message-ttl")
            expires = None if ttl is None else self.clock() + int(ttl) / 1000
            target.messages.append(replace(message, expires=expires, returns=0))

    def expire(self) -> None:
        """Dead-letter what has waited long enough."""
        now = self.clock()
        for held in list(self.queues.values()):
            while held.messages and held.messages[0].expires is not None and held.messages[0].expires <= now:
                self.dead_letter(held.queue, held.messages.popleft(), "expired")

    def dead_letter(self, queue: Queue, message: _Message, reason: str) -> None:
        """Send a message on to the queue's dead-letter exchange under its own key, with the reason in its headers."""
        exchange = queue.arguments.get("x-dead-letter-exchange")
        if exchange is not None:
            first = {"x-first-death-reason": reason, "x-first-death-queue": queue.name}
            headers = {**first, **message.headers, "x-last-death-reason": reason}
            self.route(str(exchange), replace(message, expires=None, headers=headers), mandatory=False)

    def give_back(self, queue: str, message: _Message) -> None:
        """Return a message to the head of its queue, behind what returned before, or dead-letter it past the limit."""
        held = self.queues[queue]
        returned = replace(message, returns=message.returns + 1)
        limit = held.queue.arguments.get("x-delivery-limit")
        if limit is not None and returned.returns > int(limit):
            self.dead_letter(held.queue, returned, "delivery_limit")
        else:
            before = next((place for place, one in enumerate(held.messages) if not one.returns), len(held.messages))
            held.messages.insert(before, returned)


class MemoryBus:
    """One connection to a `MemoryBroker` (a new one of its own when none is given); `sleep` lets time pass."""

    def __init__(self, broker: MemoryBroker | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self.broker, self._sleep = broker or MemoryBroker(), sleep
        self._open = False
        self._channel = 0
        self._next_tag = 0
        self._unsettled: dict[int, tuple[str, _Message]] = {}

    @property
    def is_open(self) -> bool:
        return self._open

    def open(self) -> None:
        self._open = True
        self._channel += 1

    def close(self) -> None:
        self._open = False
        for queue, message in self._unsettled.values():
            self.broker.give_back(queue, message)
        self._unsettled.clear()

    def declare(self, topology: Topology) -> None:
        self._need_open()
        self.broker.declare(topology)

    def check(self, topology: Topology) -> None:
        self._need_open()
        for queue in topology.queues:
            if queue.name not in self.broker.queues:
                raise TopologyMissing(f"no queue {queue.name}", hint="covaria broker declare")

    def publish(self, message: Outgoing) -> None:
        self._need_open()
        held = _Message(message.key, message.body, message.message_id, dict(message.headers))
        self.broker.route(message.exchange, held, mandatory=message.mandatory)

    def get(self, queue: str) -> Delivery | None:
        self._need_open()
        self.broker.expire()
        held = self.broker.queues.get(queue)
        if held is None:
            raise TopologyMissing(f"no queue {queue}", hint="covaria broker declare")
        if not held.messages:
            return None
        message = held.messages.popleft()
        self._next_tag += 1
        self._unsettled[self._next_tag] = (queue, message)
        redelivered = message.returns > 0
        return Delivery(
            queue,
            message.key,
            message.body,
            message.message_id,
            message.headers,
            redelivered,
            self._channel,
            self._next_tag,
        )

    def holds(self, delivery: Delivery) -> bool:
        return self._open and delivery.channel == self._channel and delivery.tag in self._unsettled

    def ack(self, delivery: Delivery) -> None:
        self._settle(delivery)

    def reject(self, delivery: Delivery) -> None:
        queue, message = self._settle(delivery)
        self.broker.dead_letter(self.broker.queues[queue].queue, message, "rejected")

    def hand_back(self, delivery: Delivery) -> None:
        queue, message = self._settle(delivery)
        self.broker.give_back(queue, message)

    def depth(self, queue: str) -> int:
        self._need_open()
        self.broker.expire()
        if queue not in self.broker.queues:
            raise TopologyMissing(f"no queue {queue}", hint="covaria broker declare")
        return len(self.broker.queues[queue].messages)

    def tick(self, seconds: float) -> None:
        self._need_open()
        self._sleep(seconds)

    def _settle(self, delivery: Delivery) -> tuple[str, _Message]:
        self._need_open()
        if delivery.channel != self._channel or delivery.tag not in self._unsettled:
            raise DeliveryLost(f"message {delivery.message_id} belongs to a closed channel or is settled already")
        return self._unsettled.pop(delivery.tag)

    def _need_open(self) -> None:
        if not self._open:
            raise BrokerAway("the in-process bus is closed")


def _matches(pattern: str, key: str) -> bool:
    """AMQP topic match for the patterns that the topology uses: exact words, `*` for one, a final `#` for the rest."""
    wanted, words = pattern.split("."), key.split(".")
    for position, word in enumerate(wanted):
        if word == "#":
            return True
        if position >= len(words) or (word != "*" and word != words[position]):
            return False
    return len(wanted) == len(words)
