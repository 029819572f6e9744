"""The addresses of the gateway: what each takes and answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from covaria.errors import CovariaError, InvalidInput
from covaria.gateway.book import MOST_LISTED
from covaria.gateway.callers import Caller
from covaria.gateway.desk import Desk, trace_of
from covaria.gateway.models import Done, Hurry, Job, Page, ProcessingJob, Submission
from covaria.gateway.registration import wanted_of
from covaria.gateway.streams import MOST_STREAMS, all_events, job_events
from covaria.messages.job_event import JobState
from covaria.operations.out_template import fill
from covaria.request import model
from covaria.worker.health import Health

TEXT = "text/event-stream"


class TooMany(CovariaError):
    """No stream is free."""


def caller_of(request: Request) -> Caller:
    """Who asks. Raises Unknown."""
    found: Caller = request.app.state.doors.caller(request.headers.get("authorization", ""))
    return found


Who = Annotated[Caller, Depends(caller_of)]


def health_routes(desk: Desk, health: Health) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/livez")
    def livez() -> Response:
        return _verdict(health.live())

    @router.get("/readyz")
    def readyz() -> Response:
        return _verdict(health.ready())

    @router.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(desk.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router


def jobs_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["jobs"])

    @router.post("/jobs", status_code=202, response_model=Job, responses={200: {"model": Job}})
    def submit(asked: Submission, caller: Who, request: Request) -> Response:
        """Queue a job; 200 where it is known already. Nothing was sent unless the answer is 202 or 200."""
        out = asked.request.out
        if out is None:
            template = desk.settings.out_template
            if not template:
                raise InvalidInput("`request.out` is not given", hint="name the output folder; no template is set here")
            out = fill(template, asked.request.ingest.particles, asked.origin, desk.settings.roots)
        whole = model.Request.model_validate({**asked.request.model_dump(mode="json"), "out": str(out)})
        trace = trace_of(request.headers.get("traceparent", ""))
        taken = desk.take(caller, whole, asked.origin, asked.job_class, asked.job_id, trace, asked.pool)
        found = Job.of(taken.entry)
        headers = {"location": f"/jobs/{found.job_id}"}
        return JSONResponse(found.model_dump(mode="json"), 202 if taken.new else 200, headers)

    @router.get("/jobs")
    def jobs(
        caller: Who,
        state: JobState | None = None,
        visit: Annotated[str, Query(max_length=128)] = "",
        instrument: Annotated[str, Query(max_length=128)] = "",
        before: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100,
    ) -> Page:
        """Jobs that came by here, or whose events were heard; the latest first."""
        asked = {"state": state or "", "visit": visit, "instrument": instrument}
        given = {name: value for name, value in asked.items() if value}
        found = desk.book.jobs(given, caller.visits, before, limit)
        return Page(jobs=[Job.of(entry) for entry in found], before=found[-1].at if len(found) == limit else "")

    @router.get("/jobs/{job_id}")
    def job(job_id: str, caller: Who) -> Job:
        """One job, with what the disk shows of its stages."""
        entry = desk.job(caller, job_id)
        return Job.of(entry, desk.stages(entry))

    @router.delete("/jobs/{job_id}", status_code=202)
    def cancel(job_id: str, caller: Who) -> Done:
        """Cancel a job: whoever runs it stops at its next step; a waiting one ends when its turn comes."""
        return Done(job_id=job_id, done=desk.order(caller, job_id, "cancel"))

    @router.post("/jobs/{job_id}/retry", status_code=202)
    def retry(job_id: str, caller: Who) -> Done:
        """Send a failed or cancelled job again; finished stages and steps are kept."""
        return Done(job_id=job_id, done=desk.order(caller, job_id, "retry"))

    @router.post("/jobs/{job_id}/priority", status_code=202)
    def priority(job_id: str, hurry: Hurry, caller: Who) -> Done:
        """Put what waits of a job, and its later stages, into the other class."""
        return Done(job_id=job_id, done=desk.order(caller, job_id, "priority", hurry.job_class))

    return router


def streams_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["events"])
    open_streams = [0]

    @router.get("/events", response_class=StreamingResponse)
    def events(caller: Who, request: Request, after: Annotated[int | None, Query(ge=0)] = None) -> Response:
        """Every event about jobs as it is heard (text/event-stream); `after` or Last-Event-ID: from there on."""
        start = _start(request, after)
        start = desk.book.last() if start is None else start
        return _stream(all_events(desk, caller, start, request.is_disconnected), open_streams)

    @router.get("/jobs/{job_id}/events", response_class=StreamingResponse)
    def of_job(
        job_id: str, caller: Who, request: Request, after: Annotated[int | None, Query(ge=0)] = None
    ) -> Response:
        """A job's events from its beginning, and its progress, until it has ended (text/event-stream)."""
        desk.job(caller, job_id)
        start = _start(request, after) or 0
        return _stream(job_events(desk, caller, job_id, start, request.is_disconnected), open_streams)

    return router


def registration_routes(desk: Desk) -> APIRouter:
    router = APIRouter(tags=["registration"])

    @router.post("/workflow/visits/{visit_name}/sessions/{session_id}/register_processing_job")
    def register(
        visit_name: str, session_id: int, asked: ProcessingJob, caller: Who, request: Request
    ) -> ProcessingJob:
        """A processing job as Murfey's instrument clients register one; its recipe is `em-covaria`."""
        wanted = wanted_of(visit_name, session_id, asked, desk.settings)
        trace = trace_of(request.headers.get("traceparent", ""))
        desk.take(caller, wanted.request, wanted.origin, wanted.job_class, None, trace, wanted.pool)
        return asked

    return router


def _start(request: Request, after: int | None) -> int | None:
    said = request.headers.get("last-event-id", "")
    return int(said) if said.isdigit() and len(said) < 19 else after


def _stream(lines: AsyncIterator[str], open_streams: list[int]) -> Response:
    if open_streams[0] >= MOST_STREAMS:
        raise TooMany(f"{MOST_STREAMS} streams are open", hint="close one, or ask GET /jobs now and then")

    async def counted() -> AsyncIterator[str]:
        open_streams[0] += 1
        try:
            async for line in lines:
                if line:
                    yield line
        finally:
            open_streams[0] -= 1

    return StreamingResponse(counted(), media_type=TEXT, headers={"x-accel-buffering": "no"})


def _verdict(problems: list[str]) -> Response:
    return PlainTextResponse("\n".join(problems or ["ok"]) + "\n", 503 if problems else 200)
