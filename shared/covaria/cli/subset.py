"""`covaria subset`: some of a run's particles, back in the files they came from, for RELION or cryoSPARC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covaria.cli import options as o
from covaria.cli.conditions import Said, made
from covaria.cli.terminal import say
from covaria.cli.volumes import NewFolder
from covaria.errors import InvalidInput

if TYPE_CHECKING:
    from covaria.selection.model import Selection

WHICH = "Which particles (all conditions together)"


def _which(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text, rich_help_panel=WHICH)


def register(app: typer.Typer) -> None:
    """Add subset to the application."""
    app.command(name="subset")(subset)


def subset(
    *,
    out: o.Finished,
    directory: Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new folder for the subset.")],
    cluster: Annotated[str | None, _which("0,3", "k-means clusters by number.")] = None,
    basin: Annotated[str | None, _which("0,1", "Basins of the density by number.")] = None,
    where: Annotated[list[str] | None, _which("CONDITION", '"contrast > 0.5 and z1 < -1"; repeatable.')] = None,
    box: Annotated[str | None, _which("z1=-1:1,..", "Columns between bounds.")] = None,
    polygon: Annotated[str | None, _which("z1,z2:0,0;2,0;1,2", "Inside a line in two columns.")] = None,
    near: Annotated[
        str | None, _which("X,Y,..|FILE.mrc", "Near a latent point, in standard deviations, or that of a volume.")
    ] = None,
    along: Annotated[Path | None, _which("DIR", "Near a path: a folder with path.json.")] = None,
    nearest: Annotated[int | None, _which("N", "With --near or --along: so many.")] = None,
    within: Annotated[float | None, _which("D", "With --near or --along: up to this far.")] = None,
    index: Annotated[Path | None, _which("FILE", "Row numbers from 0, or a mask, as --ind takes.")] = None,
    selection: Annotated[Path | None, _which("FILE.json", "A selection that was saved.")] = None,
    invert: Annotated[bool, typer.Option("--invert", help="All others instead.", rich_help_panel=WHICH)] = False,
    n_random: Annotated[int | None, _which("N", "So many of them, drawn.")] = None,
    seed: Annotated[int, _which("SEED", "For --n-random.")] = 0,
    analysis: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The analysis whose clusters are meant (default: the newest).")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the particle file lies now, if it was moved.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DIR.")] = False,
) -> None:
    """Some of a run's particles with all their metadata: particles.star or .cs, and rows by number."""
    from covaria.selection.apply import selected
    from covaria.selection.columns import RunColumns
    from covaria.selection.handoff import source_of, source_rows, write_subset
    from covaria.selection.model import selection_json
    from covaria.tree import SubsetTree, Tree

    ingest = source_of(Tree(out), source)
    table = RunColumns(Tree(out), ingest, analysis)
    said = Said(cluster, basin, where, box, polygon, near, along, nearest, within, index, selection)
    whole = _joined(list(said.conditions(table)), n_random, seed, invert=invert)
    keep = source_rows(table.whole(selected(whole, table)), table.copies)
    table.forget()
    if not keep.any():
        raise InvalidInput("no particle fulfils the conditions", hint="loosen them")
    new = NewFolder(
        "subset", out, directory, overwrite, "cpu", None, {"selection": whole.model_dump(mode="json")},
        inputs=(ingest.particles, *ingest.passthrough), kind=SubsetTree, mark="selection.json",
    )  # fmt: skip
    with new.filled() as (folder, context):
        write_subset(folder, ingest, keep)
        SubsetTree(folder).selection.write_bytes(selection_json(whole))
        context.log.info("%d of %d particles", keep.sum(), len(keep))
    say(f"{keep.sum():,} of {len(keep):,} particles are in {directory}")


def _joined(parts: list[Selection], n_random: int | None, seed: int, *, invert: bool) -> Selection:
    from covaria.selection.model import All, Not, Sample

    if not parts:
        raise InvalidInput("no condition is given", hint="as --cluster 0 or --where 'contrast > 0.7'")
    whole: Selection = parts[0] if len(parts) == 1 else All(of=tuple(parts))
    whole = Not(of=whole) if invert else whole
    return whole if n_random is None else made("--n-random", Sample, count=n_random, seed=seed, of=whole)
