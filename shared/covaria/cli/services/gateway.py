"""`covaria gateway`: jobs over HTTP; `covaria adapter zocalo | ispyb | webhook`: the facility's other systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from covaria.errors import CovariaError, InvalidInput

if TYPE_CHECKING:
    from covaria.bus.rabbit import RabbitBus
    from covaria.settings import Settings

SERVICES = "Services"


def register(app: typer.Typer) -> None:
    """Add gateway and the group adapter."""
    app.command(name="gateway", rich_help_panel=SERVICES)(gateway)
    adapters = typer.Typer(no_args_is_help=True, help="Other systems of the facility; each runs until SIGTERM.")
    for command in (zocalo, ispyb, webhook):
        adapters.command(name=command.__name__)(command)
    app.add_typer(adapters, name="adapter", rich_help_panel=SERVICES)


def zocalo() -> None:
    """Take steps of recipes from COVARIA_ZOCALO_QUEUE at the facility's broker and send them as jobs."""
    from covaria.adapters.zocalo import RecipeSteps
    from covaria.bus.rabbit import RabbitBus

    settings = _settings()
    RecipeSteps(settings, _facility_bus(settings), RabbitBus(settings)).run()


def ispyb() -> None:
    """Send what events tell of jobs as commands to COVARIA_ISPYB_QUEUE at the facility's broker."""
    from covaria.adapters.ispyb import NAME, Ispyb
    from covaria.adapters.listening import Listener
    from covaria.bus.rabbit import RabbitBus

    settings = _settings()
    Listener(settings, NAME, RabbitBus(settings), Ispyb(settings, _facility_bus(settings)).deliver).run()


def webhook() -> None:
    """Post every event about jobs to COVARIA_WEBHOOK_URL, signed."""
    from covaria.adapters.listening import Listener
    from covaria.adapters.webhook import NAME, Webhook
    from covaria.bus.rabbit import RabbitBus

    settings = _settings()
    Listener(settings, NAME, RabbitBus(settings), Webhook.of(settings).deliver).run()


def _settings() -> Settings:
    from covaria.settings import load_settings
    from covaria.worker.logs import set_up_logging

    settings = load_settings()
    set_up_logging(settings.log_level, settings.log_format)
    return settings


def _facility_bus(settings: Settings) -> RabbitBus:
    from covaria.bus.rabbit import RabbitBus

    if settings.facility_broker_url is None:
        raise InvalidInput("COVARIA_FACILITY_BROKER_URL is not set", hint="amqps://user:password@broker.example/zocalo")
    own = dict.fromkeys(("broker_username", "broker_password"))  # the address has its own
    return RabbitBus(settings.model_copy(update={"broker_url": settings.facility_broker_url, **own}))


def gateway() -> None:
    """Serve jobs over HTTP, keep what events tell of them, carry out orders that come over the bus; until SIGTERM.

    Who may ask: COVARIA_GATEWAY_TOKENS, or access tokens of COVARIA_GATEWAY_OIDC_ISSUER.
    """
    try:
        from covaria.gateway.oidc import provider
        from covaria.gateway.service import Gateway
    except ModuleNotFoundError as error:
        hint = "pip install 'covaria[gateway]'"
        raise CovariaError(f"the gateway is not installed ({error.name})", hint=hint) from None
    settings = _settings()
    Gateway(settings, (provider(settings),) if settings.gateway_oidc_issuer else ()).run()
