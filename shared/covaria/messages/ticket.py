"""What rides beside a message in its headers: which attempt this is, what failed before, how long it has waited.

Attempts are counted here and nowhere else: the broker's own counters (x-death, delivery-count) change between versions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from covaria.plain import printable

ATTEMPT = "covaria-attempt"
SEQUENCE = "covaria-sequence"
FIRST_QUEUED = "covaria-first-queued"
MEMORY_SCALE = "covaria-memory-scale"
PREEMPTIONS = "covaria-preemptions"
LAST_ERROR = "covaria-last-error"
REASON = "covaria-reason"
HOST = "covaria-host"

MAX_ERROR = 1000


@dataclass(frozen=True)
class Ticket:
    """The headers of a job message, as values."""

    attempt: int = 1
    """Counts failed attempts of this stage, this one included."""
    sequence: int = 0
    """Counts copies of the message for any cause (retry, waiting for a lease, handing back)."""
    first_queued: str = ""
    """When the stage was first asked for, RFC 3339 UTC."""
    memory_scale: float = 1.0
    """Part of the memory budget to use: halved after memory ran out."""
    last_error: str = ""
    preemptions: int = 0
    """How often this stage has made room for live work."""

    def headers(self) -> dict[str, str | int | float]:
        """As AMQP headers."""
        found: dict[str, str | int | float] = {
            ATTEMPT: self.attempt,
            SEQUENCE: self.sequence,
            FIRST_QUEUED: self.first_queued,
            MEMORY_SCALE: str(self.memory_scale),
        }
        if self.preemptions:
            found[PREEMPTIONS] = self.preemptions
        if self.last_error:
            found[LAST_ERROR] = printable(self.last_error[:MAX_ERROR])
        return found

    def again(self, error: str, *, memory_scale: float | None = None) -> Ticket:
        """After a failed attempt."""
        scale = self.memory_scale if memory_scale is None else memory_scale
        return replace(
            self, attempt=self.attempt + 1, sequence=self.sequence + 1, memory_scale=scale, last_error=error[:MAX_ERROR]
        )

    def unchanged(self) -> Ticket:
        """The same attempt, sent once more."""
        return replace(self, sequence=self.sequence + 1)

    def held_back(self, why: str) -> Ticket:
        """The same attempt, not begun yet."""
        return replace(self.unchanged(), last_error=why[:MAX_ERROR])

    def preempted(self) -> Ticket:
        """The same attempt, once live work has had its place."""
        return replace(self.unchanged(), preemptions=self.preemptions + 1)

    def waited_s(self) -> float:
        """Seconds since the stage was first asked for; 0 where that is unknown."""
        try:
            then = datetime.fromisoformat(self.first_queued)
            return max((datetime.now(UTC) - then).total_seconds(), 0.0)
        except (ValueError, TypeError):
            return 0.0


def new_ticket() -> Ticket:
    """For a message that is queued now."""
    return Ticket(first_queued=datetime.now(UTC).isoformat(timespec="milliseconds"))


def read_ticket(headers: Mapping[str, object]) -> Ticket:
    """From a delivery's headers. Whatever is missing or absurd becomes the default: headers never stop a job."""
    return Ticket(
        attempt=_count(headers.get(ATTEMPT), 1),
        sequence=_count(headers.get(SEQUENCE), 0),
        first_queued=_text(headers.get(FIRST_QUEUED), 64),
        memory_scale=_scale(headers.get(MEMORY_SCALE)),
        last_error=_text(headers.get(LAST_ERROR), MAX_ERROR),
        preemptions=_count(headers.get(PREEMPTIONS), 0),
    )


def _count(value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 1_000_000:
        return least
    return value


def _text(value: object, most: int) -> str:
    return value[:most] if isinstance(value, str) else ""


def _scale(value: object) -> float:
    try:
        scale = float(value) if isinstance(value, str | int | float) else 1.0
    except (ValueError, OverflowError):
        return 1.0
    return scale if math.isfinite(scale) and 0 < scale <= 1 else 1.0
