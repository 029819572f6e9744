"""`covaria watch`: jobs that start when data arrive."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from covaria.cli import options as o
from covaria.cli.options import Chosen, takes
from covaria.cli.services.submit import SERVICES, JobClass, JobClassChoice, Labels, Whose, origin_of
from covaria.cli.together import refuse_contradictions
from covaria.errors import InvalidInput
from covaria.messages.envelope import first_problem
from covaria.request.model import NOT_OF_A_STREAM
from covaria.request.origin import Origin
from covaria.request.stages import STAGES

if TYPE_CHECKING:
    from covaria.operations.watching.rules import Rule

PLACEHOLDER = Path("/particles.star")


class AgainChoice(StrEnum):
    """What becomes of a new version of a set."""

    REPLACE = "replace"
    BESIDE = "beside"
    NEVER = "never"


def register(app: typer.Typer) -> None:
    """Add watch."""
    app.command(name="watch", rich_help_panel=SERVICES)(watch)


@takes("ingest", "reconstruction", "density", "analysis", "seed", without=NOT_OF_A_STREAM)
def watch(
    *,
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="Where particle sets arrive.")] = None,
    into: Annotated[
        str | None,
        typer.Option("--into", metavar="FOLDER",
                     help="One output folder a set is made in here; or a template, /data/{visit}/covaria/{stem}."),
    ] = None,
    options: Chosen,
    rules: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="Rules, instead of DIR and the options of one.")
    ] = None,
    pattern: Annotated[
        str, typer.Option(help="Which particle files, relative to DIR; {word} names a folder for the template.")
    ] = "**/*.star",
    settle: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long a set must be still.")] = 60.0,
    done_marker: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take a set when a file of this name lies beside it instead.")
    ] = None,
    again: Annotated[
        AgainChoice,
        typer.Option(help="A new version of a set replaces the results, gets its own beside them, or never becomes a "
                          "job."),
    ] = AgainChoice.REPLACE,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How often to look.")] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Look until nothing is settling or waiting, then end.")] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Answer /livez, /readyz and /metrics, as a service does.")
    ] = False,
    job_class: JobClass = JobClassChoice.live,
    proposal: Whose = "", visit: Whose = "", instrument: Whose = "", sample: Whose = "", metadata: Labels = None,
    config: o.Config = None,
) -> None:  # fmt: skip
    """Submit each particle set that arrives in a folder, and each new version of it, once, also across restarts.

    A version is new when rows, poses or CTF have changed, not when the file was merely written again. While the broker
    is away jobs are kept in COVARIA_SPOOL and sent later.
    """
    from covaria.bus.rabbit import RabbitBus
    from covaria.operations.trigger import Trigger
    from covaria.operations.watching.rules import read_rules
    from covaria.settings import load_settings
    from covaria.worker.logs import set_up_logging

    settings = load_settings()
    set_up_logging(settings.log_level, settings.log_format)
    if rules is not None:
        if folder is not None or into is not None or options.given:
            raise InvalidInput("--rules: DIR, --into and options are what its rules say", hint="leave them out")
        found = read_rules(rules)
    else:
        if folder is None or into is None:
            raise InvalidInput("nothing to watch", hint="covaria watch DIR --into FOLDER, or --rules FILE.yaml")
        whose = origin_of(metadata, proposal=proposal, visit=visit, instrument=instrument, sample=sample)
        facts = {"settle_s": settle, "marker": done_marker, "again": again.value, "job_class": job_class.value}
        found = (_rule(folder, pattern, into, whose, options, facts),)
    for rule in found:
        refuse_contradictions(rule.request(PLACEHOLDER, Path("/out")), options.given, options.flags, STAGES)
    Trigger(settings, found, RabbitBus(settings), every_s=every).run(once=once, serve=serve)


def _rule(folder: Path, pattern: str, into: str, whose: Origin, options: Chosen, facts: Mapping[str, object]) -> Rule:
    from covaria.operations.watching.rules import Rule

    template = str(Path(into).absolute()) + ("" if "{" in into else "/{name}")
    said = {"name": "watch", "folder": folder.absolute(), "pattern": pattern, "into": template}
    said |= {"origin": whose.words, "metadata": whose.metadata, "options": dict(options.given)}
    try:
        return Rule.model_validate({**said, **facts})
    except ValidationError as error:
        raise InvalidInput(first_problem(error), hint="see covaria watch --help") from None
