"""`covaria run`, and each stage alone."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from typing import Annotated

import typer

from covaria.cli import options as o
from covaria.cli.options import Chosen, takes
from covaria.cli.request import build_request, stored_request, stored_with_motion
from covaria.cli.summary import print_summary
from covaria.cli.terminal import say
from covaria.cli.together import look_at_inputs
from covaria.request.model import Request
from covaria.request.options import RUNNING
from covaria.request.stages import STAGES, StageName

WHOLE_RUN = ("out", "ingest", "reconstruction", "density", "analysis", "seed", "overwrite")
"""The options of a command that goes through all stages."""
ALONE = ("analysis.density", "analysis.output")
"""Of these only the analysis by itself can make use."""


def register(app: typer.Typer) -> None:
    """Add run, ingest, reconstruct, density and analyze to the application."""
    for command in (run, ingest, reconstruct, density, analyze):
        app.command(name=command.__name__)(command)


@takes(*WHOLE_RUN, without=ALONE)
def run(
    *,
    options: Chosen,
    device: o.Device = "auto",
    gpus: o.Gpus = None,
    memory_gb: o.MemoryGb = None,
    config: o.Config = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done and what it takes.", rich_help_panel=RUNNING)
    ] = False,
    verbose: o.Verbose = False,
    quiet: o.Quiet = False,
) -> None:
    """Particles in, ensemble out: all stages, resuming what an interrupted run left."""
    request = build_request(options.values["out"], options)
    if dry_run:
        _tell_plan(request, options, device, memory_gb)
        return
    _execute("run", STAGES, request, options, Told(device, memory_gb, gpus, verbose=verbose, quiet=quiet))


@takes("out", "ingest", "seed", "overwrite")
def ingest(
    *,
    options: Chosen,
    memory_gb: o.MemoryGb = None,
    config: o.Config = None,
    verbose: o.Verbose = False,
    quiet: o.Quiet = False,
) -> None:
    """Read, check and downsample the particles: the first stage alone."""
    request = build_request(options.values["out"], options, None, ("ingest",))
    _execute("ingest", ("ingest",), request, options, Told("auto", memory_gb, verbose=verbose, quiet=quiet))


@takes("reconstruction", "seed", "overwrite")
def reconstruct(
    *,
    out: o.Finished,
    options: Chosen,
    device: o.Device = "auto",
    gpus: o.Gpus = None,
    memory_gb: o.MemoryGb = None,
    config: o.Config = None,
    verbose: o.Verbose = False,
    quiet: o.Quiet = False,
) -> None:
    """Mean map, mask, noise, principal components, contrasts and latent coordinates of an ingested OUT.

    Options that are not given are those of OUT's last run.
    """
    request = build_request(out, options, stored_request(out), ("reconstruction",))
    told = Told(device, memory_gb, gpus, verbose=verbose, quiet=quiet)
    _execute("reconstruct", ("reconstruction",), request, options, told)


@takes("density", "seed", "overwrite", without=("density.enabled",))
def density(
    *,
    out: o.Finished,
    options: Chosen,
    memory_gb: o.MemoryGb = None,
    config: o.Config = None,
    verbose: o.Verbose = False,
    quiet: o.Quiet = False,
) -> None:
    """The conformational density of a reconstructed OUT."""
    # Asked for by name, even where the earlier run had --no-density.
    asked = replace(options, given={**options.given, "density.enabled": True})
    request = build_request(out, asked, stored_with_motion(out), ("density",))
    _execute("density", ("density",), request, options, Told("auto", memory_gb, verbose=verbose, quiet=quiet))


@takes("analysis", "seed", "overwrite", renamed={"analysis.zdim": "zdim", "analysis.name": "name"})
def analyze(
    *,
    out: o.Finished,
    options: Chosen,
    device: o.Device = "auto",
    memory_gb: o.MemoryGb = None,
    config: o.Config = None,
    verbose: o.Verbose = False,
    quiet: o.Quiet = False,
) -> None:
    """Clusters, volumes of states, paths and plots of a reconstructed OUT, in OUT/analysis_<zdim>."""
    stored = stored_with_motion(out)
    stored["analysis"] = dict(stored.get("analysis", {})) | {"output": None, "name": None}
    request = build_request(out, options, stored, ("analysis",))
    _execute("analyze", ("analysis",), request, options, Told(device, memory_gb, verbose=verbose, quiet=quiet))


def _tell_plan(request: Request, options: Chosen, device: str, memory_gb: float | None) -> None:
    """Everything is read that says what the run takes, and refused as the run would; nothing is written."""
    from covaria.cli.plan import Facts, describe
    from covaria.particles import read_particles
    from covaria.running.devices import cores, default_memory_bytes, resolve_device

    look_at_inputs(request, options.flags)
    particles = read_particles(request.ingest)
    memory = default_memory_bytes() if memory_gb is None else int(memory_gb * 1e9)
    facts = Facts(
        len(particles), int(particles.used.sum()), particles.box, particles.pixel_size_angstrom, memory, cores(),
        resolve_device(device),
    )  # fmt: skip
    lines, room = describe(request, facts)
    for line in lines:
        say(line)
    if not room:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Told:
    """How a command is to run, beside what its request says."""

    device: str
    memory_gb: float | None
    gpus: str | None = None
    verbose: bool = False
    quiet: bool = False


def _execute(command: str, stages: tuple[StageName, ...], request: Request, options: Chosen, told: Told) -> None:
    from rich.console import Console

    from covaria.job.ownership import stage_folder
    from covaria.operations.one_machine import run_stages
    from covaria.running.devices import resolve_devices
    from covaria.running.nodes import Meeting, serve

    memory_bytes = None if told.memory_gb is None else int(told.memory_gb * 1e9)
    meeting = Meeting.told()
    if meeting and meeting.node:
        serve(meeting, resolve_devices(told.device, told.gpus), memory_bytes)
        return
    look_at_inputs(request, options.flags, stages)
    alone = len(stages) == 1
    run_stages(
        request,
        stages if alone else None,
        command=command,
        command_line=shlex.join(["covaria", *sys.argv[1:]]),
        device=told.device,
        gpus=told.gpus,
        memory_bytes=memory_bytes,
        console=Console(quiet=True) if told.quiet else None,
        verbose=told.verbose,
    )
    print_summary(request.out, stage_folder(stages[0], request) if alone else None)
