"""`covaria verify`: is every file of an output directory as it was written?"""

from __future__ import annotations

import typer

from covaria.cli import options as o
from covaria.cli.terminal import say
from covaria.plain import one_line

MOST_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(name="verify")(verify)


def verify(out: o.Finished) -> None:
    """Compare every file of an output directory with the sum that was kept of it, and name those that have changed.

    Exit status: 0 all files are sound, 1 some are damaged or missing.
    """
    from covaria.tree import Tree
    from covaria.tree.integrity import verify as compare

    found = compare(Tree(out))
    for name, why in found.damaged:
        say(one_line(f"{out / name}: {why}"))
    if found.without_sum:
        shown = ", ".join(found.without_sum[:MOST_SHOWN])
        more = f" and {len(found.without_sum) - MOST_SHOWN} more" if len(found.without_sum) > MOST_SHOWN else ""
        say(one_line(f"no sum is known of {len(found.without_sum)} files: {shown}{more}"))
    say(f"{found.sound} files sound, {len(found.damaged)} damaged or missing")
    if found.damaged:
        raise typer.Exit(1)
