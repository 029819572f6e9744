"""`covaria downsample`: a smaller stack and its STAR file, without a job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covaria.cli.options import Chosen, takes
from covaria.cli.request import checked
from covaria.cli.terminal import say
from covaria.request.model import IngestOptions

READ = tuple(f"ingest.{name}" for name in ("particles", "poses", "ctf", "passthrough", "datadir", "strip_prefix"))


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(name="downsample")(downsample)


@takes(*READ, "ingest.pixel_size")
def downsample(
    *,
    options: Chosen,
    box: Annotated[int, typer.Option("-D", "--downsample", help="The new box, even.")],
    out: Annotated[Path, typer.Option("-o", "--outdir", help="Folder for particles.<D>.mrcs and particles.<D>.star.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of these names.")] = False,
) -> None:
    """Crop every image in Fourier space (grey level kept) and write a stack and a STAR that RELION and cryoDRGN read.

    Exit status: 0 done, 1 the stack was written but no STAR, for want of poses or CTF parameters, 2 refused.
    """
    from covaria.particles.shrink import shrink
    from covaria.running.run_line import at_work

    asked = checked(
        IngestOptions,
        {**options.of("ingest"), "downsample": box},
        {**options.flags, "ingest.downsample": "-D"},
        "ingest",
    )
    with at_work("downsample") as line:
        shrunk = shrink(
            asked, box, out, overwrite=overwrite,
            progress=lambda done, total: line.hear("downsample", "", done, total, "images"),
        )  # fmt: skip
    for note in shrunk.notes:
        say(f"note: {note}")
    say(f"wrote {shrunk.stack}")
    if shrunk.star is not None:
        say(f"wrote {shrunk.star}")
    else:
        say(f"no STAR written: the input lacks {', '.join(shrunk.missing)}")
        raise typer.Exit(1)
