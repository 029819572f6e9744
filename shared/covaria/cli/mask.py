"""`covaria mask`: a soft mask from a map or an atomic model, joined with others, cut into parts, drawn over the map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covaria.cli.terminal import say
from covaria.cli.volumes import NewFolder
from covaria.errors import InvalidInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from covaria.tree import MaskTree

MODELS = (".pdb", ".ent", ".cif", ".mmcif")
MAP, MODEL, JOINED = "From a map", "From a model", "Joined with other masks (in this order)"
Micelle = Annotated[
    float | None,
    typer.Option(
        min=1,
        metavar="A",
        help="The shell of middle density at least so thick instead: a micelle or nanodisc.",
        rich_help_panel=MAP,
    ),
]
Files = Annotated[list[Path] | None, typer.Option(metavar="FILE", rich_help_panel=JOINED)]


def register(app: typer.Typer) -> None:
    """Add mask to the application."""
    app.command(name="mask")(mask)


def mask(
    *,
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="A map or mask (.mrc), or a model (.pdb, .cif).")],
    directory: Annotated[Path, typer.Option("-o", "--outdir", metavar="DIR", help="A new folder for the mask.")],
    threshold: Annotated[
        float | None, typer.Option(help="Of the blurred map (default: Otsu's).", rich_help_panel=MAP)
    ] = None,
    blur: Annotated[
        float | None, typer.Option(min=0, help="A (default: 2 voxels, or box / 64).", rich_help_panel=MAP)
    ] = None,
    all_bodies: Annotated[
        bool, typer.Option("--all-bodies", help="Also separate bodies, not the largest alone.", rich_help_panel=MAP)
    ] = False,
    micelle: Micelle = None,
    like: Annotated[
        Path | None, typer.Option(metavar="MAP.mrc", help="The map that the model is fitted in.", rich_help_panel=MODEL)
    ] = None,
    radius: Annotated[float, typer.Option(min=0.1, help="Around each atom, A.", rich_help_panel=MODEL)] = 5.0,
    chains: Annotated[str | None, typer.Option(metavar="A,B", help="Only these.", rich_help_panel=MODEL)] = None,
    extend: Annotated[float, typer.Option(help="Outwards by so much, A; inwards if negative.")] = 0.0,
    soft: Annotated[float | None, typer.Option(min=0, help="Width of the soft edge, A (default: 3 voxels).")] = None,
    union: Files = None,
    intersect: Files = None,
    subtract: Files = None,
    complement: Annotated[
        bool, typer.Option("--complement", help="The rest of the sphere instead.", rich_help_panel=JOINED)
    ] = False,
    parts: Annotated[
        int | None, typer.Option("--segments", min=2, max=100, help="Also cut it into at most so many parts.")
    ] = None,
    weight: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="W", help="Also write weights.mrc: W inside, 1 elsewhere."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DIR.")] = False,
) -> None:
    """A soft mask for --mask and --focus-mask: DIR/mask.mrc, its parts, and a figure of them over the map."""
    from covaria.maps.masks import EDGE_PX
    from covaria.maps.shapes import grown
    from covaria.tree import MaskTree

    made = _from_model(source, like, radius, chains) if source.suffix.lower() in MODELS else _from_map(
        source, threshold, blur, micelle, largest=not all_bodies
    )  # fmt: skip
    inside = _joined(grown(made.inside, extend / made.pixel), made, union, intersect, subtract, complement=complement)
    if not inside.any():
        raise InvalidInput("nothing is left of the mask", file=source, hint="look at --extend, --intersect, --subtract")
    joined = [path for paths in (union, intersect, subtract) for path in paths or ()]
    new = NewFolder(
        "mask", source.parent, directory, overwrite, "cpu", None,
        {"source": str(source), "extend": extend, "soft": soft, "joined": [str(path) for path in joined],
         "complement": complement, "segments": parts, "weight": weight, **made.told},
        inputs=(source, *([like] if like else []), *joined), kind=MaskTree, mark="mask.mrc",
    )  # fmt: skip
    with new.filled() as (folder, context):
        width = EDGE_PX if soft is None else soft / made.pixel
        count = _write(MaskTree(folder), made, inside, width, parts, weight)
        context.log.info("%d voxels of %g A", inside.sum(), made.pixel)
    told = "" if parts is None else f", {count} segments"
    say(f"{inside.sum():,} voxels, {100 * float(inside.mean()):.1f} % of the box{told}: {directory}")


def _write(
    tree: MaskTree, made: Shape, inside: NDArray[np.bool_], width_px: float, parts: int | None, weight: float | None
) -> int:
    """The mask, its parts and the figure; how many parts."""
    import numpy as np

    from covaria.maps import write_volume
    from covaria.maps.segments import segments
    from covaria.maps.shapes import softened
    from covaria.plots import plot_mask

    labels = np.full(inside.shape, -1) if parts is None else segments(made.density, inside, parts)
    count, shown = int(labels.max()) + 1, {"mask": softened(inside, width_px)}
    write_volume(tree.mask, shown["mask"], made.pixel)
    if weight is not None:
        write_volume(tree.weights, 1 - (1 - weight) * shown["mask"], made.pixel)
    for number in range(count):
        shown[f"segment {number}"] = softened(np.asarray(labels == number), width_px)
        write_volume(tree.segment(number), shown[f"segment {number}"], made.pixel)
    plot_mask(tree.plot, made.density, shown, made.pixel)
    return count


@dataclass(frozen=True)
class Shape:
    """inside, density (D, D, D); `told`: what it was made with."""

    inside: NDArray[np.bool_]
    density: NDArray[np.float32]
    pixel: float
    told: dict[str, object]


def _map(path: Path) -> tuple[NDArray[np.float32], float]:
    from covaria.maps import read_volume

    density, pixel = read_volume(path)
    if not pixel > 0:
        raise InvalidInput("the header has no voxel size", file=path, hint="set it, for example with mrcfile")
    return density, pixel


def _from_map(
    source: Path, threshold: float | None, blur: float | None, micelle: float | None, *, largest: bool
) -> Shape:
    from covaria.maps.micelle import middle_shell
    from covaria.maps.shapes import above

    density, pixel = _map(source)
    blur_px = max(2.0, len(density) / 64) if blur is None else blur / pixel
    if micelle is not None:
        if threshold is not None:
            raise InvalidInput("--micelle finds its own thresholds", file=source, hint="leave --threshold out")
        inside = middle_shell(density, blur_px, micelle / pixel)
        return Shape(inside, density, pixel, {"micelle": micelle, "blur_px": blur_px})
    inside, used = above(density, blur_px, threshold, largest=largest)
    return Shape(inside, density, pixel, {"threshold": used, "blur_px": blur_px})


def _from_model(source: Path, like: Path | None, radius: float, chains: str | None) -> Shape:
    from covaria.maps.shapes import around
    from covaria.maps.volume import read_origin
    from covaria.simulation.atoms import read_structure

    if like is None:
        raise InvalidInput("a model has no box of its own", file=source, hint="--like MAP.mrc, the map it is fitted in")
    density, pixel = _map(like)
    names = [] if chains is None else [name.strip() for name in chains.split(",")]
    atoms = read_structure(source, names)
    positions = (atoms.positions_angstrom - read_origin(like)) / pixel
    inside = around(positions, radius / pixel, len(density))
    return Shape(inside, density, pixel, {"like": str(like), "radius": radius, "chains": names})


def _joined(
    inside: NDArray[np.bool_],
    made: Shape,
    union: list[Path] | None,
    intersect: list[Path] | None,
    subtract: list[Path] | None,
    *,
    complement: bool,
) -> NDArray[np.bool_]:
    from covaria.maps.masks import binary_from_file, sphere_mask

    box = len(inside)
    for path in union or ():
        inside = inside | binary_from_file(path, box, made.pixel)
    for path in intersect or ():
        inside = inside & binary_from_file(path, box, made.pixel)
    for path in subtract or ():
        inside = inside & ~binary_from_file(path, box, made.pixel)
    return (sphere_mask(box) > 0.5) & ~inside if complement else inside
