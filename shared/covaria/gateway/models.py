"""What is asked of the gateway and what it answers, beside the models that messages have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from covaria.gateway.book import Entry
from covaria.messages.work import JobClass, JobId, PoolName
from covaria.request.model import Request
from covaria.request.options import Option, Output
from covaria.request.origin import Origin


class Asked(Request):
    """A request; without `out` the facility's template says where the results go (COVARIA_OUT_TEMPLATE)."""

    out: Annotated[Output | None, Option("Output directory.", metavar="OUT")] = None  # type: ignore[assignment]


class Submission(BaseModel):
    """A job, as `covaria submit` sends one."""

    model_config = ConfigDict(extra="forbid")

    request: Asked
    job_class: JobClass = "bulk"
    pool: PoolName = ""
    """Which workers (COVARIA_POOLS); unset: by the size of the images."""
    origin: Origin = Origin()
    job_id: JobId | None = None
    """The caller's own id; by default a hash of inputs, options and OUT: the same submission twice is one job."""


class Hurry(BaseModel):
    """Another class for a job."""

    model_config = ConfigDict(extra="forbid")

    job_class: JobClass


class Job(BaseModel):
    """A job, as the gateway knows it."""

    job_id: str
    out: str
    state: str
    """queued, running, finished, failed, cancelled."""
    stage: str
    reason: str
    message: str
    headline: str
    origin: Origin
    queued_at: str
    at: str
    """When it came into this state."""
    stages: list[dict[str, Any]] = []
    """What the disk shows of each stage: status, attempt, progress."""

    @classmethod
    def of(cls, entry: Entry, stages: list[dict[str, Any]] | None = None) -> Job:
        known = {name: getattr(entry, name) for name in cls.model_fields if name not in ("out", "stages")}
        return cls(out=str(entry.out), stages=stages or [], **known)


class Page(BaseModel):
    """Some jobs, the latest first."""

    jobs: list[Job]
    before: str
    """To go on: `?before=...`; "" at the end."""


class Done(BaseModel):
    """What was done."""

    job_id: str
    done: str


class Told(BaseModel):
    """What is wrong, and what to do."""

    message: str
    hint: str


class ProcessingJob(BaseModel):
    """Murfey's registration of a processing job."""

    model_config = ConfigDict(extra="ignore")

    tag: Annotated[str, Field(max_length=1024)]
    source: Annotated[str, Field(max_length=4096)] = ""
    recipe: Annotated[str, Field(max_length=128)]
    parameters: dict[str, Any] = {}
    experiment_type: Annotated[str, Field(max_length=64)] = "spa"
