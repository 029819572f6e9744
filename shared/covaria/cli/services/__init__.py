"""The commands of the services: workers, triggers, operators' tools. Each part registers its own."""

from __future__ import annotations

import typer

from covaria.cli.services import broker, clean, gateway, jobs, slurm, submit, watch, worker


def register(app: typer.Typer) -> None:
    """Add the services' commands to the application."""
    for part in (submit, watch, jobs, clean, gateway, slurm, worker, broker):
        part.register(app)
