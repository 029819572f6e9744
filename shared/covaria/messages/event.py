"""Events: notifications that something happened to a job. A snapshot each; losing one changes nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from covaria.findings import Findings
from covaria.messages.envelope import MAJOR, SOURCE
from covaria.messages.work import JobId
from covaria.request.origin import Origin
from covaria.request.stages import StageName

EventState = Literal["started", "succeeded", "retrying", "parked", "cancelled", "handed_back", "preempted", "held_back"]
EVENT_STATES: tuple[EventState, ...] = get_args(EventState)


class Event(BaseModel):
    """The data of `covaria.<stage>.<state>.v1`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job_id: JobId
    stage: StageName
    state: EventState
    out: str
    """The output folder."""
    attempt: int = 1
    worker: str = ""
    """host:pid"""
    seconds: Annotated[float, Field(ge=0)] | None = None
    """How long the attempt ran."""
    reason: str = ""
    """Failure class, for retrying and parked; quota, for held_back."""
    message: str = ""
    """What went wrong, for a person."""
    next_stage: StageName | None = None
    """Where the job went from here."""
    origin: Origin = Origin()
    """As it was submitted."""
    headline: str = ""
    """What the job has found so far, in one sentence; with the next, of stages that succeeded."""
    findings: Findings | None = None
    """The same in numbers, at most the twenty most populated states."""


def event_type(stage: str, state: str) -> str:
    """The CloudEvents type of an event."""
    return f"covaria.{stage}.{state}.v{MAJOR}"


def seal_event(kind: str, subject: str, data: BaseModel, identifier: str, traceparent: str = "") -> bytes:
    """An event's data as a CloudEvents document of the type `kind`."""
    document = {
        "specversion": "1.0",
        "id": identifier,
        "source": SOURCE,
        "type": kind,
        "subject": subject,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        **({"traceparent": traceparent} if traceparent else {}),
        "data": data.model_dump(mode="json", exclude_none=True),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
