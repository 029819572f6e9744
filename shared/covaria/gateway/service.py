"""`covaria gateway` as a process: the clerk's thread, and the HTTP server until SIGTERM."""

from __future__ import annotations

import logging
import os
import signal

import uvicorn

from covaria.bus.model import Bus
from covaria.bus.rabbit import RabbitBus
from covaria.errors import InvalidInput
from covaria.gateway.app import make_app
from covaria.gateway.book import Book
from covaria.gateway.callers import Door, Doors, token_doors
from covaria.gateway.clerk import Clerk
from covaria.gateway.desk import Desk
from covaria.gateway.guard import App
from covaria.settings import Settings
from covaria.tree.access import read_entry
from covaria.worker.health import Health
from covaria.worker.service_metrics import GatewayMetrics

log = logging.getLogger(__name__)

LINGER_S = 5
MOST_CONNECTIONS = 512
MOST_OF_A_HEAD = 16384
BOOK = "gateway.sqlite"


class Gateway:
    """One gateway over one broker."""

    def __init__(self, settings: Settings, more_doors: tuple[Door, ...] = (), bus: Bus | None = None) -> None:
        """`more_doors`: beside the tokens of the settings. Raises InvalidInput for settings that cannot be right."""
        if not settings.roots:
            raise InvalidInput("COVARIA_ROOTS is empty: the gateway would refuse every job", hint="COVARIA_ROOTS=/data")
        for entry in settings.out_acl:
            read_entry(entry)
        doors = (*token_doors(settings), *more_doors)
        if not doors:
            log.warning("nobody may ask: neither COVARIA_GATEWAY_TOKENS nor COVARIA_GATEWAY_OIDC_ISSUER is set")
        self.settings, self.metrics = settings, GatewayMetrics()
        self.health = Health(settings.roots)
        self.book = Book(settings.spool / BOOK)
        self.clerk = Clerk(settings, bus or RabbitBus(settings), self.book, self.metrics, self.health)
        self.desk = Desk(settings, self.book, self.clerk, self.metrics)
        self.app: App = make_app(self.desk, Doors(doors), self.health)

    def run(self) -> None:
        """Serve until SIGTERM."""
        for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn stops at it, and sends it again once it has
            signal.signal(number, lambda *_: None)
        self.serve(self.server())

    def server(self) -> uvicorn.Server:
        """The HTTP server, not running yet."""
        config = uvicorn.Config(
            self.app, host=self.settings.http_host, port=self.settings.http_port, log_config=None, access_log=False,
            server_header=False, lifespan="off", ws="none", timeout_graceful_shutdown=LINGER_S,
            limit_concurrency=MOST_CONNECTIONS, h11_max_incomplete_event_size=MOST_OF_A_HEAD,
        )  # fmt: skip
        server = uvicorn.Server(config)
        self.desk.ending = lambda: server.should_exit
        return server

    def serve(self, server: uvicorn.Server) -> None:
        """Serve until the server is told to stop."""
        if self.settings.umask:
            os.umask(int(self.settings.umask, 8))
        log.info("settings: %s", self.settings.redacted())
        self.clerk.start()
        try:
            server.run()
        finally:
            self.clerk.stop()
            self.book.close()
        log.info("ended")
