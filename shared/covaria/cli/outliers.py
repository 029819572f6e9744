"""`covaria outliers`: who is set aside, from where they come, what the coordinates depend on; a run without them."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covaria.cli import options as o
from covaria.cli.terminal import say
from covaria.cli.volumes import NewFolder
from covaria.errors import InvalidInput

if TYPE_CHECKING:
    from covaria.operations.outliers import Verdict

Probability = Annotated[float, typer.Option(min=0, max=1, help="Set aside above this probability.")]
ENOUGH = 0.005
"""Of the particles; a round that sets fewer aside is the last."""


def register(app: typer.Typer) -> None:
    """Add outliers to the application."""
    app.command(name="outliers")(outliers)


def outliers(
    *,
    out: o.Finished,
    directory: Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new folder for what is found.")],
    p_empty: Probability = 0.5,
    p_outlier: Probability = 0.5,
    half_sets: Annotated[
        bool,
        typer.Option("--half-sets", help="Also set aside what the other half-set's model knows nothing of (a pass)."),
    ] = False,
    p_junk: Annotated[float, typer.Option(min=0, max=1, help="With --half-sets: above this probability.")] = 0.5,
    micrograph_share: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Set whole micrographs aside of which more than this share is."),
    ] = None,
    rerun: Annotated[
        bool,
        typer.Option("--rerun", help="Run again on what is left, in DIR-round1; look again, in DIR-round1-outliers."),
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, max=20, help="With --rerun: at most so many.")] = 1,
    source: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the particle file lies now, if it was moved.")
    ] = None,
    device: o.Device = "auto",
    memory_gb: o.MemoryGb = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DIR.")] = False,
) -> None:
    """Particles set aside by their probabilities, by micrograph and optics group; coordinates against covariates."""
    limits = Limits(p_empty, p_outlier, micrograph_share, p_junk if half_sets else None, device, memory_gb)
    found = _judged(out, directory, limits, source, overwrite=overwrite)
    for number in range(1, rounds + 1 if rerun else 1):
        if found.set_aside <= ENOUGH * found.used.sum():
            say("nobody is left to set aside: no further run")
            return
        again = directory.with_name(f"{directory.name}-round{number}")
        _run(out, again, directory, device, memory_gb)
        out, directory = again, again.with_name(f"{again.name}-outliers")
        found = _judged(out, directory, limits, None, overwrite=overwrite)


@dataclass(frozen=True)
class Limits:
    """Who is set aside. p_junk: None where the images are not to be read; device, memory_gb: for reading them."""

    p_empty: float
    p_outlier: float
    micrograph_share: float | None
    p_junk: float | None
    device: str
    memory_gb: float | None


def _judged(out: Path, directory: Path, limits: Limits, source: Path | None, *, overwrite: bool) -> Verdict:
    from covaria.operations.outliers import judge, write_half_sets
    from covaria.selection.apply import selected
    from covaria.selection.columns import RunColumns
    from covaria.selection.handoff import source_of
    from covaria.selection.outliers import kept_by, without
    from covaria.tree import OutliersTree, Tree

    ingest = source_of(Tree(out), source)
    table = RunColumns(Tree(out), ingest)
    how = kept_by(table, limits.p_empty, limits.p_outlier, limits.micrograph_share)
    reads = limits.p_junk is not None
    told: dict[str, Any] = {"p_junk": limits.p_junk} if reads else {}
    new = NewFolder(
        "outliers", out, directory, overwrite, limits.device if reads else "cpu", limits.memory_gb, told,
        inputs=(ingest.particles, *ingest.passthrough), kind=OutliersTree, mark="set_aside.txt",
    )  # fmt: skip
    with new.filled() as (folder, context):
        lines: list[str] = []
        if limits.p_junk is not None:
            from covaria.states.evidence import half_sets_say

            say_of = half_sets_say(Tree(out), context)
            lines.append(write_half_sets(OutliersTree(folder).half_sets, say_of, limits.p_junk))
            how = without(how, say_of.junk > limits.p_junk)
        kept = selected(how, table)
        if not kept.any():
            raise InvalidInput("every particle would be set aside", file=out, hint="give higher probabilities")
        told["selection"] = how.model_dump(mode="json")
        found = judge(folder, table, ingest, kept, how)
        lines += found.lines()
        for line in lines:
            context.log.info("%s", line)
    for line in lines:
        say(line)
    say(f"written to {directory}")
    return found


def _run(out: Path, again: Path, outliers: Path, device: str, memory_gb: float | None) -> None:
    """The stages of OUT on the particles that are kept."""
    from covaria.operations.one_machine import run_stages
    from covaria.operations.outliers import request_without
    from covaria.tree import SubsetTree, Tree

    run_stages(
        request_without(Tree(out), again, SubsetTree(outliers).indices_pkl),
        command="run",
        command_line=shlex.join(["covaria", *sys.argv[1:]]),
        device=device,
        memory_bytes=None if memory_gb is None else int(memory_gb * 1e9),
    )
