"""The addresses of the server: the page's files, a run's files, selections, what changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import anyio
import anyio.to_thread
import numpy as np
from pydantic import BaseModel, Field, TypeAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.explorer.run_files import RunFiles
from covaria.opening import OutsideRoots, open_inside
from covaria.plain import explain
from covaria.report.live import policy
from covaria.selection.model import Selection, selection_json
from covaria.tree import Tree
from covaria.view.access import ACCOUNT, App
from covaria.view.bodies import body_of, read
from covaria.view.folder import Folder, mean_picture
from covaria.view.job_routes import job_routes
from covaria.view.jobs import Jobs
from covaria.view.subsets import prepare, rows_of, subset_file

STATIC = Path(__file__).parent / "static"
MOST_THUMBNAILS = 48
SELECTION: TypeAdapter[Selection] = TypeAdapter(Selection)
LOOK_S = 1.0
BEAT_S = 15.0


class Routes:
    """What is answered, over a folder of runs."""

    def __init__(self, folder: Folder, jobs: Jobs | None = None, model: Path | None = None) -> None:
        """jobs: None where nothing may be started; model: an atomic model to draw in the maps."""
        self.folder, self.jobs, self.atoms = folder, jobs, model
        self.ending: Callable[[], bool] = lambda: False
        """Whether the server stops: streams end then."""

    def app(self) -> App:
        """The application, without its gate."""
        pages = [Route("/", self.page), Route("/assets/{name}", self.asset)]
        data = [
            Route("/runs", self.runs),
            Route("/events", self.events),
            Route("/file", self.file),
            Route("/report", self.report),
            Route("/map", self.map),
            Route("/picture", self.picture),
            Route("/ready", self.ready),
            Route("/model", self.model),
        ]
        posts = [Route(f"/{name}", self.asked, methods=["POST"]) for name in ("count", "subset", "selection")]
        posts.append(Route("/thumbnails", self.thumbnails, methods=["POST"]))
        starts = [] if self.jobs is None else job_routes(self.jobs)
        told = {error: _told for error in (CovariaError, OSError)}
        return Starlette(routes=[*pages, *data, *posts, *starts], exception_handlers=told)

    def _seen(self, request: Request) -> Folder:
        """The folder as who asks may see it."""
        return self.folder.seen_by(request.scope.get(ACCOUNT))

    def page(self, _: Request) -> Response:
        return _static("index.html")

    def asset(self, request: Request) -> Response:
        return _static("assets", request.path_params["name"])

    def runs(self, request: Request) -> Response:
        return JSONResponse(self.state(self._seen(request)))

    def file(self, request: Request) -> Response:
        """A run's file, with ranges."""
        name = request.query_params.get("name", "")
        folder = self._seen(request)
        tag = f'"{folder.version(folder.out(_run(request)))}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        content = folder.run(_run(request)).read(name)
        kind = "application/json" if name.endswith(".json") else "application/octet-stream"
        return _ranged(content, request.headers.get("range", ""), kind, {"etag": tag, "cache-control": "no-cache"})

    def report(self, request: Request) -> Response:
        """OUT/report.html, under the policy that it carries itself."""
        run = self._seen(request).run(_run(request))
        with run.roots.open(run.tree.report) as file:
            content = file.read()
        headers = {"content-security-policy": f"{policy(live=True)}; frame-ancestors 'none'"}
        return Response(content, media_type="text/html", headers=headers)

    def ready(self, request: Request) -> Response:
        """Answers when the run's particle file has been read, for selections; says what is the matter with it."""
        prepare(self._seen(request).run(_run(request)))
        return JSONResponse({"ready": True})

    def model(self, _: Request) -> Response:
        """The atomic model's text."""
        if self.atoms is None:
            raise MissingFile("no atomic model is shown", hint="`covaria view --model FILE`, or drop one on the map")
        return FileResponse(self.atoms, media_type="text/plain", filename=self.atoms.name)

    def picture(self, request: Request) -> Response:
        """The mean map: as far as it is known, or its surface."""
        tree = Tree(self._seen(request).out(_run(request)))
        with open_inside(tree.out, mean_picture(tree).relative_to(tree.out).as_posix()) as file:
            return Response(file.read(), media_type="image/png")

    def map(self, request: Request) -> Response:
        """A map of OUT, as it lies there."""
        run, name = self._seen(request).run(_run(request)), request.query_params.get("name", "")
        path = run.tree.out / name
        if path.suffix != ".mrc" or not Path(path.resolve()).is_relative_to(run.tree.out.resolve()):
            raise OutsideRoots("is no map of this run", file=name, hint="choose one from the page")
        run.roots.open(path).close()
        return FileResponse(path, filename=path.name)

    async def asked(self, request: Request) -> Response:
        """Count a selection, write its particles, or give it back as `covaria subset --selection` reads it."""
        body = await body_of(request)
        what = request.url.path.rpartition("/")[2]
        return await anyio.to_thread.run_sync(
            lambda: self._of_selection(what, self._seen(request).run(_run(request)), body)
        )

    def _of_selection(self, what: str, run: RunFiles, body: bytes) -> Response:
        selection = read(SELECTION, body)
        if what == "count":
            return JSONResponse({"count": int(rows_of(run, selection).sum())})
        if what == "selection":
            return _download("selection.json", selection_json(selection), int(rows_of(run, selection).sum()))
        written = subset_file(run, selection)
        return _download(written.name, written.content, written.particles)

    async def thumbnails(self, request: Request) -> Response:
        """Some drawn particles beside what the model says of them."""
        asked = read(THUMBNAILS, await body_of(request))

        def made() -> Response:
            from covaria.view.thumbnails import sprite  # torch: only where somebody looks

            run = self._seen(request).run(_run(request))
            drawn = np.zeros(0, np.int64) if run.cloud is None else run.cloud.rows
            chosen = np.array(asked.at)
            if len(chosen) and chosen.max() >= len(drawn):
                raise InvalidInput(f"particle {chosen.max()} of {len(drawn)}", hint="reload the page")
            return JSONResponse(sprite(run, drawn[chosen]))

        return await anyio.to_thread.run_sync(made)

    async def events(self, request: Request) -> Response:
        """Server-sent events: the list of runs whenever it changes."""

        folder = self._seen(request)

        async def lines() -> AsyncIterator[str]:
            last, silent = "", 0.0
            while not (self.ending() or await request.is_disconnected()):
                now = json.dumps(await anyio.to_thread.run_sync(self.state, folder))
                silent += LOOK_S
                if now != last:
                    yield f"event: state\ndata: {now}\n\n"
                    last, silent = now, 0.0
                elif silent > BEAT_S:
                    yield ": still here\n\n"
                    silent = 0.0
                await anyio.sleep(LOOK_S)

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    def state(self, folder: Folder) -> dict[str, Any]:
        """What the events tell."""
        jobs = None if self.jobs is None else {"command": self.jobs.command, "started": self.jobs.state()}
        return {"runs": folder.cards(), "jobs": jobs, "model": None if self.atoms is None else self.atoms.name}


class Thumbnails(BaseModel):
    """Which particles, by their place in the drawn order."""

    at: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, max_length=MOST_THUMBNAILS)]


THUMBNAILS = TypeAdapter(Thumbnails)


def _run(request: Request) -> str:
    return request.query_params.get("run", ".")


def _static(*parts: str) -> Response:
    path = STATIC.joinpath(*parts)
    if not path.resolve().is_relative_to(STATIC) or not path.is_file():
        raise MissingFile("no such part of the page", file=parts[-1], hint="reload the page")
    return FileResponse(path, headers={"cache-control": "no-cache"})


def _ranged(content: bytes, wanted: str, kind: str, headers: dict[str, str]) -> Response:
    """The whole, or `bytes=first-last` of it."""
    headers = {**headers, "accept-ranges": "bytes"}
    first, dash, last = wanted.removeprefix("bytes=").partition("-")
    if not wanted.startswith("bytes=") or not dash or not first.isdecimal() or not (last.isdecimal() or not last):
        return Response(content, media_type=kind, headers=headers)
    start, stop = int(first), min(int(last) + 1, len(content)) if last else len(content)
    if start >= stop:
        return Response(status_code=416, headers={**headers, "content-range": f"bytes */{len(content)}"})
    headers["content-range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    return Response(content[start:stop], 206, media_type=kind, headers=headers)


def _download(name: str, content: bytes, particles: int) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}"', "x-particles": str(particles)}
    return Response(content, media_type="application/octet-stream", headers=headers)


STATUS: dict[type[Exception], int] = {OutsideRoots: 403, MissingFile: 404, InvalidInput: 422}


def _told(_: Request, error: Exception) -> Response:
    told = explain(error)
    status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
    return JSONResponse({"message": told.message, "hint": told.hint}, status)
