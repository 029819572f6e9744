"""`covaria postprocess`: one sharpened map of two half-maps, and how far it can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covaria.cli.terminal import say
from covaria.cli.volumes import NewFolder
from covaria.errors import InvalidInput


def register(app: typer.Typer) -> None:
    """Add postprocess to the application."""
    app.command(name="postprocess")(postprocess)


def postprocess(
    *,
    half1: Annotated[Path, typer.Argument(metavar="HALF1", help="A half-map, not filtered (.mrc).")],
    half2: Annotated[Path, typer.Argument(metavar="HALF2", help="The other one.")],
    directory: Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new folder for the result.")],
    mask: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Soft solvent mask (default: made from the half-maps).")
    ] = None,
    b_factor: Annotated[
        float | None, typer.Option("--Bfactor", help="Sharpening, A^2 (default: from the Guinier plot).")
    ] = None,
    low: Annotated[float, typer.Option(min=1, max=1000, help="Guinier fit from this resolution on, A.")] = 10.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DIR.")] = False,
) -> None:
    """Masked and corrected FSC, B-factor, a sharpened map, local resolution; postprocess.star as RELION writes it."""
    from covaria.maps import local_filter, read_volume, write_volume
    from covaria.maps.masks import mask_from_halfmaps, read_mask
    from covaria.maps.postprocess import fit_guinier, fsc_curves, sharpened
    from covaria.results.fsc_tables import SharpenedFrom, write_fsc_tables
    from covaria.tree import PostprocessTree

    (first, pixel), (second, other) = read_volume(half1), read_volume(half2)
    if first.shape != second.shape or abs(pixel - other) > 1e-3 * pixel:
        raise InvalidInput(
            f"has {len(second)} voxels of {other:g} A a side, the other half {len(first)} of {pixel:g}",
            file=half2,
            hint="give the two half-maps of one reconstruction",
        )
    if not pixel > 0:
        raise InvalidInput("the header has no voxel size", file=half1, hint="set it, for example with mrcfile")
    soft = mask_from_halfmaps(first, second).mask if mask is None else read_mask(mask, len(first), pixel)
    curves = fsc_curves(first, second, soft, pixel)
    average = 0.5 * (first + second)
    guinier = fit_guinier(average, curves, low, b_factor)
    new = NewFolder(
        "postprocess", half1.parent, directory, overwrite, "cpu", None,
        {"half1": str(half1), "half2": str(half2), "mask": str(mask) if mask else None, "b_factor": guinier.b_factor},
        inputs=(half1, half2, *([mask] if mask else [])), kind=PostprocessTree, mark="postprocess.mrc",
    )  # fmt: skip
    with new.filled() as (folder, context):
        context.log.info("resolution %.2f A, B-factor %.0f A^2", curves.resolution_angstrom, guinier.b_factor)
        tree = PostprocessTree(folder)
        result = sharpened(average, curves, guinier.b_factor)
        write_volume(tree.map, result, pixel)
        write_volume(tree.masked_map, result * soft, pixel)
        write_volume(tree.mask, soft, pixel)
        write_volume(tree.local_resolution, local_filter(first, second, soft, pixel)[1], pixel)
        write_fsc_tables(tree, curves, guinier, SharpenedFrom(half1, half2, mask or tree.mask.name))
    fitted = "from the Guinier plot" if guinier.fitted else "given" if b_factor is not None else "too few shells to fit"
    say(f"resolution {curves.resolution_angstrom:.2f} A, B-factor {guinier.b_factor:.0f} A^2 ({fitted}): {directory}")
