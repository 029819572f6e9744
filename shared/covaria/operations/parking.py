"""Parked messages: look at them, send them again, delete them.

A queue can be read only by taking from it. What is not acted on goes back as soon as all has been read, before anything
is said or sent, in its old order; and whoever is killed meanwhile gives everything back by losing the connection.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from covaria.bus.model import Bus, Delivery, death_reason
from covaria.bus.topology import PARKING, build_topology, job_key
from covaria.errors import InvalidInput
from covaria.messages.envelope import BadMessage, unseal
from covaria.messages.ticket import HOST, LAST_ERROR, REASON
from covaria.worker.dispatch import Dispatch

LOOKS, TURNS, PATIENCE_S, READINGS = 20, 10, 0.5, 2.0
"""What somebody else who looks at this moment holds, we do not see: it comes back, and then we look again. Waited for
is as long as reading took us and half a second, and before another look a part of that by lot: two who look at once
must not do so again.
"""


@dataclass(frozen=True)
class Parked:
    """One parked message."""

    delivery: Delivery
    size: int
    """Bytes of its body."""

    @property
    def message_id(self) -> str:
        return self.delivery.message_id

    @property
    def key(self) -> str:
        return self.delivery.key

    @property
    def body(self) -> bytes:
        """Empty where only a list was asked for."""
        return self.delivery.body

    @property
    def reason(self) -> str:
        """Our own word, or the broker's where it parked the message itself (rejected, delivery_limit)."""
        own = self.delivery.headers.get(REASON)
        return str(own or death_reason(self.delivery.headers) or "unknown")

    @property
    def error(self) -> str:
        return str(self.delivery.headers.get(LAST_ERROR, ""))

    def summary(self) -> dict[str, Any]:
        """For people and programs; the body apart."""
        return {
            "message_id": self.message_id,
            "key": self.key,
            "reason": self.reason,
            "error": self.error,
            "host": str(self.delivery.headers.get(HOST, "")),
            "headers": {name: str(value) for name, value in self.delivery.headers.items()},
            "bytes": self.size,
        }


Wanted = Callable[[Delivery], bool]


def asked_for(which: Sequence[str] | None, *, everything: bool) -> Wanted:
    """Which messages are meant, by message id or by job id. Raises InvalidInput when nothing was asked for."""
    if not everything and not which:
        raise InvalidInput("which messages?", hint="give job ids (`covaria parking list`), or --all")
    names = set(which or ())
    return lambda delivery: everything or bool({delivery.message_id, delivery.message_id.split("/", 1)[0]} & names)


def listed(bus: Bus, pause: Callable[[float], None] = time.sleep) -> list[Parked]:
    """Every parked message, without its body. All are back in parking when this returns."""
    return _look(bus, lambda delivery: True, pause, bodies=False)


def look(bus: Bus, wanted: Wanted, pause: Callable[[float], None] = time.sleep) -> list[Parked]:
    """The messages that are wanted, whole. All are back in parking when this returns."""
    return _look(bus, wanted, pause, bodies=True)


def replay(bus: Bus, wanted: Wanted) -> list[str]:
    """Send messages again as first attempts; one line each. What cannot be read stays parked."""
    lines = []
    dispatch = Dispatch(bus, build_topology((1.0,)))
    for parked in _take(bus, wanted)[0]:
        try:
            message = unseal(parked.body)
        except BadMessage as error:
            bus.hand_back(parked.delivery)
            lines.append(f"kept {parked.message_id or '(no id)'}: {error.message}")
            continue
        common = job_key(message.stage, message.work.job_class)
        identifier = dispatch.submit(message, key=parked.key if parked.key.startswith(f"{common}.") else common)
        bus.ack(parked.delivery)
        lines.append(f"sent {identifier}")
    return lines


def drop(bus: Bus, wanted: Wanted) -> list[str]:
    """Delete messages; one line each."""
    lines = []
    for parked in _take(bus, wanted)[0]:
        bus.ack(parked.delivery)
        lines.append(f"dropped {parked.message_id or '(no id)'}")
    return lines


def _look(bus: Bus, wanted: Wanted, pause: Callable[[float], None], *, bodies: bool) -> list[Parked]:
    found: list[Parked] = []
    for _ in range(LOOKS):
        began = time.monotonic()
        found, seen = _take(bus, wanted, bodies=bodies)
        for parked in found:
            bus.hand_back(parked.delivery)
        patience_s = PATIENCE_S + READINGS * (time.monotonic() - began)
        if not _more_comes_back(bus, seen, partial(pause, patience_s / TURNS)):
            break
        pause(patience_s * secrets.randbelow(1000) / 1000)
    return found


def _more_comes_back(bus: Bus, seen: int, pause: Callable[[], None]) -> bool:
    """Whether there are more than we saw."""
    for _ in range(TURNS):
        pause()
        if bus.depth(PARKING) > seen:
            return True
    return False


def _take(bus: Bus, wanted: Wanted, *, bodies: bool = True) -> tuple[list[Parked], int]:
    """(the wanted ones, which are held; how many there were). All others have gone back."""
    found: list[Parked] = []
    others: list[Delivery] = []
    while (delivery := bus.get(PARKING)) is not None:
        if wanted(delivery):
            held = delivery if bodies else replace(delivery, body=b"")
            found.append(Parked(held, len(delivery.body)))
        else:
            others.append(replace(delivery, body=b""))
    for delivery in others:
        bus.hand_back(delivery)
    return found, len(found) + len(others)
