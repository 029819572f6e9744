"""`covaria view`: runs in the browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covaria.cli.terminal import say
from covaria.errors import CovariaError, InvalidInput

if TYPE_CHECKING:
    from covaria.view.access import Access
    from covaria.view.folder import Folder
    from covaria.view.routes import Routes

FEWEST_LETTERS = 24


def register(app: typer.Typer) -> None:
    """Add view to the application."""
    app.command(name="view")(view)


def _other(help_text: str, metavar: str | None = None) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(help=help_text, metavar=metavar, rich_help_panel="For others")
    return found


Shown = Annotated[Path, typer.Argument(metavar="OUT|FOLDER", help="A run, or a folder of runs.")]
Export = Annotated[
    Path | None,
    typer.Option(metavar="DIR|FILE.html", help="Write the page of OUT for a web server, or as one file, and end."),
]
Model = Annotated[
    Path | None, typer.Option(metavar="FILE", help="An atomic model (.pdb, .cif) to draw in the maps, as backbone.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="0: a free one.")]
Browser = Annotated[bool, typer.Option("--browser", help="Open the address in this machine's browser.")]
AllowJobs = Annotated[bool, typer.Option("--allow-jobs", help="Let the page start runs in FOLDER.")]
Host = Annotated[str, _other("Address to answer at; by default only this machine asks.")]
BasePath = Annotated[str, _other("Behind a proxy: what stands before each path.", "/PATH")]
TokenFile = Annotated[Path | None, _other("A token that opens any number of sessions.", "FILE")]
UserHeader = Annotated[str | None, _other("A proxy names the user here: no token then.", "NAME")]
Proxies = Annotated[list[str] | None, _other("With --user-header: whose word counts.", "ADDRESS|NETWORK")]
RootFolders = Annotated[list[Path] | None, _other("Beside FOLDER: where files may lie (repeatable).", "DIR")]


def view(
    *,
    folder: Shown,
    export: Export = None,
    model: Model = None,
    port: Port = 0,
    browser: Browser = False,
    allow_jobs: AllowJobs = False,
    host: Host = "127.0.0.1",
    base_path: BasePath = "",
    token_file: TokenFile = None,
    user_header: UserHeader = None,
    proxy: Proxies = None,
    root: RootFolders = None,
) -> None:
    """Look at runs in a browser: the map follows the cursor through the cloud of particles.

    It reads only. The printed address holds a token that opens one session. With --host or --root, files are read
    beneath FOLDER and the roots alone.
    """
    try:
        from covaria.view.access import Access, SignedIn
        from covaria.view.folder import Folder
        from covaria.view.jobs import Jobs
        from covaria.view.routes import Routes
        from covaria.view.serve import LOOPBACK
    except ModuleNotFoundError as error:
        hint = "pip install 'covaria[view]'"
        raise CovariaError(f"the page's server is not installed ({error.name})", hint=hint) from None
    from covaria.opening import Roots

    alone = host in LOOPBACK and not root
    shown = Folder(folder, Roots() if alone else Roots.of([folder, *(root or ())]))
    if export is not None:
        _export(shown, export)
        return
    if user_header is not None and (allow_jobs or not proxy):
        what = "runs would be this server's own" if allow_jobs else "anybody could name a user"
        raise InvalidInput(f"--user-header: {what}", hint="--proxy ADDRESS, and no --allow-jobs")
    signed_in = None if user_header is None else SignedIn(user_header.lower(), frozenset(proxy or ()))
    base = "/" + base_path.strip("/") if base_path.strip("/") else ""
    access = Access(base, standing=None if token_file is None else _token(token_file), signed_in=signed_in)
    if model is not None:
        _refuse_no_model(model)
    jobs = Jobs(shown) if allow_jobs else None
    _serve(Routes(shown, jobs, None if model is None else model.resolve()), access, host, port, browser=browser)


def _serve(routes: Routes, access: Access, host: str, port: int, *, browser: bool) -> None:
    from covaria.view.serve import LOOPBACK, bound, serve

    place = bound(host, port)
    chosen = place.getsockname()[1]
    if host in LOOPBACK and not access.base:
        access.hosts = frozenset(f"{name}:{chosen}" for name in ("127.0.0.1", "localhost", "[::1]"))
    token = "" if access.signed_in else "?token=..." if access.standing else f"?token={access.token}"
    named = f"[{host}]" if ":" in host else host
    address = f"http://{named}:{chosen}{access.base}/{token}"

    def ready() -> None:
        say(f"{routes.folder.path} at {address}\nCtrl-C ends it.")
        if browser and not _opened(address):
            say("No browser could be opened here: open the address in one that reaches this machine.")

    serve(routes, access, place, ready)


def _opened(address: str) -> bool:
    """Whether a browser shows it. One in the terminal would hold the server up: without a screen none is looked for."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    if sys.platform.startswith("linux") and not any(map(os.environ.get, screens)):
        return False
    try:
        return webbrowser.open(address)
    except (webbrowser.Error, OSError):
        return False


def _refuse_no_model(path: Path) -> None:
    """Raises MissingFile, InvalidInput for a file that holds no atoms."""
    from covaria.simulation.atoms import read_structure

    read_structure(path)


def _export(shown: Folder, target: Path) -> None:
    from covaria.view.export import export
    from covaria.view.folder import HERE

    say(f"wrote {target} ({export(shown.run(HERE), target) / 1e6:.1f} MB)")


def _token(path: Path) -> str:
    from covaria.opening import ANYWHERE

    with ANYWHERE.open(path, most_bytes=4096) as file:
        text = file.read().decode("ascii", errors="replace").strip()
    if len(text) < FEWEST_LETTERS or not text.isprintable() or " " in text:
        hint = "openssl rand -hex 32 makes one"
        raise InvalidInput(f"holds no token of at least {FEWEST_LETTERS} letters", file=path, hint=hint)
    return text
