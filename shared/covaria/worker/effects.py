"""What can be done about a message, as values: a decision lists effects, the interpreter carries them out in order.

`point` names the crash point that is passed once the effect is done (COVARIA_CRASH_AT, for tests).
`best_effort` marks what may fail without a loss: the message is settled all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from covaria.messages.event import EventState
from covaria.messages.ticket import Ticket
from covaria.worker.failures import Failure


class Outcome(Enum):
    """How a received message ended."""

    SUCCEEDED = "succeeded"
    DUPLICATE = "duplicate"
    """The stage was done before."""
    SUPERSEDED = "superseded"
    """A later job replaced this one in its folder."""
    RETRIED = "retried"
    PARKED = "parked"
    CANCELLED = "cancelled"
    HANDED_BACK = "handed_back"
    """We were asked to stop; it waits in its queue for another worker."""
    PREEMPTED = "preempted"
    """Bulk that made room for live work; it waits in its queue and resumes."""
    HELD_BACK = "held_back"
    """Its owner has as much as is allowed; asked again later."""
    DEFERRED = "deferred"
    """Another worker lives in the folder, or the next queue is full: looked at again later."""
    LOST = "lost"
    """Our lease was taken over."""

    @property
    def label(self) -> str:
        """As metrics count it."""
        return "duplicate" if self is Outcome.SUPERSEDED else self.value


class Effect:
    """Something to do."""

    point: ClassVar[str]
    best_effort: ClassVar[bool] = False


# ---- in the folder
@dataclass(frozen=True)
class TakeLease(Effect):
    """Become the only one who writes there, where its holder is dead or there is none."""

    point = "leased"


@dataclass(frozen=True)
class Claim(Effect):
    """Make the folder this job's."""

    point = "claimed"


@dataclass(frozen=True)
class Settle(Effect):
    """Correct the stage's state."""

    status: str
    error: Mapping[str, str] | None = None
    preemptions: int = 0
    """How often the stage has made room for live work; 0: as it is noted."""
    point = "settled"
    best_effort = True


@dataclass(frozen=True)
class Note(Effect):
    """Write down what became of the message."""

    state: str
    reason: str = ""
    error: str = ""
    point = "noted"
    best_effort = True


@dataclass(frozen=True)
class NoteHandover(Effect):
    """Write down that the next stage's message is safe."""

    point = "handover_noted"
    best_effort = True


@dataclass(frozen=True)
class Release(Effect):
    """Free the folder for the next worker."""

    point = "lease_released"
    best_effort = True


@dataclass(frozen=True)
class PutInPlace(Effect):
    """Make a finished update of a growing set its newest version."""

    point = "put_in_place"


@dataclass(frozen=True)
class NoteRefused(Effect):
    """Write down in the growing set why its update was refused."""

    error: Mapping[str, str]
    point = "refusal_noted"
    best_effort = True


# ---- the stage
@dataclass(frozen=True)
class Start(Effect):
    """Start the stage's process."""

    point = "started"


@dataclass(frozen=True)
class Watch(Effect):
    """Stay with the stage's process until it has ended."""

    point = "stage_ended"


# ---- at the broker
@dataclass(frozen=True)
class SubmitNext(Effect):
    """Queue the job for its next stage."""

    point = "next_published"


@dataclass(frozen=True)
class SendLater(Effect):
    """A copy of the message to a retry tier."""

    tier: int
    ticket: Ticket
    point = "retry_published"


@dataclass(frozen=True)
class SendBack(Effect):
    """A copy of the message to its own queue."""

    ticket: Ticket
    point = "hand_back_published"


@dataclass(frozen=True)
class SendToParking(Effect):
    """A copy of the message to parking, with the reason."""

    reason: str
    error: str
    point = "park_published"


@dataclass(frozen=True)
class Tell(Effect):
    """An event."""

    state: EventState
    reason: str = ""
    message: str = ""
    next_stage: str | None = None
    point = "event_published"
    best_effort = True


@dataclass(frozen=True)
class TellRejected(Effect):
    """An event about bytes that are no job."""

    reason: str
    message: str
    point = "rejection_told"
    best_effort = True


@dataclass(frozen=True)
class Ack(Effect):
    """The message is dealt with."""

    point = "acked"


@dataclass(frozen=True)
class Reject(Effect):
    """Let the broker park bytes that are no message."""

    point = "rejected"


@dataclass(frozen=True)
class Decision:
    """What to do next; with an outcome it is the last one, without, the facts are looked at again."""

    effects: tuple[Effect, ...]
    outcome: Outcome | None = None
    failure: Failure | None = None
    """Which row of the failure table."""
    why: str = ""
    """For the log."""
    last_words: tuple[Settle, Note] | None = None
    """What the folder is to say of a parked job; where it cannot be written now, later."""


EFFECTS: tuple[type[Effect], ...] = (
    TakeLease, Claim, Settle, Note, NoteHandover, Release, PutInPlace, NoteRefused, Start, Watch, SubmitNext,
    SendLater, SendBack, SendToParking, Tell, TellRejected, Ack, Reject,
)  # fmt: skip
