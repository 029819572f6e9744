"""`covaria external`: latent coordinates of another program on the images of a run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from covaria.cli import options as o
from covaria.cli.options import Chosen, takes
from covaria.cli.request import build_request, stored_request
from covaria.cli.summary import print_summary
from covaria.errors import RefusedOutput


def register(app: typer.Typer) -> None:
    """Add external to the application."""
    app.command(name="external")(external)


@takes("density", "analysis", "seed", without=("analysis.density", "analysis.output", "analysis.zdim", "density.zdim"))
def external(
    *,
    out: o.Finished,
    latents: Annotated[
        Path,
        typer.Option(metavar="FILE", help="(N, d) numbers: .npy, .pkl (cryoDRGN), .cs (3D variability)."),
    ],
    directory: Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new output directory.")],
    options: Chosen,
    device: o.Device = "auto",
    memory_gb: o.MemoryGb = None,
) -> None:
    """Density, clusters, states and paths on latent coordinates that another program found.

    Half-sets, mean and noise are those of OUT; components are found anew in each half-set, and a coordinate counts
    where the other half-set confirms it. DIR is an output directory: state, trajectory, subset work on it.
    """
    from covaria.operations.external import draw, make_run, read_source, write_books
    from covaria.operations.one_machine import run_stages
    from covaria.request.stages import planned_stages
    from covaria.running.console import patient_console
    from covaria.running.context import bookless_context
    from covaria.running.devices import resolve_device
    from covaria.running.stopper import Stopper
    from covaria.tree import Tree
    from covaria.tree.integrity import check_for
    from covaria.tree.publish import publish, staging

    tree, target = Tree(out), Tree(directory.absolute())
    if not target.is_empty:
        raise RefusedOutput("is not empty", file=directory, hint="give a new folder")
    stored = stored_request(out)
    source = read_source(tree, latents)
    count = source.values.shape[1]
    stored["reconstruction"] = dict(stored["reconstruction"]) | {"zdim": [count], "only_mean": False}
    stored["density"] = dict(stored.get("density", {})) | {"zdim": None}
    stored["analysis"] = dict(stored.get("analysis", {})) | {
        "zdim": count,
        "output": None,
        "density": None,
        "name": None,
    }
    request = build_request(target.out, options, stored, ("density", "analysis"))
    check_for(tree, "analysis")
    memory = None if memory_gb is None else int(memory_gb * 1e9)
    line, console = shlex.join(["covaria", *sys.argv[1:]]), patient_console()
    target.out.parent.mkdir(parents=True, exist_ok=True)
    with staging(target.out.parent, f".{directory.name}") as folder, Stopper(console) as stopper:
        made, log = Tree(folder / "out"), folder / "log"
        with bookless_context(tree, "external", log, device=resolve_device(device), memory_bytes=memory,
                              console=console, stopper=stopper) as context:  # fmt: skip
            given = make_run(source, made, context)
            draw(made)
        if target.out.exists():
            target.out.rmdir()
        publish(made.out, target.out, target.out.parent)
    write_books(source, given, target, request, line)
    stages = tuple(stage for stage in planned_stages(request) if stage in ("density", "analysis"))
    run_stages(request, stages, command="external", command_line=line, device=device, memory_bytes=memory)
    print_summary(target.out, None)
