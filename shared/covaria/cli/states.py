"""`covaria state` and `covaria trajectory`: volumes at latent points that the user chooses, without a job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covaria.cli import options as o
from covaria.cli.named_points import FORMS, all_points
from covaria.cli.options import Chosen, takes
from covaria.cli.points import far_rows, read_end
from covaria.cli.request import checked
from covaria.cli.terminal import say
from covaria.cli.volumes import NewFolder
from covaria.errors import InvalidInput
from covaria.request.model import AnalysisOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covaria.particles import Particles
    from covaria.running.context import StageContext
    from covaria.tree import Tree

Computed = Annotated[int, typer.Option("--zdim", metavar="K", help="Which latent coordinates: one that OUT holds.")]
Folder = Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new folder for the volumes.")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace DIR.")]
FULL = "At the box of the original particles"
FullBox = Annotated[
    bool,
    typer.Option(
        "--full-box", help="From the particles before they were made smaller; latents stay.", rich_help_panel=FULL
    ),
]
Original = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The same particles, all rows in order, at a larger box (default: the run's own source).",
        rich_help_panel=FULL,
    ),
]
DataDir = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Folder that holds their stacks.", rich_help_panel=FULL)
]


def register(app: typer.Typer) -> None:
    """Add state and trajectory to the application."""
    app.command(name="state")(state)
    app.command(name="trajectory")(trajectory)


@takes("analysis.b_factor")
def state(
    *,
    out: o.Finished,
    zdim: Computed,
    points: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Latent points: one a row, K numbers each; text, .npy, - for a pipe."),
    ] = None,
    center: Annotated[str | None, typer.Option(metavar="0,3", help="k-means centres by number.")] = None,
    particle: Annotated[str | None, typer.Option(metavar="12,40", help="Where particles lie, rows from 0.")] = None,
    basin: Annotated[str | None, typer.Option(metavar="0,1", help="Peaks of the density's basins.")] = None,
    percentile: Annotated[
        str | None, typer.Option(metavar="1:5,1:95", help="Percentiles of components, COMPONENT:PERCENT.")
    ] = None,
    directory: Folder,
    options: Chosen,
    full_box: FullBox = False,
    particles: Original = None,
    datadir: DataDir = None,
    device: o.Device = "auto",
    memory_gb: o.MemoryGb = None,
    overwrite: Replace = False,
) -> None:
    """Volumes at given latent points: DIR/state000.mrc ... with half-maps and diagnostics."""
    import numpy as np

    from covaria.results.latents import read_latents
    from covaria.states.run import checked_targets
    from covaria.tree import ChosenStatesTree, Tree

    asked, tree = _asked(options), Tree(out)
    named = {"center": center, "particle": particle, "basin": basin, "percentile": percentile}
    targets = checked_targets(tree, zdim, all_points(tree, zdim, points, named))
    for row in far_rows(targets, np.array(read_latents(tree, zdim).coordinates)):
        say(f"note: point {row} lies far outside the particles: its volume is an extrapolation", err=True)
    source = _source(tree, full_box, particles, datadir)
    new = NewFolder(
        "state", out, directory, overwrite, device, memory_gb,
        {"zdim": zdim, "points": str(points) if points else None, **named, "b_factor": asked.b_factor, **_told(source)},
        inputs=(*((points,) if points is not None and points.is_file() else ()), *_read(source)),
    )  # fmt: skip
    with new.filled() as (folder, context):
        states = ChosenStatesTree(folder)
        for path in (states.points_txt, states.latent_coords):
            np.savetxt(path, targets)
        _make(tree, zdim, targets, folder, asked.b_factor, source, context)
    say(f"wrote {len(targets)} volumes to {directory}")


@takes("analysis.density", "analysis.n_vols_along_path", "analysis.path_spacing", "analysis.b_factor")
def trajectory(
    *,
    out: o.Finished,
    zdim: Computed,
    start: Annotated[
        str,
        typer.Option("--from", metavar="POINT", help=f"A k-means centre's number (3), K numbers (0.5,-1.2), {FORMS}."),
    ],
    end: Annotated[str, typer.Option("--to", metavar="POINT", help="As --from.")],
    directory: Folder,
    options: Chosen,
    full_box: FullBox = False,
    particles: Original = None,
    datadir: DataDir = None,
    device: o.Device = "auto",
    memory_gb: o.MemoryGb = None,
    overwrite: Replace = False,
) -> None:
    """The path of least cost through the density between two points, and volumes along it."""
    import numpy as np

    from covaria.results.confirmed import passage_of
    from covaria.results.latents import read_latents
    from covaria.states.run import checked_targets
    from covaria.trajectory import estimate_density, find_trajectory, read_density
    from covaria.tree import ChosenStatesTree, Tree, atomic

    asked, tree = _asked(options), Tree(out)
    ends = checked_targets(tree, zdim, np.stack([read_end(tree, zdim, name) for name in (start, end)]))
    if np.array_equal(ends[0], ends[1]):
        raise InvalidInput(f"--from {start} and --to {end} are the same point", hint="a path needs two")
    latents = np.array(read_latents(tree, zdim).coordinates)
    if asked.density is not None:
        ground = read_density(asked.density)
    else:
        ground = read_density(tree.density_knee) if tree.density_knee.is_file() else estimate_density(latents)
    found = find_trajectory(ground, ends[0], ends[1], latents)
    source = _source(tree, full_box, particles, datadir)
    new = NewFolder(
        "trajectory", out, directory, overwrite, device, memory_gb,
        {"zdim": zdim, "from": start, "to": end, "density": str(asked.density) if asked.density else None,
         "n_vols_along_path": asked.n_vols_along_path, "path_spacing": asked.path_spacing,
         "b_factor": asked.b_factor, **_told(source)},
        inputs=(*((asked.density,) if asked.density is not None else ()), *_read(source)),
    )  # fmt: skip
    with new.filled() as (folder, context):
        passage = passage_of(tree, zdim, found)
        document = found.as_json(asked.n_vols_along_path, asked.path_spacing, passage)
        atomic.write_json(ChosenStatesTree(folder).path_json, document)
        targets = found.targets(asked.n_vols_along_path, asked.path_spacing)
        np.savetxt(ChosenStatesTree(folder).latent_coords, targets)
        _make(tree, zdim, targets, folder, asked.b_factor, source, context)
    say(f"wrote {asked.n_vols_along_path} volumes along a path of cost {found.in_density.cost:.3g} to {directory}")
    say(passage.words())


def _asked(options: Chosen) -> AnalysisOptions:
    return checked(AnalysisOptions, options.of("analysis"), options.flags, "analysis")


def _source(tree: Tree, full_box: bool, named: Path | None, datadir: Path | None) -> Particles | None:  # noqa: FBT001
    """The original particles, where they are asked for: looked at before anything is written."""
    if not full_box and named is None:
        if datadir is not None:
            raise InvalidInput("--datadir says where original images are", hint="add --full-box")
        return None
    from covaria.particles import load
    from covaria.states.full_box import original_particles, refuse_others

    if not tree.particles.is_file():
        raise InvalidInput("is not a finished run", file=tree.out, hint="run `covaria reconstruct` first")
    original = original_particles(tree, named, datadir)
    refuse_others(original, load(tree.particles))
    return original


def _told(source: Particles | None) -> dict[str, object]:
    return {} if source is None else {"particles": str(source.source), "box": source.box}


def _read(source: Particles | None) -> tuple[Path, ...]:
    return () if source is None else (source.source,)


def _make(
    tree: Tree,
    zdim: int,
    targets: NDArray[np.float64],
    folder: Path,
    b_factor: float,
    source: Particles | None,
    context: StageContext,
) -> None:
    from covaria.states import compute_states
    from covaria.states.full_box import load_full_run
    from covaria.states.sharpen import sharpen_states

    run = None if source is None else load_full_run(tree, zdim, source, context)
    compute_states(tree, zdim, targets, folder, "state", b_factor=b_factor, context=context, run=run)
    sharpen_states(tree, folder, len(targets), context)
