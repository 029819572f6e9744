"""`covaria submit`: a job to the services."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from covaria.cli import options as o
from covaria.cli.options import Chosen, takes
from covaria.cli.request import build_request
from covaria.cli.stages import ALONE, WHOLE_RUN
from covaria.cli.terminal import say
from covaria.cli.together import look_at_inputs
from covaria.errors import InvalidInput
from covaria.messages.envelope import Message, first_problem
from covaria.plain import printable
from covaria.request.origin import Origin

if TYPE_CHECKING:
    from covaria.settings import Settings
    from covaria.worker.dispatch import Dispatch

SERVICES = "Services"
WAIT_POLL_S = 1.0


class JobClassChoice(StrEnum):
    """How urgent a job is."""

    live = "live"
    bulk = "bulk"


JobClass = Annotated[JobClassChoice, typer.Option("--class", help="live goes before bulk.", rich_help_panel=SERVICES)]


Pool = Annotated[
    str, typer.Option(help="Workers of this pool (COVARIA_POOLS); by default, by size.", rich_help_panel=SERVICES)
]
CorrelationId = Annotated[str, typer.Option(help="Your own id of this job, for its events.", rich_help_panel=SERVICES)]
Trace = Annotated[
    str, typer.Option(envvar="TRACEPARENT", help="W3C trace context, passed through.", rich_help_panel=SERVICES)
]
Whose = Annotated[str, typer.Option(help="Whose the job is; comes back in every event.", rich_help_panel=SERVICES)]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata", metavar="NAME=VALUE", help="Anything else of yours, repeatable.", rich_help_panel=SERVICES
    ),
]


def register(app: typer.Typer) -> None:
    """Add submit."""
    app.command(name="submit", rich_help_panel=SERVICES)(submit)


@takes(*WHOLE_RUN, without=ALONE)
def submit(
    *, options: Chosen,
    config: o.Config = None,
    job_class: JobClass = JobClassChoice.bulk,
    pool: Pool = "",
    proposal: Whose = "", visit: Whose = "", instrument: Whose = "", sample: Whose = "", metadata: Labels = None,
    correlation_id: CorrelationId = "",
    traceparent: Trace = "",
    job_id: Annotated[
        str | None, typer.Option(help="Your own id (default: a hash of inputs, options and OUT).",
                                 rich_help_panel=SERVICES),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay until the job has ended; exit code 0 when it succeeded.",
                           rich_help_panel=SERVICES),
    ] = False,
) -> None:  # fmt: skip
    """Send a job to the services: the same options as `run`, computed by whichever workers are free.

    The same submission twice is one job. The exit code is 75 when the broker is away or takes nothing now: try again.
    """
    from covaria.job.notice import notice
    from covaria.operations.out_template import fill, is_template
    from covaria.operations.submit import check_before, message_for, refuse_unknown_pool
    from covaria.settings import load_settings
    from covaria.tree.access import refuse_closed

    settings = load_settings()
    origin = origin_of(
        metadata, proposal=proposal, visit=visit, instrument=instrument, sample=sample, correlation_id=correlation_id
    )
    refuse_unknown_pool(pool, settings.pools)
    out = options.values["out"]
    if is_template(str(out)):
        out = fill(str(out), options.values["ingest.particles"].absolute(), origin, settings.roots)
    request = build_request(out, options)
    look_at_inputs(request, options.flags)
    line = shlex.join(["covaria", *sys.argv[1:]])
    message = message_for(
        request, job_class=job_class.value, pool=pool, command_line=line, job_id=job_id, origin=origin,
        traceparent=traceparent,
    )  # fmt: skip
    check_before(message)
    refuse_closed(message.work.request.out, settings.service_uid)
    queue(message, settings)
    notice(settings.ledger, message.work.request.out)
    say(f"job {message.job_id}: {' -> '.join(message.work.route)}, {job_class.value}")
    say(f"follow it with: covaria status {shlex.quote(str(message.work.request.out))} --follow")
    if wait:
        _wait(message.work.request.out)


def origin_of(labels: list[str] | None, **words: str) -> Origin:
    """Whose the jobs are, from the command line. Raises InvalidInput."""
    pairs = [label.partition("=") for label in labels or ()]
    for name, equals, _ in pairs:
        if not equals:
            raise InvalidInput(f"--metadata {printable(name[:64])!r} has no value", hint="give NAME=VALUE")
    try:
        return Origin(metadata={name: value for name, _, value in pairs}, **words)
    except ValidationError as error:
        option = "--" + str(error.errors()[0]["loc"][0]).replace("_", "-")
        raise InvalidInput(
            f"{option}: {first_problem(error)}", hint="short words without control characters, 64 labels at most"
        ) from None


def queue(message: Message, settings: Settings) -> None:
    """Queue a job and show that it waits. Raises OverQuota; typer.Exit(75) where the broker takes nothing now."""
    from covaria.bus.model import BrokerAway, Refused
    from covaria.operations.announce import announce
    from covaria.operations.quotas import admit

    admit(message, settings)
    try:
        send(message)
    except (BrokerAway, Refused) as error:
        say(str(error), err=True)
        raise typer.Exit(75) from error
    announce(message, settings)


def send(message: Message) -> None:
    """Queue a message for its stage. Raises BusError."""
    with dispatching() as dispatch:
        dispatch.begin(message)


@contextmanager
def dispatching() -> Iterator[Dispatch]:
    """A connection to publish on. Raises BusError."""
    from covaria.bus.rabbit import RabbitBus
    from covaria.bus.topology import build_topology
    from covaria.settings import load_settings
    from covaria.worker.dispatch import Dispatch

    settings = load_settings()
    bus = RabbitBus(settings)
    bus.open()
    try:
        yield Dispatch(bus, build_topology(settings.retry_delays_s, pools=settings.pools))
    finally:
        bus.close()


def _wait(out: Path) -> None:
    """Until the job has ended; raises typer.Exit(1) unless it succeeded."""
    from covaria.errors import InvalidInput
    from covaria.operations.jobs_on_disk import view_job

    shown = ""
    while True:
        try:
            view = view_job(out)
        except InvalidInput:
            view = None  # a worker has not made the folder yet
        if view is not None:
            line = f"{view.current.name}: {view.current.status}"
            if line != shown:
                say(line)
                shown = line
            if view.status == "succeeded":
                return
            if view.status in ("parked", "failed", "cancelled"):
                say(view.current.error, err=True)
                raise typer.Exit(1)
        time.sleep(WAIT_POLL_S)
