"""The addresses that start something: there only where jobs are allowed."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio.to_thread
from pydantic import BaseModel, TypeAdapter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from covaria.selection.model import Selection
from covaria.view.bodies import body_of, read
from covaria.view.command import options
from covaria.view.jobs import Jobs
from covaria.view.sources import particle_files, verdict

B = TypeVar("B", bound=BaseModel)


class Form(BaseModel):
    """A new run: its particles, its name, and what differs from the defaults (part.field -> text)."""

    particles: Path
    name: str
    said: dict[str, str] = {}


class Again(BaseModel):
    """The same run with some of its particles."""

    name: str
    selection: Selection
    only_mean: bool = False


class Nothing(BaseModel):
    """No content."""


def job_routes(jobs: Jobs) -> list[Route]:
    """Look at particle files, show a command line, start, start again, cancel."""

    def choices(_: Request) -> Response:
        folders = jobs.folder.roots.folders or (jobs.folder.path,)
        files = particle_files(folders)
        return JSONResponse({"options": options(), "particles": files, "folder": str(jobs.folder.path)})

    def look(request: Request) -> Response:
        return JSONResponse(verdict(Path(request.query_params.get("path", "")), jobs.folder.roots))

    def line(_: str, form: Form) -> object:
        return {"line": shlex.join(["covaria", *jobs.line(form.particles, form.name, form.said)])}

    def start(_: str, form: Form) -> object:
        return jobs.start(form.particles, form.name, form.said)

    def again(run: str, form: Again) -> object:
        return jobs.again(jobs.folder.run(run), form.name, form.selection, only_mean=form.only_mean)

    def cancel(run: str, _: Nothing) -> object:
        jobs.cancel(run)
        return {}

    return [
        Route("/choices", choices),
        Route("/verdict", look),
        _post("/line", Form, line),
        _post("/start", Form, start),
        _post("/again", Again, again),
        _post("/cancel", Nothing, cancel),
    ]


def _post(path: str, shape: type[B], answer: Callable[[str, B], object]) -> Route:
    adapter = TypeAdapter(shape)

    async def asked(request: Request) -> Response:
        form = read(adapter, await body_of(request))
        run = request.query_params.get("run", "")
        return JSONResponse(await anyio.to_thread.run_sync(lambda: answer(run, form)))

    return Route(path, asked, methods=["POST"])
