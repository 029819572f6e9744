"""`covaria subset`: some of a run's particles, back in the files they came from, for RELION or cryoSPARC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covaria.cli import options as o
from covaria.cli.terminal import say
from covaria.cli.volumes import NewFolder
from covaria.errors import InvalidInput

if TYPE_CHECKING:
    from covaria.selection.model import Selection

WHICH = "Which particles (all conditions together)"


def register(app: typer.Typer) -> None:
    """Add subset to the application."""
    app.command(name="subset")(subset)


def subset(
    *,
    out: o.Finished,
    directory: Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new folder for the subset.")],
    cluster: Annotated[
        str | None, typer.Option(metavar="0,3", help="k-means clusters by number.", rich_help_panel=WHICH)
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help='"contrast > 0.5 and z1 < -1"; repeatable.', rich_help_panel=WHICH),
    ] = None,
    near: Annotated[
        str | None,
        typer.Option(metavar="X,Y,..", help="Near a latent point, in standard deviations.", rich_help_panel=WHICH),
    ] = None,
    nearest: Annotated[int | None, typer.Option(help="With --near: so many.", rich_help_panel=WHICH)] = None,
    within: Annotated[float | None, typer.Option(help="With --near: up to this far.", rich_help_panel=WHICH)] = None,
    index: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Row numbers from 0, or a mask, as --ind takes.", rich_help_panel=WHICH),
    ] = None,
    selection: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="A selection that was saved.", rich_help_panel=WHICH)
    ] = None,
    invert: Annotated[bool, typer.Option("--invert", help="All others instead.", rich_help_panel=WHICH)] = False,
    n_random: Annotated[int | None, typer.Option(help="So many of them, drawn.", rich_help_panel=WHICH)] = None,
    seed: Annotated[int, typer.Option(help="For --n-random.", rich_help_panel=WHICH)] = 0,
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
    from covaria.selection.handoff import copies_of, source_of, source_rows, write_subset
    from covaria.selection.model import selection_json
    from covaria.tree import SubsetTree, Tree

    ingest = source_of(Tree(out), source)
    table = RunColumns(Tree(out), ingest, analysis)
    parts = _conditions(cluster, where, near, nearest, within, index, selection, len(table.used))
    whole = _joined(parts, n_random, seed, invert=invert)
    keep = source_rows(selected(whole, table), copies_of(ingest))
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
        raise InvalidInput("no condition is given", hint="--cluster, --where, --near, --index or --selection")
    whole: Selection = parts[0] if len(parts) == 1 else All(of=tuple(parts))
    whole = Not(of=whole) if invert else whole
    return whole if n_random is None else Sample(count=n_random, seed=seed, of=whole)


def _conditions(
    cluster: str | None,
    where: list[str] | None,
    near: str | None,
    nearest: int | None,
    within: float | None,
    index: Path | None,
    selection: Path | None,
    count: int,
) -> list[Selection]:
    from covaria.particles.row_files import read_index
    from covaria.selection.model import Near, Rows, Where, read_selection

    found: list[Selection] = []
    if cluster is not None:
        numbers = ", ".join(str(int(number)) for number in _numbers(cluster, "--cluster"))
        found.append(Where(expression=f"cluster in ({numbers},)"))
    found += [Where(expression=text) for text in where or ()]
    if near is not None:
        point = tuple(_numbers(near, "--near"))
        if (nearest is None) == (within is None):
            raise InvalidInput("--near needs --nearest N or --within D", hint="one of them")
        names = tuple(f"z{k + 1}" for k in range(len(point)))
        found.append(Near(columns=names, point=point, count=nearest, within=within))
    if index is not None:
        found.append(Rows(rows=tuple(read_index(index, count).tolist())))
    if selection is not None:
        found.append(read_selection(selection))
    return found


def _numbers(text: str, option: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise InvalidInput(f"{option} {text!r} is no list of numbers", hint=f"{option} 0,3") from None
