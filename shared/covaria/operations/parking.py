"""Parked messages: look at them, send them again, delete them. What is taken to be looked at is given back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from covaria.bus.model import Bus, Delivery
from covaria.bus.topology import PARKING, build_topology
from covaria.errors import InvalidInput
from covaria.messages.envelope import BadMessage, unseal
from covaria.messages.ticket import HOST, LAST_ERROR, REASON
from covaria.worker.dispatch import Dispatch


@dataclass(frozen=True)
class Parked:
    """One parked message."""

    delivery: Delivery

    @property
    def message_id(self) -> str:
        return self.delivery.message_id

    @property
    def key(self) -> str:
        return self.delivery.key

    @property
    def body(self) -> bytes:
        return self.delivery.body

    @property
    def reason(self) -> str:
        """Our own word, or the broker's where it parked the message itself (rejected, delivery_limit)."""
        own = self.delivery.headers.get(REASON)
        return str(own or self.delivery.headers.get("x-first-death-reason") or "unknown")

    @property
    def error(self) -> str:
        return str(self.delivery.headers.get(LAST_ERROR, ""))

    def matches(self, which: Sequence[str] | None, *, everything: bool) -> bool:
        """Whether it was asked for, by message id or by job id. Raises InvalidInput when nothing was asked for."""
        if everything:
            return True
        if not which:
            raise InvalidInput("which messages?", hint="give job ids (`covaria parking list`), or --all")
        return bool({self.message_id, self.message_id.split("/", 1)[0]} & set(which))

    def summary(self) -> dict[str, Any]:
        """For people and programs; the body apart."""
        return {
            "message_id": self.message_id,
            "key": self.key,
            "reason": self.reason,
            "error": self.error,
            "host": str(self.delivery.headers.get(HOST, "")),
            "headers": {name: str(value) for name, value in self.delivery.headers.items()},
            "bytes": len(self.body),
        }


def look(bus: Bus) -> list[Parked]:
    """Every parked message. They return to parking when the bus is closed."""
    found = []
    while (delivery := bus.get(PARKING)) is not None:
        found.append(Parked(delivery))
    return found


def replay(bus: Bus, which: Sequence[str] | None, *, everything: bool) -> list[str]:
    """Send messages again as first attempts; one line each. What cannot be read stays parked."""
    lines = []
    dispatch = Dispatch(bus, build_topology((1.0,)))
    for parked in look(bus):
        if not parked.matches(which, everything=everything):
            continue
        try:
            message = unseal(parked.body)
        except BadMessage as error:
            lines.append(f"kept {parked.message_id or '(no id)'}: {error.message}")
            continue
        identifier = dispatch.submit(message)
        bus.ack(parked.delivery)
        lines.append(f"sent {identifier}")
    return lines


def drop(bus: Bus, which: Sequence[str] | None, *, everything: bool) -> list[str]:
    """Delete messages; one line each."""
    lines = []
    for parked in look(bus):
        if parked.matches(which, everything=everything):
            bus.ack(parked.delivery)
            lines.append(f"dropped {parked.message_id or '(no id)'}")
    return lines
