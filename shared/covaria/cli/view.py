"""`covaria view`: runs in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covaria.cli.terminal import say
from covaria.errors import CovariaError


def register(app: typer.Typer) -> None:
    """Add view to the application."""
    app.command(name="view")(view)


def view(
    *,
    folder: Annotated[Path, typer.Argument(metavar="OUT|FOLDER", help="A run, or a folder of runs.")],
    host: Annotated[str, typer.Option(help="Address to answer at; another than this machine's own is seen by others.")]
    = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 0,
    base_path: Annotated[str, typer.Option(metavar="/PATH", help="Behind a proxy: what stands before every address.")]
    = "",
    browser: Annotated[bool, typer.Option("--browser", help="Open the address in this machine's browser.")] = False,
) -> None:  # fmt: skip
    """Look at runs in a browser: the map follows the cursor through the cloud of particles.

    Reads only. The printed address holds a token that opens one session.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise CovariaError(
            f"the page's server is not installed ({error.name})", hint="pip install 'covaria[view]'"
        ) from None
    from covaria.view.access import Access
    from covaria.view.folder import Folder
    from covaria.view.routes import Routes
    from covaria.view.serve import LOOPBACK, bound, serve

    routes = Routes(Folder(folder))
    place = bound(host, port)
    chosen = place.getsockname()[1]
    base = "/" + base_path.strip("/") if base_path.strip("/") else ""
    hosts = frozenset(f"{name}:{chosen}" for name in LOOPBACK) if host in LOOPBACK and not base else frozenset()
    access = Access(base, hosts)
    address = f"http://{host}:{chosen}{base}/?token={access.token}"

    def ready() -> None:
        say(f"{folder} at {address}\nCtrl-C ends it.")
        if browser:
            typer.launch(address)

    serve(routes, access, place, ready)
