"""`covaria inspect`: can a particle file be run, what does it hold; what is a folder, how far did its run come?"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covaria.cli.options import Chosen, takes
from covaria.cli.request import checked
from covaria.cli.terminal import say
from covaria.errors import CovariaError, MissingFile
from covaria.plain import explain
from covaria.request.model import GROWTH, SYMMETRY, IngestOptions

if TYPE_CHECKING:
    from covaria.request.model import Request

NOT_READ = (
    "ingest.halfsets", "ingest.n_images", "ingest.downsample", *(f"ingest.{name}" for name in (*SYMMETRY, *GROWTH)),
)  # fmt: skip
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
    """Can this particle file be run, what does it hold, what does a run take? Of a folder: what is it, how far is it?

    Works without the image stacks, but for the picture. With --export, writes poses.pkl and ctf.pkl.

    Exit status: 0 complete, 1 something is missing (what is there was written), or a run that is not finished or lacks
    files, 2 refused, or a folder of something else.
    """
    from covaria.particles.inspect import inspect

    given = Path(options.values["ingest.particles"])
    if not given.exists():
        raise MissingFile("is not there", file=given, hint="give a particle file, or the output directory of a run")
    if given.is_dir():
        _tell_folder(given, as_json=as_json)
    asked = checked(IngestOptions, options.of("ingest"), options.flags, "ingest")
    inspection = inspect(asked, export=export)
    summary = inspection.summary
    if picture is not None:
        _draw(asked, picture)
    if as_json:
        say(json.dumps(summary, indent=2))
        raise typer.Exit(inspection.exit_code)
    say(as_text(summary))
    for line in _what_a_run_takes(asked, summary):
        say(line)
    if picture is None and not no_picture:
        picture = Path(f"{asked.particles.name.partition('.')[0]}.images.png")
        try:
            _draw(asked, picture)
        except (CovariaError, OSError) as error:  # nobody asked for it: what was understood is the answer
            say(f"no picture: {explain(error).message}")
            picture = None
    if picture is not None:
        say(f"wrote {picture}")
    raise typer.Exit(inspection.exit_code)


def _tell_folder(folder: Path, *, as_json: bool) -> None:
    from covaria.operations.folder import describe_folder

    found = describe_folder(folder)
    if as_json:
        say(json.dumps({"folder": str(folder)} | found.document(), indent=2))
    else:
        say("\n".join([f"{folder}: {found.lines[0]}", *found.lines[1:], *(f"next     {line}" for line in found.next)]))
    raise typer.Exit(found.exit_code)


def _draw(asked: IngestOptions, picture: Path) -> None:
    from covaria.particles.gallery import gallery

    gallery(asked, picture)


def _what_a_run_takes(asked: IngestOptions, summary: Mapping[str, Any]) -> Iterator[str]:
    """Memory, disk and time with the defaults, and the command, where the file can be run."""
    from covaria.cli.plan import Facts, in_short
    from covaria.request.model import Request
    from covaria.running.devices import cores, default_memory_bytes, resolve_device

    if not summary["verdict"]["ready"]:
        return
    request: Request = Request(out=Path("out"), ingest=asked)
    facts = Facts(
        summary["particles"], summary["in_use"], summary["box_pixels"], summary["pixel_size_angstrom"],
        default_memory_bytes(), cores(), resolve_device("auto"),
    )  # fmt: skip
    yield f"a run with the defaults: {in_short(request, facts)}"
    yield f"next: covaria run {shlex.quote(str(asked.particles))} -o out     # with the options given here"


def as_text(summary: Mapping[str, Any]) -> str:
    """The summary as a person reads it, a line for each fact; the verdict first."""
    lines = [f"{summary['source']}: {summary['verdict']['text']}", *_facts(summary)]
    for what, missing in summary["missing"].items():
        if missing:
            shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            lines.append(f"missing for {what}: {shown}")
    lines += [f"doubt: {doubt}" for doubt in summary["doubts"]]
    lines += [f"note: {note}" for note in summary["notes"]]
    lines += [f"wrote {path}" for path in summary.get("export", {}).get("written", [])]
    for name, missing in summary.get("export", {}).get("missing", {}).items():
        lines.append(f"did not write {name}: missing {', '.join(missing)}")
    return "\n".join(lines)


def _facts(summary: Mapping[str, Any]) -> Iterator[str]:
    unit, poses, stacks = summary["pixel_size_angstrom"], summary["poses"], summary["stacks"]
    shift = (poses or {}).get("shift_pixels")
    yield f"{summary['particles']} particles, {summary['in_use']} in use"
    yield f"box {summary['box_pixels'] or 'unknown'}, pixel size {f'{unit:.5g} angstrom' if unit else 'unknown'}"
    yield "poses: " + (
        "none" if poses is None else f"yes, origins up to {shift['highest']:.4g} pixels" if shift else "yes"
    )
    if summary["views"]:
        yield f"views: {summary['views']['text']}"
    for name, values in summary["ctf"].items():
        if values:
            yield f"{name}: {values['lowest']:.6g} to {values['highest']:.6g}, median {values['median']:.6g}"
    for group in summary["optics_groups"]:
        facts = ", ".join(f"{name} {value}" for name, value in group.items() if name != "name")
        yield f"optics group {group['name']}: {facts}"
    if summary["half_sets"]:
        yield "half-sets: {} and {} particles".format(*summary["half_sets"])
    if summary["micrographs"] is not None:
        yield f"micrographs: {summary['micrographs']}"
    yield f"stacks: {stacks['named']} named, {stacks['missing']} missing"
