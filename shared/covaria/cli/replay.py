"""`covaria replay`: a finished run made again from what it recorded, and compared with itself."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from covaria.cli import options as o
from covaria.cli.terminal import say
from covaria.errors import RefusedOutput


def register(app: typer.Typer) -> None:
    """Add replay to the application."""
    app.command(name="replay")(replay)


def replay(
    *,
    out: o.Finished,
    directory: Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new folder for the second run.")],
    device: o.Device = "cpu",
    memory_gb: o.MemoryGb = None,
) -> None:
    """Make a finished run again, with its options and seed, and say how far the two agree.

    Files of OUT and inputs that are not as they were are named first. Exit status: 0 the same, 1 not.
    """
    from covaria.operations.one_machine import run_stages
    from covaria.operations.replay import again_in, compare, recorded
    from covaria.request.stages import planned_stages
    from covaria.tree import Tree

    tree = Tree(out)
    request = recorded(tree)
    if directory.resolve().is_relative_to(out.resolve()):
        raise RefusedOutput("lies inside the run that is compared", file=directory, hint="give a folder outside")
    again = again_in(request, directory)
    run_stages(
        again, planned_stages(again), command="replay", command_line=shlex.join(["covaria", *sys.argv[1:]]),
        device=device, memory_bytes=None if memory_gb is None else int(memory_gb * 1e9),
    )  # fmt: skip
    found = list(compare(request, Tree(directory)))
    for one in found:
        say(f"{'same' if one.equal else 'NOT THE SAME':<12}  {one.name}: {one.measure} {one.agreement:.5f}")
    wrong = sum(not one.equal for one in found)
    say(f"{len(found) - wrong} of {len(found)} results are the same")
    if wrong:
        raise typer.Exit(1)
