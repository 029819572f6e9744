"""Whose a job is and where its data come from, in a facility's own words: carried everywhere, interpreted nowhere."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MOST_LABELS = 64

Word = Annotated[str, StringConstraints(max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
Value = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


class Origin(BaseModel):
    """What a facility's own systems know a job by: in every event, log line, job.json and list of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    proposal: Word = ""
    visit: Word = ""
    instrument: Word = ""
    sample: Word = ""
    correlation_id: Word = ""
    """The caller's own id of this job."""
    metadata: Annotated[dict[Label, Value], Field(max_length=MOST_LABELS)] = Field(default_factory=dict)
    """Anything else."""

    @property
    def given(self) -> dict[str, Any]:
        """What is not empty, as JSON carries it."""
        return {name: value for name, value in self.model_dump(mode="json").items() if value}

    @property
    def words(self) -> dict[str, str]:
        """The same without `metadata`, for log lines."""
        return {name: value for name, value in self.given.items() if name != "metadata"}
