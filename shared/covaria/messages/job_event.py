"""Events about whole jobs, for those who sent them: a job is queued, runs, and ends in one of three ways."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from covaria.findings import Findings
from covaria.messages.envelope import MAJOR
from covaria.messages.event import Event
from covaria.messages.work import JobId
from covaria.request.origin import Origin

JobState = Literal["queued", "running", "finished", "failed", "cancelled"]
JOB_STATES: tuple[JobState, ...] = ("queued", "running", "finished", "failed", "cancelled")
MOST_RESULTS = 400


class Result(BaseModel):
    """A file that a job made."""

    model_config = ConfigDict(frozen=True)

    path: str
    """Within the output folder."""
    kind: str
    """maps, states, tables, ...: as job.json lists them."""


class JobEvent(BaseModel):
    """The data of `covaria.job.<state>.v1`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job_id: JobId
    state: JobState
    out: str
    """The output folder."""
    origin: Origin = Origin()
    stage: str = ""
    """Where it is, or ended."""
    reason: str = ""
    """Failure class, for failed."""
    message: str = ""
    """What went wrong, for a person."""
    results: Annotated[tuple[Result, ...], Field(max_length=MOST_RESULTS)] = ()
    """What a finished job made; as far as a message may be long."""
    headline: str = ""
    """What was found, in one sentence."""
    findings: Findings | None = None
    """The same in numbers, the resolution of the mean among them."""


class Rejection(BaseModel):
    """The data of `covaria.message.rejected.v1`: bytes in a job queue that are no job."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    message_id: Annotated[str, Field(max_length=256)]
    queue: str
    reason: str
    message: str
    """What is wrong, for a person."""
    sha256: str
    """Of the bytes: who sent them can tell them by it."""


def job_event_type(state: str) -> str:
    """The CloudEvents type of a job's event."""
    return f"covaria.job.{state}.v{MAJOR}"


REJECTED = f"covaria.message.rejected.v{MAJOR}"
REJECTED_KEY = "message.rejected"


def job_state(event: Event, *, first: bool) -> JobState | None:
    """What a stage's event means for its job, if anything; `first`: it is the job's first stage."""
    match event.state:
        case "started":
            return "running" if first and event.attempt == 1 else None
        case "succeeded":
            return "finished" if event.next_stage is None else None
        case "parked":
            return "failed"
        case "cancelled":
            return "cancelled"
    return None
