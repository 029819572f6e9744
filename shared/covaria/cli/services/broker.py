"""`covaria broker declare | definitions | status` and `covaria parking list | show | replay | drop`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from covaria.cli.terminal import say
from covaria.plain import one_line

if TYPE_CHECKING:
    from covaria.bus.rabbit import RabbitBus
    from covaria.settings import Settings

SERVICES = "Services"
Which = Annotated[
    list[str] | None, typer.Argument(metavar="JOB...", help="Job ids, or message ids as `parking list` shows them.")
]
All = Annotated[bool, typer.Option("--all", help="Every parked message.")]


def register(app: typer.Typer) -> None:
    """Add the groups broker and parking."""
    broker = typer.Typer(no_args_is_help=True, help="Exchanges, queues and bindings at RabbitMQ.")
    for command in (declare, definitions):
        broker.command(name=command.__name__)(command)
    broker.command(name="status")(broker_status)
    app.add_typer(broker, name="broker", rich_help_panel=SERVICES)
    parking = typer.Typer(no_args_is_help=True, help="Messages that were set aside for a person.")
    for action in (show, replay, drop):
        parking.command(name=action.__name__)(action)
    parking.command(name="list")(parking_list)
    app.add_typer(parking, name="parking", rich_help_panel=SERVICES)


def declare() -> None:
    """Create what is missing at the broker. Workers never do: they run with less rights."""
    settings, bus = _open()
    from covaria.bus.topology import build_topology

    topology = build_topology(settings.retry_delays_s, settings.event_listeners, settings.pools)
    bus.declare(topology)
    bus.close()
    say(f"{len(topology.exchanges)} exchanges, {len(topology.queues)} queues, {len(topology.bindings)} bindings")


def definitions(
    vhost: Annotated[str, typer.Option(help="The vhost they go into.")] = "covaria",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A file instead of the terminal.")] = None,
) -> None:
    """The same as definitions.json, for `load_definitions` or `rabbitmqctl import_definitions`; no users in it."""
    from covaria.bus.topology import build_topology
    from covaria.bus.topology import definitions as make
    from covaria.settings import load_settings

    settings = load_settings()
    topology = build_topology(settings.retry_delays_s, settings.event_listeners, settings.pools)
    text = json.dumps(make(topology, vhost), indent=2) + "\n"
    if output is None:
        say(text, nl=False)
    else:
        output.write_text(text)


def broker_status() -> None:
    """Messages waiting in every queue; exit code 1 when the broker or a queue is missing."""
    from covaria.bus.model import TopologyMissing
    from covaria.bus.topology import build_topology

    settings, bus = _open()
    say(f"RabbitMQ {bus.server_version} at {settings.redacted()['broker_url']}")
    missing = False
    for queue in build_topology(settings.retry_delays_s, settings.event_listeners, settings.pools).queues:
        try:
            say(f"{bus.depth(queue.name):8}  {queue.name}")
        except TopologyMissing:
            missing = True
            say(f" missing  {queue.name}")
    bus.close()
    if missing:
        say("-> covaria broker declare", err=True)
        raise typer.Exit(1)


def parking_list(*, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """What is parked, and why."""
    from covaria.operations.parking import listed

    for parked in _with_bus(listed):
        if as_json:
            say(json.dumps(parked.summary()))
        else:
            name = parked.message_id or "(no id)"
            say(one_line(f"{name:44} {parked.key:20} {parked.reason:14} {parked.error[:120]}"))


def show(*, which: Which = None, everything: All = False) -> None:
    """Headers and body of parked messages."""
    from covaria.operations.parking import asked_for, look

    wanted = asked_for(which, everything=everything)
    for parked in _with_bus(lambda bus: look(bus, wanted)):
        say(json.dumps(parked.summary(), indent=2))
        say(parked.body.decode("utf-8", "replace"))


def replay(*, which: Which = None, everything: All = False) -> None:
    """Send parked messages again, as first attempts; only those that can be read."""
    from covaria.operations.parking import asked_for
    from covaria.operations.parking import replay as send_again

    wanted = asked_for(which, everything=everything)
    for line in _with_bus(lambda bus: send_again(bus, wanted)):
        say(one_line(line))


def drop(*, which: Which = None, everything: All = False) -> None:
    """Delete parked messages for good; the jobs' folders stay as they are."""
    from covaria.operations.parking import asked_for
    from covaria.operations.parking import drop as delete

    wanted = asked_for(which, everything=everything)
    for line in _with_bus(lambda bus: delete(bus, wanted)):
        say(one_line(line))


def _open() -> tuple[Settings, RabbitBus]:
    from covaria.bus.rabbit import RabbitBus
    from covaria.settings import load_settings

    settings = load_settings()
    bus = RabbitBus(settings)
    bus.open()
    return settings, bus


def _with_bus(action: Callable[[RabbitBus], list[Any]]) -> list[Any]:
    _, bus = _open()
    try:
        return action(bus)
    finally:
        bus.close()
