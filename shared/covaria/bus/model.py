"""What every bus can do: publish and know that it arrived, take one message, settle it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from covaria.bus.topology import Topology
from covaria.errors import CovariaError

CONTENT_TYPE = "application/cloudevents+json"

HeaderValue = str | int | float


class BusError(CovariaError):
    """Something between us and the broker."""


class BrokerAway(BusError):
    """No open channel to the broker; whatever was unsettled there will be delivered again."""


class Unroutable(BusError):
    """Nobody would have received the message: the topology is missing or the key is wrong."""


class Refused(BusError):
    """The broker did not take the message (a queue at its length limit, an alarm, no permission)."""


class DeliveryLost(BusError):
    """The delivery belongs to a channel that is gone: it cannot be settled and comes again."""


class TopologyMissing(BusError):
    """A queue or an exchange is not there, or has other arguments."""


def death_reason(headers: Mapping[str, object]) -> str:
    """Why the broker itself put a message aside last: delivery_limit, rejected, expired; "" where it did not."""
    last = headers.get("x-last-death-reason")
    deaths = headers.get("x-death")
    if not last and isinstance(deaths, list) and deaths and isinstance(deaths[0], Mapping):
        last = deaths[0].get("reason")
    return str(last or headers.get("x-first-death-reason") or "")


@dataclass(frozen=True)
class Outgoing:
    """One message to publish. Always persistent and confirmed."""

    exchange: str
    key: str
    body: bytes
    message_id: str
    headers: Mapping[str, HeaderValue] = field(default_factory=dict)
    mandatory: bool = True
    """Raise Unroutable where no queue takes it. Only events are sent without."""


@dataclass(frozen=True)
class Delivery:
    """One message taken from a queue and not settled yet. `channel` and `tag` are the bus's own."""

    queue: str
    key: str
    body: bytes
    message_id: str
    headers: Mapping[str, object]
    redelivered: bool
    channel: int
    tag: int


class Bus(Protocol):
    """The broker as the rest of Covaria sees it. One thread uses one bus."""

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent and taken now."""

    def open(self) -> None:
        """Connect; raises BrokerAway."""

    def close(self) -> None:
        """Disconnect; unsettled deliveries return to their queues."""

    def declare(self, topology: Topology) -> None:
        """Create what is missing. Raises TopologyMissing where something of the name exists with other arguments."""

    def check(self, topology: Topology) -> None:
        """Raise TopologyMissing unless every queue of the topology that may be looked at is there; create nothing."""

    def publish(self, message: Outgoing) -> None:
        """Return once the broker has the message safe; raises Unroutable, Refused, BrokerAway."""

    def get(self, queue: str) -> Delivery | None:
        """The next message, or None at once when there is none."""

    def holds(self, delivery: Delivery) -> bool:
        """Whether the delivery can still be settled; if not, it comes again."""

    def ack(self, delivery: Delivery) -> None:
        """It is done; raises DeliveryLost, BrokerAway."""

    def reject(self, delivery: Delivery) -> None:
        """Dead-letter it (to parking)."""

    def hand_back(self, delivery: Delivery) -> None:
        """Return it to its queue untouched; on brokers before 4.3 this counts towards the delivery limit."""

    def depth(self, queue: str) -> int:
        """Messages ready in a queue; raises TopologyMissing."""

    def tick(self, seconds: float) -> None:
        """Serve the connection for up to `seconds` (heartbeats); raises BrokerAway once the channel is gone."""
