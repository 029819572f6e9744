"""/livez, /readyz, /takenz and /metrics, from a thread of the worker's parent process.

/livez asks only whether the I/O loop turns: an outage of the broker must not kill a GPU job that runs meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from covaria.errors import InvalidInput
from covaria.worker.patience import Background

ALIVE_S = 60.0
PATIENCE_S = 5.0
ROOT_PATIENCE_S = 0.5
MOST_CONNECTIONS = 64
MOST_BYTES = 8192
BACKLOG = 128


@dataclass
class Health:
    """What the probes look at; the I/O loop calls `tick`."""

    roots: tuple[Path, ...] = ()
    device: str = "cpu"
    clock: Callable[[], float] = time.monotonic
    broker_open: bool = False
    draining: bool = False
    device_problem: str = ""
    taken: bool = False
    """Whether a message has been taken."""
    last_tick: float = field(init=False)
    _looking: Background = field(default_factory=Background)
    _unreadable: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last_tick = self.clock()

    def tick(self) -> None:
        """The I/O loop has turned."""
        self.last_tick = self.clock()

    def live(self) -> list[str]:
        """What is wrong with the process; nothing when it lives."""
        stood = self.clock() - self.last_tick
        return [f"the I/O loop has not turned for {stood:.0f} s"] if stood > ALIVE_S else []

    def ready(self) -> list[str]:
        """Why no job should be expected to be taken; nothing when ready."""
        problems = self.live()
        if self.draining:
            problems.append("draining after SIGTERM")
        if not self.broker_open:
            problems.append("no open channel to the broker")
        problems += self._roots()
        if self.device_problem:
            problems.append(f"device {self.device} does not compute: {self.device_problem}")
        return problems

    def _roots(self) -> list[str]:
        """A filesystem that hangs must not hang the probes: it is looked at beside them."""
        self._looking.start(self._look_at_roots)
        self._looking.join(ROOT_PATIENCE_S)
        return ["a root does not answer"] if self._looking.hangs else self._unreadable

    def _look_at_roots(self) -> None:
        unreadable = [root for root in self.roots if not os.access(root, os.R_OK | os.X_OK)]
        self._unreadable = [f"root {root} cannot be read" for root in unreadable]


class HealthServer:
    """Serves until `close`, from one thread and at most MOST_CONNECTIONS descriptors. `port` is the real one.

    A connection has PATIENCE_S to ask and to take its answer. Where too many are open the oldest is dropped, so that
    whoever asks at once is answered, however many sit idle beside. Raises InvalidInput where it cannot listen.
    """

    def __init__(self, host: str, port: int, health: Health, registry: CollectorRegistry) -> None:
        self._health, self._registry = health, registry
        self._open: dict[asyncio.Task[None], None] = {}
        try:
            self._socket = _bound(host, port)
        except OSError as error:
            hint = "COVARIA_HTTP_HOST, COVARIA_HTTP_PORT (0 takes a free port)"
            raise InvalidInput(f"cannot listen on {host}:{port}: {error.strerror or error}", hint=hint) from error
        self.port = int(self._socket.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.close()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._socket, limit=MOST_BYTES, backlog=BACKLOG)
        await self._stopped.wait()
        server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = None
        if len(self._open) > MOST_CONNECTIONS:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.cancel()
        try:
            async with asyncio.timeout(PATIENCE_S):
                asked = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(asked))
                await writer.drain()
        except (TimeoutError, asyncio.CancelledError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # they ask again, or were no probe
        finally:
            self._open.pop(task, None)
            await self._hang_up(writer)

    async def _hang_up(self, writer: asyncio.StreamWriter) -> None:
        try:
            writer.close()
            async with asyncio.timeout(PATIENCE_S):
                await writer.wait_closed()
        except (TimeoutError, asyncio.CancelledError, OSError):
            writer.transport.abort()

    def _answer(self, asked: bytes) -> bytes:
        words = asked.split(b"\r\n", 1)[0].split(b" ")
        method, path = (words[0], words[1].split(b"?", 1)[0]) if len(words) == 3 else (b"", b"")
        if method not in (b"GET", b"HEAD"):
            return _page(405, b"GET /livez /readyz /takenz /metrics\n", "text/plain")
        match path:
            case b"/livez":
                page = _verdict(self._health.live())
            case b"/readyz":
                page = _verdict(self._health.ready())
            case b"/takenz":
                page = _verdict([] if self._health.taken else ["no message has been taken yet"])
            case b"/metrics":
                page = _page(200, generate_latest(self._registry), CONTENT_TYPE_LATEST)
            case _:
                page = _page(404, b"/livez /readyz /takenz /metrics\n", "text/plain")
        return page if method == b"GET" else page.split(b"\r\n\r\n", 1)[0] + b"\r\n\r\n"


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError:
        found.close()
        raise
    return found


def _verdict(problems: list[str]) -> bytes:
    return _page(503 if problems else 200, ("\n".join(problems or ["ok"]) + "\n").encode(), "text/plain")


def _page(status: int, body: bytes, content_type: str) -> bytes:
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
