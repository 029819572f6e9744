"""What stands before every route: bounded bodies, counted answers, headers that keep browsers honest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from covaria.messages.envelope import MAX_BYTES
from covaria.worker.service_metrics import GatewayMetrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class Guard:
    """Wraps the application. Past the bound of a body whoever reads it is told that the sender is gone."""

    def __init__(self, app: App, metrics: GatewayMetrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if _length(scope) > MAX_BYTES:
            await self._too_large(scope, receive, self._counting(scope, send))
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message if taken <= MAX_BYTES else {"type": "http.disconnect"}

        async def unless_too_large(message: Message) -> None:
            if taken <= MAX_BYTES:
                await counting(message)

        counting = self._counting(scope, send)
        with suppress(ClientDisconnect):
            await self.app(scope, bounded, unless_too_large)
        if taken > MAX_BYTES:
            await self._too_large(scope, receive, counting)

    def _counting(self, scope: Scope, send: Send) -> Send:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                self.metrics.requests.labels(route, str(message["status"])).inc()
                said = {name for name, _ in message["headers"]}
                more = [header for header in HEADERS if header[0] not in said]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        return counting

    @staticmethod
    async def _too_large(scope: Scope, receive: Receive, send: Send) -> None:
        told = {"message": f"more than {MAX_BYTES >> 10} KiB are sent", "hint": "name files, do not send them"}
        await JSONResponse(told, 413)(scope, receive, send)


def _length(scope: Scope) -> int:
    """What the headers say of the body's size; 0 where they do not say it, or nonsense."""
    said = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(said[0]) if len(said) == 1 and said[0].isdigit() and len(said[0]) < 20 else 0
