"""The `covaria` command. Each module adds its commands with `register(app)`; heavy imports wait until one runs."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import NoReturn

import typer

from covaria.errors import CovariaError

MODULES = ("stages", "states", "inspect", "downsample", "simulate", "services")
"""In the order in which --help lists their commands."""
TRACEBACK = "COVARIA_TRACEBACK"
"""Set to 1, an unexpected error shows its traceback."""


def application() -> typer.Typer:
    """The command line, put together."""
    app = typer.Typer(
        name="covaria",
        help="How cryo-EM molecules move: from particle images with known poses to an ensemble of conformations.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_version)
    for name in MODULES:
        if find_spec(f"covaria.cli.{name}") is not None:
            import_module(f"covaria.cli.{name}").register(app)
    return app


def main() -> NoReturn:
    """Entry point: errors become a few lines and the exit code of their class."""
    try:
        application()()
    except CovariaError as error:
        if error.shown:
            sys.exit(error.exit_code)
        _fail(f"{type(error).__name__}: {error}", error.exit_code)
    except Exception as error:
        if os.environ.get(TRACEBACK) == "1":
            raise
        _fail(
            f"{type(error).__name__}: {error}\n  -> run.log in the output directory has the details; "
            f"{TRACEBACK}=1 shows them here",
            CovariaError.exit_code,
        )
    sys.exit(0)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(code)


def _version(
    context: typer.Context, version: bool = typer.Option(False, "--version", help="Show the version and exit.")
) -> None:
    if version:
        from covaria import __version__

        typer.echo(f"covaria {__version__}")
        raise typer.Exit
