"""What a job message carries: the whole request and the way that is left to go (a routing slip)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from covaria.request.model import Request
from covaria.request.origin import Origin
from covaria.request.stages import STAGES, StageName

JobClass = Literal["live", "bulk"]
PoolName = Annotated[str, Field(pattern=r"^([a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?)?$")]
JobId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Work(BaseModel):
    """The data of `covaria.<stage>.requested.v1`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    request: Request
    """Every stage reads its own part."""
    route: Annotated[tuple[StageName, ...], Field(min_length=1, max_length=len(STAGES))]
    """The stages that are left, this one first, in the order of the data."""
    job_class: JobClass = "bulk"
    """live goes before bulk: data of a running session."""
    pool: PoolName = ""
    """Which workers: a kind of GPU, say. A stage without a pool of that name takes the job in its common queues."""
    images_gb: Annotated[float, Field(ge=0)] | None = None
    """What the images take in memory, GB; known after ingest. Where no pool is named, it decides."""
    origin: Origin = Origin()
    """Whose it is: it comes back in every event."""
    command_line: Annotated[str, Field(max_length=8192)] = ""
    """How a person asked for it, for command.txt."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        positions = [STAGES.index(stage) for stage in self.route]
        if positions != sorted(set(positions)):
            raise ValueError(f"the route {' -> '.join(self.route)} is not in the order of the data")
        return self

    @property
    def stage(self) -> StageName:
        """The stage that is asked for now."""
        return self.route[0]
