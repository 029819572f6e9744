"""The server itself: one process, on this machine unless it is told otherwise."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from covaria.errors import CovariaError
from covaria.view.access import Access, Gate
from covaria.view.routes import Routes

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LINGER_S = 10
"""What a stopping server gives its answers: a stream sees at its next look that it is to end."""


def bound(host: str, port: int) -> socket.socket:
    """A listening place; port 0 takes a free one. Raises CovariaError where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise CovariaError(f"cannot listen at {host}:{port} ({error.strerror})", hint="another --port") from None
    return found


def serve(
    routes: Routes,
    access: Access,
    place: socket.socket,
    ready: Callable[[], None],
    stopper: Callable[[Callable[[], None]], object] = lambda stop: None,
) -> None:
    """Answer until Ctrl-C; `ready` is called when the first question can be asked.

    `stopper` is given what ends the server, before it begins.
    """
    config = uvicorn.Config(
        Gate(routes.app(), access), log_level="warning", access_log=False, server_header=False, lifespan="off",
        ws="none", timeout_graceful_shutdown=LINGER_S,
    )  # fmt: skip
    server = _Server(config, ready)
    routes.ending = lambda: server.should_exit
    stopper(server.stop)
    server.run(sockets=[place])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready()

    def stop(self) -> None:
        self.should_exit = True
