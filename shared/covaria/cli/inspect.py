"""`covaria inspect`: what a particle file holds, and cryoDRGN's pickles out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from covaria.request.model import IngestOptions


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""

    @app.command("inspect")
    def inspect_command(
        particles: Annotated[Path, typer.Argument(help=".star, .cs, .mrcs, .mrc (also .gz, .bz2) or .txt")],
        export: Annotated[Path | None, typer.Option(help="write poses.pkl and ctf.pkl into this folder")] = None,
        poses: Annotated[Path | None, typer.Option(help="poses from a .pkl")] = None,
        ctf: Annotated[Path | None, typer.Option(help="CTF parameters from a .pkl")] = None,
        ind: Annotated[Path | None, typer.Option(help="rows to use, .pkl")] = None,
        passthrough: Annotated[list[Path] | None, typer.Option(help="cryoSPARC passthrough file (repeatable)")] = None,
        datadir: Annotated[Path | None, typer.Option(help="folder beneath which the stacks lie")] = None,
        strip_prefix: Annotated[str | None, typer.Option(help="taken off the stacks' paths")] = None,
        box: Annotated[int | None, typer.Option(help="image size in pixels, where the file does not say")] = None,
        pixel_size: Annotated[float | None, typer.Option(help="angstrom, where the file does not say")] = None,
        voltage: Annotated[float | None, typer.Option(help="kV, where the file does not say")] = None,
        cs: Annotated[float | None, typer.Option(help="mm, where the file does not say")] = None,
        amplitude_contrast: Annotated[float | None, typer.Option(help="where the file does not say")] = None,
        picture: Annotated[Path | None, typer.Option(help="write a .png of some images")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
    ) -> None:
        """Describe a particle file; with --export, write poses.pkl and ctf.pkl. Works without the image stacks.

        Exit status: 0 complete, 1 something is missing (what is there was written), 2 refused.
        """
        from covaria.particles.inspect import gallery, inspect

        options = IngestOptions(
            particles=particles, poses=poses, ctf=ctf, ind=ind, passthrough=tuple(passthrough or ()), datadir=datadir,
            strip_prefix=strip_prefix, box=box, pixel_size=pixel_size, voltage=voltage, cs=cs,
            amplitude_contrast=amplitude_contrast,
        )  # fmt: skip
        inspection = inspect(options, export=export)
        if picture is not None:
            gallery(options, picture)
        typer.echo(json.dumps(inspection.summary, indent=2) if as_json else as_text(inspection.summary))
        raise typer.Exit(inspection.exit_code)


def as_text(summary: dict[str, Any]) -> str:
    """The summary as a person reads it, a line for each fact."""
    unit = summary["pixel_size_angstrom"]
    lines = [
        f"{summary['source']}: {summary['particles']} particles, {summary['in_use']} in use",
        f"box {summary['box_pixels'] or 'unknown'}, pixel size {f'{unit:.5g} angstrom' if unit else 'unknown'}",
    ]
    poses = summary["poses"]
    shift = (poses or {}).get("shift_pixels")
    lines.append(
        "poses: "
        + ("none" if poses is None else f"yes, origins up to {shift['highest']:.4g} pixels" if shift else "yes")
    )
    for name, values in summary["ctf"].items():
        if values:
            lines.append(f"{name}: {values['lowest']:.6g} to {values['highest']:.6g}, median {values['median']:.6g}")
    for group in summary["optics_groups"]:
        facts = ", ".join(f"{name} {value}" for name, value in group.items() if name != "name")
        lines.append(f"optics group {group['name']}: {facts}")
    if summary["half_sets"]:
        lines.append("half-sets: {} and {} particles".format(*summary["half_sets"]))
    if summary["micrographs"] is not None:
        lines.append(f"micrographs: {summary['micrographs']}")
    stacks = summary["stacks"]
    lines.append(f"stacks: {stacks['named']} named, {stacks['missing']} missing")
    for what, missing in summary["missing"].items():
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            lines.append(f"missing for {what}: {shown}")
    lines += [f"note: {note}" for note in summary["notes"]]
    lines += [f"wrote {path}" for path in summary.get("export", {}).get("written", [])]
    for name, missing in summary.get("export", {}).get("missing", {}).items():
        lines.append(f"did not write {name}: missing {', '.join(missing)}")
    return "\n".join(lines)
