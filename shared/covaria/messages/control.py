"""Orders about jobs that are there already: cancel, retry, another priority. CloudEvents like the jobs themselves.

An order names the job's id and its output folder, as every event tells them: who knows both may give it.
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from covaria.messages.envelope import MAJOR, MAX_BYTES, SOURCE, BadMessage, first_problem
from covaria.messages.work import JobClass, JobId
from covaria.request.options import MAX_PATH

Action = Literal["cancel", "retry", "priority"]
ACTIONS: tuple[Action, ...] = ("cancel", "retry", "priority")


class Order(BaseModel):
    """The data of `covaria.control.<action>.v1`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: JobId
    action: Action
    out: Annotated[str, Field(min_length=1, max_length=MAX_PATH)]
    """The job's output folder."""
    job_class: JobClass | None = None
    """For priority: where the job is to wait from now on."""
    by: Annotated[str, Field(max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")] = ""
    """Who asks, for the log."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.action == "priority") != (self.job_class is not None):
            raise ValueError("job_class belongs to priority, and only to it")
        return self

    @property
    def folder(self) -> Path:
        return Path(self.out)


class _Envelope(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: Annotated[str, Field(min_length=1, max_length=256)]
    type: Annotated[str, Field(max_length=128)]
    data: dict[str, Any]


def order_type(action: str) -> str:
    """The CloudEvents type of an order."""
    return f"covaria.control.{action}.v{MAJOR}"


def seal_order(order: Order) -> tuple[bytes, str]:
    """An order as bytes, and its id."""
    identifier = f"{order.job_id}/{order.action}/{secrets.token_hex(8)}"
    document = {
        "specversion": "1.0",
        "id": identifier,
        "source": SOURCE,
        "type": order_type(order.action),
        "subject": order.job_id,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": order.model_dump(mode="json", exclude_none=True),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(), identifier


def unseal_order(body: bytes) -> Order:
    """Parse an order. Raises BadMessage."""
    if len(body) > MAX_BYTES:
        raise BadMessage("size", f"the order has {len(body)} bytes, at most {MAX_BYTES} are read")
    try:
        envelope = _Envelope.model_validate_json(body)
    except (ValidationError, RecursionError) as error:
        what = first_problem(error) if isinstance(error, ValidationError) else "nested too deep"
        raise BadMessage("envelope", f"not a CloudEvents 1.0 order: {what}") from None
    try:
        order = Order.model_validate(envelope.data)
    except ValidationError as error:
        raise BadMessage("schema", f"data of {envelope.type}: {first_problem(error)}") from None
    if envelope.type != order_type(order.action):
        raise BadMessage("version", f"type {envelope.type!r} is not {order_type(order.action)}")
    return order
