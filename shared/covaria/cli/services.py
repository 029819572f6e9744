"""The commands of the services: workers, triggers, operators' tools. Each part registers its own."""

from __future__ import annotations

import typer

from covaria.cli import services_broker, services_jobs, services_submit, services_worker


def register(app: typer.Typer) -> None:
    """Add the services' commands to the application."""
    for part in (services_submit, services_jobs, services_worker, services_broker):
        part.register(app)
