"""The gateway's application. FastAPI makes /openapi.json of its routes; there are no pages."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from covaria import __version__
from covaria.bus.model import BusError
from covaria.errors import CovariaError, InvalidInput, MissingFile, NotPermitted, RefusedOutput
from covaria.gateway.callers import Doors, Unknown
from covaria.gateway.desk import Conflict, Desk, NoJob, NotYours
from covaria.gateway.guard import App, Guard
from covaria.gateway.models import Told
from covaria.gateway.routes import TooMany, health_routes, jobs_routes, registration_routes, streams_routes
from covaria.operations.quotas import OverQuota
from covaria.plain import explain
from covaria.request.paths import PathRefused
from covaria.worker.health import Health

STATUS: tuple[tuple[type[Exception], int], ...] = (
    (Unknown, 401), (NoJob, 404), (NotYours, 403), (Conflict, 409), (PathRefused, 403), (NotPermitted, 403),
    (OverQuota, 429),
    (TooMany, 503), (BusError, 503), (RefusedOutput, 409), (MissingFile, 422), (InvalidInput, 422), (OSError, 503),
)  # fmt: skip
AGAIN_AFTER_S = 10
ERRORS: dict[int | str, dict[str, Any]] = {code: {"model": Told} for code in (401, 403, 404, 409, 413, 422, 429, 503)}


def make_app(desk: Desk, doors: Doors, health: Health) -> App:
    """The application, guarded. `health` is shown to everybody, and the metrics; all else asks who is there."""
    app = FastAPI(
        title="Covaria", version=__version__, docs_url=None, redoc_url=None,
        description="Jobs over HTTP. Every event of the services comes by under /events.",
    )  # fmt: skip
    app.state.doors = doors
    app.include_router(health_routes(desk, health))
    for routes in (jobs_routes, streams_routes, registration_routes):
        app.include_router(routes(desk), responses=ERRORS)
    app.add_exception_handler(RequestValidationError, _invalid)
    for kind in (CovariaError, OSError):
        app.add_exception_handler(kind, _told)
    app.add_exception_handler(HTTPException, _plain)
    return Guard(app, desk.metrics)


async def _told(_: Request, error: Exception) -> Response:
    told = explain(error)
    status = next(
        (code for kind, code in STATUS if isinstance(error, kind)), 503 if isinstance(error, TooMany) else 500
    )
    headers = {"retry-after": str(AGAIN_AFTER_S)} if status == 503 else {}
    headers |= {"www-authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse({"message": told.message, "hint": told.hint}, status, headers)


async def _invalid(_: Request, error: Exception) -> Response:
    """The first problem, without the value: it may be hostile, or large."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part)[:64] for part in first["loc"][:8])
    told = {"message": f"{where}: {str(first['msg'])[:300]}", "hint": "/openapi.json says what is taken"}
    return JSONResponse(told, 422)


async def _plain(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"message": str(error.detail), "hint": "/openapi.json lists the addresses"}, error.status_code)
