"""`covaria clean`: room made again, told first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covaria.cli.services.jobs import SERVICES, AsJson, Folders, Walk
from covaria.cli.terminal import say
from covaria.plain import one_line

if TYPE_CHECKING:
    from covaria.operations.cleaning import Item


def _days(of: str) -> Any:
    return typer.Option(min=0, metavar="DAYS", help=of)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="clean", rich_help_panel=SERVICES)(clean)


def clean(
    *,
    folders: Folders = None,
    intermediates: Annotated[float | None, _days("Checkpoints of jobs that succeeded so long ago.")] = None,
    images: Annotated[float | None, _days("Their images at the smaller box; states need them.")] = None,
    failed: Annotated[float | None, _days("Checkpoints and images of jobs that failed, or were cancelled.")] = None,
    staging: Annotated[float | None, _days("What dead workers were making, untouched for so long.")] = None,
    updates: Annotated[float | None, _days("Unfinished next versions of growing sets.")] = None,
    scratch: Annotated[float | None, _days("Images that killed stages left in COVARIA_SCRATCH.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; else it is only told.")] = False,
    walk: Walk = False,
    as_json: AsJson = False,
) -> None:
    """Remove what jobs need no more, by policies; without --yes only say what would go.

    Results, books and what somebody works on stay. What went is written in OUT/.covaria/cleaned.json.
    """
    from itertools import chain
    from pathlib import Path

    from covaria.errors import InvalidInput
    from covaria.opening import Roots
    from covaria.operations.cleaning import Policies, clean_scratch
    from covaria.operations.cleaning import clean as remove
    from covaria.operations.ledger.reading import jobs, places
    from covaria.settings import load_settings

    settings, policies = load_settings(), Policies(intermediates, images, failed, staging, updates)
    if policies == Policies() and scratch is None:
        raise InvalidInput("no policy, nothing to do", hint="--intermediates 7 --failed 30, say; --help lists all")
    if scratch is not None and settings.scratch is None:
        raise InvalidInput("--scratch: COVARIA_SCRATCH names no folder", hint="set it, or leave --scratch out")
    found: Iterator[Item] = iter(())
    if policies != Policies():
        where = places(settings, folders)
        outs = [Path(job["out"]) for job in jobs(settings, where, walk=walk)]
        found = remove(outs, policies, settings, Roots.of(settings.roots or where), dry_run=not yes)
    if scratch is not None and settings.scratch is not None:
        found = chain(found, clean_scratch(settings.scratch, scratch, dry_run=not yes))
    total = 0
    for item in found:
        total += item.bytes
        if as_json:
            say(json.dumps({**asdict(item), "out": str(item.out), "removed": yes}))
        else:
            say(one_line(f"{item.policy:13} {item.bytes / 1e9:9.3f} GB  {item.out / item.name}"))
    if not as_json:
        say(f"{total / 1e9:.3f} GB {'removed' if yes else 'would go; --yes removes it'}")
