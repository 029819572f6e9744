"""`covaria export`: a finished run as other programs' readers expect it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from covaria.cli import options as o
from covaria.cli.terminal import say
from covaria.cli.volumes import NewFolder


class Layout(StrEnum):
    """Whose readers are meant."""

    RECOVAR = "recovar-0.4.5"


def register(app: typer.Typer) -> None:
    """Add export to the application."""
    app.command(name="export")(export)


def export(
    *,
    out: o.Finished,
    layout: Annotated[Layout, typer.Option(help="RECOVAR 0.4.5, as Scipion's plugin 3.1 reads it.")],
    directory: Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new folder for the copy.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DIR.")] = False,
) -> None:
    """A finished run in another program's layout and units: model/embeddings.pkl, params.pkl, maps."""
    from covaria.results.recovar_layout import export_recovar
    from covaria.tree import RecovarTree, Tree

    new = NewFolder(
        "export", out, directory, overwrite, "cpu", None, {"layout": layout.value},
        kind=RecovarTree, mark="model/embeddings.pkl",
    )  # fmt: skip
    with new.filled() as (folder, context):
        export_recovar(Tree(out), RecovarTree(folder))
        context.log.info("layout %s", layout.value)
    say(f"wrote {directory} in the layout of {layout.value}")
