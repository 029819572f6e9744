"""`covaria deposit`: drafts of what EMDB and EMPIAR ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covaria.cli import options as o
from covaria.cli.terminal import say
from covaria.cli.volumes import NewFolder

PEOPLE = "What no run knows"


def register(app: typer.Typer) -> None:
    """Add deposit to the application."""
    app.command(name="deposit")(deposit)


def deposit(
    *,
    out: o.Finished,
    directory: Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new folder for the drafts.")],
    title: Annotated[str | None, typer.Option(help="Title of the entries.", rich_help_panel=PEOPLE)] = None,
    sample: Annotated[str | None, typer.Option(help="What was imaged.", rich_help_panel=PEOPLE)] = None,
    authors: Annotated[
        str | None, typer.Option(metavar="NAMES", help='"Doe, J; Roe, A B"', rich_help_panel=PEOPLE)
    ] = None,
    contact: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help='"Jane | Doe | Institute | Town | Postcode | GB | jane@example.org"',
            rich_help_panel=PEOPLE,
        ),
    ] = None,
    particles: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where the particle file lies now, if it was moved.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DIR.")] = False,
) -> None:
    """Draft EMDB and EMPIAR entries of a finished run: at most four fields are left, TO_FILL.txt says which."""
    from covaria.operations.deposit import People, draft
    from covaria.states.full_box import original_particles
    from covaria.tree import DepositTree, Tree

    tree, people = Tree(out), People(title, sample, authors, contact)
    original = original_particles(tree, particles)
    people.author_names(), people.contact_entry()
    new = NewFolder(
        "deposit", out, directory, overwrite, "cpu", None, {"title": title, "sample": sample}, kind=DepositTree,
        inputs=(original.source,), mark="empiar.json",
    )  # fmt: skip
    with new.filled() as (folder, context):
        draft(tree, original, people, DepositTree(folder))
        context.log.info("%d fields are left", len(people.left))
    left = ", ".join(people.left) or "nothing"
    say(f"wrote {directory}; to fill by hand: {left}")
