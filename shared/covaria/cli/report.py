"""`covaria report` and `covaria plots`: the page and the figures of an output directory, made again from its files."""

from __future__ import annotations

import typer

from covaria.cli import options as o
from covaria.cli.terminal import say


def register(app: typer.Typer) -> None:
    """Add both commands to `app`."""
    app.command(name="report")(report)
    app.command(name="plots")(plots)


def report(out: o.Finished) -> None:
    """Write OUT/report.html again: what was found, on one page that opens in any browser without network.

    Of a run that has failed or is not finished, the page says so and shows what is there.
    """
    from covaria.operations.redraw import renew_report

    path = renew_report(out)
    say(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


def plots(out: o.Finished) -> None:
    """Draw every figure of OUT again, each as .png, .svg and .csv, without computing anything; then its report.

    Exit status: 0 all were drawn, 1 some could not be: which, and why, is said.
    """
    from covaria.operations.redraw import redraw

    found = redraw(out)
    for name, why in found.failed:
        say(f"not drawn: {name}: {why}", err=True)
    say(f"drew {found.drawn} figures of {out}")
    if found.failed:
        raise typer.Exit(1)
