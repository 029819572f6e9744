"""`covaria postprocess`: one sharpened map of two half-maps, and how far it can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covaria.cli.terminal import say
from covaria.cli.volumes import NewFolder
from covaria.errors import InvalidInput

if TYPE_CHECKING:
    from covaria.maps.postprocess import FscCurves, Guinier
    from covaria.tree import PostprocessTree


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
        _write_tables(tree, curves, guinier, (half1, half2, mask))
    fitted = "from the Guinier plot" if guinier.fitted else "given" if b_factor is not None else "too few shells to fit"
    say(f"resolution {curves.resolution_angstrom:.2f} A, B-factor {guinier.b_factor:.0f} A^2 ({fitted}): {directory}")


def _write_tables(
    tree: PostprocessTree, curves: FscCurves, guinier: Guinier, files: tuple[Path, Path, Path | None]
) -> None:
    from covaria.plots import plot_fsc
    from covaria.tree.atomic import write_text

    shells = range(len(curves.corrected))
    rows = [
        (shell, 0.0 if shell == 0 else 1 / curves.angstrom(shell), 999.0 if shell == 0 else curves.angstrom(shell),
         curves.corrected[shell], curves.unmasked[shell], curves.masked[shell], curves.random[shell])
        for shell in shells
    ]  # fmt: skip
    names = ("shell", "per_angstrom", "angstrom", "fsc_corrected", "fsc_unmasked", "fsc_masked", "fsc_random_phases")
    lines = [",".join(names), *(",".join(f"{value:.6g}" for value in row) for row in rows)]
    write_text(tree.fsc_csv, "\n".join(lines) + "\n")
    write_text(tree.star, _star(rows, curves, guinier, files))
    box = 2 * len(curves.corrected)
    plot_fsc(tree.fsc_plot, curves.unmasked, curves.pixel_size_angstrom, box, fsc_masked=curves.corrected)


def _star(
    rows: Sequence[tuple[float, ...]], curves: FscCurves, guinier: Guinier, files: tuple[Path, Path, Path | None]
) -> str:
    """As RELION's postprocess.star; its B-factors are negative where they sharpen."""
    half1, half2, mask = files
    general = {
        "_rlnFinalResolution": f"{curves.resolution_angstrom:.6f}",
        "_rlnBfactorUsedForSharpening": f"{-guinier.b_factor:.6f}",
        "_rlnUnfilteredMapHalf1": half1,
        "_rlnUnfilteredMapHalf2": half2,
        "_rlnMaskName": mask or "mask.mrc",
        "_rlnRandomiseFrom": f"{curves.angstrom(curves.random_from):.6f}",
    }
    labels = (
        "_rlnSpectralIndex", "_rlnResolution", "_rlnAngstromResolution", "_rlnFourierShellCorrelationCorrected",
        "_rlnFourierShellCorrelationUnmaskedMaps", "_rlnFourierShellCorrelationMaskedMaps",
        "_rlnCorrectedFourierShellCorrelationPhaseRandomizedMaskedMaps",
    )  # fmt: skip
    lines = ["", "data_general", "", *(f"{name:<35} {_quoted(str(value))}" for name, value in general.items())]
    lines += ["", "", "data_fsc", "", "loop_", *(f"{name} #{k}" for k, name in enumerate(labels, 1))]
    lines += [" ".join([f"{int(row[0]):12d}", *(f"{value:12.6f}" for value in row[1:])]) for row in rows]
    lines += ["", "", "data_guinier", "", "loop_", "_rlnResolutionSquared #1", "_rlnLogAmplitudesWeighted #2"]
    there = guinier.log_amplitude > -99
    pairs = zip(guinier.squared_frequency[there], guinier.log_amplitude[there], strict=True)
    lines += [f"{squared:12.6f} {amplitude:12.6f}" for squared, amplitude in pairs]
    return "\n".join([*lines, "", ""])


def _quoted(text: str) -> str:
    return f'"{text}"' if any(mark in text for mark in " \t'#") else text
