"""`covaria view`: runs in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covaria.cli.terminal import say
from covaria.errors import CovariaError, InvalidInput

OTHERS = "For others"
FEWEST_LETTERS = 24


def register(app: typer.Typer) -> None:
    """Add view to the application."""
    app.command(name="view")(view)


def view(
    *,
    folder: Annotated[Path, typer.Argument(metavar="OUT|FOLDER", help="A run, or a folder of runs.")],
    export: Annotated[
        Path | None,
        typer.Option(metavar="DIR|FILE.html", help="Write the page of OUT for a web server, or as one file, and end."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser", help="Open the address in this machine's browser.")] = False,
    allow_jobs: Annotated[bool, typer.Option("--allow-jobs", help="Let the page start runs in FOLDER.")] = False,
    host: Annotated[
        str,
        typer.Option(help="Address to answer at; by default only this machine asks.", rich_help_panel=OTHERS),
    ] = "127.0.0.1",
    base_path: Annotated[
        str,
        typer.Option(metavar="/PATH", help="Behind a proxy: what stands before each path.", rich_help_panel=OTHERS),
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A token that opens any number of sessions.", rich_help_panel=OTHERS),
    ] = None,
    root: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Beside FOLDER: where files may lie (repeatable).", rich_help_panel=OTHERS),
    ] = None,
) -> None:
    """Look at runs in a browser: the map follows the cursor through the cloud of particles.

    It reads only. The printed address holds a token that opens one session. With --host or --root, files are read
    beneath FOLDER and the roots alone.
    """
    try:
        import uvicorn  # noqa: F401
        from starlette import applications  # noqa: F401
    except ImportError as error:
        hint = "pip install 'covaria[view]'"
        raise CovariaError(f"the page's server is not installed ({error.name})", hint=hint) from None
    from covaria.opening import Roots
    from covaria.view.access import Access
    from covaria.view.folder import HERE, Folder
    from covaria.view.jobs import Jobs
    from covaria.view.routes import Routes
    from covaria.view.serve import LOOPBACK, bound, serve

    alone = host in LOOPBACK and not root
    shown = Folder(folder, Roots() if alone else Roots.of([folder, *(root or ())]))
    if export is not None:
        from covaria.view.export import export as write

        size = write(shown.run(HERE), export)
        say(f"wrote {export} ({size / 1e6:.1f} MB)")
        return
    standing = None if token_file is None else _token(token_file)
    routes = Routes(shown, Jobs(shown) if allow_jobs else None)
    place = bound(host, port)
    chosen = place.getsockname()[1]
    base = "/" + base_path.strip("/") if base_path.strip("/") else ""
    own = frozenset(f"{name}:{chosen}" for name in ("127.0.0.1", "localhost", "[::1]"))
    access = Access(base, own if host in LOOPBACK and not base else frozenset(), standing)
    address = f"http://{host}:{chosen}{base}/?token={access.token if standing is None else '...'}"

    def ready() -> None:
        say(f"{folder} at {address}\nCtrl-C ends it.")
        if browser:
            typer.launch(address)

    serve(routes, access, place, ready)


def _token(path: Path) -> str:
    from covaria.opening import ANYWHERE

    with ANYWHERE.open(path, most_bytes=4096) as file:
        text = file.read().decode("ascii", errors="replace").strip()
    if len(text) < FEWEST_LETTERS or not text.isprintable() or " " in text:
        raise InvalidInput(
            f"holds no token of at least {FEWEST_LETTERS} letters", file=path, hint="openssl rand -hex 32"
        )
    return text
