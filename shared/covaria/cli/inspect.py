"""`covaria inspect`: what a particle file holds, and cryoDRGN's pickles out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from covaria.cli.options import Chosen, takes
from covaria.cli.request import checked
from covaria.cli.terminal import say
from covaria.errors import CovariaError
from covaria.plain import explain
from covaria.request.model import IngestOptions

NOT_READ = ("ingest.halfsets", "ingest.n_images", "ingest.downsample", "ingest.symmetry")
"""Options that say what becomes of the images, not what the file holds."""


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""

    app.command("inspect")(inspect_command)


@takes("ingest", without=NOT_READ)
def inspect_command(
    *,
    options: Chosen,
    export: Annotated[Path | None, typer.Option(help="Write poses.pkl and ctf.pkl into this folder.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="The .png of some images (default: NAME.images.png here, where stacks are).")
    ] = None,
    no_picture: Annotated[bool, typer.Option("--no-picture", help="Make no picture.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Describe a particle file and show some images; with --export, write poses.pkl and ctf.pkl.

    Works without the image stacks, but for the picture.

    Exit status: 0 complete, 1 something is missing (what is there was written), 2 refused.
    """
    from covaria.particles.inspect import gallery, inspect

    asked = checked(IngestOptions, options.of("ingest"), options.flags, "ingest")
    inspection = inspect(asked, export=export)
    if picture is not None:
        gallery(asked, picture)
    say(json.dumps(inspection.summary, indent=2) if as_json else as_text(inspection.summary))
    if picture is None and not (no_picture or as_json):
        picture = Path(f"{asked.particles.name.partition('.')[0]}.images.png")
        try:
            gallery(asked, picture)
        except (CovariaError, OSError) as error:  # nobody asked for it: what was understood is the answer
            say(f"no picture: {explain(error).message}")
            picture = None
    if picture is not None and not as_json:
        say(f"wrote {picture}")
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
