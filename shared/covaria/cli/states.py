"""`covaria state` and `covaria trajectory`: volumes at latent points that the user chooses, without a job."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covaria.cli import options as o
from covaria.cli.options import Chosen, takes
from covaria.cli.request import checked
from covaria.cli.terminal import say
from covaria.request.model import AnalysisOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covaria.running.context import LocalContext
    from covaria.tree import Tree

Computed = Annotated[int, typer.Option("--zdim", metavar="K", help="Which latent coordinates: one that OUT holds.")]
Folder = Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new folder for the volumes.")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace DIR.")]


def register(app: typer.Typer) -> None:
    """Add state and trajectory to the application."""
    app.command(name="state")(state)
    app.command(name="trajectory")(trajectory)


@takes("analysis.b_factor")
def state(
    out: o.Finished,
    zdim: Computed,
    points: Annotated[Path, typer.Option(metavar="FILE.txt", help="Latent points: one a row, K numbers each.")],
    directory: Folder,
    options: Chosen,
    device: o.Device = "auto",
    memory_gb: o.MemoryGb = None,
    overwrite: Replace = False,
) -> None:
    """Volumes at given latent points: DIR/state000.mrc ... with half-maps and diagnostics."""
    from covaria.states.run import checked_targets
    from covaria.tree import Tree

    asked, tree = _asked(options), Tree(out)
    targets = checked_targets(tree, zdim, read_points(points))
    with staged(tree, directory, overwrite, device, memory_gb) as (folder, context):
        _write_states(tree, zdim, targets, folder, asked.b_factor, context)
    say(f"wrote {len(targets)} volumes to {directory}")


@takes("analysis.density", "analysis.n_vols_along_path", "analysis.b_factor")
def trajectory(
    out: o.Finished,
    zdim: Computed,
    start: Annotated[
        str, typer.Option("--from", metavar="POINT", help="A k-means centre's number (3), or K numbers: 0.5,-1.2")
    ],
    end: Annotated[str, typer.Option("--to", metavar="POINT", help="As --from.")],
    directory: Folder,
    options: Chosen,
    device: o.Device = "auto",
    memory_gb: o.MemoryGb = None,
    overwrite: Replace = False,
) -> None:
    """The path of least cost through the density between two points, and volumes along it."""
    import numpy as np

    from covaria.states.run import checked_targets, latent_coordinates
    from covaria.trajectory import estimate_density, find_trajectory, read_density
    from covaria.tree import StatesTree, Tree, atomic

    asked, tree = _asked(options), Tree(out)
    ends = checked_targets(tree, zdim, np.stack([read_end(tree, zdim, name) for name in (start, end)]))
    latents = latent_coordinates(tree, zdim)
    if asked.density is not None:
        ground = read_density(asked.density)
    else:
        ground = read_density(tree.density_knee) if tree.density_knee.is_file() else estimate_density(latents)
    found = find_trajectory(ground, ends[0], ends[1], latents)
    with staged(tree, directory, overwrite, device, memory_gb) as (folder, context):
        atomic.write_json(StatesTree(folder).path_json, found.as_json(asked.n_vols_along_path))
        _write_states(tree, zdim, found.targets(asked.n_vols_along_path), folder, asked.b_factor, context)
    say(f"wrote {asked.n_vols_along_path} volumes along a path of cost {found.in_density.cost:.3g} to {directory}")


def _asked(options: Chosen) -> AnalysisOptions:
    return checked(AnalysisOptions, options.of("analysis"), options.flags, "analysis")


def _write_states(
    tree: Tree, zdim: int, targets: NDArray[np.float64], folder: Path, b_factor: float, context: LocalContext
) -> None:
    from covaria.states import compute_states

    compute_states(tree, zdim, targets, folder, "state", b_factor=b_factor, context=context)


def read_points(path: Path) -> NDArray[np.float64]:
    """The numbers of a text file as rows, (T, K). Raises MissingFile, InvalidInput naming the line."""
    import numpy as np

    from covaria.errors import InvalidInput, MissingFile

    if not path.is_file():
        raise MissingFile("is not there", file=path, hint="give a text file with one latent point a row")
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        content = line.split("#")[0].replace(",", " ").split()
        if not content:
            continue
        try:
            rows.append([float(word) for word in content])
        except ValueError as error:
            raise InvalidInput(
                f"{line.strip()[:60]!r} is not a row of numbers", file=path, row=number, hint="one latent point a row"
            ) from error
        if len(rows[-1]) != len(rows[0]):
            raise InvalidInput(f"{len(rows[-1])} numbers, {len(rows[0])} in the rows above", file=path, row=number)
    if not rows:
        raise InvalidInput("holds no point", file=path, hint="one latent point a row")
    return np.array(rows)


def read_end(tree: Tree, zdim: int, text: str) -> NDArray[np.float64]:
    """One end of a trajectory: the number of a k-means centre of OUT's analysis, or the point's `zdim` coordinates."""
    import numpy as np

    from covaria.errors import InvalidInput
    from covaria.tree import AnalysisTree

    words = text.replace(",", " ").split()
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise InvalidInput(f"{text!r} is not a latent point", hint=f"give {zdim} numbers, as 0.5,-1.2") from error
    if len(numbers) == zdim and not (zdim == 1 and text.strip().isdigit()):
        return np.array(numbers)
    centers = AnalysisTree(tree.analysis(zdim)).centers_txt
    if len(words) != 1 or not text.strip().isdigit() or not centers.is_file():
        raise InvalidInput(
            f"{text!r} has {len(words)} numbers, zdim {zdim} needs {zdim}",
            hint="give all coordinates, or the number of a k-means centre after `covaria analyze`",
        )
    known = read_points(centers)
    number = int(text)
    if number >= len(known):
        raise InvalidInput(f"there is no centre {number}; the last is {len(known) - 1}", file=centers)
    result: NDArray[np.float64] = known[number]
    return result


@contextlib.contextmanager
def staged(
    tree: Tree, directory: Path, overwrite: bool, device: str, memory_gb: float | None
) -> Iterator[tuple[Path, LocalContext]]:
    """A folder to fill, which becomes DIR when all went well, and a context with progress and a way to stop.

    Raises RefusedOutput for a DIR that holds something, unless it is to be replaced and holds states.
    """
    from rich.console import Console

    from covaria.errors import RefusedOutput
    from covaria.running.context import LocalContext, Stopper
    from covaria.running.devices import resolve_device
    from covaria.tree import StatesTree
    from covaria.tree.publish import remove

    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        if not overwrite:
            raise RefusedOutput("is not empty", file=directory, hint="give a new folder, or --overwrite")
        if not list(directory.glob("state*.mrc")):
            raise RefusedOutput("holds no states, so it is not replaced", file=directory, hint="give a new folder")
    console = Console(stderr=True)
    with Stopper(console) as stopper:
        context = LocalContext(
            tree,
            "analysis",
            "",
            device=resolve_device(device),
            memory_bytes=None if memory_gb is None else int(memory_gb * 1e9),
            console=console,
            stopper=stopper,
        )
        with context, tree.staging("states") as folder:
            yield folder, context
            tree.publish(folder, directory, StatesTree)
            remove(tree.checkpoints("analysis"))
