"""The `covaria` command. Each module adds its commands with `register(app)`; heavy imports wait until one runs."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, NoReturn

import typer

from covaria.cli.examples import add_examples
from covaria.cli.terminal import say
from covaria.errors import CovariaError
from covaria.plain import TRACEBACK, explain

MODULES = (
    "stages",
    "states",
    "embed",
    "growth",
    "subset",
    "outliers",
    "mask",
    "postprocess",
    "export",
    "deposit",
    "external",
    "verify",
    "replay",
    "report",
    "view",
    "inspect",
    "downsample",
    "simulate",
    "services",
)
"""In the order in which --help lists their commands."""


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
    add_examples(app)
    return app


def main() -> NoReturn:
    """Entry point: errors become a few lines and the exit code of their class."""
    try:
        application()()
    except Exception as error:
        if os.environ.get(TRACEBACK) == "1" and not isinstance(error, CovariaError):
            raise
        told = explain(error)
        if not getattr(error, "shown", False):
            kind = "Error" if type(told) is CovariaError else type(told).__name__
            say(f"{kind}: {told}", err=True)
        sys.exit(told.exit_code)
    sys.exit(0)


def _version(
    *,
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        from covaria import __version__

        say(f"covaria {__version__}")
        raise typer.Exit
