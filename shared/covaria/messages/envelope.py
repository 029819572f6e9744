"""CloudEvents 1.0, structured JSON: how a job travels.

A person's or a facility's input is checked strictly where it is submitted; a message may come from a newer minor
version, so unknown fields are carried along unread. An unknown major version is refused.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from covaria.errors import CovariaError
from covaria.json_data import why_not_data
from covaria.messages.work import JobClass, JobId, Work
from covaria.plain import printable
from covaria.request.origin import Origin

MAX_BYTES = 64 * 1024
"""Paths travel, never arrays."""
MAJOR = 1
SOURCE = "/covaria"

_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
"""W3C traceparent: version, trace, span, flags."""
_TYPE = re.compile(r"covaria\.([a-z]+)\.requested\.v([0-9]{1,9})")
_JOB_ID: TypeAdapter[str] = TypeAdapter(JobId)

BadReason = Literal["size", "envelope", "version", "schema", "path"]


class BadMessage(CovariaError):
    """A message that no retry can help; `reason` says what kind of wrong. `job_id` and `out`: "" where not known."""

    exit_code = 2

    def __init__(
        self, reason: BadReason, message: str, *, job_id: str = "", out: str = "", origin: Origin | None = None
    ) -> None:
        super().__init__(
            printable(message), hint="`covaria parking show` prints the message; correct it and submit again"
        )
        self.reason, self.job_id, self.out = reason, job_id, out
        self.origin = origin or Origin()


class Envelope(BaseModel):
    """The CloudEvents context of a job message. Extension attributes of others are allowed and left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """<job>/<stage>/<attempt>/<sequence>"""
    source: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    type: Annotated[str, StringConstraints(max_length=128)]
    """covaria.<stage>.requested.v<major>"""
    subject: JobId
    """The job's id."""
    time: Annotated[str, StringConstraints(max_length=64)] = ""
    """When this message was made, RFC 3339."""
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: Annotated[str, StringConstraints(max_length=1024)] = ""
    traceparent: Annotated[str, StringConstraints(max_length=128)] = ""
    """W3C trace context, passed through."""
    data: dict[str, Any]


@dataclass(frozen=True)
class Message:
    """One job message, parsed. `data` is the payload as it came: it is what travels on."""

    job_id: str
    work: Work
    data: dict[str, Any]
    traceparent: str = ""

    @property
    def stage(self) -> str:
        """The stage that is asked for."""
        return self.work.stage

    @property
    def trace_id(self) -> str:
        """Of the trace that this job is part of; "" where the sender gave none."""
        found = _TRACE.fullmatch(self.traceparent)
        return found.group(1) if found else ""

    def onward(self) -> Message | None:
        """The message for the next stage, or None at the end of the route. Fields we do not know go along."""
        rest = self.work.route[1:]
        if not rest:
            return None
        return replace(self, work=self.work.model_copy(update={"route": rest}), data={**self.data, "route": list(rest)})

    def in_class(self, job_class: JobClass) -> Message:
        """The same job in the queues of another class."""
        if job_class == self.work.job_class:
            return self
        work = self.work.model_copy(update={"job_class": job_class})
        return replace(self, work=work, data={**self.data, "job_class": job_class})


def new_message(job_id: str, work: Work, traceparent: str = "") -> Message:
    """A message for `work`'s first stage. Raises BadMessage for an id that is not one."""
    try:
        _JOB_ID.validate_python(job_id)
    except ValidationError:
        raise BadMessage("envelope", f"not a job id: {job_id!r} (letters, digits, '.', '_', '-'; at most 64)") from None
    return Message(job_id, work, work.model_dump(mode="json"), traceparent)


def message_type(stage: str) -> str:
    """The CloudEvents type of a stage's request."""
    return f"covaria.{stage}.requested.v{MAJOR}"


def message_id(message: Message, attempt: int, sequence: int) -> str:
    """<job>/<stage>/<attempt>/<sequence>"""
    return f"{message.job_id}/{message.stage}/{attempt}/{sequence}"


def seal(message: Message, identifier: str) -> bytes:
    """The message as bytes. Raises BadMessage when it would be too large."""
    document = {
        "specversion": "1.0",
        "id": identifier,
        "source": SOURCE,
        "type": message_type(message.stage),
        "subject": message.job_id,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "dataschema": f"https://covaria.invalid/schemas/{message_type(message.stage)}.json",
        **({"traceparent": message.traceparent} if message.traceparent else {}),
        "data": message.data,
    }
    body = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(body) > MAX_BYTES:
        raise BadMessage("size", f"the message has {len(body)} bytes, at most {MAX_BYTES} are sent")
    return body


def unseal(body: bytes, *, stage: str | None = None) -> Message:
    """Parse a body. Raises BadMessage: too large, no envelope, a foreign version, wrong data, another `stage`'s."""
    if len(body) > MAX_BYTES:
        raise BadMessage("size", f"the message has {len(body)} bytes, at most {MAX_BYTES} are read")
    document = _json_object(body)
    try:
        envelope = Envelope.model_validate(document)
    except ValidationError as error:
        raise BadMessage("envelope", f"not a CloudEvents 1.0 job message: {first_problem(error)}") from None
    match = _TYPE.fullmatch(envelope.type)
    if match is None:
        raise BadMessage("envelope", f"type {envelope.type!r} is not covaria.<stage>.requested.v<major>")
    try:
        return _opened(envelope, match.group(1), int(match.group(2)), stage)
    except BadMessage as error:
        out, origin = _out(envelope.data), _origin(envelope.data)
        raise BadMessage(error.reason, error.message, job_id=envelope.subject, out=out, origin=origin) from None


def _opened(envelope: Envelope, named: str, major: int, stage: str | None) -> Message:
    if major != MAJOR:
        raise BadMessage("version", f"type {envelope.type!r}: this version of Covaria reads v{MAJOR} only")
    problem = why_not_data(envelope.data)
    if problem:
        raise BadMessage("schema", f"data of {envelope.type}: {problem}")
    try:
        work = Work.model_validate(envelope.data, extra="ignore")
    except ValidationError as error:
        raise BadMessage("schema", f"data of {envelope.type}: {first_problem(error)}") from None
    if work.stage != named or (stage is not None and work.stage != stage):
        raise BadMessage("schema", f"type {envelope.type!r}, route {'->'.join(work.route)}: not for this queue")
    return Message(envelope.subject, work, envelope.data, envelope.traceparent)


def _out(data: dict[str, Any]) -> str:
    """The output folder that wrong data name, for the event about them; "" where that is no text."""
    request = data.get("request")
    out = request.get("out") if isinstance(request, dict) else None
    return printable(out[:4096]) if isinstance(out, str) else ""


def _origin(data: dict[str, Any]) -> Origin:
    """Whose the job is, as far as wrong data say that rightly."""
    try:
        return Origin.model_validate(data.get("origin", {}))
    except ValidationError:
        return Origin()


def first_problem(error: ValidationError) -> str:
    """A validation error's first problem and how many more there are, without the value (it may be hostile)."""
    problems = error.errors(include_url=False, include_input=False, include_context=False)
    where = ".".join(str(part)[:64] for part in problems[0]["loc"][:6])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {problems[0]['msg'][:200]}{more}"


def _json_object(body: bytes) -> dict[str, Any]:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is not JSON")

    try:
        document = json.loads(body.decode("utf-8"), parse_constant=refuse, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise BadMessage("envelope", f"not JSON: {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise BadMessage("envelope", f"a JSON {type(document).__name__}, not an object")
    return document


def _integer(digits: str) -> int | float:
    """Thousands of digits are not worth counting: infinite, which no field takes."""
    return int(digits) if len(digits) < 24 else math.inf
