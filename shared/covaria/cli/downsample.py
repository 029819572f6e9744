"""`covaria downsample`: a smaller stack and its STAR file, without a job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covaria.cli import options as o
from covaria.request.model import IngestOptions


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(name="downsample")(downsample)


def downsample(
    particles: o.Particles,
    box: Annotated[int, typer.Option("-D", "--downsample", help="The new box, even.")],
    out: Annotated[Path, typer.Option("-o", "--outdir", help="Folder for particles.<D>.mrcs and particles.<D>.star.")],
    poses: o.Poses = None,
    ctf: o.Ctf = None,
    passthrough: o.Passthrough = None,
    datadir: o.Datadir = None,
    strip_prefix: o.StripPrefix = None,
    pixel_size: o.PixelSize = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of these names.")] = False,
) -> None:
    """Crop every image in Fourier space (grey level kept) and write a stack and a STAR that RELION and cryoDRGN read.

    Exit status: 0 done, 1 the stack was written but no STAR, for want of poses or CTF parameters, 2 refused.
    """
    from covaria.particles.shrink import shrink

    options = IngestOptions(
        particles=particles, poses=poses, ctf=ctf, passthrough=tuple(passthrough or ()), datadir=datadir,
        strip_prefix=strip_prefix, pixel_size=pixel_size, downsample=box,
    )  # fmt: skip
    with typer.progressbar(length=1000, label=f"to {box} pixels") as bar:
        done_before = 0

        def progress(done: int, total: int) -> None:
            nonlocal done_before
            now = 1000 * done // total
            bar.update(now - done_before)
            done_before = now

        shrunk = shrink(options, box, out, overwrite=overwrite, progress=progress)
    for note in shrunk.notes:
        typer.echo(f"note: {note}")
    typer.echo(f"wrote {shrunk.stack}")
    if shrunk.star is not None:
        typer.echo(f"wrote {shrunk.star}")
    else:
        typer.echo(f"no STAR written: the input lacks {', '.join(shrunk.missing)}")
        raise typer.Exit(1)
