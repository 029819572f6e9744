"""How a command says something to a person."""

from __future__ import annotations

import typer

from covaria.plain import printable


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print `text`: whatever of it a terminal would obey is only shown."""
    typer.echo(printable(text), err=err, nl=nl)
