"""`covaria worker`, `covaria exporter`, `covaria doctor`, `covaria schema`."""

from __future__ import annotations

import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covaria.cli.terminal import say
from covaria.errors import CovariaError

if TYPE_CHECKING:
    from covaria.settings import Settings
    from covaria.worker.handler import WhyHeld
    from covaria.worker.spans import Tell

SERVICES = "Services"


class StageChoice(StrEnum):
    """A stage that a worker can serve."""

    ingest = "ingest"
    reconstruction = "reconstruction"
    density = "density"
    analysis = "analysis"


class ClassChoice(StrEnum):
    """Which queues a worker asks."""

    live = "live"
    bulk = "bulk"
    both = "both"


def register(app: typer.Typer) -> None:
    """Add worker, exporter, doctor and schema."""
    for command in (worker, exporter, doctor, schema):
        app.command(name=command.__name__, rich_help_panel=SERVICES)(command)


def worker(
    stage: Annotated[StageChoice, typer.Argument(help="The stage to serve.")],
    job_class: Annotated[
        ClassChoice, typer.Option("--class", help="Queues to ask; live goes first.")
    ] = ClassChoice.both,
    max_jobs: Annotated[int | None, typer.Option(min=1, help="End after this many messages.")] = None,
    idle_exit: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="End after this long without a message.")
    ] = None,
) -> None:
    """Serve one stage: take jobs from the broker until SIGTERM. Configured by COVARIA_* (docs/settings.md)."""
    from covaria.bus.topology import CLASSES
    from covaria.settings import load_settings
    from covaria.worker.handler import admit_all
    from covaria.worker.logs import set_up_logging
    from covaria.worker.service import Service
    from covaria.worker.spans import to_nobody

    settings = load_settings()
    set_up_logging(settings.log_level, settings.log_format)
    if _follows(settings):
        return
    settings = alone_or_lasting(settings)
    classes = CLASSES if job_class is ClassChoice.both else (job_class.value,)
    tell = _to_collector(stage.value) if settings.otel else to_nobody
    held = _quotas(settings) if settings.quotas else admit_all
    service = Service(
        stage.value, classes, settings, max_jobs=max_jobs, idle_exit_s=idle_exit, tell_span=tell, why_held=held
    )
    sys.exit(service.run())


def _quotas(settings: Settings) -> WhyHeld:
    from covaria.operations.quotas import why_held

    return partial(why_held, settings=settings)


def _follows(settings: Settings) -> bool:
    """Of several machines that share a job, all but the first: they ask no queue, and do as they are told."""
    from covaria.running.nodes import Meeting, NobodyLeads, devices_of_a_node, serve

    meeting = Meeting.told()
    if meeting is None or not meeting.node:
        return False
    memory_bytes = None if settings.memory_gb is None else int(settings.memory_gb * 1e9)
    try:
        serve(meeting, devices_of_a_node(settings.device), memory_bytes)
    except NobodyLeads as nobody:  # no message came, or the first ended: both are the first one's to say
        say(str(nobody))
    return True


def alone_or_lasting(settings: Settings) -> Settings:
    """Where several machines share a job none makes room: they end with its stage, and lead no other."""
    from covaria.running.nodes import Meeting

    return settings if Meeting.told() is None else settings.model_copy(update={"preemptions": 0})


def _to_collector(stage: str) -> Tell:
    try:
        from covaria.worker.otel import to_collector
    except ModuleNotFoundError as error:
        hint = "pip install 'covaria[otel]'"
        raise CovariaError(f"COVARIA_OTEL: OpenTelemetry is not installed ({error.name})", hint=hint) from None
    return to_collector(stage)


def exporter(
    *,
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Where to look for jobs (default: COVARIA_ROOTS).")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the metrics once and end.")] = False,
) -> None:
    """Serve /metrics about jobs on disk and queues at the broker, for as long as it runs: the truth for rates."""
    from covaria.operations.exporter import Exporter
    from covaria.settings import load_settings
    from covaria.worker.logs import set_up_logging

    settings = load_settings()
    set_up_logging(settings.log_level, settings.log_format)
    found = Exporter(settings, tuple(folders or settings.roots))
    if once:
        say(found.text(), nl=False)
    else:
        found.run()


def doctor() -> None:
    """Look at broker, roots, device and versions: what is wrong, and what to do. Exit code 1 when anything is."""
    from covaria.operations.doctor import examine
    from covaria.settings import load_settings

    findings = examine(load_settings())
    for finding in findings:
        say(f"{finding.mark:5} {finding.what}: {finding.found}")
        if finding.hint:
            say(f"      -> {finding.hint}")
    if any(finding.mark == "FAIL" for finding in findings):
        raise typer.Exit(1)


def schema(
    *,
    folder: Annotated[Path, typer.Argument(help="Repository to write schemas/ and docs/ in.")] = Path(),
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a file would change.")] = False,
) -> None:
    """Generate the JSON Schemas, AsyncAPI, and the pages about messages and settings from the code."""
    from covaria.reference.export import generated_files

    stale = []
    for name, text in generated_files().items():
        path = folder / name
        if path.is_file() and path.read_text() == text:
            continue
        stale.append(name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    for name in stale:
        say(f"{'differs' if check else 'wrote'} {name}")
    if check and stale:
        raise typer.Exit(1)
