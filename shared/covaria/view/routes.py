"""The addresses of the server: the page's files, a run's files, selections, what changes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.opening import OutsideRoots
from covaria.plain import explain
from covaria.selection.model import Selection, selection_json
from covaria.view.access import App
from covaria.view.folder import Folder
from covaria.view.subsets import rows_of, subset_file

STATIC = Path(__file__).parent / "static"
MOST_BYTES = 64 << 20
LOOK_S = 1.0
BEAT_S = 15.0
_SELECTION: TypeAdapter[Selection] = TypeAdapter(Selection)


class Routes:
    """What is answered, over a folder of runs."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def app(self) -> App:
        """The application, without its gate."""
        pages = [Route("/", self.page), Route("/assets/{name}", self.asset)]
        data = [
            Route("/runs", self.runs),
            Route("/events", self.events),
            Route("/file", self.file),
            Route("/report", self.report),
            Route("/map", self.map),
        ]
        posts = [Route(f"/{name}", self.asked, methods=["POST"]) for name in ("count", "subset", "selection")]
        told = {error: _told for error in (CovariaError, OSError)}
        return Starlette(routes=[*pages, *data, *posts], exception_handlers=told)

    def page(self, _: Request) -> Response:
        return _static("index.html")

    def asset(self, request: Request) -> Response:
        return _static("assets", request.path_params["name"])

    def runs(self, _: Request) -> Response:
        return JSONResponse({"runs": self.folder.cards()})

    def file(self, request: Request) -> Response:
        """A run's file, with ranges."""
        name = request.query_params.get("name", "")
        tag = f'"{self.folder.version(self.folder.out(_run(request)))}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        content = self.folder.run(_run(request)).read(name)
        kind = "application/json" if name.endswith(".json") else "application/octet-stream"
        return _ranged(content, request.headers.get("range", ""), kind, {"etag": tag, "cache-control": "no-cache"})

    def report(self, request: Request) -> Response:
        """OUT/report.html, under the policy that it carries itself."""
        run = self.folder.run(_run(request))
        with run.roots.open(run.tree.report) as file:
            content = file.read()
        policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
        return Response(content, media_type="text/html", headers={"content-security-policy": policy})

    def map(self, request: Request) -> Response:
        """A map of OUT, as it lies there."""
        run, name = self.folder.run(_run(request)), request.query_params.get("name", "")
        path = run.tree.out / name
        if path.suffix != ".mrc" or not Path(path.resolve()).is_relative_to(run.tree.out.resolve()):
            raise OutsideRoots("is no map of this run", file=name, hint="choose one from the page")
        run.roots.open(path).close()
        return FileResponse(path, filename=path.name)

    async def asked(self, request: Request) -> Response:
        """Count a selection, write its particles, or give it back as `covaria subset --selection` reads it."""
        body = await _body(request)
        what = request.url.path.rpartition("/")[2]
        return await anyio.to_thread.run_sync(lambda: self._of_selection(what, _run(request), body))

    def _of_selection(self, what: str, name: str, body: bytes) -> Response:
        selection, run = _selection(body), self.folder.run(name)
        if what == "count":
            return JSONResponse({"count": int(rows_of(run, selection).sum())})
        if what == "selection":
            return _download("selection.json", selection_json(selection), int(rows_of(run, selection).sum()))
        written = subset_file(run, selection)
        return _download(written.name, written.content, written.particles)

    async def events(self, request: Request) -> Response:
        """Server-sent events: the list of runs whenever it changes."""

        async def lines() -> AsyncIterator[str]:
            last, silent = "", 0.0
            while not await request.is_disconnected():
                now = json.dumps(await anyio.to_thread.run_sync(self.state))
                silent += LOOK_S
                if now != last:
                    yield f"event: state\ndata: {now}\n\n"
                    last, silent = now, 0.0
                elif silent > BEAT_S:
                    yield ": still here\n\n"
                    silent = 0.0
                await anyio.sleep(LOOK_S)

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    def state(self) -> dict[str, Any]:
        """What the events tell."""
        return {"runs": self.folder.cards()}


def _run(request: Request) -> str:
    return request.query_params.get("run", ".")


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise InvalidInput(f"a selection of more than {MOST_BYTES >> 20} MB", hint="use --index with a file")
        parts.append(part)
    return b"".join(parts)


def _selection(body: bytes) -> Selection:
    try:
        return _SELECTION.validate_json(body)
    except (ValidationError, RecursionError) as error:
        raise InvalidInput(f"is no selection: {explain(error).message}", hint="see docs/selections.md") from None


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
