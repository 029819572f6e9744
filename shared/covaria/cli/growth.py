"""`covaria grow` and `covaria history`: a set that grows while its images arrive."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covaria.cli import options as o
from covaria.cli.terminal import say

if TYPE_CHECKING:
    from covaria.operations.growth import Version

Newer = Annotated[
    Path, typer.Argument(metavar="PARTICLES", help="The set's file as it is now: .star or .cs, old rows and new ones.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(name="grow")(grow)
    app.command(name="history")(history)
    app.command(name="forecast")(forecast)


def grow(
    out: o.Finished,
    particles: Newer,
    *,
    device: o.Device = "auto",
    gpus: o.Gpus = None,
    memory_gb: o.MemoryGb = None,
    verbose: o.Verbose = False,
    quiet: o.Quiet = False,
    submit: Annotated[
        bool, typer.Option("--submit", help="Have the services do it, before bulk work; one update of a set at a time.")
    ] = False,
) -> None:
    """Bring OUT (made by `covaria run --growing`) to the newest version of its particle file.

    Rows are known by their image's name. Images that were read before are not read again; new ones, other poses and
    rows that are gone change the model that is there. OUT is the version before, whole, until the new one is.
    """
    from rich.console import Console

    from covaria.cli.summary import print_summary

    if submit:
        _submit(out, particles)
        return
    from covaria.operations.growth import grow as update

    update(
        out,
        particles,
        command_line=shlex.join(["covaria", *sys.argv[1:]]),
        device=device,
        gpus=gpus,
        memory_bytes=None if memory_gb is None else int(memory_gb * 1e9),
        console=Console(quiet=True) if quiet else None,
        verbose=verbose,
    )
    print_summary(out, None)


def _submit(out: Path, particles: Path) -> None:
    from covaria.cli.services.submit import queue
    from covaria.operations.submit import check_before
    from covaria.operations.updates import next_request, update_message
    from covaria.settings import load_settings
    from covaria.tree import Tree

    settings = load_settings()
    line = shlex.join(["covaria", *sys.argv[1:]])
    message = update_message(next_request(Tree(out.absolute()), particles), command_line=line)
    check_before(message)
    queue(message, settings)
    say(f"job {message.job_id}: an update of {out}, {message.work.job_class}")


def history(
    out: o.Finished,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw it: resolution, components, populations.")
    ] = None,
) -> None:
    """What each version of a growing set found: resolution, confirmed components, populations with 90 % intervals."""
    from covaria.operations.growth import history as versions_of
    from covaria.operations.growth import refused
    from covaria.tree import Tree

    tree = Tree(out)
    versions, why = versions_of(tree), refused(tree)
    if as_json:
        document = {"versions": [one.document() for one in versions], "refused": why or None}
        say(json.dumps(document, indent=2))
    else:
        for line in _table(versions):
            say(line)
        if why:
            say(f"the last update, {why}")
    if plot is not None:
        from covaria.plots.growth import plot_history

        plot_history(plot, [one.document() for one in versions])
        say(f"wrote {plot}", err=as_json)


def forecast(
    out: o.Finished,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """What 2, 4 and 8 times as many images of the same kind would show, as 90 % intervals, from what OUT has found."""
    from dataclasses import asdict

    from covaria.results.foreseen import forecast_of
    from covaria.tree import Tree, record

    tree = Tree(out)
    found = forecast_of(tree)
    if as_json:
        say(json.dumps([asdict(one) for one in found], indent=2))
        return
    used = record.read_findings(tree).used or 0
    say(f"{'images':>10}  {'components':>10}  {'mean map':>14}  {'states':>14}  population +-")
    for one in found:
        mean, states = (
            "" if ends is None else f"{ends[0]:.1f}-{ends[1]:.1f} Å"
            for ends in (one.resolution_angstrom, one.state_resolution_angstrom)
        )
        width = "" if one.population is None else f"{50 * one.population[0]:.1f}-{50 * one.population[1]:.1f} %"
        components = "-".join(str(end) for end in dict.fromkeys(one.components))
        say(f"{one.factor * used:>10,}  {components:>10}  {mean:>14}  {states:>14}  {width}")


def _table(versions: list[Version]) -> list[str]:
    lines = [f"{'version':>7}  {'images':>9}  {'resolution':>10}  {'confirmed':>9}  {'time':>9}  how"]
    for one in versions:
        found = one.findings
        resolution = "" if found.resolution_angstrom is None else f"{found.resolution_angstrom:.1f} Å"
        how = "" if found.growth is None else found.growth.line().partition(", ")[2]
        confirmed = "" if found.confirmed is None else str(found.confirmed)
        lines.append(
            f"{one.version:>7}  {one.used:>9,}  {resolution:>10}  {confirmed:>9}  {one.seconds:>7.0f} s  {how}"
        )
    return lines
