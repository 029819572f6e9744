"""Events for whoever steers the microscope, at the end of a run and of each update of a growing set."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from covaria.feedback import Foreseen, Places
from covaria.findings import Findings
from covaria.messages.envelope import MAJOR
from covaria.messages.work import JobId
from covaria.request.origin import Origin


class Feedback(BaseModel):
    """Whose it is."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job_id: JobId
    out: str
    """The output folder."""
    origin: Origin = Origin()
    """As it was submitted."""
    version: Annotated[int, Field(ge=1)] | None = None
    """Of a growing set."""


class FoundEvent(Feedback):
    """The data of `covaria.findings.v1`."""

    headline: str
    """What was found, in one sentence."""
    findings: Findings
    """The same in numbers, at most the twenty most populated states."""


class ForecastEvent(Feedback):
    """The data of `covaria.forecast.v1`."""

    images: Annotated[int, Field(ge=0)]
    """In use now."""
    foreseen: Annotated[tuple[Foreseen, ...], Field(max_length=8)]


class SquareQualityEvent(Feedback):
    """The data of `covaria.square-quality.v1`, an event for each kind of place that the particle file tells."""

    quality: Places


KINDS: dict[type[Feedback], str] = {
    FoundEvent: "findings", ForecastEvent: "forecast", SquareQualityEvent: "square-quality",
}  # fmt: skip


def feedback_type(kind: str) -> str:
    """The CloudEvents type."""
    return f"covaria.{kind}.v{MAJOR}"


def feedback_key(kind: str) -> str:
    """The routing key on `covaria.events`."""
    return f"feedback.{kind}"
