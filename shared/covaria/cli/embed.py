"""`covaria embed`: other particles of the same molecule in the coordinates of a finished run."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covaria.cli import options as o
from covaria.cli.options import Chosen, takes
from covaria.cli.request import checked
from covaria.cli.states import Computed, Replace
from covaria.cli.terminal import say
from covaria.cli.volumes import NewFolder
from covaria.request.model import GROWTH, SYMMETRY, IngestOptions

if TYPE_CHECKING:
    from covaria.states.comparison import Comparison
    from covaria.states.newcomers import Newcomers
    from covaria.tree import NewcomersTree

OF_A_RUN = (
    "ingest.halfsets", "ingest.downsample", *(f"ingest.{name}" for name in (*SYMMETRY, *GROWTH)),
)  # fmt: skip
Folder = Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new folder for the results.")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(name="embed")(embed)


@takes("ingest", "seed", without=OF_A_RUN)
def embed(
    *,
    out: o.Finished,
    options: Chosen,
    zdim: Computed,
    directory: Folder,
    device: o.Device = "auto",
    memory_gb: o.MemoryGb = None,
    overwrite: Replace = False,
) -> None:
    """Place other particles in the coordinates of OUT, fitting nothing again, and compare their populations with OUT's.

    Their poses must be those of a refinement against OUT's map. A larger box of the same width is made smaller.
    """
    from covaria.states.comparison import centers_of, compared
    from covaria.states.newcomers import embed_newcomers
    from covaria.tree import NewcomersTree, Tree, record

    tree = Tree(out)
    request = record.read_request(tree)
    of_run = request["request"]["ingest"] if request is not None else {}
    symmetry = {name: of_run.get(name) for name in SYMMETRY}
    asked = checked(IngestOptions, {**options.of("ingest"), **symmetry}, options.flags, "ingest")
    seed = int(options.values["seed"])
    centers_of(tree, zdim)  # what would be missing at the end is said now
    new = NewFolder(
        "embed", out, directory, overwrite, device, memory_gb,
        {"zdim": zdim, "ingest": asked.model_dump(mode="json"), "seed": seed},
        inputs=(asked.particles,), kind=NewcomersTree, mark="comparison.json",
    )  # fmt: skip
    with new.filled() as (folder, context):
        found = embed_newcomers(tree, zdim, asked, seed, context)
        comparison = compared(tree, zdim, found, seed, context)
        _write(NewcomersTree(folder), found, comparison)
    for line in _told(found, comparison):
        say(line)
    say(f"wrote {directory}")


def _write(into: NewcomersTree, found: Newcomers, comparison: Comparison | None) -> None:
    import numpy as np

    from covaria.plots.newcomers import plot_newcomers
    from covaria.tree import atomic

    document: dict[str, Any] = {"agreement_of_the_means": None if np.isnan(found.agreement) else found.agreement}
    atomic.save_npy(into.latent_coords, found.regularised.coordinates)
    atomic.save_npy(into.latent_precision, found.regularised.precision)
    atomic.save_npy(into.latent_coords_noreg, found.unregularised.coordinates)
    atomic.save_npy(into.latent_precision_noreg, found.unregularised.precision)
    atomic.save_npy(into.contrasts, found.regularised.contrasts)
    if comparison is not None:
        document |= comparison.document()
        atomic.write_text(into.populations, _table(comparison))
        plot_newcomers(into.plot, comparison.points_run, comparison.points_new)
    atomic.write_json(into.comparison, document)


def _table(comparison: Comparison) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["center", "run", "run_low", "run_high", "these", "these_low", "these_high", "p_corrected"])
    run, new = comparison.run, comparison.new
    columns = (run.share, run.low, run.high, new.share, new.low, new.high)
    for number, p in enumerate(comparison.p):
        table.writerow([number, *(f"{column[number]:.4f}" for column in columns), f"{p:.3g}"])
    return text.getvalue()


def _told(found: Newcomers, comparison: Comparison | None) -> list[str]:
    lines = [f"{len(found.regularised.rows):,} particles placed"]
    if comparison is None:
        return [*lines, "OUT confirms no motion: there are no populations to compare"]
    least = int(comparison.p.argmin())
    run, new = comparison.run.share[least], comparison.new.share[least]
    verdict = "populations differ" if comparison.document()["populations_differ"] else "no difference of populations"
    shares = f"{run:.1%} of OUT, {new:.1%} of these (p {comparison.p[least]:.2g})"
    lines.append(f"{verdict}: most at centre {least}, {shares}")
    if comparison.has_a_strange_state:
        lines.append(f"{len(comparison.alone):,} of them lie where no particle of OUT does: a state that OUT lacks?")
    return lines
